//! The ladder of criterion's benches as results: what each rung takes, and what it costs more than those below.
//!
//! Made by `cmd::ladder` out of what criterion leaves in its folder, shown in `docs/benchmarks.md`. A rung's id is
//! the bench's own, as in `unary_tcp/reuse/16 B/64`; times are criterion's median with its 95 % interval.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::kept::{Kept, Shelf};

/// Where ladders are kept.
pub const SHELF: Shelf = Shelf::new("ladder");

/// The rungs, from the lowest up: the first part of the ids of their benches.
pub const RUNGS: [&str; 9] = [
    "frame",
    "route",
    "lease",
    "instance_call",
    "instantiate",
    "unary_tcp",
    "unary_tunnel",
    "streams_tcp",
    "cold_start",
];

/// What all rungs took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ladder {
    /// Seconds for which each was measured.
    pub seconds: f64,
    /// By id.
    pub rungs: BTreeMap<String, Took>,
}

/// Time for one element: a call, a message, whatever the rung counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Took {
    /// Median, in nanoseconds.
    pub ns: f64,
    /// Lower bound of its 95 % interval, in nanoseconds.
    pub low: f64,
    /// Upper bound of its 95 % interval, in nanoseconds.
    pub high: f64,
}

/// A line of the table of prices.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Which bench.
    pub id: &'static str,
    /// What is paid for by the difference.
    pub pays: &'static str,
    /// The benches that it holds as well: what it takes more than all of them is its price.
    pub less: &'static [&'static str],
}

/// The layers below the network.
const BELOW: [&str; 4] = [
    "frame/16 B",
    "route/100",
    "lease/idle",
    "instance_call/16 B",
];

/// The table of prices: a unary call of 16 bytes, and what else can be had.
pub const STEPS: [Step; 11] = {
    const fn step(id: &'static str, pays: &'static str, less: &'static [&'static str]) -> Step {
        Step { id, pays, less }
    }
    [
        step(BELOW[0], "cutting a message out, framing one", &[]),
        step(BELOW[1], "from path to method, of 100", &[]),
        step(BELOW[2], "an instance out of the pool and back", &[]),
        step(BELOW[3], "into the guest and out", &[]),
        step(
            "instantiate/fresh",
            "a new instance for the call",
            &["instantiate/reuse"],
        ),
        step(
            "instantiate/fresh on demand",
            "its memory from the kernel",
            &["instantiate/fresh"],
        ),
        step(
            "unary_tcp/reuse/16 B/64",
            "HTTP/2, kernel and caller",
            &BELOW,
        ),
        step(
            "unary_tunnel/16 B/64",
            "the tunnel, both ends",
            &["unary_tcp/reuse/16 B/64"],
        ),
        step("streams_tcp/bidi/reuse/16 B/16", "a message each way", &[]),
        step("cold_start/cached", "file to first byte", &[]),
        step("cold_start/compiled", "compiling", &["cold_start/cached"]),
    ]
};

/// The part of criterion's `benchmark.json` that is wanted.
#[derive(Deserialize)]
struct Benchmark {
    full_id: String,
    throughput: Option<BTreeMap<String, u64>>,
}

/// The part of criterion's `estimates.json` that is wanted.
#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    confidence_interval: Interval,
    point_estimate: f64,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

impl Ladder {
    /// Gathers what criterion left below `folder` since then, of the benches of the ladder.
    ///
    /// # Errors
    /// When there is nothing, or a file is of another form.
    pub fn gather(folder: &Path, since: SystemTime, seconds: f64) -> Result<Self> {
        let mut rungs = BTreeMap::new();
        gather(folder, since, &mut rungs)?;
        rungs.retain(|id: &String, _| RUNGS.contains(&rung_of(id)));
        anyhow::ensure!(!rungs.is_empty(), "{}: nothing new", folder.display());
        Ok(Self { seconds, rungs })
    }

    /// What a step takes, and what of that is not in the benches below it.
    #[must_use]
    pub fn price(&self, step: &Step) -> Option<(f64, f64)> {
        let took = self.rungs.get(step.id)?.ns;
        let less: Option<f64> = step
            .less
            .iter()
            .map(|id| Some(self.rungs.get(*id)?.ns))
            .sum();
        Some((took, took - less?))
    }
}

fn rung_of(id: &str) -> &str {
    id.split('/').next().unwrap_or(id)
}

