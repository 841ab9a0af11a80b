//! Mixed loads as Markdown. Pure.

use std::fmt::Write;

use super::{Calls, Line, Mixed, SHELF};
use crate::kept::Kept;
use crate::kind::Kind;
use crate::results::Spread;

/// What the project promised itself: 99th percentile of a plugin's calls beside a neighbour over that without.
const GOAL: f64 = 1.10;

/// What stands in a document between its two marks: where the numbers are from, and all of them.
#[must_use]
pub fn section(kept: &Kept<Mixed>, file: &str) -> String {
    let origin = kept.origin(&SHELF, file);
    format!("{origin}\n{}", markdown(&kept.measured))
}

/// The table of a run.
///
/// # Panics
/// Never: writing to a string does not fail.
#[must_use]
pub fn markdown(mixed: &Mixed) -> String {
    let mut out = format!(
        "| beside | server | p50 | p90 | p99 | p99.9 | p99 with / without | <= {GOAL:.2} | cores |\n\
         |---|---|--:|--:|--:|--:|--:|---|--:|\n"
    );
    for line in &mixed.lines {
        row(&mut out, line).expect("writing to a string does not fail");
    }
    out
}

fn row(out: &mut String, line: &Line) -> std::fmt::Result {
    write!(out, "| {} | {} |", line.name, line.kind.name())?;
    let percentiles: [fn(&Calls) -> Spread; 4] = [
        |calls| calls.p50_us,
        |calls| calls.p90_us,
        |calls| calls.p99_us,
        |calls| calls.p999_us,
    ];
    for of in percentiles {
        let (without, with) = (of(&line.without).median, of(&line.with).median);
        write!(out, " {without:.0}, {with:.0} |")?;
    }
    let ratio = line.p99_ratio;
    write!(
        out,
        " {:.2} ({:.2} to {:.2}) |",
        ratio.median, ratio.low, ratio.high
    )?;
    let verdict = match (line.kind, ratio.median <= GOAL) {
        (Kind::Stock | Kind::Front, _) => "",
        (Kind::Reuse | Kind::Fresh | Kind::Tunnel, true) => "met",
        (Kind::Reuse | Kind::Fresh | Kind::Tunnel, false) => "missed",
    };
    let (without, with) = (line.without.server_cores, line.with.server_cores);
    writeln!(
        out,
        " {verdict} | {:.2}, {:.2} |",
        without.median, with.median
    )
}
