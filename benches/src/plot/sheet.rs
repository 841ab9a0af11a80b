//! What all pictures share: the sheet they are on, letters, colours, the legend.
//!
//! Called by the pictures. The SVG backend knows no fonts, so nothing here depends on how wide a text is but the
//! legend, which leaves room for each of its short words.

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Where a picture is drawn.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Width of every picture, in pixels: what a page of text has.
pub(super) const WIDTH: u32 = 800;

/// Height of the title and the legend below it, in pixels.
pub(super) const HEAD: u32 = 64;

pub(super) const INK: RGBColor = RGBColor(31, 41, 55);
pub(super) const FAINT: RGBColor = RGBColor(107, 114, 128);
pub(super) const GRID: RGBColor = RGBColor(229, 231, 235);

/// The kinds that are compared, in the order of tables, each in the same colour wherever it is.
pub(super) const KINDS: [(&str, RGBColor); 5] = [
    ("stock", RGBColor(107, 114, 128)),
    ("front", RGBColor(37, 99, 235)),
    ("reuse", RGBColor(5, 150, 105)),
    ("fresh", RGBColor(217, 119, 6)),
    ("tunnel", RGBColor(147, 51, 234)),
];

/// Draws on a white sheet with a title and a legend; what `draw` gets is what is left.
pub(super) fn sheet(
    height: u32,
    title: &str,
    legend: &[(&str, RGBColor)],
    draw: impl FnOnce(&Area<'_>) -> Result<()>,
) -> Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, HEAD + height)).into_drawing_area();
        root.fill(&WHITE)?;
        text(
            &root,
            title,
            (16, 10),
            Size::Title,
            Pos::new(HPos::Left, VPos::Top),
        )?;
        let mut left = 16;
        for (name, colour) in legend {
            let square = [(left, 41), (left + 11, 52)];
            root.draw(&Rectangle::new(square, colour.filled()))?;
            text(
                &root,
                name,
                (left + 17, 47),
                Size::Label,
                Pos::new(HPos::Left, VPos::Center),
            )?;
            // Eight pixels for a letter are enough for all but words of capitals.
            left += 40 + 8 * i32::try_from(name.len())?;
        }
        let (_, rest) = root.split_vertically(HEAD);
        draw(&rest)?;
        root.present()?;
    }
    Ok(svg)
}

/// How large letters are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Size {
    Title,
    Label,
}

/// Writes a text at a place that `pos` says which point of it is.
pub(super) fn text(
    area: &Area<'_>,
    words: &str,
    at: (i32, i32),
    size: Size,
    pos: Pos,
) -> Result<()> {
    area.draw(&Text::new(words.to_owned(), at, style(size).pos(pos)))?;
    Ok(())
}

/// Letters for labels, in the units of the backend, which makes a font of 1.24 of them one pixel high.
pub(super) fn style(size: Size) -> TextStyle<'static> {
    match size {
        Size::Title => ("sans-serif", 20).into_font().color(&INK),
        Size::Label => ("sans-serif", 15).into_font().color(&INK),
    }
}

/// A number on an axis.
pub(super) fn number(value: f64) -> String {
    if value >= 1e6 {
        format!("{}M", value / 1e6)
    } else if value >= 1e3 {
        format!("{}k", value / 1e3)
    } else if value.fract().abs() > 1e-9 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}
