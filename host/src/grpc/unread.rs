//! The bytes of request messages that have begun to come: how many the host holds over all connections.
//!
//! Used by `grpc::incoming` for each message that does not come in one piece. A message has a place for
//! its declared length before more of it is read; whoever finds none waits in line while flow control
//! holds its caller back. Invariants: the places taken are at most the limit; nobody who sends half a
//! message and stops keeps others waiting for longer than [`STALLED_AFTER`]; nobody waits for longer than
//! [`WAIT_MAX`].
//!
//! Knows no bytes: places are numbers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};

use super::exchange::HttpExchange;
use crate::error::CallError;

/// Messages up to this length need no place, in bytes. One frame of the size that every HTTP/2 peer
/// sends; what it costs beside a stream itself is small. Source: RFC 9113, `SETTINGS_MAX_FRAME_SIZE`.
pub(crate) const FREE_BYTES_MAX: usize = 16 * 1024;

/// Age from which a message that is not whole gives way to those that wait. The largest default message
/// takes it at 2 MB/s.
const STALLED_AFTER: Duration = Duration::from_secs(2);

/// How often somebody who waits looks for such messages.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Longest wait for a place.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The places of a host.
#[derive(Debug)]
pub(crate) struct Unread {
    bytes: Arc<Semaphore>,
    /// How many those are in all.
    bytes_max: Mutex<usize>,
    unfinished: Mutex<Unfinished>,
}

/// Messages that have a place and are not whole, by age.
#[derive(Debug, Default)]
struct Unfinished {
    count: u64,
    by_age: BTreeMap<u64, (Instant, Weak<HttpExchange>)>,
    /// When one of them was ended last.
    ended: Option<Instant>,
}

impl Unread {
    /// For at most `bytes_max`, which `config` keeps within what a semaphore can count.
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes: Arc::new(Semaphore::new(bytes_max)),
            bytes_max: Mutex::new(bytes_max),
            unfinished: Mutex::default(),
        })
    }

    /// Makes room for one message of `len` bytes at least. It stays: what would have to go may be taken.
    pub(crate) fn fit(&self, len: usize) {
        let mut bytes_max = self
            .bytes_max
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(more) = len.checked_sub(*bytes_max).filter(|more| *more > 0) {
            self.bytes.add_permits(more);
            *bytes_max = len;
        }
    }

    /// Bytes that places are taken for now.
    pub(crate) fn held_bytes(&self) -> usize {
        let bytes_max = *self
            .bytes_max
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        bytes_max.saturating_sub(self.bytes.available_permits())
    }

    /// A place for a message of `len` bytes of `call`; those who came first have theirs first.
    ///
    /// # Errors
    /// [`CallError::Unread`] after [`WAIT_MAX`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line.
    pub(crate) async fn place(
        self: Arc<Self>,
        len: usize,
        call: Weak<HttpExchange>,
    ) -> Result<Place, CallError> {
        let count = u32::try_from(len).unwrap_or(u32::MAX);
        let place = Arc::clone(&self.bytes).acquire_many_owned(count);
        let mut place = std::pin::pin!(place);
        let mut over = std::pin::pin!(sleep_until(Instant::now() + WAIT_MAX));
        let permit = loop {
            tokio::select! {
                biased;
                permit = place.as_mut() => break permit.map_err(|_closed| CallError::Bug)?,
                () = over.as_mut() => return Err(CallError::Unread { len }),
                () = sleep(LOOK_EVERY) => self.end_stalled(),
            }
        };
        let number = self.lock().add(call);
        Ok(Place {
            unread: self,
            number: Some(number),
            _permit: permit,
        })
    }

    /// Ends the call whose message has stalled for longest. One at a time, however many wait: large requests
    /// that share a connection may keep its window from each other, and the room of one lets the rest go on.
    fn end_stalled(&self) {
        let stalled = self.lock().take_stalled();
        if let Some(call) = stalled.and_then(|call| call.upgrade()) {
            call.crowd_out(CallError::Unfinished);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Unfinished> {
        self.unfinished
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unfinished {
    fn add(&mut self, call: Weak<HttpExchange>) -> u64 {
        self.count += 1;
        self.by_age.insert(self.count, (Instant::now(), call));
        self.count
    }

    fn take_stalled(&mut self) -> Option<Weak<HttpExchange>> {
        let now = Instant::now();
        let first = self.by_age.first_entry()?;
        let soon = self.ended.is_some_and(|at| now - at < LOOK_EVERY);
        if soon || now - first.get().0 < STALLED_AFTER {
            return None;
        }
        self.ended = Some(now);
        Some(first.remove().1)
    }
}

/// Room for one message, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    unread: Arc<Unread>,
    /// Its number among those that are not whole.
    number: Option<u64>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Notes that the message is whole: it waits for an instance now, not for its caller.
    pub(crate) fn whole(&mut self) {
        if let Some(number) = self.number.take() {
            self.unread.lock().by_age.remove(&number);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.whole();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    async fn place(unread: &Arc<Unread>, len: usize) -> Result<Place, CallError> {
        Arc::clone(unread).place(len, Weak::new()).await
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_given_in_order_up_to_the_limit() {
        let unread = Unread::new(100);
        let first = place(&unread, 60).await.expect("room");
        let mut large = Box::pin(place(&unread, 60));
        assert!(large.as_mut().now_or_never().is_none(), "no room");
        let mut small = Box::pin(place(&unread, 10));
        assert!(small.as_mut().now_or_never().is_none(), "its turn is later");
        drop(first);
        drop(large.await.expect("room"));
        drop(small.await.expect("room"));
        assert_eq!(unread.bytes.available_permits(), 100);
        assert!(unread.lock().by_age.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let unread = Unread::new(100);
        let mut kept = place(&unread, 100).await.expect("room");
        kept.whole();
        let refused = place(&unread, 1).await.expect_err("no room");
        assert!(matches!(refused, CallError::Unread { len: 1 }), "{refused}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_stalled_is_forgotten_once_and_what_is_whole_is_not_stalled() {
        let unread = Unread::new(100);
        let stalled = place(&unread, 50).await.expect("room");
        let mut whole = place(&unread, 50).await.expect("room");
        whole.whole();
        let mut waiting = Box::pin(place(&unread, 50));
        let look = STALLED_AFTER + LOOK_EVERY * 2;
        assert!(tokio::time::timeout(look, &mut waiting).await.is_err());
        assert!(unread.lock().by_age.is_empty(), "told to end");
        drop(stalled);
        waiting.await.expect("room");
        drop(whole);
    }
}
