//! Decides who may have an instance and when an instance is retired. Pure: no clock, no lock.
//!
//! Called by `pool`. Invariants, property-tested in `pool::tests`: unary calls never hold more than
//! `stores_max` instances, those without priority never more than `stores_max - priority_stores` (so
//! those with priority cannot keep the others out, nor the others them),
//! streams never more than `streams_max`.

use std::time::Duration;

use crate::config::{Mode, PoolConfig};

/// What an instance is wanted for; the two kinds are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// One message in, one out.
    Unary,
    /// Held for as long as the stream lives.
    Stream,
}

/// Which lane of the waiting line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Priority {
    /// Goes first, and may use `priority_stores`.
    High,
    /// Everything else.
    Normal,
}

/// A wish for an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Want {
    /// For which kind of call.
    pub kind: Kind,
    /// In which lane.
    pub priority: Priority,
}

/// Instances that are lent, or being made for a lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leased {
    /// To unary calls, of either priority.
    pub unary: u32,
    /// Of those, to calls without priority.
    pub normal: u32,
    /// To streams.
    pub streams: u32,
}

impl Leased {
    /// Both kinds together.
    #[must_use]
    pub fn total(self) -> u32 {
        self.unary + self.streams
    }

    /// Counts a lease.
    pub(super) fn add(&mut self, want: Want) {
        match want.kind {
            Kind::Unary => self.unary += 1,
            Kind::Stream => self.streams += 1,
        }
        self.normal += u32::from(want.is_normal_unary());
    }

    /// Counts a return.
    pub(super) fn remove(&mut self, want: Want) {
        match want.kind {
            Kind::Unary => self.unary -= 1,
            Kind::Stream => self.streams -= 1,
        }
        self.normal -= u32::from(want.is_normal_unary());
    }
}

impl Want {
    fn is_normal_unary(self) -> bool {
        self.kind == Kind::Unary && self.priority == Priority::Normal
    }
}

/// Whether one more instance may be lent.
#[must_use]
pub(super) fn admits(config: &PoolConfig, leased: Leased, want: Want) -> bool {
    match (want.kind, want.priority) {
        (Kind::Stream, _) => leased.streams < config.streams_max,
        (Kind::Unary, Priority::High) => leased.unary < config.stores_max.get(),
        (Kind::Unary, Priority::Normal) => {
            let stores = config.stores_max.get();
            leased.unary < stores && leased.normal < stores.saturating_sub(config.priority_stores)
        }
    }
}

/// What is known of an instance that comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Calls it has served.
    pub calls: u64,
    /// Time since it was made.
    pub age: Duration,
    /// Linear memory it holds, in bytes.
    pub memory_bytes: usize,
    /// Ticks that it computed on after its last call was over.
    pub overrun: u32,
    /// False if a call trapped in it or was cut short: such an instance is never lent again.
    pub clean: bool,
}

/// Why an instance is not lent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Retire {
    /// A call trapped in it, was cancelled or timed out.
    Unclean,
    /// Mode `fresh`: it has served its call.
    Used,
    /// `calls_max`.
    Calls,
    /// `age_max`.
    Age,
    /// `memory_retire_bytes`.
    Memory,
    /// Another version of the plugin took its place.
    Replaced,
    /// The pool holds as many as it may ever need.
    Surplus,
    /// Nobody needed it for a while.
    Idle,
}

/// Whether an instance must go, and why; the first reason wins.
#[must_use]
pub(super) fn retire(config: &PoolConfig, usage: Usage) -> Option<Retire> {
    if !usage.clean {
        Some(Retire::Unclean)
    } else if config.mode == Mode::Fresh && usage.calls > 0 {
        Some(Retire::Used)
    } else if usage.calls >= config.calls_max {
        Some(Retire::Calls)
    } else if usage.age >= config.age_max {
        Some(Retire::Age)
    } else if usage.calls > 0 && usage.memory_bytes > config.memory_retire_bytes {
        // Not before its first call: what an instance begins with cannot be had for less.
        Some(Retire::Memory)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Usage = Usage {
        calls: 1,
        age: Duration::from_secs(1),
        memory_bytes: 1 << 20,
        overrun: 0,
        clean: true,
    };

    #[test]
    fn each_limit_retires_and_nothing_else_does() {
        let config = PoolConfig::default();
        let cases = [
            (FINE, None),
            (
                Usage {
                    clean: false,
                    ..FINE
                },
                Some(Retire::Unclean),
            ),
            (
                Usage {
                    calls: config.calls_max,
                    ..FINE
                },
                Some(Retire::Calls),
            ),
            (
                Usage {
                    age: config.age_max,
                    ..FINE
                },
                Some(Retire::Age),
            ),
            (
                Usage {
                    memory_bytes: config.memory_retire_bytes + 1,
                    ..FINE
                },
                Some(Retire::Memory),
            ),
            (
                Usage {
                    memory_bytes: config.memory_retire_bytes,
                    ..FINE
                },
                None,
            ),
            (
                Usage {
                    calls: 0,
                    memory_bytes: config.memory_retire_bytes + 1,
                    ..FINE
                },
                None,
            ),
        ];
        for (usage, expected) in cases {
            assert_eq!(retire(&config, usage), expected, "{usage:?}");
        }
    }

    #[test]
    fn fresh_retires_what_has_served_and_keeps_what_has_not() {
        let config = PoolConfig {
            mode: Mode::Fresh,
            ..PoolConfig::default()
        };
        assert_eq!(retire(&config, FINE), Some(Retire::Used));
        assert_eq!(retire(&config, Usage { calls: 0, ..FINE }), None);
    }

    #[test]
    fn streams_and_unary_calls_do_not_starve_each_other() {
        let config = PoolConfig::default();
        let unary = Want {
            kind: Kind::Unary,
            priority: Priority::Normal,
        };
        let stream = Want {
            kind: Kind::Stream,
            priority: Priority::Normal,
        };
        let full_of_streams = Leased {
            streams: config.streams_max,
            ..Leased::default()
        };
        assert!(admits(&config, full_of_streams, unary));
        assert!(!admits(&config, full_of_streams, stream));
        let full_of_unary = Leased {
            unary: config.stores_max.get(),
            normal: config.stores_max.get(),
            streams: 0,
        };
        assert!(admits(&config, full_of_unary, stream));
        assert!(!admits(&config, full_of_unary, unary));
    }

    #[test]
    fn the_last_stores_are_for_priority() {
        let config = PoolConfig {
            priority_stores: 2,
            ..PoolConfig::default()
        };
        let leased = Leased {
            unary: config.stores_max.get() - 2,
            normal: config.stores_max.get() - 2,
            streams: 0,
        };
        assert!(!admits(
            &config,
            leased,
            Want {
                kind: Kind::Unary,
                priority: Priority::Normal
            }
        ));
        assert!(admits(
            &config,
            leased,
            Want {
                kind: Kind::Unary,
                priority: Priority::High
            }
        ));
    }

    #[test]
    fn priority_that_holds_every_store_does_not_keep_the_next_one_from_the_others() {
        let config = PoolConfig {
            priority_stores: 2,
            ..PoolConfig::default()
        };
        let one_came_back = Leased {
            unary: config.stores_max.get() - 1,
            normal: 0,
            streams: 0,
        };
        let normal = Want {
            kind: Kind::Unary,
            priority: Priority::Normal,
        };
        assert!(admits(&config, one_came_back, normal));
    }
}
