//! How long calls took: the last ones, and what sums them up. Pure.
//!
//! Used by `chart` for what is drawn and by `bench` for its result. Times are whole microseconds: a page
//! that is isolated from others has clocks of five. Quantiles are by nearest rank, so each is a time
//! that some call really took.

use std::collections::VecDeque;

/// The last round trips, oldest first.
#[derive(Debug, Default)]
pub struct Recent {
    micros: VecDeque<u32>,
}

/// Round trips kept: what the widest chart can draw.
pub const RECENT_MAX: usize = 256;

impl Recent {
    /// Adds a round trip; the oldest one goes when there are too many.
    pub fn add(&mut self, micros: u32) {
        if self.micros.len() == RECENT_MAX {
            self.micros.pop_front();
        }
        self.micros.push_back(micros);
    }

    /// The newest ones, as many as are wanted and there, oldest first.
    pub fn newest(&self, count_max: usize) -> impl ExactSizeIterator<Item = u32> {
        let skipped = self.micros.len().saturating_sub(count_max);
        self.micros.range(skipped..).copied()
    }
}

/// What sums up round trips. In microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Half of the calls took at most this.
    pub p50: u32,
    /// 99 of 100 calls took at most this.
    pub p99: u32,
    /// The arithmetic mean, rounded.
    pub mean: u32,
}

impl Summary {
    /// Sums up. `None` when there is nothing.
    #[must_use]
    pub fn of(micros: &[u32]) -> Option<Self> {
        let count = u64::try_from(micros.len())
            .ok()
            .filter(|count| *count > 0)?;
        let sum: u64 = micros.iter().copied().map(u64::from).sum();
        Some(Self {
            p50: nearest_rank(micros, 50),
            p99: nearest_rank(micros, 99),
            mean: u32::try_from((sum + count / 2) / count).unwrap_or(u32::MAX),
        })
    }
}

/// The smallest value that is not below `percent` of them. By halving the range that it is in, 32 times:
/// what sorting would take is a hundredth of the page's program.
fn nearest_rank(micros: &[u32], percent: usize) -> u32 {
    let rank = (micros.len() * percent).div_ceil(100).max(1);
    let (mut low, mut high) = (0, u32::MAX);
    while low < high {
        let middle = low + (high - low) / 2;
        if micros.iter().filter(|value| **value <= middle).count() < rank {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_are_kept() {
        let mut recent = Recent::default();
        for micros in 0..300 {
            recent.add(micros);
        }
        assert_eq!(recent.newest(3).collect::<Vec<_>>(), [297, 298, 299]);
        assert_eq!(recent.newest(usize::MAX).len(), RECENT_MAX);
        assert_eq!(recent.newest(usize::MAX).next(), Some(44));
    }

    #[test]
    fn quantiles_are_times_that_were_measured() {
        for (count, p50, p99) in [
            (1, 1, 1),
            (2, 1, 2),
            (99, 50, 99),
            (100, 50, 99),
            (8192, 4096, 8111),
        ] {
            let micros: Vec<u32> = (1..=count).rev().collect();
            let summary = Summary::of(&micros).expect("some");
            assert_eq!((summary.p50, summary.p99), (p50, p99), "of {count}");
        }
    }

    #[test]
    fn equal_times_and_the_largest_are_found() {
        for micros in [&[7; 10][..], &[0], &[u32::MAX], &[0, u32::MAX, u32::MAX]] {
            let summary = Summary::of(micros).expect("some");
            assert_eq!(summary.p99, *micros.last().expect("some"), "{micros:?}");
            assert_eq!(summary.p50, micros[(micros.len() - 1) / 2], "{micros:?}");
        }
    }

    #[test]
    fn the_mean_is_rounded_and_does_not_overflow() {
        let mean = |micros: &[u32]| Summary::of(micros).expect("some").mean;
        assert_eq!(mean(&[1, 2]), 2);
        assert_eq!(mean(&[1, 1, 2]), 1);
        assert_eq!(mean(&[u32::MAX; 3]), u32::MAX);
        assert_eq!(Summary::of(&[]), None);
    }
}
