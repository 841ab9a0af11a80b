//! What one run of one load against one server came to, and the recorder that counts it.
//!
//! Made by `load`, printed by `cmd::load` as one line of JSON, read by `compare`.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest latency that is told apart, in nanoseconds: a minute.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// Digits of a latency that are kept. Three would not fit the first-level cache.
const DIGITS: u8 = 2;

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
    /// 99th percentile, in microseconds.
    pub p99_us: f64,
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
fn count(count: u64) -> f64 {
    count as f64
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    Warming,
    Measuring,
    Over,
}

/// Counts what is answered while it is being measured.
#[derive(Debug)]
pub struct Recorder {
    phase: AtomicU8,
    latencies: Mutex<Histogram<u64>>,
}

impl Default for Recorder {
    fn default() -> Self {
        let latencies = Histogram::new_with_max(LATENCY_NS_MAX, DIGITS)
            .expect("the bounds are what the histogram takes");
        Self {
            phase: AtomicU8::new(Phase::Warming as u8),
            latencies: Mutex::new(latencies),
        }
    }
}

impl Recorder {
    /// From here on what is recorded counts.
    pub fn begin(&self) {
        self.phase.store(Phase::Measuring as u8, Ordering::Relaxed);
    }

    /// From here on nothing counts, and callers stop.
    pub fn end(&self) {
        self.phase.store(Phase::Over as u8, Ordering::Relaxed);
    }

    /// Whether callers are to stop.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == Phase::Over as u8
    }

    /// Whether it is being measured.
    #[must_use]
    pub fn is_measuring(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == Phase::Measuring as u8
    }

    /// Records an answer, if it is being measured.
    pub fn record(&self, latency: Duration) {
        if self.is_measuring() {
            self.record_always(latency);
        }
    }

    /// Records an answer that belongs to what was measured, however late it is.
    pub fn record_always(&self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let mut latencies = self
            .latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        latencies.saturating_record(ns);
    }

    /// What was recorded, over `seconds`, without CPU times.
    #[must_use]
    pub fn outcome(&self, measured: Duration) -> Outcome {
        let latencies = self
            .latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let us = |ns: u64| Duration::from_nanos(ns).as_secs_f64() * 1e6;
        Outcome {
            count: latencies.len(),
            seconds: measured.as_secs_f64(),
            p50_us: us(latencies.value_at_quantile(0.5)),
            p99_us: us(latencies.value_at_quantile(0.99)),
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
        for us in 1..=100 {
            recorder.record(Duration::from_micros(us));
        }
        recorder.end();
        recorder.record(Duration::from_secs(1));
        let outcome = recorder.outcome(Duration::from_secs(2));
        assert_eq!(outcome.count, 100);
        assert!((outcome.per_second() - 50.0).abs() < 1e-9);
        assert!((outcome.p50_us - 50.0).abs() < 1.0, "{outcome:?}");
        assert!((outcome.max_us - 100.0).abs() < 1.5, "{outcome:?}");
    }
}
