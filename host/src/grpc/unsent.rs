//! The bytes of unary replies that callers do not take: how many the host holds.
//!
//! Used by `grpc::call`: before a unary call begins its connection must have room, and a reply that flow
//! control does not take at once is noted here. Invariants: a connection begins no call while it holds its
//! limit; when all connections together hold more than theirs, the replies that wait longest are given
//! up, so that whoever reads is served.
//!
//! What streams send is not counted: a stream holds one message, and waits.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::exchange::HttpExchange;
use crate::error::CallError;

/// Replies below this are not counted, in bytes: a connection has few calls, and counting costs.
const COUNTED_BYTES_MIN: usize = 4 * 1024;

/// What a connection may hold while the host holds more than half of its limit, in bytes. The window that
/// HTTP/2 begins with: a caller who reads keeps less than that waiting. Source: RFC 9113, section 6.9.2.
const PRESSED_BYTES_MAX: usize = 64 * 1024;

/// How often a call that waits for room looks by itself: the pressure may have ended elsewhere.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What all connections hold.
#[derive(Debug)]
pub(crate) struct Unsent {
    bytes_max: usize,
    bytes: AtomicUsize,
    waiting: Mutex<Waiting>,
}

/// Replies that wait, by age.
#[derive(Debug, Default)]
struct Waiting {
    count: u64,
    by_age: BTreeMap<u64, (usize, Weak<HttpExchange>)>,
    /// Bytes of replies that were given up and are not gone yet.
    leaving: usize,
}

impl Unsent {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes_max,
            bytes: AtomicUsize::new(0),
            waiting: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a reply of `len` bytes that waits, and gives up the oldest ones if they are too many.
    fn wait(self: &Arc<Self>, len: usize, call: Weak<HttpExchange>) -> WaitingReply {
        let mut given_up = Vec::new();
        let mut waiting = self.lock();
        waiting.count += 1;
        let number = waiting.count;
        waiting.by_age.insert(number, (len, call));
        let held = self.bytes.load(Ordering::Relaxed);
        while held.saturating_sub(waiting.leaving) > self.bytes_max
            && let Some((_, (len, call))) = waiting.by_age.pop_first()
        {
            waiting.leaving += len;
            given_up.push(call);
        }
        drop(waiting);
        for call in given_up.iter().filter_map(Weak::upgrade) {
            call.crowd_out(CallError::Unsent);
        }
        WaitingReply {
            unsent: Arc::clone(self),
            number,
            len,
        }
    }
}

/// A reply that waits; forgotten when this is dropped.
#[derive(Debug)]
pub(crate) struct WaitingReply {
    unsent: Arc<Unsent>,
    number: u64,
    len: usize,
}

impl Drop for WaitingReply {
    fn drop(&mut self) {
        let mut waiting = self.unsent.lock();
        if waiting.by_age.remove(&self.number).is_none() {
            waiting.leaving = waiting.leaving.saturating_sub(self.len);
        }
    }
}

/// What one connection holds of it.
#[derive(Debug)]
pub(crate) struct Share {
    of: Arc<Unsent>,
    bytes_max: usize,
    bytes: AtomicUsize,
    freed: Notify,
}

