//! What one more costs, as Markdown. Pure.

use std::fmt::Write;

use super::{Call, Fresh, Memory, SHELF, Scale};
use crate::kept::Kept;
use crate::outcome;
use crate::scenario::Cores;

const KIB: f64 = 1024.0;

/// What stands in a document between its two marks: where the numbers are from, and all of them.
#[must_use]
pub fn section(kept: &Kept<Scale>, file: &str) -> String {
    let origin = kept.origin(&SHELF, file);
    format!("{origin}\n{}", markdown(&kept.measured))
}

/// All tables of a run.
///
/// # Panics
/// Never: writing to a string does not fail.
#[must_use]
pub fn markdown(scale: &Scale) -> String {
    let mut out = String::new();
    let written = memory(&mut out, &scale.memory)
        .and_then(|()| calls(&mut out, &scale.calls))
        .and_then(|()| fresh(&mut out, &scale.fresh));
    written.expect("writing to a string does not fail");
    out
}

fn memory(out: &mut String, all: &[Memory]) -> std::fmt::Result {
    writeln!(
        out,
        "| one more | server | KiB | count: MiB of the server |\n|---|---|--:|---|"
    )?;
    for memory in all {
        let points = memory.points.iter().map(|point| {
            let mib = outcome::count(point.resident_bytes) / (KIB * KIB);
            format!("{}: {mib:.1}", point.count)
        });
        writeln!(
            out,
            "| {} | {} | {:.1} | {} |",
            memory.of,
            memory.kind.name(),
            memory.each_bytes / KIB,
            points.collect::<Vec<_>>().join(", ")
        )?;
    }
    writeln!(out)
}

fn calls(out: &mut String, all: &[Call]) -> std::fmt::Result {
    writeln!(
        out,
        "| beside | server | count | server CPU for a call, us | over the first | calls a second |\n\
         |---|---|--:|--:|--:|--:|"
    )?;
    for call in all {
        let ratio = call.cpu_ratio;
        writeln!(
            out,
            "| {} | {} | {} | {:.2} | {:.2} ({:.2} to {:.2}) | {:.0} |",
            call.beside,
            call.kind.name(),
            call.count,
            call.server_cpu_us.median,
            ratio.median,
            ratio.low,
            ratio.high,
            call.per_second.median
        )?;
    }
    writeln!(out)
}

fn fresh(out: &mut String, all: &[Fresh]) -> std::fmt::Result {
    writeln!(
        out,
        "| the server has | new instances a second | server CPU for a call, us | of it the instance, us |\n\
         |---|--:|--:|--:|"
    )?;
    for fresh in all {
        let cores = match fresh.cores {
            Cores::Apart => "one core, to itself",
            Cores::Shared => "all cores, with the load",
        };
        writeln!(
            out,
            "| {cores} | {:.0} | {:.2} | {:.2} |",
            fresh.per_second.median, fresh.server_cpu_us.median, fresh.instance_us.median
        )?;
    }
    Ok(())
}
