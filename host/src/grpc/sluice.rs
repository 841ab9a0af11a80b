//! What the calls of one connection have handed to HTTP/2, and what has left: how much lies between.
//!
//! Asked by `grpc::outgoing` before each part of a message, told by `grpc::connection` what its socket took.
//! Flow control lets a peer take as much as it likes and read none of it: each stream has a buffer in h2, and
//! nothing there knows how full the others are. Invariant: what lies in h2 and in the outbox is at most what
//! `grpc::unsent` lets the connection hold, and 16 KiB where calls run on several threads; nobody waits here
//! once it has left.
//!
//! Costs a call one addition for each part while its connection takes what it is sent.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Waker};

use super::unsent::Share;

/// What a connection may always have on its way, in bytes: less than one write of the outbox. So most calls
/// look at nothing that other connections use.
const FREE_BYTES: usize = 16 * 1024;

/// Bytes between calls and socket.
#[derive(Debug, Default)]
pub(super) struct Sluice {
    bytes: AtomicUsize,
    waiting: Mutex<Vec<Waker>>,
}

impl Sluice {
    /// How many of `wanted` bytes may be handed over now; none: [`Sluice::wait`].
    pub(super) fn room(&self, share: &Share, wanted: usize) -> usize {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let max = if bytes + wanted <= FREE_BYTES {
            FREE_BYTES
        } else {
            share.bytes_max()
        };
        wanted.min(max.saturating_sub(bytes))
    }

    /// Has the task woken when there is room; it must look once more after this.
    pub(super) fn wait(&self, cx: &Context<'_>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
    }

    /// Notes what was handed over.
    pub(super) fn entered(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How many bytes have not left.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Notes what has left, or was taken back by a reset.
    pub(super) fn left(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for waker in waiting.drain(..) {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::unsent::Unsent;
    use super::*;

    const KIB: usize = 1024;

    #[test]
    fn so_much_is_let_through_and_more_when_it_has_left() {
        let share = Share::new(Unsent::new(1000 * KIB), 100 * KIB);
        let sluice = Sluice::default();
        assert_eq!(sluice.room(&share, 70 * KIB), 70 * KIB);
        sluice.entered(70 * KIB);
        assert_eq!(sluice.room(&share, 70 * KIB), 30 * KIB);
        sluice.entered(30 * KIB);
        assert_eq!(sluice.room(&share, 1), 0);
        let (count, waker) = counting();
        let cx = Context::from_waker(&waker);
        sluice.wait(&cx);
        sluice.wait(&cx);
        sluice.left(100 * KIB);
        assert_eq!(count.0.load(Ordering::Relaxed), 1, "woken once");
        assert_eq!(sluice.room(&share, KIB), KIB);
    }

    #[test]
    fn when_all_connections_hold_too_much_each_may_have_little() {
        let unsent = Unsent::new(1000 * KIB);
        let [share, other] = [(); 2].map(|()| Share::new(Arc::clone(&unsent), 900 * KIB));
        let (_, waker) = counting();
        let cx = Context::from_waker(&waker);
        let sluice = Sluice::default();
        for (blocked, room) in [(500, 900), (501, 64), (1001, 16)] {
            other.block(blocked * KIB, true, &cx);
            assert_eq!(sluice.room(&share, usize::MAX / 2), room * KIB);
        }
        other.unblock();
        assert_eq!(sluice.room(&share, usize::MAX / 2), 900 * KIB);
    }

    #[derive(Debug, Default)]
    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counting() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (Arc::clone(&count), Waker::from(count))
    }
}
