//! The deadline of a call.
//!
//! Begun with the call, raced against each of its steps, kept by the answer's body to the last
//! trailer. Invariant: an answer's head or trailers that are there at the deadline still count, its
//! messages do not: a server that is faster than its reader always has another one ready.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use h2::Reason;

use crate::error::CallError;
use crate::platform::{Clock, Sleep};

#[derive(Debug)]
pub(super) struct Timer {
    clock: Clock,
    due: Duration,
    limit: Duration,
    sleep: Sleep,
}

/// The deadline has passed, so long after the beginning of the call.
#[derive(Debug)]
pub(super) struct Late(pub(super) Duration);

impl From<Late> for CallError {
    fn from(Late(limit): Late) -> Self {
        Self::Deadline {
            limit,
            waiting: None,
        }
    }
}

impl Timer {
    pub(super) fn new(clock: Clock, limit: Duration) -> Self {
        let due = clock.now().saturating_add(limit);
        Self {
            clock,
            due,
            limit,
            sleep: clock.sleep_until(due),
        }
    }

    /// Time left.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn left(&self) -> Result<Duration, Late> {
        match self.due.saturating_sub(self.clock.now()) {
            Duration::ZERO => Err(Late(self.limit)),
            left => Ok(left),
        }
    }

    /// Whether the deadline has passed. Looks at a timer that was set once, not at the clock, so it
    /// may be asked for each message.
    pub(super) fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Late> {
        Pin::new(&mut self.sleep)
            .poll(cx)
            .map(|()| Late(self.limit))
    }
}

/// What an error means: a server that knows the deadline too may cancel the call a moment before us.
pub(super) fn in_time(timer: Option<&Timer>, error: CallError) -> CallError {
    match (&error, timer.map(Timer::left)) {
        (CallError::Reset(Reason::CANCEL), Some(Err(late))) => late.into(),
        _ => error,
    }
}

/// Lets a future run until the deadline, if there is one.
pub(super) async fn race<T>(
    timer: &mut Option<Timer>,
    future: impl Future<Output = T>,
) -> Result<T, Late> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(result) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(result));
        }
        match timer {
            Some(timer) => timer.poll_late(cx).map(Err),
            None => Poll::Pending,
        }
    })
    .await
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use std::task::Waker;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_has_used_up_its_budget_is_told_too() {
        let limit = Duration::from_secs(5);
        let mut timer = Timer::new(Clock::new(), limit);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(timer.poll_late(&mut cx).is_pending());
        tokio::time::advance(limit).await;
        // What a task does that always finds something to read.
        while tokio::task::consume_budget().now_or_never().is_some() {}
        assert!(timer.poll_late(&mut cx).is_ready());
    }
}
