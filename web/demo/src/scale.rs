//! Where a time stands in the chart, and the paths that draw it. Pure.
//!
//! Used by `chart`. The scale is logarithmic: what matters is how many times slower the slow calls are.
//! Its ends are of the series 1, 2, 5, 10, ..., so that it moves seldom while calls come in. Coordinates
//! are whole units of the drawing: [`SLOT`] for each call from left to right, [`HEIGHT`] from top to
//! bottom.

use std::fmt::Write;

/// Width of one call's slot.
pub const SLOT: u32 = 4;

/// Height of the drawing.
pub const HEIGHT: u32 = 1000;

/// Marks that the scale has at most, so that their labels have room.
const TICKS_MAX: usize = 6;

/// A logarithmic scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Stands at the bottom.
    low: u32,
    /// Stands at the top.
    high: u32,
}

impl Scale {
    /// The scale in which all of these have room. At least a factor of ten lies between its ends, or
    /// chance would look like difference.
    pub fn around(micros: impl Iterator<Item = u32> + Clone) -> Self {
        let least = micros.clone().min().unwrap_or(100).max(1);
        let most = micros.max().unwrap_or(1000);
        let low = series()
            .take_while(|step| *step <= least)
            .last()
            .unwrap_or(1);
        // A bar of no height would be no bar.
        let low = if low == least { before(low) } else { low };
        let above = series().find(|step| *step >= most).unwrap_or(u32::MAX);
        Self {
            low,
            high: above.max(low.saturating_mul(10)),
        }
    }

    /// How far from the top a time stands.
    #[must_use]
    pub fn y(&self, micros: u32) -> u32 {
        let log = |value: u32| f64::from(value.max(1)).ln();
        let (low, high) = (log(self.low), log(self.high));
        let share = (log(micros.clamp(self.low, self.high)) - low) / (high - low);
        // Between 0 and the height, by the clamp.
        let from_bottom = (share * f64::from(HEIGHT)).round() as u32;
        HEIGHT - from_bottom.min(HEIGHT)
    }

    /// The times that are marked, lowest first: all of the series if there is room, else powers of ten.
    #[must_use]
    pub fn ticks(&self) -> Vec<u32> {
        let inside = |step: &u32| (self.low..=self.high).contains(step);
        let all: Vec<u32> = series().filter(inside).collect();
        if all.len() <= TICKS_MAX {
            return all;
        }
        let is_ten = |step: &u32| 10_u32.pow(step.ilog10()) == *step;
        let tens: Vec<u32> = all.into_iter().filter(is_ten).collect();
        let every = tens.len().div_ceil(TICKS_MAX);
        tens.into_iter().step_by(every.max(1)).collect()
    }
}

/// 1, 2, 5, 10, 20, 50, ...
fn series() -> impl Iterator<Item = u32> {
    let tens = std::iter::successors(Some(1_u32), |ten| ten.checked_mul(10));
    tens.flat_map(|ten| {
        [1, 2, 5]
            .into_iter()
            .filter_map(move |step| ten.checked_mul(step))
    })
}

/// The step of the series before this one.
fn before(step: u32) -> u32 {
    series()
        .take_while(|other| *other < step)
        .last()
        .unwrap_or(1)
}

/// One upright bar for each call, the newest at the right end of `slots`.
#[must_use]
pub fn bars(micros: impl ExactSizeIterator<Item = u32>, slots: u32, scale: &Scale) -> String {
    let count = u32::try_from(micros.len()).unwrap_or(slots).min(slots);
    let mut path = String::new();
    for (at, micros) in (slots - count..).zip(micros) {
        let x = at * SLOT + SLOT / 2;
        // Writing to a string does not fail.
        let _ = write!(path, "M{x} {HEIGHT}V{}", scale.y(micros));
    }
    path
}

/// A level line at each of these heights, as wide as `slots`.
#[must_use]
pub fn levels(heights: impl Iterator<Item = u32>, slots: u32) -> String {
    let mut path = String::new();
    for y in heights {
        let _ = write!(path, "M0 {y}H{}", slots * SLOT);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(micros: &[u32]) -> Scale {
        Scale::around(micros.iter().copied())
    }

    #[test]
    fn the_ends_are_round_and_ten_times_apart_at_least() {
        for (micros, low, high) in [
            (&[][..], 50, 1000),
            (&[231], 200, 2000),
            (&[200], 100, 1000),
            (&[190, 2300], 100, 5000),
            (&[0], 1, 10),
            (&[5, 90_000], 2, 100_000),
            (&[u32::MAX], 2_000_000_000, u32::MAX),
        ] {
            let found = scale(micros);
            assert_eq!((found.low, found.high), (low, high), "{micros:?}");
        }
    }

    #[test]
    fn a_time_stands_by_its_logarithm_and_never_outside() {
        let scale = Scale {
            low: 100,
            high: 10_000,
        };
        for (micros, y) in [
            (100, 1000),
            (1000, 500),
            (10_000, 0),
            (1, 1000),
            (u32::MAX, 0),
            (0, 1000),
        ] {
            assert_eq!(scale.y(micros), y, "{micros}");
        }
        assert!(scale.y(200) > scale.y(201).saturating_sub(1));
    }

    #[test]
    fn marks_are_few_and_inside() {
        for (low, high, ticks) in [
            (200, 2000, &[200, 500, 1000, 2000][..]),
            (100, 1000, &[100, 200, 500, 1000]),
            (100, 5000, &[100, 200, 500, 1000, 2000, 5000]),
            (100, 20_000, &[100, 1000, 10_000]),
            (1, 1_000_000, &[1, 100, 10_000, 1_000_000]),
            (50, 1000, &[50, 100, 200, 500, 1000]),
        ] {
            assert_eq!(Scale { low, high }.ticks(), ticks, "{low} to {high}");
        }
    }

    #[test]
    fn bars_stand_at_the_right_and_never_outside_the_drawing() {
        let scale = Scale {
            low: 100,
            high: 10_000,
        };
        assert_eq!(
            bars([1000, 100].into_iter(), 4, &scale),
            "M10 1000V500M14 1000V1000"
        );
        assert_eq!(bars([].into_iter(), 4, &scale), "");
        let path = bars([1000; 9].into_iter(), 4, &scale);
        assert_eq!(path.matches('M').count(), 9);
        assert!(path.starts_with("M2 "), "{path}");
        assert_eq!(levels([0, 500].into_iter(), 4), "M0 0H16M0 500H16");
    }
}
