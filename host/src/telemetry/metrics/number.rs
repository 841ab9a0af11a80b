//! Numbers of things that happen seldom: a relaxed atomic each.
//!
//! Used by whoever counts something that is not every call: `pool` for waiting, `listener` for connections and
//! tunnels. What every call counts is in `metrics::method`. Buckets of histograms are fixed here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of every histogram of seconds. From 5 ms to 10 s they are the default ones of the
/// Prometheus client libraries (`DefBuckets`), which dashboards count on; below that they go on as they began,
/// because a call of a small plugin takes microseconds (docs/benchmarks.md).
pub(crate) const BOUNDS_NS: [u64; 17] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Buckets of a histogram, the one without bound included.
pub(super) const BUCKETS: usize = BOUNDS_NS.len() + 1;

/// The bucket that so many nanoseconds belong to.
pub(super) fn bucket_of(ns: u64) -> usize {
    BOUNDS_NS.partition_point(|bound| *bound < ns)
}

/// A time as histograms add it up.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Something that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub(crate) fn add_one(&self) {
        self.add(1);
    }

    /// So many more.
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// How many so far.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long something took.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

/// What a histogram has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// How many fell into each bucket, not those below it.
    pub(super) buckets: [u64; BUCKETS],
    /// All times together, in nanoseconds.
    pub(super) sum_ns: u64,
}

impl Seen {
    /// Adds what another one has seen.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, others) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += others;
        }
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
    }
}

impl Histogram {
    /// Notes one.
    pub(crate) fn observe(&self, time: Duration) {
        let ns = nanos(time);
        self.buckets[bucket_of(ns)].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// What there was so far.
    pub(crate) fn seen(&self) -> Seen {
        Seen {
            buckets: std::array::from_fn(|at| self.buckets[at].load(Ordering::Relaxed)),
            sum_ns: self.sum_ns.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_first_bucket_that_has_room_for_it() {
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(50_000), 0, "a bound belongs to its bucket");
        assert_eq!(bucket_of(50_001), 1);
        assert_eq!(bucket_of(10_000_000_000), BUCKETS - 2);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn what_two_have_seen_is_added_up() {
        let (one, other) = (Histogram::default(), Histogram::default());
        one.observe(Duration::from_micros(10));
        other.observe(Duration::from_micros(10));
        other.observe(Duration::from_secs(20));
        let mut seen = one.seen();
        seen.merge(&other.seen());
        assert_eq!((seen.buckets[0], seen.buckets[BUCKETS - 1]), (2, 1));
        assert_eq!(seen.sum_ns, 20_000_020_000);
    }
}
