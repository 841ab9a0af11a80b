//! Results as Markdown, for the terminal and for `docs/benchmarks.md`.
//!
//! Called by `cmd::compare` and by the test that keeps the document true. Pure.

use std::fmt::Write;

use anyhow::{Context, Result};

use crate::kind::Kind;
use crate::load::Shape;
use crate::ratio::RATIOS;
use crate::results::{KindResult, Measured, Results, Spread};

/// Between these lines a document shows the results of a run.
const BEGIN: &str = "<!-- results: written by make bench -->\n";
const END: &str = "<!-- end of results -->\n";

/// What the project promised itself: a ratio, its bound, and where it counts.
const GOALS: [(&str, f64, &[&str]); 6] = [
    ("throughput reuse/front", 0.93, &SMALL),
    ("throughput fresh/reuse", 0.6, &SMALL),
    (
        "cpu reuse/stock",
        0.55,
        &["unary 16 B, 8x32", "unary 1 KiB, 8x32"],
    ),
    ("throughput reuse/front", 0.9, &STREAMS),
    (
        "throughput tunnel/reuse",
        0.98,
        &[
            SMALL[0],
            SMALL[1],
            SMALL[2],
            SMALL[3],
            "unary 64 KiB, 1x8",
            "unary 64 KiB, 8x8",
        ],
    ),
    ("throughput tunnel/reuse", 0.95, &STREAMS),
];

/// The scenarios that the goals for throughput of calls speak of.
const SMALL: [&str; 4] = [
    "unary 16 B, 1x1",
    "unary 16 B, 1x64",
    "unary 1 KiB, 1x1",
    "unary 1 KiB, 1x64",
];

/// Those that the goals for streams speak of.
const STREAMS: [&str; 5] = [
    "ping-pong 16 B, 1 stream",
    "stream 16 B, 8x8, 16 on their way",
    "stream 1 KiB, 1x1, 16 on their way",
    "stream 1 KiB, 8x8, 16 on their way",
    "stream 64 KiB, 8x2, 4 on their way",
];

/// What stands in a document between its two marks: where the numbers are from, and all of them.
///
/// # Panics
/// Never: writing to a string does not fail.
#[must_use]
pub fn section(results: &Results, file: &str) -> String {
    let machine = &results.machine;
    format!(
        "[{file}](../benches/results/{file}): commit `{}`, {}, `{}`. {}, {} cores, {} GiB, {}, {}; niceness \
         {}; load average before it began: {:.1}.\n\n{}\n{}",
        results.source.commit,
        results.date,
        results.command,
        machine.processor,
        machine.cores,
        machine.memory_bytes >> 30,
        machine.kernel,
        results.source.rustc,
        machine.niceness,
        machine.load_before,
        goals(results),
        markdown(results)
    )
}

/// Puts a section between the marks of a document.
///
/// # Errors
/// When the document has no marks.
pub fn put(document: &str, section: &str) -> Result<String> {
    let (before, rest) = document.split_once(BEGIN).context("no mark to begin at")?;
    let (_, after) = rest.split_once(END).context("no mark to end at")?;
    Ok(format!("{before}{BEGIN}{section}{END}{after}"))
}

fn goals(results: &Results) -> String {
    let mut out = "| goal | scenario | measured | |\n|---|---|--:|---|\n".to_owned();
    for (name, bound, scenarios) in GOALS {
        let less_is_better = name.starts_with("cpu");
        for scenario in &results.scenarios {
            if !scenarios.contains(&scenario.name.as_str()) {
                continue;
            }
            let Some(spread) = scenario.ratios.get(name) else {
                continue;
            };
            let met = (spread.median <= bound) == less_is_better;
            let written = writeln!(
                out,
                "| {name} {} {bound} | {} | {:.2} ({:.2} to {:.2}) | {} |",
                if less_is_better { "<=" } else { ">=" },
                scenario.name,
                spread.median,
                spread.low,
                spread.high,
                if met { "met" } else { "missed" }
            );
            written.expect("writing to a string does not fail");
        }
    }
    out
}

