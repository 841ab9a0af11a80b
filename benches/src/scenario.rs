//! What is compared: every load, and where client and server run.
//!
//! Called by `compare`. A scenario's name is its key in results: when what it does changes, so
//! must its name, or `bench-check` has nothing to compare it with.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::kind::Kind;
use crate::load::Shape;

/// Where the two processes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cores {
    /// Both on all cores, as on a machine that serves.
    Shared,
    /// The server on one core and the load on another: the server is what limits, so that
    /// throughput is the server's.
    Apart,
}

/// One thing to measure.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its key.
    pub name: String,
    /// What is called.
    pub shape: Shape,
    /// Whether over TLS.
    pub tls: bool,
    /// Where both run.
    pub cores: Cores,
    /// Instances that the plugin may have, for unary calls. None: more than there are calls.
    pub instances: Option<u32>,
    /// Who serves it.
    pub kinds: &'static [Kind],
    /// Whether `bench-quick` and `bench-check` measure it too.
    pub quick: bool,
    /// Whether half of the time and three of five rounds must do: one of many much like it.
    pub brief: bool,
}

/// All of them.
#[must_use]
pub fn all() -> Vec<Scenario> {
    let mut all = unary_calls();
    all.extend(callers_and_instances());
    all.extend([
        Scenario::open("open loop 16 B, 5000/s", 5_000),
        Scenario::open("open loop 16 B, 20000/s", 20_000),
        unary("unary 16 B, 8x32, TLS", 8, 32, 16).tls().quick(),
        unary("unary 1 KiB, 8x32, TLS", 8, 32, 1 << 10).tls(),
        unary("unary 64 KiB, 8x8, TLS", 8, 8, 64 << 10).tls(),
    ]);
    all.extend(streams());
    all.push(Scenario::new("idle", Shape::Idle));
    all
}

fn unary_calls() -> Vec<Scenario> {
    vec![
        unary("unary 16 B, 1x1", 1, 1, 16),
        unary("unary 16 B, 1x64", 1, 64, 16),
        unary("unary 16 B, 8x32", 8, 32, 16).quick(),
        unary("unary 16 B, 50x20", 50, 20, 16).quick(),
        unary("unary 1 KiB, 1x1", 1, 1, 1 << 10),
        unary("unary 1 KiB, 1x64", 1, 64, 1 << 10),
        unary("unary 1 KiB, 8x32", 8, 32, 1 << 10).quick(),
        unary("unary 1 KiB, 50x20", 50, 20, 1 << 10),
        unary("unary 64 KiB, 1x8", 1, 8, 64 << 10),
        unary("unary 64 KiB, 8x8", 8, 8, 64 << 10),
        unary("unary 16 B, 1x64, apart", 1, 64, 16).apart().quick(),
        unary("unary 16 B, 8x32, apart", 8, 32, 16).apart().quick(),
        unary("unary 1 KiB, 1x64, apart", 1, 64, 1 << 10).apart(),
        unary("unary 1 KiB, 8x32, apart", 8, 32, 1 << 10)
            .apart()
            .quick(),
    ]
}

fn streams() -> Vec<Scenario> {
    vec![
        Scenario::stream("ping-pong 16 B, 1 stream", 1, 1, 1, 16),
        Scenario::stream("stream 16 B, 8x8, 16 on their way", 8, 8, 16, 16).quick(),
        Scenario::stream("stream 1 KiB, 1x1, 16 on their way", 1, 1, 16, 1 << 10),
        Scenario::stream("stream 1 KiB, 8x8, 16 on their way", 8, 8, 16, 1 << 10).quick(),
        Scenario::stream("stream 64 KiB, 8x2, 4 on their way", 8, 2, 4, 64 << 10),
        Scenario::stream("stream 1 KiB, 8x8, 16 on their way, TLS", 8, 8, 16, 1 << 10).tls(),
    ]
}

/// One connection, messages of two bytes, more and more callers, and pools that have fewer instances than there are
/// callers: what a pool's limit costs. Servers without instances are measured once for each number of callers.
fn callers_and_instances() -> Vec<Scenario> {
    let mut all = Vec::new();
    for callers in [1, 16, 32, 64, 128, 256] {
        let name = format!("unary 2 B, 1x{callers}");
        for instances in [None, Some(2), Some(4), Some(8), Some(16)] {
            let (name, kinds): (_, &[Kind]) = match instances {
                None => (
                    name.clone(),
                    &[Kind::Stock, Kind::Front, Kind::Reuse, Kind::Fresh],
                ),
                Some(count) => (
                    format!("{name}, {count} instances"),
                    &[Kind::Reuse, Kind::Fresh],
                ),
            };
            all.push(Scenario {
                instances,
                kinds,
                brief: true,
                quick: callers == 64 && matches!(instances, None | Some(4)),
                ..unary(&name, 1, callers, 2)
            });
        }
    }
    all
}

fn unary(name: &str, connections: usize, in_flight: usize, bytes: usize) -> Scenario {
    Scenario::new(
        name,
        Shape::Unary {
            connections,
            in_flight,
            bytes,
        },
    )
}

impl Scenario {
    fn new(name: &str, shape: Shape) -> Self {
        Self {
            name: name.to_owned(),
            shape,
            tls: false,
            cores: Cores::Shared,
            instances: None,
            kinds: &Kind::ALL,
            quick: false,
            brief: false,
        }
    }

    fn open(name: &str, rate: u32) -> Self {
        let shape = Shape::Open {
            connections: 8,
            rate,
            bytes: 16,
        };
        Self::new(name, shape)
    }

    fn stream(name: &str, connections: usize, streams: usize, window: usize, bytes: usize) -> Self {
        let shape = Shape::Stream {
            connections,
            streams,
            window,
            bytes,
        };
        Self::new(name, shape)
    }

    /// How many of so many rounds it is measured.
    #[must_use]
    pub fn rounds(&self, rounds: usize) -> usize {
        if self.brief {
            (rounds * 3).div_ceil(5).max(rounds.min(3))
        } else {
            rounds
        }
    }

    /// How much of this time each measurement takes.
    #[must_use]
    pub fn measured(&self, measured: Duration) -> Duration {
        if self.brief { measured / 2 } else { measured }
    }

    fn quick(self) -> Self {
        Self {
            quick: true,
            ..self
        }
    }

    fn tls(self) -> Self {
        Self { tls: true, ..self }
    }

    fn apart(self) -> Self {
        Self {
            cores: Cores::Apart,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_keys() {
        let all = all();
        let names: HashSet<_> = all.iter().map(|scenario| &scenario.name).collect();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn only_plugins_are_measured_with_few_instances() {
        for scenario in all() {
            let few = scenario.instances.is_some();
            let plugins = [Kind::Reuse, Kind::Fresh];
            assert_eq!(few, scenario.kinds == plugins, "{}", scenario.name);
            assert_eq!(
                few,
                scenario.name.contains("instances"),
                "{}",
                scenario.name
            );
        }
    }
}
