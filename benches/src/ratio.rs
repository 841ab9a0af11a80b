//! Ratios between kinds: which are kept, and when one is worse than it was.
//!
//! Called by `results`, `table` and `cmd::compare`. Ratios survive a change of machine, absolute numbers do
//! not. Only like is compared with like: what the results before do not have, or had of another load, is
//! said to be new, and is no fault.

use std::fmt;

use crate::kind::Kind;
use crate::load::Shape;
use crate::outcome::Outcome;
use crate::results::{Measured, Results, Spread};

/// How much worse than the last results a ratio may be: repeated runs of one build differ by up to
/// half of this.
const WORSE_MAX: f64 = 0.10;

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
pub const RATIOS: [Ratio; 10] = {
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
        ratio("throughput fresh/reuse", Fresh, Reuse, false, true),
        ratio("throughput reuse/stock", Reuse, Stock, false, false),
        ratio("cpu reuse/front", Reuse, Front, true, true),
        ratio("cpu fresh/front", Fresh, Front, true, false),
        ratio("cpu reuse/stock", Reuse, Stock, true, true),
        ratio("cpu fresh/stock", Fresh, Stock, true, false),
        ratio("throughput tunnel/reuse", Tunnel, Reuse, false, true),
        ratio("cpu tunnel/reuse", Tunnel, Reuse, true, true),
    ]
};

/// What ratios of CPU time, or else of throughput, are taken of. None where it says nothing: nobody calls, or
/// as often as it was told to.
pub(crate) fn number(cpu: bool, shape: Shape) -> Option<fn(&Outcome) -> f64> {
    match (cpu, shape) {
        (_, Shape::Idle) | (false, Shape::Open { .. }) => None,
        (true, _) => Some(Outcome::server_cpu_us),
        (false, _) => Some(Outcome::per_second),
    }
}

/// Results beside those before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// What became worse.
    pub worse: Vec<Worse>,
    /// What the results before say nothing of: scenarios, and ratios of scenarios.
    pub new: Vec<String>,
}

impl Comparison {
    /// Of `now` with what was `before`.
    #[must_use]
    pub fn of(now: &Results, before: &Results) -> Self {
        let mut all = Self::default();
        for now in &now.scenarios {
            let then = before.scenarios.iter().find(|then| then.name == now.name);
            match then {
                None => all.new.push(now.name.clone()),
                Some(then) if !is_like(now, then) => {
                    all.new.push(format!("{}: was another load", now.name));
                }
                Some(then) => all.ratios(now, then),
            }
        }
        all
    }

    fn ratios(&mut self, now: &Measured, then: &Measured) {
        for ratio in RATIOS.iter().filter(|ratio| ratio.checked) {
            match (now.ratios.get(ratio.name), then.ratios.get(ratio.name)) {
                (Some(now_is), Some(then)) if is_worse(*then, *now_is, ratio.cpu) => {
                    self.worse.push(Worse {
                        scenario: now.name.clone(),
                        ratio: ratio.name,
                        then: then.median,
                        now: now_is.median,
                    });
                }
                (Some(_), None) => self.new.push(format!("{}: {}", now.name, ratio.name)),
                (Some(_), Some(_)) | (None, _) => {}
            }
        }
    }
}

/// Whether it is the same load against the same servers.
fn is_like(now: &Measured, then: &Measured) -> bool {
    let key = |of: &Measured| (of.shape, of.tls, of.cores, of.instances);
    key(now) == key(then)
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
    use std::collections::BTreeMap;

    use super::*;
    use crate::machine::{Machine, Source};
    use crate::scenario::{self, Scenario};

    fn spread(low: f64, median: f64, high: f64) -> Spread {
        Spread { median, low, high }
    }

    /// Rounds in which the kinds of a scenario answered so many calls a second, and took a
    /// microsecond of CPU time for each.
    fn rounds(rates: &[(Kind, &[u64])]) -> BTreeMap<Kind, Vec<Outcome>> {
        let outcome = |count: u64| Outcome {
            count,
            seconds: 1.0,
            server_cpu_seconds: f64::from(u32::try_from(count).expect("small")) / 1e6,
            ..Outcome::default()
        };
        let of = |rates: &[u64]| rates.iter().copied().map(outcome).collect();
        rates
            .iter()
            .map(|(kind, rates)| (*kind, of(rates)))
            .collect()
    }

    fn scenario(name: &str) -> Scenario {
        let mut all = scenario::all().into_iter();
        all.find(|scenario| scenario.name == name)
            .expect("it is there")
    }

    fn results(scenarios: Vec<Measured>) -> Results {
        Results {
            source: Source::this(),
            date: String::new(),
            command: String::new(),
            machine: Machine::this(),
            rounds: 3,
            seconds: 1.0,
            scenarios,
            memory: BTreeMap::new(),
        }
    }

    fn measured(reuse: &[u64]) -> Results {
        let front: &[u64] = &[1000, 1010, 990];
        let rounds = rounds(&[(Kind::Front, front), (Kind::Reuse, reuse)]);
        results(vec![Measured::new(&scenario("unary 16 B, 8x32"), &rounds)])
    }

    #[test]
    fn a_ratio_that_is_worse_fails_and_noise_does_not() {
        let before = measured(&[900, 909, 891]);
        for (reuse, expected) in [
            // All rounds a fifth worse.
            ([720, 727, 713], 1),
            // As before, and better.
            ([900, 909, 891], 0),
            ([990, 1000, 980], 0),
            // A little worse in each round.
            ([860, 868, 851], 0),
            // Much worse in two rounds, while the third says that it can do as well as before.
            ([500, 950, 500], 0),
        ] {
            let comparison = Comparison::of(&measured(&reuse), &before);
            assert_eq!(
                comparison.worse.len(),
                expected,
                "{reuse:?}: {comparison:?}"
            );
            assert_eq!(comparison.new, [""; 0], "{reuse:?}");
        }
        let worse = &Comparison::of(&measured(&[720, 727, 713]), &before).worse[0];
        let said = "unary 16 B, 8x32: throughput reuse/front was 0.900, is 0.720";
        assert_eq!(worse.to_string(), said);
    }

    #[test]
    fn what_was_not_measured_before_is_new_and_no_fault() {
        let pair: &[(Kind, &[u64])] = &[(Kind::Reuse, &[100]), (Kind::Fresh, &[1])];
        let name = "unary 2 B, 1x64, 4 instances";
        let now = results(vec![Measured::new(&scenario(name), &rounds(pair))]);
        let new = |before: &Results| {
            let comparison = Comparison::of(&now, before);
            assert_eq!(comparison.worse, []);
            comparison.new
        };
        assert_eq!(new(&results(Vec::new())), [name]);
        let mut before = now.clone();
        before.scenarios[0].instances = Some(8);
        assert_eq!(new(&before), [format!("{name}: was another load")]);
        before.scenarios[0].instances = Some(4);
        before.scenarios[0].ratios.clear();
        assert_eq!(new(&before), [format!("{name}: throughput fresh/reuse")]);
        assert_eq!(new(&now), [""; 0]);
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