fn gather(folder: &Path, since: SystemTime, into: &mut BTreeMap<String, Took>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let estimates = path.join("new/estimates.json");
        let written = estimates.metadata().and_then(|file| file.modified());
        if written.is_ok_and(|written| written >= since) {
            let benchmark: Benchmark = read(&path.join("new/benchmark.json"))?;
            let took = Took::of(&read(&estimates)?, benchmark.throughput.as_ref());
            into.insert(benchmark.full_id, took);
        }
        if path.is_dir() {
            gather(&path, since, into)?;
        }
    }
    Ok(())
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

impl Took {
    /// Of an iteration of so many elements. Where bytes are counted, an iteration is one element.
    fn of(estimates: &Estimates, throughput: Option<&BTreeMap<String, u64>>) -> Self {
        let elements = throughput.and_then(|all| all.get("Elements")).copied();
        #[expect(clippy::cast_precision_loss, reason = "some thousands at most")]
        let elements = elements.unwrap_or(1) as f64;
        let Estimate {
            confidence_interval,
            point_estimate,
        } = &estimates.median;
        let of_one = |ns: f64| crate::results::rounded(ns / elements);
        Self {
            ns: of_one(*point_estimate),
            low: of_one(confidence_interval.lower_bound),
            high: of_one(confidence_interval.upper_bound),
        }
    }
}

/// What stands in a document between the marks: where the numbers are from, prices, and all of them.
#[must_use]
pub fn section(kept: &Kept<Ladder>, file: &str) -> String {
    format!(
        "{}\n{}\n{}",
        kept.origin(&SHELF, file),
        prices(&kept.measured),
        all(&kept.measured)
    )
}

/// The table of prices.
///
/// # Panics
/// Never: writing to a string does not fail.
#[must_use]
pub fn prices(ladder: &Ladder) -> String {
    let mut out = "| rung | takes | of that | for |\n|---|--:|--:|---|\n".to_owned();
    for step in &STEPS {
        let Some((took, price)) = ladder.price(step) else {
            continue;
        };
        let Step { id, pays, .. } = step;
        writeln!(
            out,
            "| `{id}` | {} | {} | {pays} |",
            time(took),
            time(price)
        )
        .expect("writing to a string does not fail");
    }
    out
}

/// Everything that was measured, a line for each group of benches.
///
/// # Panics
/// Never: writing to a string does not fail.
#[must_use]
pub fn all(ladder: &Ladder) -> String {
    let mut out = String::new();
    for rung in RUNGS {
        let of_rung = ladder.rungs.iter().filter(|(id, _)| rung_of(id) == rung);
        let mut lines: Vec<_> = of_rung.map(|(id, took)| (split(id), took)).collect();
        lines.sort_by_key(|((before, name), _)| (*before, order(name)));
        let mut group = None;
        for ((before, name), took) in lines {
            let lead = if group == Some(before) {
                ",".to_owned()
            } else {
                let end = if out.is_empty() { "" } else { "\n" };
                format!("{end}- `{before}`:")
            };
            group = Some(before);
            write!(out, "{lead} {name} = {}", time(took.ns))
                .expect("writing to a string does not fail");
        }
    }
    out + "\n"
}

/// Where an id divides into the group and what is different in it: before the size.
fn split(id: &str) -> (&str, String) {
    let at = id
        .match_indices('/')
        .find(|(at, _)| id[at + 1..].starts_with(|first: char| first.is_ascii_digit()))
        .or_else(|| id.match_indices('/').next());
    let Some((at, _)) = at else {
        return (id, String::new());
    };
    (&id[..at], id[at + 1..].replace('/', " x "))
}

/// The numbers in a name, and in bytes where it says KiB, so that sizes are in their order and what has none comes
/// first.
fn order(name: &str) -> Vec<u64> {
    let times = if name.contains("KiB") { 1024 } else { 1 };
    let numbers = name.split(|letter: char| !letter.is_ascii_digit());
    let numbers = numbers.filter_map(|digits| digits.parse::<u64>().ok());
    let scaled = numbers.zip([times, 1, 1, 1]);
    scaled.map(|(number, times)| number * times).collect()
}

