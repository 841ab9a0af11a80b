//! Lines, one for each kind: throughput by callers, and latencies by percentile.
//!
//! Called by `plot`. What stands along the bottom are words, at even distances.

use anyhow::Result;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde_json::Value;

use super::sheet::{Area, FAINT, GRID, KINDS, Size, WIDTH, number, sheet, style, text};
use super::{Plot, median, scenarios};

/// Height of a panel, in pixels.
const HEIGHT: u32 = 340;

/// Fewest points that are worth a line.
const POINTS_MIN: usize = 3;

/// Percentiles, as they are called and as files have them.
const PERCENTILES: [(&str, &str); 4] = [
    ("p50", "p50_us"),
    ("p90", "p90_us"),
    ("p99", "p99_us"),
    ("p99.9", "p999_us"),
];

/// One panel.
struct Panel {
    /// Above it.
    above: String,
    /// Below its axis.
    below: &'static str,
    ticks: Vec<String>,
    series: Vec<(RGBColor, Vec<(usize, f64)>)>,
}

/// Throughput by callers on one connection, if the file has it for some numbers of them.
pub(super) fn throughput(compared: &Value) -> Result<Option<Plot>> {
    let Some((bytes, family)) = family(compared) else {
        return Ok(None);
    };
    let panel = Panel {
        above: format!("unary calls of {bytes} B, one connection, answers a second"),
        below: "callers on the connection, each waits for its answer",
        ticks: family
            .iter()
            .map(|(callers, _)| callers.to_string())
            .collect(),
        series: series(|kind| {
            let points = family.iter().enumerate();
            let points =
                points.filter_map(|(at, (_, one))| Some((at, median(one, kind, "per_second")?)));
            points.collect()
        }),
    };
    let most = panel.values().fold(0.0, f64::max);
    let svg = sheet(
        HEIGHT,
        "Throughput by callers",
        &legend(&[&panel]),
        |area| panel.draw(area, 0.0..most * 1.08),
    )?;
    Ok(Some(Plot {
        file: "throughput-by-callers.svg",
        about: format!(
            "Answers a second by number of callers on one connection, messages of {bytes} bytes"
        ),
        svg,
    }))
}

/// The scenarios that differ in nothing but the number of callers on one connection: of all sizes of messages,
/// the size that has most of them.
fn family(compared: &Value) -> Option<(u64, Vec<(u64, &Value)>)> {
    let mut sizes: std::collections::BTreeMap<u64, Vec<(u64, &Value)>> = Default::default();
    for scenario in scenarios(compared) {
        let unary = &scenario["shape"]["unary"];
        let plain = scenario["tls"] == false
            && scenario["cores"] == "shared"
            && scenario["instances"].is_null()
            && unary["connections"] == 1;
        let shape = (unary["bytes"].as_u64(), unary["in_flight"].as_u64());
        if let (true, (Some(bytes), Some(callers))) = (plain, shape) {
            sizes.entry(bytes).or_default().push((callers, scenario));
        }
    }
    let (bytes, mut family) = sizes.into_iter().max_by_key(|(_, family)| family.len())?;
    family.sort_by_key(|(callers, _)| *callers);
    (family.len() >= POINTS_MIN).then_some((bytes, family))
}

/// Latencies of open loops, a panel for each.
pub(super) fn latency(compared: &Value) -> Result<Option<Plot>> {
    let open = scenarios(compared).iter().filter_map(|scenario| {
        let rate = scenario["shape"]["open"]["rate"].as_u64()?;
        Some(percentiles(scenario, rate))
    });
    let panels: Vec<_> = open.filter(|panel| !panel.series.is_empty()).collect();
    if panels.is_empty() {
        return Ok(None);
    }
    let all = || panels.iter().flat_map(Panel::values);
    let (least, most) = (all().fold(f64::MAX, f64::min), all().fold(0.0, f64::max));
    // The same axis for all: whole powers of ten around them.
    let (from, to) = (least.log10().floor(), most.log10().ceil());
    let title = "Latency of calls that begin on time, answered or not (open loop)";
    let each: Vec<_> = panels.iter().collect();
    let svg = sheet(HEIGHT, title, &legend(&each), |area| {
        for (panel, part) in panels.iter().zip(area.split_evenly((1, panels.len()))) {
            panel.draw(&part, (10_f64.powf(from)..10_f64.powf(to)).log_scale())?;
        }
        Ok(())
    })?;
    Ok(Some(Plot {
        file: "open-loop-latency.svg",
        about: "Latency by percentile at fixed rates of calls, in microseconds".to_owned(),
        svg,
    }))
}

