//! When a plugin that keeps failing is left alone for a while. A leaf; `pool::quarantine` goes by it.

use std::time::Duration;

/// Most failures that can be asked for. Count: the pool remembers so many, 16 bytes each.
const FAULTS_MAX: u32 = 10_000;

/// Longest time that can be asked for: a day. A plugin that is to rest for longer is better removed.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// When a plugin's calls are refused because it keeps failing.
///
/// A failure is a trap, an instance that does not start, or a broken contract; statuses of the plugin,
/// deadlines and cancellations are none. The plugin is left alone after [`Self::faults_max`] of them
/// within [`Self::window`], unless more calls than those went well meanwhile. Then its calls are refused
/// with `UNAVAILABLE` and its services are `NOT_SERVING`, until one call at a time is let through on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuarantineConfig {
    /// Failures that lead to it. Count, 1 to 10 000; default 10: enough that a few bad requests do not,
    /// and few enough that a plugin which fails every call is found within its first dozen.
    pub faults_max: u32,
    /// Time within which they count. Default 1 min, at most a day.
    pub window: Duration,
    /// First time in which it is left alone. Default 1 s: the first pause of gRPC's own connection
    /// back-off. Doubled each time that it fails again.
    pub backoff_min: Duration,
    /// Longest such time. Default 1 min: half of gRPC's longest pause, for somebody waits here. After as
    /// long without another quarantine the next begins with `backoff_min` again. At most a day.
    pub backoff_max: Duration,
}

impl Default for QuarantineConfig {
    fn default() -> Self {
        Self {
            faults_max: 10,
            window: Duration::from_secs(60),
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
        }
    }
}

impl QuarantineConfig {
    /// A fault for each value that nothing works with.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !(1..=FAULTS_MAX).contains(&self.faults_max) {
            let given = self.faults_max;
            faults.push(format!(
                "quarantine faults_max must be 1 to {FAULTS_MAX}, not {given}"
            ));
        }
        for (name, time) in [
            ("window", self.window),
            ("backoff_min", self.backoff_min),
            ("backoff_max", self.backoff_max),
        ] {
            if time.is_zero() || time > TIME_MAX {
                faults.push(format!(
                    "quarantine {name} must be above zero, a day at most"
                ));
            }
        }
        if self.backoff_min > self.backoff_max {
            faults.push("quarantine backoff_min must be at most backoff_max".to_owned());
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_nonsense_is_named() {
        assert_eq!(QuarantineConfig::default().faults(), Vec::<String>::new());
        let config = QuarantineConfig {
            faults_max: 0,
            window: Duration::ZERO,
            backoff_min: Duration::from_secs(2),
            backoff_max: Duration::from_secs(1),
        };
        let faults = config.faults();
        assert_eq!(faults.len(), 3, "{faults:?}");
        for (fault, name) in faults.iter().zip(["faults_max", "window", "backoff_min"]) {
            assert!(fault.contains(name), "{fault}");
        }
    }
}