/// All tables of a run.
///
/// # Panics
/// Never: writing to a string does not fail.
#[must_use]
pub fn markdown(results: &Results) -> String {
    let mut out = String::new();
    let written = ratios(&mut out, results)
        .and_then(|()| absolute(&mut out, results))
        .and_then(|()| latencies(&mut out, results))
        .and_then(|()| instances(&mut out, results))
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
    let plain = |one: &&Measured| !one.ratios.is_empty() && one.instances.is_none();
    for scenario in results.scenarios.iter().filter(plain) {
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
    let plain = |one: &&Measured| !is_open(one) && one.instances.is_none();
    by_kind(out, results.scenarios.iter().filter(plain), cell)
}

/// Of open loops: how long callers wait is what they are for.
fn latencies(out: &mut String, results: &Results) -> std::fmt::Result {
    let mut open = results
        .scenarios
        .iter()
        .filter(|one| is_open(one))
        .peekable();
    if open.peek().is_none() {
        return Ok(());
    }
    by_kind(out, open, |_, result| {
        let us = |spread: Option<Spread>| {
            spread.map_or_else(|| "-".to_owned(), |spread| format!("{:.0}", spread.median))
        };
        format!(
            "{:.2} / {} / {} / {} / {}",
            result.server_cpu_us.median,
            us(Some(result.p50_us)),
            us(result.p90_us),
            us(Some(result.p99_us)),
            us(result.p999_us)
        )
    })
}

fn is_open(scenario: &Measured) -> bool {
    matches!(scenario.shape, Shape::Open { .. })
}

fn by_kind<'a>(
    out: &mut String,
    scenarios: impl Iterator<Item = &'a Measured>,
    cell: impl Fn(&Measured, &KindResult) -> String,
) -> std::fmt::Result {
    write!(out, "| scenario |")?;
    for kind in Kind::ALL {
        write!(out, " {} |", kind.name())?;
    }
    writeln!(out, "\n|---|{}", "---|".repeat(Kind::ALL.len()))?;
    for scenario in scenarios {
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

/// Of plugins with fewer instances than calls: there is nothing else to compare them with than each other.
fn instances(out: &mut String, results: &Results) -> std::fmt::Result {
    const RATIO: &str = "throughput fresh/reuse";
    let few = |one: &&Measured| one.instances.is_some();
    let mut few = results.scenarios.iter().filter(few).peekable();
    if few.peek().is_none() {
        return Ok(());
    }
    writeln!(
        out,
        "| scenario | reuse | fresh | {RATIO} |\n|---|---|---|--:|"
    )?;
    for scenario in few {
        write!(out, "| {} |", scenario.name)?;
        for kind in [Kind::Reuse, Kind::Fresh] {
            let result = scenario.kinds.get(&kind);
            let cell = result.map_or_else(String::new, |result| cell(scenario, result));
            write!(out, " {cell} |")?;
        }
        match scenario.ratios.get(RATIO) {
            Some(spread) => writeln!(out, " {:.2} |", spread.median)?,
            None => writeln!(out, " |")?,
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    #[test]
    fn every_goal_speaks_of_scenarios_and_ratios_that_there_are() {
        let scenarios = scenario::all();
        for (name, _, of) in GOALS {
            let ratio = RATIOS.iter().find(|ratio| ratio.name == name).expect(name);
            for named in of {
                let scenario = scenarios.iter().find(|one| one.name == *named);
                let kinds = scenario.expect(named).kinds;
                let both = kinds.contains(&ratio.of) && kinds.contains(&ratio.to);
                assert!(both, "{name} of {named}");
            }
        }
    }

    #[test]
    fn a_section_replaces_the_one_before() {
        let document = format!("before\n{BEGIN}old\n{END}after\n");
        let put = put(&document, "new\n").expect("it has marks");
        assert_eq!(put, format!("before\n{BEGIN}new\n{END}after\n"));
        super::put("no marks", "new").expect_err("nowhere to put it");
    }
}
