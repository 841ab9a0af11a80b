//! Finds a peer that takes nothing of what is sent to it.
//!
//! Used by `grpc::connection` at the end of each turn. Questions do not find such a peer: one that has filled
//! its own buffers hears none, any byte of it counts as an answer, and while nothing leaves, HTTP/2 does not
//! even read. Invariants: a peer that takes a byte in each [`send_stall_timeout`] stays; one that takes none is
//! found before twice of it. Costs nothing while everything leaves at once, and no clock is looked at but
//! when the timer has fired.
//!
//! [`send_stall_timeout`]: crate::config::ConnectionConfig::send_stall_timeout

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// How long what is to be sent has waited.
#[derive(Debug)]
pub(super) struct Stall {
    timeout: Duration,
    /// Made when something waits for the first time; fires though it may have left meanwhile.
    timer: Option<Pin<Box<Sleep>>>,
    /// What had been sent when the timer was set; none if everything has left since.
    sent_bytes: Option<u64>,
}

impl Stall {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            timer: None,
            sent_bytes: None,
        }
    }

    /// Everything has left.
    pub(super) fn clear(&mut self) {
        self.sent_bytes = None;
    }

    /// Something waits, after so many bytes that were sent; ready when it has waited for too long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, sent_bytes: u64) -> Poll<()> {
        loop {
            if let Some(timer) = &mut self.timer {
                ready!(timer.as_mut().poll(cx));
                if self.sent_bytes == Some(sent_bytes) {
                    return Poll::Ready(());
                }
            }
            self.timer = Some(Box::pin(sleep(self.timeout)));
            self.sent_bytes = Some(sent_bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    /// Lets so much time pass, and asks.
    async fn stalled(stall: &mut Stall, after: Duration, sent_bytes: u64) -> bool {
        tokio::time::advance(after).await;
        let mut cx = Context::from_waker(Waker::noop());
        stall.poll(&mut cx, sent_bytes).is_ready()
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_that_leaves_is_a_stall_and_a_byte_is_none() {
        let mut stall = Stall::new(TIMEOUT);
        assert!(!stalled(&mut stall, Duration::ZERO, 0).await);
        assert!(!stalled(&mut stall, TIMEOUT, 1).await, "one byte");
        assert!(!stalled(&mut stall, TIMEOUT / 2, 1).await, "too early");
        assert!(stalled(&mut stall, TIMEOUT / 2, 1).await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waited_and_left_does_not_count_for_what_waits_later() {
        let mut stall = Stall::new(TIMEOUT);
        assert!(!stalled(&mut stall, Duration::ZERO, 7).await);
        // A flush that took its time moves no byte that is counted.
        stall.clear();
        assert!(!stalled(&mut stall, TIMEOUT * 2, 7).await);
        assert!(stalled(&mut stall, TIMEOUT, 7).await);
    }
}
