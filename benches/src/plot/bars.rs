//! Server CPU for an answer in the main scenarios, that of stock tonic being 1.
//!
//! Called by `plot`. Ratios are those of the tables: where a file has none to `stock`, it is made of the two
//! that lead there.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde_json::Value;

use super::sheet::{Area, FAINT, GRID, INK, KINDS, Size, number, sheet, style, text};
use super::{Plot, scenarios};

/// What stands for the rest: many callers on many connections, and streams.
const MAIN: [&str; 6] = [
    "unary 16 B, 8x32",
    "unary 1 KiB, 8x32",
    "unary 64 KiB, 8x8",
    "unary 1 KiB, 8x32, TLS",
    "stream 1 KiB, 8x8, 16 on their way",
    "stream 64 KiB, 8x2, 4 on their way",
];

/// Heights in pixels: of a bar, of the gap between scenarios, of the axis below.
const BAR: u32 = 15;
const GAP: u32 = 16;
const AXIS: u32 = 48;

/// Room for names of scenarios, in pixels.
const LEFT: u32 = 250;

struct Group<'a> {
    scenario: &'a str,
    bars: Vec<(f64, RGBColor)>,
}

/// The picture, if the file has a main scenario.
pub(super) fn cpu(compared: &Value) -> Result<Option<Plot>> {
    let groups: Vec<_> = MAIN
        .iter()
        .filter_map(|name| group(compared, name))
        .collect();
    if groups.is_empty() {
        return Ok(None);
    }
    let bars = groups
        .iter()
        .map(|group| group.bars.len())
        .max()
        .unwrap_or(0);
    let group_height = BAR * u32::try_from(bars)? + GAP;
    let height = group_height * u32::try_from(groups.len())? + AXIS;
    let title = "Server CPU for an answer, beside a native handler in stock tonic";
    let svg = sheet(height, title, &KINDS[1..], |area| {
        draw(area, &groups, group_height)
    })?;
    Ok(Some(Plot {
        file: "cpu-per-call.svg",
        about: format!("{title}, for each main scenario; less is better"),
        svg,
    }))
}

fn group<'a>(compared: &Value, name: &'a str) -> Option<Group<'a>> {
    let scenario = scenarios(compared).iter().find(|one| one["name"] == name)?;
    let ratio = |of: &str| scenario["ratios"][format!("cpu {of}")]["median"].as_f64();
    let to_stock = |kind: &str| match kind {
        "front" => ratio("front/stock").or(Some(ratio("reuse/stock")? / ratio("reuse/front")?)),
        "tunnel" => ratio("tunnel/stock").or(Some(ratio("reuse/stock")? * ratio("tunnel/reuse")?)),
        kind => ratio(&format!("{kind}/stock")),
    };
    let bars = KINDS[1..].iter();
    let bars: Vec<_> = bars
        .filter_map(|(kind, colour)| Some((to_stock(kind)?, *colour)))
        .collect();
    (!bars.is_empty()).then_some(Group {
        scenario: name,
        bars,
    })
}

fn draw(area: &Area<'_>, groups: &[Group<'_>], group_height: u32) -> Result<()> {
    let values = groups.iter().flat_map(|group| &group.bars);
    let most = values.map(|(value, _)| *value).fold(1.0, f64::max) * 1.1;
    let (_, height) = area.dim_in_pixel();
    let bottom = i32::try_from(height - AXIS)?;
    let mut chart = ChartBuilder::on(area)
        .margin_left(LEFT)
        .margin_right(32)
        .margin_bottom(AXIS - 24)
        .x_label_area_size(24)
        .build_cartesian_2d(0.0..most, f64::from(bottom)..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_labels(8)
        .x_label_formatter(&|value| number(*value))
        .label_style(style(Size::Label))
        .axis_style(FAINT)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .draw()?;
    let top_of_area = area.get_pixel_range().1.start;
    let mut top = GAP / 2;
    let mut labels = Vec::new();
    for group in groups {
        let middle = i32::try_from(top + (group_height - GAP) / 2)?;
        let left = i32::try_from(LEFT)? - 12;
        text(
            area,
            group.scenario,
            (left, middle),
            Size::Label,
            Pos::new(HPos::Right, VPos::Center),
        )?;
        for (place, (value, colour)) in (0..).zip(&group.bars) {
            let from = f64::from(top + BAR * place);
            let corners = [(0.0, from), (*value, from + f64::from(BAR - 2))];
            chart.draw_series([Rectangle::new(corners, colour.filled())])?;
            let (x, y) = chart.backend_coord(&(*value, from + f64::from(BAR) / 2.0 - 1.0));
            labels.push((format!("{value:.2}"), (x + 5, y - top_of_area)));
        }
        top += group_height;
    }
    let stock = [(1.0, 0.0), (1.0, f64::from(bottom))];
    chart.draw_series([PathElement::new(stock, INK.stroke_width(2))])?;
    for (label, (x, y)) in labels {
        // Where a bar ends short of the line, its number would stand on it.
        let paper = [(x - 2, y - 6), (x + 28, y + 7)];
        area.draw(&Rectangle::new(paper, WHITE.filled()))?;
        let left = Pos::new(HPos::Left, VPos::Center);
        text(area, &label, (x, y), Size::Label, left)?;
    }
    let (x, _) = chart.backend_coord(&(1.0, 0.0));
    let below = i32::try_from(height)? - 6;
    let words = "CPU time of the server for an answer; stock = 1, the line";
    text(
        area,
        words,
        (x, below),
        Size::Label,
        Pos::new(HPos::Center, VPos::Bottom),
    )
}
