//! Results as Markdown, for the terminal and for `docs/benchmarks.md`.
//!
//! Called by `compare` and by the test that keeps the document true. Pure.

use std::fmt::Write;

use crate::kind::Kind;
use crate::load::Shape;
use crate::results::{KindResult, Measured, RATIOS, Results};

/// All tables of a run.
///
/// # Panics
/// Never: writing to a string does not fail.
#[must_use]
pub fn markdown(results: &Results) -> String {
    let mut out = String::new();
    let written = ratios(&mut out, results)
        .and_then(|()| absolute(&mut out, results))
        .and_then(|()| memory(&mut out, results));
    written.expect("writing to a string does not fail");
    out
}

fn ratios(out: &mut String, results: &Results) -> std::fmt::Result {
    write!(out, "| scenario |")?;
    for ratio in RATIOS {
        write!(out, " {} |", ratio.name)?;
    }
    writeln!(out, "\n|---|{}", "--:|".repeat(RATIOS.len()))?;
    for scenario in results
        .scenarios
        .iter()
        .filter(|one| !one.ratios.is_empty())
    {
        write!(out, "| {} |", scenario.name)?;
        for ratio in RATIOS {
            match scenario.ratios.get(ratio.name) {
                Some(spread) => write!(out, " {:.2} |", spread.median)?,
                None => write!(out, " |")?,
            }
        }
        writeln!(out)?;
    }
    writeln!(out)
}

fn absolute(out: &mut String, results: &Results) -> std::fmt::Result {
    write!(out, "| scenario |")?;
    for kind in Kind::ALL {
        write!(out, " {} |", kind.name())?;
    }
    writeln!(out, "\n|---|{}", "---|".repeat(Kind::ALL.len()))?;
    for scenario in &results.scenarios {
        write!(out, "| {} |", scenario.name)?;
        for kind in Kind::ALL {
            match scenario.kinds.get(&kind) {
                Some(result) => write!(out, " {} |", cell(scenario, result))?,
                None => write!(out, " |")?,
            }
        }
        writeln!(out)?;
    }
    writeln!(out)
}

fn cell(scenario: &Measured, result: &KindResult) -> String {
    if scenario.shape == Shape::Idle {
        return format!("{:.2} % of a core", result.server_cores.median * 100.0);
    }
    format!(
        "{:.2} / {} / {:.0} / {:.0}",
        result.server_cpu_us.median,
        thousands(result.per_second.median),
        result.p50_us.median,
        result.p99_us.median
    )
}

fn thousands(value: f64) -> String {
    if value < 100_000.0 {
        format!("{:.1}k", value / 1000.0)
    } else {
        format!("{:.0}k", value / 1000.0)
    }
}

fn memory(out: &mut String, results: &Results) -> std::fmt::Result {
    for (kind, memory) in &results.memory {
        let mib = |bytes: u64| bytes >> 20;
        writeln!(
            out,
            "- `{}`: {} MiB resident at the end, {} MiB at most",
            kind.name(),
            mib(memory.now_bytes),
            mib(memory.most_bytes)
        )?;
    }
    Ok(())
}
