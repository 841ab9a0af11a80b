//! Whether a host serves. Set by `host` on its way from start to stop, read by `/readyz`.
//!
//! Invariant: it only ever goes on, from one state to a later one; a host that stops is never ready again.

use std::sync::atomic::{AtomicU8, Ordering};

/// Where a host stands between start and stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Readiness {
    /// Plugins are being loaded.
    #[default]
    Starting,
    /// Calls are served.
    Ready,
    /// It was told to stop, and goes on for the drain notice.
    Stopping,
    /// Running calls may end, no new connections are taken.
    Draining,
    /// All has ended.
    Stopped,
}

impl Readiness {
    const ALL: [Self; 5] = [
        Self::Starting,
        Self::Ready,
        Self::Stopping,
        Self::Draining,
        Self::Stopped,
    ];

    /// Why traffic is to go elsewhere; none if it is not.
    #[must_use]
    pub fn why_not(self) -> Option<&'static str> {
        match self {
            Self::Ready => None,
            Self::Starting => Some("plugins are being loaded"),
            Self::Stopping => Some("the host was told to stop, and drains soon"),
            Self::Draining => Some("the host drains"),
            Self::Stopped => Some("the host has stopped"),
        }
    }
}

/// The state of one host.
#[derive(Debug, Default)]
pub(super) struct State(AtomicU8);

impl State {
    pub(super) fn get(&self) -> Readiness {
        let number = usize::from(self.0.load(Ordering::SeqCst));
        Readiness::ALL.get(number).copied().unwrap_or_default()
    }

    pub(super) fn set(&self, readiness: Readiness) {
        self.0.fetch_max(readiness as u8, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_stops_is_never_ready_again() {
        let state = State::default();
        assert_eq!(state.get(), Readiness::Starting);
        for each in Readiness::ALL {
            state.set(each);
            assert_eq!(state.get(), each);
        }
        state.set(Readiness::Ready);
        assert_eq!(state.get(), Readiness::Stopped);
        assert!(
            Readiness::ALL
                .iter()
                .filter(|each| each.why_not().is_none())
                .count()
                == 1
        );
    }
}
