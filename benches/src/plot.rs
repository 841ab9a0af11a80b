//! Pictures of results, as SVG: what `docs/benchmarks.md` shows.
//!
//! Called by `cmd::plot`, which writes them, and by the test that holds them to the results that are kept. Pure but
//! for [`Inputs::newest`]: the same results give the same text. Results of old lack what is measured today, so what
//! is not there is not drawn, and a picture of which nothing is left is not made. On white, because a page may be
//! dark.

mod bars;
mod lines;
mod prices;
mod sheet;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::kept::Shelf;
use crate::ladder::{self, Ladder};

/// The section of `docs/benchmarks.md` that shows them.
pub const SHELF: Shelf = Shelf::new("plots");

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plot {
    /// Name of its file.
    pub file: &'static str,
    /// What it shows, for who does not see it.
    pub about: String,
    /// The picture.
    pub svg: String,
}

/// What pictures are made of.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Of `compare`, as it is kept.
    pub compared: Option<Value>,
    /// Of `ladder`.
    pub ladder: Option<Ladder>,
}

impl Inputs {
    /// The newest results that are kept.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn newest() -> Result<Self> {
        let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
        let ladder = ladder::SHELF.newest()?;
        Ok(Self {
            compared: newest(&results)?,
            ladder: ladder.map(|(_, kept)| kept.measured),
        })
    }
}

/// The newest of what `compare` kept of a commit.
fn newest(folder: &Path) -> Result<Option<Value>> {
    let mut all: Vec<(String, PathBuf, Value)> = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.to_string_lossy();
        if !name.ends_with(".json") || name.ends_with("-dirty.json") {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let value: Value =
            serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let date = value["date"].as_str().unwrap_or_default().to_owned();
        all.push((date, path, value));
    }
    let newest = all.into_iter().max_by(|one, other| one.0.cmp(&other.0));
    Ok(newest.map(|(_, _, value)| value))
}

/// All pictures that these results give.
///
/// # Errors
/// When one cannot be drawn, which no results should bring about.
pub fn all(inputs: &Inputs) -> Result<Vec<Plot>> {
    let mut all = Vec::new();
    if let Some(compared) = &inputs.compared {
        all.extend(bars::cpu(compared)?);
        all.extend(lines::throughput(compared)?);
        all.extend(lines::latency(compared)?);
    }
    if let Some(ladder) = &inputs.ladder {
        all.extend(prices::ladder(ladder)?);
    }
    Ok(all)
}

/// What stands in a document between the marks.
///
/// # Panics
/// Never: writing to a string does not fail.
#[must_use]
pub fn section(plots: &[Plot]) -> String {
    let mut out = String::new();
    for (place, plot) in plots.iter().enumerate() {
        let between = if place == 0 { "" } else { "\n" };
        writeln!(out, "{between}![{}](plots/{})", plot.about, plot.file)
            .expect("writing to a string does not fail");
    }
    out
}

/// The scenarios of a results file.
fn scenarios(compared: &Value) -> &[Value] {
    compared["scenarios"].as_array().map_or(&[], Vec::as_slice)
}

/// The median of a number of one kind in one scenario.
fn median(scenario: &Value, kind: &str, number: &str) -> Option<f64> {
    scenario["kinds"][kind][number]["median"].as_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ladder::Took;

    #[test]
    fn nothing_gives_no_picture_and_neither_do_results_of_another_form() {
        let nothing = all(&Inputs::default()).expect("nothing to draw");
        assert_eq!(nothing, []);
        assert_eq!(section(&nothing), "");
        let inputs = Inputs {
            compared: Some(serde_json::json!({"scenarios": [{"name": "unary 16 B, 8x32"}, 7]})),
            ladder: Some(Ladder::default()),
        };
        assert_eq!(all(&inputs).expect("nothing to draw"), []);
    }

    #[test]
    fn each_picture_has_all_that_is_known() {
        let spread = |median: f64| serde_json::json!({"median": median});
        let kind = |times: f64| {
            serde_json::json!({
                "per_second": spread(100_000.0 / times), "server_cpu_us": spread(8.0 * times),
                "p50_us": spread(80.0 * times), "p90_us": spread(120.0 * times),
                "p99_us": spread(400.0 * times), "p999_us": spread(2_000.0 * times),
            })
        };
        let scenario = |name: String, shape: Value| {
            serde_json::json!({
                "name": name, "shape": shape, "tls": false, "cores": "shared",
                "kinds": {"stock": kind(1.0), "reuse": kind(0.5)},
                "ratios": {"cpu reuse/stock": spread(0.5)},
            })
        };
        let unary = |callers: u32| {
            let shape = serde_json::json!({"connections": 1, "in_flight": callers, "bytes": 2});
            scenario(
                format!("unary 2 B, 1x{callers}"),
                serde_json::json!({"unary": shape}),
            )
        };
        let open = serde_json::json!({"open": {"connections": 8, "rate": 5000, "bytes": 16}});
        let main = serde_json::json!({"unary": {"connections": 8, "in_flight": 32, "bytes": 16}});
        let scenarios = [
            unary(16),
            unary(64),
            unary(1),
            scenario("open loop 16 B, 5000/s".to_owned(), open),
            scenario("unary 16 B, 8x32".to_owned(), main),
        ];
        let took = |ns| Took {
            ns,
            low: ns,
            high: ns,
        };
        let rungs = ladder::STEPS.map(|step| (step.id.to_owned(), took(100.0)));
        let inputs = Inputs {
            compared: Some(serde_json::json!({ "scenarios": scenarios })),
            ladder: Some(Ladder {
                seconds: 1.0,
                rungs: rungs.into(),
            }),
        };
        let plots = all(&inputs).expect("all of it can be drawn");
        let svg = |file: &str| {
            let plot = plots.iter().find(|plot| plot.file == file);
            &*plot.unwrap_or_else(|| panic!("no {file}")).svg
        };
        assert_eq!(plots.len(), 4);
        let shown = |file: &str, texts: &[&str]| {
            for text in texts {
                assert!(svg(file).contains(&format!("\n{text}\n")), "{file}: {text}");
            }
        };
        shown("cpu-per-call.svg", &["unary 16 B, 8x32", "reuse", "0.50"]);
        shown(
            "throughput-by-callers.svg",
            &["1", "16", "64", "stock", "reuse"],
        );
        shown(
            "open-loop-latency.svg",
            &[
                "p50",
                "p90",
                "p99",
                "p99.9",
                "latency in us at 5000 calls a second",
            ],
        );
        shown("ladder.svg", &["frame", "route", "lease", "tunnel"]);
    }
}