/// A time that somebody reads.
#[must_use]
pub fn time(ns: f64) -> String {
    match ns.abs() {
        below if below < 1e3 => format!("{ns:.0} ns"),
        below if below < 1e5 => format!("{:.2} us", ns / 1e3),
        below if below < 1e6 => format!("{:.0} us", ns / 1e3),
        _ => format!("{:.1} ms", ns / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn leave(folder: &Path, id: &str, throughput: &str, ns: f64) {
        let folder = folder.join(id.replace(' ', "_")).join("new");
        fs::create_dir_all(&folder).expect("a folder");
        let benchmark = format!("{{\"full_id\": \"{id}\", \"throughput\": {throughput}}}");
        fs::write(folder.join("benchmark.json"), benchmark).expect("a file");
        let estimates = format!(
            "{{\"median\": {{\"confidence_interval\": {{\"confidence_level\": 0.95, \"lower_bound\": {}, \
             \"upper_bound\": {}}}, \"point_estimate\": {ns}, \"standard_error\": 1.0}}}}",
            ns - 16.0,
            ns + 16.0
        );
        fs::write(folder.join("estimates.json"), estimates).expect("a file");
    }

    #[test]
    fn what_criterion_left_is_gathered_by_element() {
        let folder = tempfile::tempdir().expect("a folder");
        leave(folder.path(), "frame/16 B", "{\"Bytes\": 21}", 80.0);
        leave(
            folder.path(),
            "lease/in line of 64",
            "{\"Elements\": 64}",
            6400.0,
        );
        leave(folder.path(), "another/bench", "null", 1.0);
        let ladder = Ladder::gather(folder.path(), SystemTime::UNIX_EPOCH, 1.0).expect("files");
        let expected = [
            ("frame/16 B", (80.0, 64.0, 96.0)),
            ("lease/in line of 64", (100.0, 99.75, 100.25)),
        ];
        let expected =
            expected.map(|(id, (ns, low, high))| (id.to_owned(), Took { ns, low, high }));
        assert_eq!(ladder.rungs, BTreeMap::from(expected));
        let later = SystemTime::now() + Duration::from_secs(60);
        Ladder::gather(folder.path(), later, 1.0).expect_err("all of it is from before");
    }

    #[test]
    fn a_price_is_what_is_not_below() {
        let took = |ns| Took {
            ns,
            low: ns,
            high: ns,
        };
        let mut rungs: BTreeMap<_, _> = BELOW.map(|id| (id.to_owned(), took(100.0))).into();
        rungs.insert("unary_tcp/reuse/16 B/64".to_owned(), took(8400.0));
        rungs.insert("instantiate/fresh".to_owned(), took(8000.0));
        let ladder = Ladder {
            seconds: 1.0,
            rungs,
        };
        let priced = STEPS
            .iter()
            .filter_map(|step| Some((step.id, ladder.price(step)?)));
        let expected = BELOW.map(|id| (id, (100.0, 100.0)));
        let last = ("unary_tcp/reuse/16 B/64", (8400.0, 8000.0));
        assert_eq!(
            priced.collect::<Vec<_>>(),
            [&expected[..], &[last]].concat(),
            "nothing whose lower rungs are missing"
        );
        assert!(prices(&ladder).contains("| `unary_tcp/reuse/16 B/64` | 8.40 us | 8.00 us |"));
        let lines = all(&ladder);
        assert!(
            lines.starts_with("- `frame`: 16 B = 100 ns\n- `route`: 100 = 100 ns\n"),
            "{lines}"
        );
        assert!(
            lines.ends_with("- `unary_tcp/reuse`: 16 B x 64 = 8.40 us\n"),
            "{lines}"
        );
    }

    #[test]
    fn sizes_are_in_their_order() {
        let took = Took {
            ns: 5.0,
            low: 5.0,
            high: 5.0,
        };
        let ids = ["64 KiB", "16 B", "empty", "1 KiB"];
        let rungs = ids.map(|id| (format!("instance_call/{id}"), took));
        let ladder = Ladder {
            seconds: 1.0,
            rungs: rungs.into(),
        };
        let expected =
            "- `instance_call`: empty = 5 ns, 16 B = 5 ns, 1 KiB = 5 ns, 64 KiB = 5 ns\n";
        assert_eq!(all(&ladder), expected);
    }

    #[test]
    fn a_time_has_a_unit_and_three_digits() {
        for (ns, text) in [
            (0.0, "0 ns"),
            (999.4, "999 ns"),
            (-1500.0, "-1.50 us"),
            (123_456.0, "123 us"),
            (45_600_000.0, "45.6 ms"),
        ] {
            assert_eq!(time(ns), text);
        }
    }
}
