//! The ladder as prices on top of each other: a unary call through a tunnel, and what of it is ours.
//!
//! Called by `plot`. The layers below the network are too thin to be seen beside it, so they have a bar of their
//! own, in another scale.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Plot;
use super::sheet::{Area, FAINT, INK, Size, WIDTH, sheet, text};
use crate::ladder::{Ladder, STEPS, time};

/// Height of a bar with its words, in pixels.
const PANEL: u32 = 118;

/// From the edge to the bars, in pixels.
const SIDE: i32 = 16;

/// The parts of each bar: the rung whose price it is, what it is called, its colour.
const BELOW: [(&str, &str, RGBColor); 4] = [
    ("frame/16 B", "frame", RGBColor(37, 99, 235)),
    ("route/100", "route", RGBColor(217, 119, 6)),
    ("lease/idle", "lease", RGBColor(190, 24, 93)),
    ("instance_call/16 B", "instance call", RGBColor(5, 150, 105)),
];
const ABOVE: [(&str, &str, RGBColor); 2] = [
    (
        "unary_tcp/reuse/16 B/64",
        "HTTP/2, kernel, caller",
        RGBColor(148, 163, 184),
    ),
    ("unary_tunnel/16 B/64", "tunnel", RGBColor(147, 51, 234)),
];

type Part = (f64, &'static str, RGBColor);

/// The picture, if all of its rungs were measured.
pub(super) fn ladder(ladder: &Ladder) -> Result<Option<Plot>> {
    let price = |(id, name, colour): &(&str, &'static str, RGBColor)| -> Option<Part> {
        let step = STEPS.iter().find(|step| step.id == *id)?;
        // Noise may make a thin layer cheaper than nothing; a bar has no less than no length.
        let (_, price) = ladder.price(step)?;
        Some((price.max(0.0), name, *colour))
    };
    let below: Option<Vec<_>> = BELOW.iter().map(price).collect();
    let above: Option<Vec<_>> = ABOVE.iter().map(price).collect();
    let (Some(below), Some(mut above)) = (below, above) else {
        return Ok(None);
    };
    above.insert(
        0,
        (total(&below), "below the network", RGBColor(5, 150, 105)),
    );
    let title = "What a unary call of 16 bytes costs, layer by layer";
    let svg = sheet(2 * PANEL, title, &[], |area| {
        let (upper, lower) = area.split_vertically(PANEL);
        let words = "through a tunnel, 64 calls on their way, caller and server in one process";
        stack(&upper, words, &above)?;
        stack(
            &lower,
            "of that below the network, in its own scale",
            &below,
        )
    })?;
    Ok(Some(Plot {
        file: "ladder.svg",
        about: format!("{title}: time of each rung of the ladder that is not in those below it"),
        svg,
    }))
}

fn total(parts: &[Part]) -> f64 {
    parts.iter().map(|(price, ..)| price).sum()
}

/// One bar over the whole width. Names stand below their parts, at even distances, because parts may be thinner
/// than their names are long.
fn stack(area: &Area<'_>, words: &str, parts: &[Part]) -> Result<()> {
    let width = i32::try_from(WIDTH)? - 2 * SIDE;
    let all = total(parts).max(f64::MIN_POSITIVE);
    let head = format!("{words}: {}", time(total(parts)));
    text(
        area,
        &head,
        (SIDE, 2),
        Size::Label,
        Pos::new(HPos::Left, VPos::Top),
    )?;
    let count = i32::try_from(parts.len())?;
    let mut before = 0.0;
    for (place, (price, name, colour)) in (0..).zip(parts) {
        let at = |price: f64| SIDE + pixels(f64::from(width) * price / all);
        let (from, to) = (at(before), at(before + price));
        area.draw(&Rectangle::new([(from, 24), (to, 54)], colour.filled()))?;
        before += price;
        let words = SIDE + width / count * place;
        let line = [((from + to) / 2, 56), (words + 6, 70)];
        area.draw(&PathElement::new(line, FAINT))?;
        area.draw(&Rectangle::new(
            [(words, 72), (words + 11, 83)],
            colour.filled(),
        ))?;
        let at = (words + 17, 71);
        text(area, name, at, Size::Label, Pos::new(HPos::Left, VPos::Top))?;
        let at = (words + 17, 88);
        text(
            area,
            &time(*price),
            at,
            Size::Label,
            Pos::new(HPos::Left, VPos::Top),
        )?;
    }
    area.draw(&Rectangle::new([(SIDE, 24), (SIDE + width, 54)], INK))?;
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "less than the width of the sheet"
)]
fn pixels(value: f64) -> i32 {
    value.round() as i32
}
