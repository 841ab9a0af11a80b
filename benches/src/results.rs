//! Results as they are kept under `results/`.
//!
//! Made by `compare`, shown by `table`; `ratio` says when they are worse than others. Every number is the median over rounds with its quartiles.
//! A ratio is taken within each round, between neighbours in time, so that what the machine did
//! meanwhile falls on both sides.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::kind::Kind;
use crate::load::Shape;
use crate::machine::{Machine, Source};
use crate::outcome::Outcome;
use crate::ratio::{self, RATIOS};
use crate::scenario::{Cores, Scenario};

/// A median and the quartiles around it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Half of the rounds are below.
    pub median: f64,
    /// A quarter of the rounds is below.
    pub low: f64,
    /// A quarter of the rounds is above.
    pub high: f64,
}

impl Spread {
    /// Of some values, one at least.
    ///
    /// # Panics
    /// Without values.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        assert!(!values.is_empty(), "a spread of nothing");
        values.sort_by(f64::total_cmp);
        let last = values.len() - 1;
        let at = |quarter: usize| rounded(values[(last * quarter + 2) / 4]);
        Self {
            median: at(2),
            low: at(1),
            high: at(3),
        }
    }
}

/// Five digits say all that is known, and files stay readable.
pub(crate) fn rounded(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

/// What one kind did in one scenario.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KindResult {
    /// Answers a second.
    pub per_second: Spread,
    /// CPU time of the server for an answer, in microseconds.
    pub server_cpu_us: Spread,
    /// The same of the load: where it comes near the server's, the load is part of the limit.
    pub client_cpu_us: Spread,
    /// Cores that the server kept busy.
    pub server_cores: Spread,
    /// Median latency, in microseconds.
    pub p50_us: Spread,
    /// 90th percentile of latencies, in microseconds. None in results of old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p90_us: Option<Spread>,
    /// 99th percentile of latencies, in microseconds.
    pub p99_us: Spread,
    /// What one answer of a thousand took longer than, in microseconds. None in results of old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p999_us: Option<Spread>,
}

impl KindResult {
    fn of(rounds: &[Outcome]) -> Self {
        let spread = |of: fn(&Outcome) -> f64| Spread::of(rounds.iter().map(of));
        Self {
            per_second: spread(Outcome::per_second),
            server_cpu_us: spread(Outcome::server_cpu_us),
            client_cpu_us: spread(Outcome::client_cpu_us),
            server_cores: spread(Outcome::server_cores),
            p50_us: spread(|outcome| outcome.p50_us),
            p90_us: Some(spread(|outcome| outcome.p90_us)),
            p99_us: spread(|outcome| outcome.p99_us),
            p999_us: Some(spread(|outcome| outcome.p999_us)),
        }
    }
}

/// One scenario, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Its key.
    pub name: String,
    /// What was called.
    pub shape: Shape,
    /// Whether over TLS.
    pub tls: bool,
    /// Where both ran.
    pub cores: Cores,
    /// Instances that the plugin had. None: more than there were calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<u32>,
    /// What each kind did.
    pub kinds: BTreeMap<Kind, KindResult>,
    /// Between kinds; see [`RATIOS`].
    pub ratios: BTreeMap<String, Spread>,
}

impl Measured {
    /// From what each kind did in each round.
    #[must_use]
    pub fn new(scenario: &Scenario, rounds: &BTreeMap<Kind, Vec<Outcome>>) -> Self {
        let ratios = RATIOS.iter().filter_map(|ratio| {
            let (of, to) = (rounds.get(&ratio.of)?, rounds.get(&ratio.to)?);
            let number = ratio::number(ratio.cpu, scenario.shape)?;
            let pairs = of.iter().zip(to).map(|(of, to)| number(of) / number(to));
            Some((ratio.name.to_owned(), Spread::of(pairs)))
        });
        Self {
            name: scenario.name.clone(),
            shape: scenario.shape,
            tls: scenario.tls,
            cores: scenario.cores,
            instances: scenario.instances,
            kinds: rounds
                .iter()
                .map(|(kind, rounds)| (*kind, KindResult::of(rounds)))
                .collect(),
            ratios: ratios.collect(),
        }
    }
}

/// Memory of a server after all scenarios.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Resident now, in bytes.
    pub now_bytes: u64,
    /// The most that ever was, in bytes.
    pub most_bytes: u64,
}

/// One run of `cmd::compare`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// What was measured.
    pub source: Source,
    /// When it ended, UTC.
    pub date: String,
    /// What was typed.
    pub command: String,
    /// Where.
    pub machine: Machine,
    /// Rounds of each scenario.
    pub rounds: usize,
    /// How long each measurement took, in seconds.
    pub seconds: f64,
    /// All that was measured.
    pub scenarios: Vec<Measured>,
    /// Of the servers that spoke plain TCP on shared cores.
    pub memory: BTreeMap<Kind, Memory>,
}

impl Results {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is not there or of another form.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Writes a file into `folder`, named after the commit; returns its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> Result<PathBuf> {
        let dirty = if self.source.dirty { "-dirty" } else { "" };
        let path = folder.join(format!("{name}-{}{dirty}.json", self.source.commit));
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// The newest of the files in `folder`, with its path.
    ///
    /// # Errors
    /// When there is none, or one is of another form.
    pub fn newest(folder: &Path) -> Result<(PathBuf, Self)> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let dirty = path.to_string_lossy().ends_with("-dirty.json");
            if !dirty
                && path
                    .extension()
                    .is_some_and(|extension| extension == "json")
            {
                let results = Self::read(&path)?;
                all.push((path, results));
            }
        }
        all.into_iter()
            .max_by(|(_, one), (_, other)| one.date.cmp(&other.date))
            .with_context(|| format!("{}: no results yet", folder.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(low: f64, median: f64, high: f64) -> Spread {
        Spread { median, low, high }
    }

    #[test]
    fn a_spread_is_median_and_quartiles() {
        let five = Spread::of([5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!(five, spread(2.0, 3.0, 4.0));
        assert_eq!(Spread::of([7.0]), spread(7.0, 7.0, 7.0));
    }

    #[test]
    fn what_was_written_can_be_read() {
        let rounds = vec![Outcome {
            seconds: 1.0,
            ..Outcome::default()
        }];
        for scenario in crate::scenario::all() {
            let rounds = Kind::ALL.map(|kind| (kind, rounds.clone())).into();
            let measured = Measured {
                ratios: BTreeMap::new(),
                ..Measured::new(&scenario, &rounds)
            };
            let text = serde_json::to_string(&measured).expect("it is numbers");
            let read: Measured = serde_json::from_str(&text).expect(&scenario.name);
            assert_eq!(read, measured);
        }
    }
}
