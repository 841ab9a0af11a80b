//! What is compared: every load, and where client and server run.
//!
//! Called by `compare`. A scenario's name is its key in results: when what it does changes, so
//! must its name, or `bench-check` compares apples with oranges.

use serde::{Deserialize, Serialize};

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
    pub name: &'static str,
    /// What is called.
    pub shape: Shape,
    /// Whether over TLS.
    pub tls: bool,
    /// Where both run.
    pub cores: Cores,
    /// Whether `bench-quick` and `bench-check` measure it too.
    pub quick: bool,
}

/// All of them.
#[must_use]
pub fn all() -> Vec<Scenario> {
    let unary = |name, connections, in_flight, bytes| Scenario {
        name,
        shape: Shape::Unary {
            connections,
            in_flight,
            bytes,
        },
        tls: false,
        cores: Cores::Shared,
        quick: false,
    };
    let stream = |name, connections, streams, window, bytes| Scenario {
        shape: Shape::Stream {
            connections,
            streams,
            window,
            bytes,
        },
        ..unary(name, 0, 0, 0)
    };
    let open = |name, rate| Scenario {
        shape: Shape::Open {
            connections: 8,
            rate,
            bytes: 16,
        },
        ..unary(name, 0, 0, 0)
    };
    vec![
        unary("unary 16 B, 1x1", 1, 1, 16),
        unary("unary 16 B, 1x64", 1, 64, 16),
        unary("unary 16 B, 8x32", 8, 32, 16).quick(),
        unary("unary 1 KiB, 1x1", 1, 1, 1 << 10),
        unary("unary 1 KiB, 1x64", 1, 64, 1 << 10),
        unary("unary 1 KiB, 8x32", 8, 32, 1 << 10).quick(),
        unary("unary 64 KiB, 1x8", 1, 8, 64 << 10),
        unary("unary 64 KiB, 8x8", 8, 8, 64 << 10),
        unary("unary 16 B, 1x64, apart", 1, 64, 16).apart().quick(),
        unary("unary 16 B, 8x32, apart", 8, 32, 16).apart().quick(),
        unary("unary 1 KiB, 1x64, apart", 1, 64, 1 << 10).apart(),
        unary("unary 1 KiB, 8x32, apart", 8, 32, 1 << 10)
            .apart()
            .quick(),
        open("open loop 16 B, 5000/s", 5_000),
        open("open loop 16 B, 20000/s", 20_000),
        unary("unary 16 B, 8x32, TLS", 8, 32, 16).tls().quick(),
        unary("unary 1 KiB, 8x32, TLS", 8, 32, 1 << 10).tls(),
        unary("unary 64 KiB, 8x8, TLS", 8, 8, 64 << 10).tls(),
        stream("ping-pong 16 B, 1 stream", 1, 1, 1, 16),
        stream("stream 16 B, 8x8, 16 on their way", 8, 8, 16, 16).quick(),
        stream("stream 1 KiB, 1x1, 16 on their way", 1, 1, 16, 1 << 10),
        stream("stream 1 KiB, 8x8, 16 on their way", 8, 8, 16, 1 << 10).quick(),
        stream("stream 64 KiB, 8x2, 4 on their way", 8, 2, 4, 64 << 10),
        stream("stream 1 KiB, 8x8, 16 on their way, TLS", 8, 8, 16, 1 << 10).tls(),
        Scenario {
            shape: Shape::Idle,
            ..unary("idle", 0, 0, 0)
        },
    ]
}

impl Scenario {
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
        let names: HashSet<_> = all.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), all.len());
    }
}
