//! The time of a stream: tokio's clock as a `Duration`, and one timer that is seldom set.
//!
//! Used by the stream only. Invariant: the timer fires no later than the codec's next timeout.
//! Bytes move that timeout with every read, so the timer is left where it was and set again when
//! it fires too early: once in a ping interval, not once in a read.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    /// When the timer fires; nothing when it has fired, or was never set.
    armed: Option<Duration>,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            timer: None,
            armed: None,
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Whether `due` has come. If not, `cx` is woken when it has, and maybe before.
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>, due: Duration) -> bool {
        loop {
            if self.armed.is_none_or(|armed| due < armed) && !self.arm(due) {
                return false;
            }
            let Some(timer) = &mut self.timer else {
                return false;
            };
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.armed = None;
            if self.now() >= due {
                return true;
            }
        }
    }

    /// Sets the timer; not for a time so far away that the clock cannot name it.
    fn arm(&mut self, due: Duration) -> bool {
        let Some(at) = self.start.checked_add(due) else {
            return false;
        };
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(at),
            None => self.timer = Some(Box::pin(sleep_until(at))),
        }
        self.armed = Some(due);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};
    use std::time::Duration;

    use super::Clock;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_time_that_moves_away_is_waited_for_again() {
        let mut clock = Clock::new();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(!clock.poll_due(&mut cx, 10 * SECOND));
        tokio::time::advance(10 * SECOND).await;
        assert!(!clock.poll_due(&mut cx, 20 * SECOND));
        tokio::time::advance(10 * SECOND).await;
        assert!(clock.poll_due(&mut cx, 20 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_that_comes_nearer_is_not_slept_through() {
        let mut clock = Clock::new();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(!clock.poll_due(&mut cx, 30 * SECOND));
        assert!(!clock.poll_due(&mut cx, 5 * SECOND));
        tokio::time::advance(5 * SECOND).await;
        assert!(clock.poll_due(&mut cx, 5 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_that_no_clock_can_name_never_comes() {
        let mut clock = Clock::new();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(!clock.poll_due(&mut cx, Duration::MAX));
    }
}
