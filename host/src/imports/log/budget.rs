//! How much a plugin may log: a burst, then so much a second. Pure: time is an argument.
//!
//! Called by `imports::log`, once for each line that somebody wants to see. Shared by all instances of a
//! plugin, so that a plugin in many instances logs no more than in one. What is left out is counted, and
//! told before the next line that fits.

use std::time::Duration;

use crate::config::LogLimits;

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is written; so many were left out before it.
    Write {
        /// Lines since the last one that was written.
        left_out: u64,
    },
    /// It is the first that is left out: somebody must be told.
    FirstLeftOut,
    /// It is left out, like the one before.
    LeftOut,
}

/// What is left of a plugin's share.
#[derive(Debug)]
pub(super) struct Budget {
    lines: Bucket,
    bytes: Bucket,
    left_out: u64,
}

impl Budget {
    /// A whole burst.
    pub(super) fn new(limits: LogLimits) -> Self {
        Self {
            lines: Bucket::new(limits.burst_lines, limits.lines_per_second),
            bytes: Bucket::new(limits.burst_bytes, limits.bytes_per_second),
            left_out: 0,
        }
    }

    /// Decides about a line of `bytes` at `now`, counted from any fixed moment.
    pub(super) fn take(&mut self, now: Duration, bytes: usize) -> Verdict {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.lines.fill(now);
        self.bytes.fill(now);
        if self.lines.left >= 1 && self.bytes.left >= bytes {
            self.lines.left -= 1;
            self.bytes.left -= bytes;
            return Verdict::Write {
                left_out: std::mem::take(&mut self.left_out),
            };
        }
        self.left_out += 1;
        match self.left_out {
            1 => Verdict::FirstLeftOut,
            _ => Verdict::LeftOut,
        }
    }
}

#[derive(Debug)]
struct Bucket {
    left: u64,
    most: u64,
    per_second: u64,
    filled: Duration,
}

impl Bucket {
    fn new(most: u64, per_second: u64) -> Self {
        Self {
            left: most,
            most,
            per_second,
            filled: Duration::ZERO,
        }
    }

    fn fill(&mut self, now: Duration) {
        let nanos = now.saturating_sub(self.filled).as_nanos();
        let more = nanos * u128::from(self.per_second) / 1_000_000_000;
        if more > 0 {
            // What is less than one whole stays for the next time.
            let used = more * 1_000_000_000 / u128::from(self.per_second);
            self.filled += Duration::from_nanos(u64::try_from(used).unwrap_or(u64::MAX));
            let more = u64::try_from(more).unwrap_or(u64::MAX);
            self.left = self.left.saturating_add(more).min(self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: LogLimits = LogLimits {
        burst_lines: 1000,
        lines_per_second: 100,
        burst_bytes: 1 << 20,
        bytes_per_second: 64 << 10,
    };

    fn budget() -> Budget {
        Budget::new(LIMITS)
    }

    const WRITE: Verdict = Verdict::Write { left_out: 0 };

    #[test]
    fn a_burst_then_so_many_a_second() {
        let mut budget = budget();
        for line in 0..LIMITS.burst_lines {
            assert_eq!(budget.take(Duration::ZERO, 10), WRITE, "line {line}");
        }
        assert_eq!(budget.take(Duration::ZERO, 10), Verdict::FirstLeftOut);
        assert_eq!(budget.take(Duration::ZERO, 10), Verdict::LeftOut);
        let second = Duration::from_secs(1);
        assert_eq!(budget.take(second, 10), Verdict::Write { left_out: 2 });
        for line in 1..LIMITS.lines_per_second {
            assert_eq!(budget.take(second, 10), WRITE, "line {line}");
        }
        assert_eq!(budget.take(second, 10), Verdict::FirstLeftOut);
    }

    #[test]
    fn long_lines_use_up_bytes() {
        let mut budget = budget();
        let line = 8 << 10;
        for _ in 0..LIMITS.burst_bytes / 8192 {
            assert_eq!(budget.take(Duration::ZERO, line), WRITE);
        }
        assert_eq!(budget.take(Duration::ZERO, 1), Verdict::FirstLeftOut);
    }

    #[test]
    fn a_line_every_moment_is_not_cheated_of_fractions() {
        let mut budget = budget();
        for _ in 0..LIMITS.burst_lines {
            budget.take(Duration::ZERO, 1);
        }
        // Every millisecond a tenth of a line: after a second a hundred were written all the same.
        let written = (1..=1000)
            .filter(|ms| {
                let verdict = budget.take(Duration::from_millis(*ms), 1);
                matches!(verdict, Verdict::Write { .. })
            })
            .count();
        assert_eq!(written, 100);
    }

    #[test]
    fn silence_fills_no_more_than_a_burst() {
        let mut budget = budget();
        let late = Duration::from_secs(1 << 30);
        for _ in 0..LIMITS.burst_lines {
            assert_eq!(budget.take(late, 1), WRITE);
        }
        assert_eq!(budget.take(late, 1), Verdict::FirstLeftOut);
    }
}
