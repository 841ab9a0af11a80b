//! Lines of the log that strangers can cause: at most one a second of each kind, with the number of
//! those that were left out. A leaf of `listener`.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Least time between two lines of one kind.
const PAUSE: Duration = Duration::from_secs(1);

/// When a line of one kind was written last.
#[derive(Debug, Default)]
pub(super) struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    /// Whether a line may be written now; if so, how many were left out since the last one.
    pub(super) fn now(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, left_out) = &mut *state;
        let now = Instant::now();
        if last.is_some_and(|last| now.saturating_duration_since(last) < PAUSE) {
            *left_out += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lines_in_between_are_counted() {
        let seldom = Seldom::default();
        assert_eq!(seldom.now(), Some(0));
        assert_eq!(seldom.now(), None);
        assert_eq!(seldom.now(), None);
        tokio::time::advance(PAUSE).await;
        assert_eq!(seldom.now(), Some(2));
        assert_eq!(seldom.now(), None);
    }
}
