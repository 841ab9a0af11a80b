//! How much a plugin may log: a burst, then so much a second. Pure: time is an argument.
//!
//! Called by `imports::log`, once for each line that somebody wants to see. Shared by all instances of a
//! plugin, so that a plugin in many instances logs no more than in one. What is left out is counted, and told
//! at once when it begins, then at most once in [`TELL_INTERVAL`]: a plugin that floods is let in for a line
//! every moment, and words about each gap would be a flood of the host's own.

use std::time::Duration;

use crate::config::LogLimits;

/// Least time between two lines that say how many were left out.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Whether it is written.
    pub(super) fits: bool,
    /// How many were left out since that was told last, if it is to be told now.
    pub(super) left_out: Option<u64>,
}

/// What is left of a plugin's share.
#[derive(Debug)]
pub(super) struct Budget {
    lines: Bucket,
    bytes: Bucket,
    /// Left out since that was told last.
    left_out: u64,
    /// When that was told last.
    told: Option<Duration>,
}

impl Budget {
    /// A whole burst.
    pub(super) fn new(limits: LogLimits) -> Self {
        Self {
            lines: Bucket::new(limits.burst_lines, limits.lines_per_second),
            bytes: Bucket::new(limits.burst_bytes, limits.bytes_per_second),
            left_out: 0,
            told: None,
        }
    }

    /// Decides about a line of `bytes` at `now`, counted from any fixed moment.
    pub(super) fn take(&mut self, now: Duration, bytes: usize) -> Verdict {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.lines.fill(now);
        self.bytes.fill(now);
        let fits = self.lines.left >= 1 && self.bytes.left >= bytes;
        if fits {
            self.lines.left -= 1;
            self.bytes.left -= bytes;
        } else {
            self.left_out += 1;
        }
        let due = |told| now.saturating_sub(told) >= TELL_INTERVAL;
        let tell = self.left_out > 0 && self.told.is_none_or(due);
        if tell {
            self.told = Some(now);
        }
        Verdict {
            fits,
            left_out: tell.then(|| std::mem::take(&mut self.left_out)),
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

    const WRITE: Verdict = Verdict {
        fits: true,
        left_out: None,
    };
    const LEAVE_OUT: Verdict = Verdict {
        fits: false,
        left_out: None,
    };

    fn told(verdict: Verdict, left_out: u64) -> Verdict {
        Verdict {
            left_out: Some(left_out),
            ..verdict
        }
    }

    #[test]
    fn a_burst_then_so_many_a_second() {
        let mut budget = budget();
        for line in 0..LIMITS.burst_lines {
            assert_eq!(budget.take(Duration::ZERO, 10), WRITE, "line {line}");
        }
        assert_eq!(budget.take(Duration::ZERO, 10), told(LEAVE_OUT, 1));
        assert_eq!(budget.take(Duration::ZERO, 10), LEAVE_OUT);
        assert_eq!(budget.take(Duration::ZERO, 10), LEAVE_OUT);
        let second = Duration::from_secs(1);
        assert_eq!(budget.take(second, 10), told(WRITE, 2));
        for line in 1..LIMITS.lines_per_second {
            assert_eq!(budget.take(second, 10), WRITE, "line {line}");
        }
        assert_eq!(budget.take(second, 10), LEAVE_OUT, "told a moment ago");
        assert_eq!(budget.take(second * 2, 10), told(WRITE, 1));
    }

    #[test]
    fn a_flood_is_told_of_once_a_second() {
        let mut budget = budget();
        let (mut lines, mut counted) = (0, 0);
        // A line each 0.1 ms for ten seconds; every hundredth of them fits.
        for step in 0..100_000_u32 {
            let verdict = budget.take(Duration::from_micros(100) * step, 10);
            lines += u32::from(verdict.left_out.is_some());
            counted += verdict.left_out.unwrap_or_default();
        }
        assert!((9..=11).contains(&lines), "{lines}");
        assert!(
            counted > 85_000,
            "all but those of the last second: {counted}"
        );
    }

    #[test]
    fn long_lines_use_up_bytes() {
        let mut budget = budget();
        let line = 8 << 10;
        for _ in 0..LIMITS.burst_bytes / 8192 {
            assert_eq!(budget.take(Duration::ZERO, line), WRITE);
        }
        assert_eq!(budget.take(Duration::ZERO, 1), told(LEAVE_OUT, 1));
    }

    #[test]
    fn a_line_every_moment_is_not_cheated_of_fractions() {
        let mut budget = budget();
        for _ in 0..LIMITS.burst_lines {
            budget.take(Duration::ZERO, 1);
        }
        // Every millisecond a tenth of a line: after a second a hundred were written all the same.
        let written = (1..=1000)
            .filter(|ms| budget.take(Duration::from_millis(*ms), 1).fits)
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
        assert_eq!(budget.take(late, 1), told(LEAVE_OUT, 1));
    }
}