impl Share {
    pub(crate) fn new(of: Arc<Unsent>, bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            of,
            bytes_max,
            bytes: AtomicUsize::new(0),
            freed: Notify::new(),
        })
    }

    /// Whether another unary call may begin.
    pub(crate) fn has_room(&self) -> bool {
        let held = self.bytes.load(Ordering::Relaxed);
        if held < PRESSED_BYTES_MAX {
            return true;
        }
        let pressed = self.of.bytes.load(Ordering::Relaxed) > self.of.bytes_max / 2;
        !pressed && held < self.bytes_max
    }

    /// Waits until another unary call may begin.
    ///
    /// # Cancel safety
    /// Begins anew.
    pub(crate) async fn room(&self) {
        while !self.has_room() {
            let freed = self.freed.notified();
            if self.has_room() {
                return;
            }
            // Whether it was told or the time is up, the same is looked at.
            drop(timeout(LOOK_EVERY, freed).await);
        }
    }

    /// Counts a reply until the last of its bytes is gone.
    pub(crate) fn count(self: &Arc<Self>, reply: Bytes) -> Bytes {
        let len = reply.len();
        if len < COUNTED_BYTES_MIN {
            return reply;
        }
        self.bytes.fetch_add(len, Ordering::Relaxed);
        self.of.bytes.fetch_add(len, Ordering::Relaxed);
        Bytes::from_owner(Counted {
            share: Arc::clone(self),
            reply,
        })
    }

    /// Notes that a reply has to wait. Of such, the oldest are given up when there are too many.
    pub(crate) fn wait(&self, len: usize, call: Weak<HttpExchange>) -> Option<WaitingReply> {
        (len >= COUNTED_BYTES_MIN).then(|| self.of.wait(len, call))
    }
}

/// A reply that is counted as long as anybody has a piece of it.
struct Counted {
    share: Arc<Share>,
    reply: Bytes,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.reply
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let (share, len) = (&self.share, self.reply.len());
        share.bytes.fetch_sub(len, Ordering::Relaxed);
        share.of.bytes.fetch_sub(len, Ordering::Relaxed);
        share.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const KIB: usize = 1024;

    fn reply(len: usize) -> Bytes {
        Bytes::from(vec![7; len])
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_waits_at_its_limit_until_the_last_piece_is_gone() {
        let unsent = Unsent::new(1000 * KIB);
        let share = Share::new(unsent, 100 * KIB);
        let mut held = share.count(reply(100 * KIB));
        let mut room = Box::pin(share.room());
        assert!(room.as_mut().now_or_never().is_none(), "at its limit");
        let piece = held.split_to(KIB);
        drop(held);
        assert!(room.as_mut().now_or_never().is_none(), "a piece is left");
        drop(piece);
        room.await;
        drop(share.count(reply(COUNTED_BYTES_MIN - 1)));
        assert_eq!(share.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn under_pressure_a_connection_that_holds_little_goes_on() {
        let unsent = Unsent::new(1000 * KIB);
        let [much, little, none] = [(); 3].map(|()| Share::new(Arc::clone(&unsent), 900 * KIB));
        let held = [much.count(reply(400 * KIB)), little.count(reply(20 * KIB))];
        assert!(much.has_room(), "no pressure yet");
        let more = much.count(reply(100 * KIB));
        assert!(!much.has_room() && little.has_room() && none.has_room());
        drop((held, more));
        assert!(much.has_room());
    }

    #[test]
    fn the_oldest_replies_are_given_up_and_only_as_many_as_needed() {
        let unsent = Unsent::new(100 * KIB);
        let share = Share::new(Arc::clone(&unsent), 1000 * KIB);
        let mut held: Vec<_> = (0..3)
            .map(|_| {
                (
                    share.count(reply(50 * KIB)),
                    share.wait(50 * KIB, Weak::new()),
                )
            })
            .collect();
        {
            let waiting = unsent.lock();
            assert_eq!(waiting.leaving, 50 * KIB, "150 of 100 KiB: one leaves");
            assert_eq!(waiting.by_age.len(), 2);
            assert!(!waiting.by_age.contains_key(&1), "the oldest");
        }
        // While it is leaving, nobody else is given up for it.
        let next = (
            share.count(reply(4 * KIB)),
            share.wait(4 * KIB, Weak::new()),
        );
        assert_eq!(
            unsent.lock().leaving,
            100 * KIB,
            "154 of 100 KiB: two leave"
        );
        held.drain(..2);
        assert_eq!(unsent.lock().leaving, 0);
        drop((held, next));
        assert_eq!(unsent.bytes.load(Ordering::Relaxed), 0);
        assert!(unsent.lock().by_age.is_empty());
    }
}
