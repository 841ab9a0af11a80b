//! How plugins are replaced while the host serves. A leaf; `host::catalogue` and `host::watch` go by it.

use std::time::Duration;

/// Longest time that can be asked for: a day.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// What happens to a version of a plugin when another takes its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapConfig {
    /// How long calls that run on a version may go on once it was replaced or removed. Default 10 min, as
    /// Envoy drains by default: streams live for long, and nothing waits for them. At the limit they are
    /// cancelled with `UNAVAILABLE`. A day at most.
    pub drain_timeout: Duration,
    /// Whether a version may take away or change methods that the one before it has. Default: no; such a
    /// version is refused, and the one before it goes on.
    pub incompatible: bool,
}

impl Default for SwapConfig {
    fn default() -> Self {
        Self {
            drain_timeout: Duration::from_secs(600),
            incompatible: false,
        }
    }
}

impl SwapConfig {
    /// A fault for each value that nothing works with.
    pub(super) fn faults(&self) -> Option<String> {
        let wrong = self.drain_timeout > TIME_MAX;
        wrong.then(|| "swap drain_timeout must be a day at most".to_owned())
    }
}

/// How plugin files are looked at for changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchConfig {
    /// How often all files are looked at. Default 2 s, 100 ms to an hour. A change is usually seen at once,
    /// because the system tells; not all file systems do. Looking at a thousand files takes some 2 ms.
    pub interval: Duration,
    /// How long a file must stay as it is before it is loaded, or gone before its plugin is removed. Default
    /// 300 ms, an hour at most: whoever copies a file over another pauses for less, and one that is caught
    /// half written is refused and loaded when it changes again.
    pub settle: Duration,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(2),
            settle: Duration::from_millis(300),
        }
    }
}

impl WatchConfig {
    /// A fault for each value that nothing works with.
    pub(super) fn faults(&self) -> Vec<String> {
        let hour = Duration::from_secs(3600);
        let mut faults = Vec::new();
        if !(Duration::from_millis(100)..=hour).contains(&self.interval) {
            faults.push("watch interval must be 100 ms to an hour".to_owned());
        }
        if self.settle > hour {
            faults.push("watch settle must be an hour at most".to_owned());
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_nonsense_is_named() {
        assert_eq!(SwapConfig::default().faults(), None);
        assert_eq!(WatchConfig::default().faults(), Vec::<String>::new());
        let wrong = WatchConfig {
            interval: Duration::ZERO,
            settle: Duration::MAX,
        };
        assert_eq!(wrong.faults().len(), 2);
        let wrong = SwapConfig {
            drain_timeout: Duration::MAX,
            ..SwapConfig::default()
        };
        assert!(wrong.faults().is_some());
    }
}