fn percentiles(scenario: &Value, rate: u64) -> Panel {
    let known = PERCENTILES.into_iter().filter(|(_, field)| {
        let mut kinds = KINDS.iter();
        kinds.any(|(kind, _)| median(scenario, kind, field).is_some())
    });
    let known: Vec<_> = known.collect();
    Panel {
        above: format!("latency in us at {rate} calls a second"),
        below: "percentile; latencies count from when a call was due",
        ticks: known.iter().map(|(name, _)| (*name).to_owned()).collect(),
        series: series(|kind| {
            let points = known.iter().enumerate();
            let points =
                points.filter_map(|(at, (_, field))| Some((at, median(scenario, kind, field)?)));
            // A logarithm knows no zero.
            points.filter(|(_, value)| *value > 0.0).collect()
        }),
    }
}

fn series(points: impl Fn(&str) -> Vec<(usize, f64)>) -> Vec<(RGBColor, Vec<(usize, f64)>)> {
    let all = KINDS.iter().map(|(kind, colour)| (*colour, points(kind)));
    all.filter(|(_, points)| !points.is_empty()).collect()
}

/// The kinds that are in one of the panels.
fn legend(panels: &[&Panel]) -> Vec<(&'static str, RGBColor)> {
    let mut shown = panels.iter().flat_map(|panel| &panel.series);
    let mut legend = KINDS.to_vec();
    let colours: Vec<_> = shown.by_ref().map(|(colour, _)| *colour).collect();
    legend.retain(|(_, colour)| colours.contains(colour));
    legend
}

impl Panel {
    fn values(&self) -> impl Iterator<Item = f64> {
        self.series
            .iter()
            .flat_map(|(_, points)| points)
            .map(|(_, value)| *value)
    }

    fn draw<Y>(&self, area: &Area<'_>, y: Y) -> Result<()>
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let last = place(self.ticks.len().saturating_sub(1));
        let mut chart = ChartBuilder::on(area)
            .margin_top(30)
            .margin_right(24)
            .margin_bottom(48)
            .y_label_area_size(WIDTH / 13)
            .build_cartesian_2d(-0.25..last + 0.25, y)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .y_labels(8)
            .y_label_formatter(&|value| number(*value))
            .label_style(style(Size::Label))
            .axis_style(FAINT)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .draw()?;
        for (colour, points) in &self.series {
            let points: Vec<_> = points
                .iter()
                .map(|(at, value)| (place(*at), *value))
                .collect();
            chart.draw_series([PathElement::new(points.clone(), colour.stroke_width(2))])?;
            let dots = points
                .into_iter()
                .map(|point| Circle::new(point, 3, colour.filled()));
            chart.draw_series(dots)?;
        }
        let (range, _) = area.get_pixel_range();
        let (width, height) = area.dim_in_pixel();
        let bottom = i32::try_from(height)?;
        let bottom_of_axis = bottom - 48;
        let some_y = chart.y_range().start;
        for (at, tick) in self.ticks.iter().enumerate() {
            let (x, _) = chart.backend_coord(&(place(at), some_y));
            let at = (x - range.start, bottom_of_axis + 6);
            text(
                area,
                tick,
                at,
                Size::Label,
                Pos::new(HPos::Center, VPos::Top),
            )?;
        }
        let middle = i32::try_from(width)? / 2 + 20;
        text(
            area,
            &self.above,
            (middle, 6),
            Size::Label,
            Pos::new(HPos::Center, VPos::Top),
        )?;
        let at = (middle, bottom - 6);
        text(
            area,
            self.below,
            at,
            Size::Label,
            Pos::new(HPos::Center, VPos::Bottom),
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "a handful of ticks")]
fn place(at: usize) -> f64 {
    at as f64
}
