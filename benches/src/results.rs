//! Results as they are kept under `results/`, and when they are worse than others.
//!
//! Made by `compare`, shown by `table`. Every number is the median over rounds with its quartiles.
//! A ratio is taken within each round, between neighbours in time, so that what the machine did
//! meanwhile falls on both sides.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::kind::Kind;
use crate::load::Shape;
use crate::machine::{Machine, Source};
use crate::outcome::Outcome;
use crate::scenario::{Cores, Scenario};

/// How much worse than the last results a ratio may be: repeated runs of one build differ by up to
/// half of this.
const WORSE_MAX: f64 = 0.10;

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
    /// 99th percentile of latencies, in microseconds.
    pub p99_us: Spread,
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
            p99_us: spread(|outcome| outcome.p99_us),
        }
    }
}

/// A number that survives a change of machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// Written so in results.
    pub name: &'static str,
    /// Of this kind.
    pub of: Kind,
    /// To this one.
    pub to: Kind,
    /// Of CPU time for an answer, where less is better; else of answers a second.
    pub cpu: bool,
    /// Whether `bench-check` fails when it gets worse.
    pub checked: bool,
}

/// All ratios that are kept, in the order of tables.
pub const RATIOS: [Ratio; 9] = {
    use Kind::{Fresh, Front, Reuse, Stock, Tunnel};
    const fn ratio(name: &'static str, of: Kind, to: Kind, cpu: bool, checked: bool) -> Ratio {
        Ratio {
            name,
            of,
            to,
            cpu,
            checked,
        }
    }
    [
        ratio("throughput reuse/front", Reuse, Front, false, true),
        ratio("throughput fresh/front", Fresh, Front, false, true),
        ratio("throughput reuse/stock", Reuse, Stock, false, false),
        ratio("cpu reuse/front", Reuse, Front, true, true),
        ratio("cpu fresh/front", Fresh, Front, true, false),
        ratio("cpu reuse/stock", Reuse, Stock, true, true),
        ratio("cpu fresh/stock", Fresh, Stock, true, false),
        ratio("throughput tunnel/reuse", Tunnel, Reuse, false, true),
        ratio("cpu tunnel/reuse", Tunnel, Reuse, true, true),
    ]
};

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
    /// What each kind did.
    pub kinds: BTreeMap<Kind, KindResult>,
    /// See [`RATIOS`].
    pub ratios: BTreeMap<String, Spread>,
}

impl Measured {
    /// From what each kind did in each round.
    #[must_use]
    pub fn new(scenario: &Scenario, rounds: &BTreeMap<Kind, Vec<Outcome>>) -> Self {
        let ratios = RATIOS.iter().filter_map(|ratio| {
            let (of, to) = (rounds.get(&ratio.of)?, rounds.get(&ratio.to)?);
            let number = match (ratio.cpu, scenario.shape) {
                (_, Shape::Idle) | (false, Shape::Open { .. }) => return None,
                (true, _) => Outcome::server_cpu_us,
                (false, _) => Outcome::per_second,
            };
            let pairs = of.iter().zip(to).map(|(of, to)| number(of) / number(to));
            Some((ratio.name.to_owned(), Spread::of(pairs)))
        });
        Self {
            name: scenario.name.to_owned(),
            shape: scenario.shape,
            tls: scenario.tls,
            cores: scenario.cores,
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

    /// What became worse since `before`.
    #[must_use]
    pub fn worse_than(&self, before: &Self) -> Vec<Worse> {
        let mut all = Vec::new();
        for now in &self.scenarios {
            let Some(then) = before.scenarios.iter().find(|then| then.name == now.name) else {
                continue;
            };
            for ratio in RATIOS.iter().filter(|ratio| ratio.checked) {
                let pair = (then.ratios.get(ratio.name), now.ratios.get(ratio.name));
                if let (Some(then), Some(now_is)) = pair
                    && is_worse(*then, *now_is, ratio.cpu)
                {
                    all.push(Worse {
                        scenario: now.name.clone(),
                        ratio: ratio.name,
                        then: then.median,
                        now: now_is.median,
                    });
                }
            }
        }
        all
    }
}

/// Worse by more than [`WORSE_MAX`], and not only because single rounds were bad: the better
/// quartile must lie on the wrong side, too.
fn is_worse(then: Spread, now: Spread, less_is_better: bool) -> bool {
    if less_is_better {
        now.median > then.median * (1.0 + WORSE_MAX) && now.low > then.median
    } else {
        now.median < then.median * (1.0 - WORSE_MAX) && now.high < then.median
    }
}

/// A ratio that became worse.
#[derive(Clone, Debug, PartialEq)]
pub struct Worse {
    /// Where.
    pub scenario: String,
    /// Which.
    pub ratio: &'static str,
    /// What it was.
    pub then: f64,
    /// What it is.
    pub now: f64,
}

impl fmt::Display for Worse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scenario,
            ratio,
            then,
            now,
        } = self;
        write!(f, "{scenario}: {ratio} was {then:.3}, is {now:.3}")
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
            let read: Measured = serde_json::from_str(&text).expect(scenario.name);
            assert_eq!(read, measured);
        }
    }

    #[test]
    fn worse_is_beyond_a_tenth_and_beyond_noise() {
        let then = spread(0.49, 0.50, 0.51);
        for (now, cpu, expected) in [
            (spread(0.53, 0.54, 0.55), true, false),
            (spread(0.55, 0.56, 0.57), true, true),
            (spread(0.45, 0.56, 0.90), true, false),
            (spread(0.30, 0.40, 0.41), true, false),
            (spread(0.43, 0.46, 0.47), false, false),
            (spread(0.43, 0.44, 0.45), false, true),
            (spread(0.20, 0.44, 0.52), false, false),
            (spread(0.60, 0.61, 0.62), false, false),
        ] {
            assert_eq!(is_worse(then, now, cpu), expected, "{now:?} cpu: {cpu}");
        }
    }
}
