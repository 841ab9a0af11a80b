//! What one run of one load against one server came to, and the recorder that counts it.
//!
//! Made by `load`, printed by `cmd::load` as one line of JSON, read by `compare`.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest latency that is told apart, in nanoseconds: a minute.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// Shortest, in nanoseconds: below 2048 of it, all steps are as long. That is 0.4 % of the quickest call
/// over loopback (35 us), and the counters of all that takes less than 0.26 ms have 8 KiB; they would
/// not fit the first-level cache with steps of a nanosecond.
const LATENCY_NS_MIN: u64 = 128;

/// Digits of a latency that are kept.
const DIGITS: u8 = 3;

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Calls, or messages of streams, answered while it was measured.
    pub count: u64,
    /// How long it was measured, in seconds.
    pub seconds: f64,
    /// CPU time of the server's process over that time, in seconds.
    pub server_cpu_seconds: f64,
    /// The same of the load's process.
    pub client_cpu_seconds: f64,
    /// Median latency, in microseconds.
    pub p50_us: f64,
    /// 90th percentile, in microseconds.
    pub p90_us: f64,
    /// 99th percentile, in microseconds.
    pub p99_us: f64,
    /// Of a thousand answers, one took longer; in microseconds.
    pub p999_us: f64,
    /// Longest, in microseconds.
    pub max_us: f64,
}

impl Outcome {
    /// Answers a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        count(self.count) / self.seconds
    }

    /// CPU time of the server for one answer, in microseconds; zero when nobody asked.
    #[must_use]
    pub fn server_cpu_us(&self) -> f64 {
        self.for_each(self.server_cpu_seconds)
    }

    /// CPU time of the load for one answer, in microseconds; zero when it did not ask.
    #[must_use]
    pub fn client_cpu_us(&self) -> f64 {
        self.for_each(self.client_cpu_seconds)
    }

    fn for_each(&self, seconds: f64) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        seconds * 1e6 / count(self.count)
    }

    /// Cores that the server kept busy.
    #[must_use]
    pub fn server_cores(&self) -> f64 {
        self.server_cpu_seconds / self.seconds
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub(crate) fn count(count: u64) -> f64 {
    count as f64
}

/// Counts what is answered while it is being measured.
#[derive(Debug)]
pub struct Recorder {
    begun: OnceLock<Instant>,
    ended: OnceLock<Instant>,
    latencies: Mutex<Histogram<u32>>,
}

impl Default for Recorder {
    fn default() -> Self {
        let latencies = Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, DIGITS)
            .expect("the bounds are what the histogram takes");
        Self {
            begun: OnceLock::new(),
            ended: OnceLock::new(),
            latencies: Mutex::new(latencies),
        }
    }
}

impl Recorder {
    /// From here on what is recorded counts.
    pub fn begin(&self) {
        self.begun.get_or_init(Instant::now);
    }

    /// From here on nothing counts, and callers stop.
    pub fn end(&self) {
        self.ended.get_or_init(Instant::now);
    }

    /// Whether callers are to stop.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ended.get().is_some()
    }

    /// Whether what happened then is part of what is measured.
    #[must_use]
    pub fn covers(&self, then: Instant) -> bool {
        self.begun.get().is_some_and(|begun| then >= *begun)
            && self.ended.get().is_none_or(|ended| then < *ended)
    }

    /// Records an answer, if it is being measured.
    pub fn record(&self, latency: Duration) {
        if self.begun.get().is_some() && !self.is_over() {
            self.record_always(latency);
        }
    }

    /// Records the answer to a call that was due `then`, if that is part of what is measured: however
    /// late it comes, and however late the call began.
    pub fn record_due(&self, then: Instant) {
        if self.covers(then) {
            self.record_always(then.elapsed());
        }
    }

    fn record_always(&self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let mut latencies = self
            .latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        latencies.saturating_record(ns);
    }

    /// What was recorded while it was measured, without CPU times.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let measured = match (self.begun.get(), self.ended.get()) {
            (Some(begun), Some(ended)) => *ended - *begun,
            (None, _) | (_, None) => Duration::ZERO,
        };
        let latencies = self
            .latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let us = |ns: u64| Duration::from_nanos(ns).as_secs_f64() * 1e6;
        let at = |quantile| us(latencies.value_at_quantile(quantile));
        Outcome {
            count: latencies.len(),
            seconds: measured.as_secs_f64(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: us(latencies.max()),
            ..Outcome::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_measured_counts() {
        let recorder = Recorder::default();
        recorder.record(Duration::from_micros(1));
        recorder.begin();
        for us in 1..=1000 {
            recorder.record(Duration::from_micros(us));
        }
        recorder.end();
        recorder.record(Duration::from_secs(1));
        let outcome = recorder.outcome();
        assert_eq!(outcome.count, 1000);
        assert!((outcome.per_second() * outcome.seconds - 1000.0).abs() < 1e-6);
        for (is, expected) in [
            (outcome.p50_us, 500.0),
            (outcome.p90_us, 900.0),
            (outcome.p99_us, 990.0),
            (outcome.p999_us, 999.0),
            (outcome.max_us, 1000.0),
        ] {
            assert!(
                (is / expected - 1.0).abs() < 0.002,
                "{expected}: {outcome:?}"
            );
        }
    }

    #[test]
    fn a_call_counts_by_when_it_was_due() {
        let recorder = Recorder::default();
        let early = Instant::now();
        recorder.begin();
        let due = *recorder.begun.get().expect("it began");
        recorder.record_due(early - Duration::from_micros(1));
        recorder.record_due(due);
        recorder.end();
        let late = *recorder.ended.get().expect("it ended");
        recorder.record_due(late);
        // It was due in time, and its answer came when all was over.
        recorder.record_due(due);
        let expected = if late > due { 2 } else { 0 };
        assert_eq!(recorder.outcome().count, expected);
    }
}
