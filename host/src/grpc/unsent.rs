//! The bytes of unary replies that callers do not take: how many the host holds.
//!
//! Used by `grpc::call`: before a unary call begins its connection must have room, and the host for a reply
//! of the size that its method had last; a reply that flow control does not take at once is noted here.
//! Invariants: a connection begins no call while it holds its limit; whoever reads loses no reply, however
//! many read, because those that come wait for their turn; what keeps them waiting and has not moved for
//! [`STALLED_AFTER`] is given up, a reply or a connection, the longest first.
//!
//! What is handed to HTTP/2, by streams too, is `grpc::sluice`'s; only what lies there on connections that
//! take nothing is counted here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::exchange::HttpExchange;
use crate::error::CallError;

/// Replies below this are not counted, in bytes: a connection has few calls, and counting costs.
const COUNTED_BYTES_MIN: usize = 4 * 1024;

/// What a connection may hold while the host holds more than half of its limit, in bytes. The window that
/// HTTP/2 begins with: a caller who reads keeps less than that waiting. Source: RFC 9113, section 6.9.2.
const PRESSED_BYTES_MAX: usize = 64 * 1024;

/// The same while it holds more than its limit: a frame of the size that every peer takes. Source: RFC
/// 9113, `SETTINGS_MAX_FRAME_SIZE`.
const FULL_BYTES_MAX: usize = 16 * 1024;

/// Time without a byte after which a reply, or a connection, gives way to calls that wait. Longer than what
/// a lost packet costs, and than a kernel takes that tells of room when a third of its buffer is free.
const STALLED_AFTER: Duration = Duration::from_secs(3);

/// Bytes a second below which a reply counts as stalled however often it moves: one of the largest default
/// size may take a minute.
const SLOW_BYTES_PER_SECOND: usize = 64 * 1024;

/// How often a call that waits for room looks by itself: the pressure may have ended elsewhere.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Calls that wait for room at most. Count; as many as wait for an instance of a plugin by default.
const WAITING_MAX: usize = 1024;

/// Longest wait for room. Source: as for requests, `grpc::unread`.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// How quickly what a method is expected to reply follows smaller replies: by this part of the difference.
const FORGET_PART: usize = 16;

/// What all connections hold.
#[derive(Debug)]
pub(crate) struct Unsent {
    bytes_max: usize,
    /// Of replies, and of those that calls which run are expected to give.
    bytes: AtomicUsize,
    /// Handed to connections that take nothing now.
    blocked: AtomicUsize,
    /// Those that wait.
    places: Semaphore,
    /// Held by the call that is next.
    line: Semaphore,
    freed: Notify,
    waiting: Mutex<Waiting>,
}

/// What does not move, those that moved longest ago first.
#[derive(Debug, Default)]
struct Waiting {
    count: u64,
    replies: BTreeMap<u64, Reply>,
    connections: BTreeMap<u64, (Instant, Weak<Share>)>,
    /// Bytes of replies that were given up and are not gone yet.
    leaving: usize,
    /// When somebody looked whether there is more than was expected.
    looked: Option<Instant>,
}

#[derive(Debug)]
struct Reply {
    begun: Instant,
    moved: Instant,
    len: usize,
    call: Weak<HttpExchange>,
}

impl Reply {
    fn has_stalled(&self, now: Instant) -> bool {
        let slow = Duration::from_millis((self.len / (SLOW_BYTES_PER_SECOND / 1000)) as u64);
        now - self.moved >= STALLED_AFTER || now - self.begun >= STALLED_AFTER + slow
    }
}

impl Unsent {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes_max,
            bytes: AtomicUsize::new(0),
            blocked: AtomicUsize::new(0),
            places: Semaphore::new(WAITING_MAX),
            line: Semaphore::new(1),
            freed: Notify::new(),
            waiting: Mutex::default(),
        })
    }

    /// Bytes that are held now.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> usize {
        self.bytes.load(Ordering::Relaxed) + self.blocked.load(Ordering::Relaxed)
    }

    /// What a connection may hold now.
    fn share_max(&self, bytes_max: usize) -> usize {
        let held = self.held();
        if held > self.bytes_max {
            FULL_BYTES_MAX
        } else if held > self.bytes_max / 2 {
            PRESSED_BYTES_MAX
        } else {
            bytes_max
        }
    }

    /// Takes room for a reply that is expected, if there is some; one that is more than all of it finds
    /// room when nobody has any.
    fn try_expect(&self, len: usize) -> bool {
        let blocked = self.blocked.load(Ordering::Relaxed);
        let taken = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                let fits = held + blocked + len <= self.bytes_max || held + blocked == 0;
                fits.then_some(held + len)
            });
        taken.is_ok()
    }

    /// Waits for such room, first come, first served; what has stalled meanwhile gives way.
    async fn expect(&self, len: usize) {
        // Nobody closes it.
        let _first = self.line.acquire().await;
        loop {
            let freed = self.freed.notified();
            if self.try_expect(len) {
                return;
            }
            self.give_up_stalled(len);
            drop(timeout(LOOK_EVERY, freed).await);
        }
    }

    /// Gives up what has stalled, as much as is in the way of `len` bytes.
    fn give_up_stalled(&self, len: usize) {
        let now = Instant::now();
        let mut waiting = self.lock();
        let held = self.held().saturating_sub(waiting.leaving);
        let mut missing = (held + len).saturating_sub(self.bytes_max);
        let mut calls = Vec::new();
        let stalled = waiting.replies.iter();
        let stalled = stalled.filter(|(_, reply)| reply.has_stalled(now));
        let stalled: Vec<_> = stalled.map(|(number, _)| *number).collect();
        for number in stalled {
            if missing == 0 {
                break;
            }
            let given_up = waiting.give_up(number);
            missing = missing.saturating_sub(given_up.as_ref().map_or(0, |reply| reply.len));
            calls.extend(given_up);
        }
        let mut connections = Vec::new();
        while missing > 0
            && let Some(first) = waiting.connections.first_entry()
            && now - first.get().0 >= STALLED_AFTER
        {
            let share = first.remove().1.upgrade();
            missing = missing.saturating_sub(share.as_ref().map_or(0, |share| share.held()));
            connections.extend(share);
        }
        drop(waiting);
        crowd_out(calls);
        for share in connections {
            share.end();
        }
    }

    /// Gives up what has stalled when replies turned out to be far more than was expected, though nobody waits;
    /// never ends.
    async fn relieve(&self) {
        loop {
            sleep(LOOK_EVERY).await;
            if self.bytes.load(Ordering::Relaxed) <= self.bytes_max / 4 * 5 {
                continue;
            }
            // All replies that wait come here.
            let now = Instant::now();
            let looked = self.lock().looked.replace(now);
            if looked.is_none_or(|looked| now - looked >= LOOK_EVERY) {
                self.give_up_stalled(0);
            }
        }
    }

    /// Notes a reply of `len` bytes that waits.
    fn wait(self: &Arc<Self>, len: usize, call: Weak<HttpExchange>) -> WaitingReply {
        let now = Instant::now();
        let mut waiting = self.lock();
        let number = waiting.next();
        let reply = Reply {
            begun: now,
            moved: now,
            len,
            call,
        };
        waiting.replies.insert(number, reply);
        drop(waiting);
        WaitingReply {
            unsent: Arc::clone(self),
            number,
            len,
            left: len,
        }
    }

    fn free(&self, len: usize) {
        self.bytes.fetch_sub(len, Ordering::Relaxed);
        self.freed.notify_waiters();
    }
}

impl Waiting {
    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    fn give_up(&mut self, number: u64) -> Option<Reply> {
        let reply = self.replies.remove(&number)?;
        self.leaving += reply.len;
        Some(reply)
    }
}

fn crowd_out(replies: Vec<Reply>) {
    for call in replies.iter().filter_map(|reply| reply.call.upgrade()) {
        call.crowd_out(CallError::Unsent);
    }
}

/// A reply that is waiting; forgotten when this is dropped.
#[derive(Debug)]
pub(crate) struct WaitingReply {
    unsent: Arc<Unsent>,
    number: u64,
    len: usize,
    left: usize,
}

impl WaitingReply {
    /// Keeps an eye on all that wait; never ends.
    pub(crate) async fn relieve(unsent: Arc<Share>) {
        unsent.of.relieve().await;
    }

    /// Notes how much of it is left.
    pub(crate) fn has_left(&mut self, left: usize) {
        if left == self.left {
            return;
        }
        self.left = left;
        let mut waiting = self.unsent.lock();
        // None once it was given up.
        if let Some(mut reply) = waiting.replies.remove(&self.number) {
            reply.moved = Instant::now();
            self.number = waiting.next();
            waiting.replies.insert(self.number, reply);
        }
    }
}

impl Drop for WaitingReply {
    fn drop(&mut self) {
        let mut waiting = self.unsent.lock();
        if waiting.replies.remove(&self.number).is_none() {
            waiting.leaving = waiting.leaving.saturating_sub(self.len);
        }
    }
}

/// What one connection holds of it.
#[derive(Debug)]
pub(crate) struct Share {
    me: Weak<Self>,
    of: Arc<Unsent>,
    bytes_max: usize,
    bytes: AtomicUsize,
    freed: Notify,
    /// What of it is blocked, as far as the host knows.
    blocked: AtomicUsize,
    /// Among the connections that take nothing.
    number: Mutex<Option<u64>>,
    /// It has to end: others wait for what it holds.
    ended: AtomicBool,
    driver: AtomicWaker,
}

impl Share {
    pub(crate) fn new(of: Arc<Unsent>, bytes_max: usize) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            of,
            bytes_max,
            bytes: AtomicUsize::new(0),
            freed: Notify::new(),
            blocked: AtomicUsize::new(0),
            number: Mutex::default(),
            ended: AtomicBool::new(false),
            driver: AtomicWaker::new(),
        })
    }

    fn held(&self) -> usize {
        self.bytes.load(Ordering::Relaxed) + self.blocked.load(Ordering::Relaxed)
    }

    /// What the connection may hold now, in bytes.
    pub(super) fn bytes_max(&self) -> usize {
        self.of.share_max(self.bytes_max)
    }

    /// Whether another unary call may begin.
    pub(crate) fn has_room(&self) -> bool {
        let held = self.bytes.load(Ordering::Relaxed);
        held < FULL_BYTES_MAX || held < self.bytes_max()
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

    /// Waits until the host has room for a reply like the last ones of a method.
    ///
    /// # Errors
    /// [`CallError::Untaken`] after [`WAIT_MAX`], or at once if [`WAITING_MAX`] wait.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line.
    pub(crate) async fn expect(&self, of_method: &Expected) -> Result<ExpectedReply, CallError> {
        let len = of_method.0.load(Ordering::Relaxed);
        let len = if len < COUNTED_BYTES_MIN { 0 } else { len };
        let at_once = len == 0 || self.of.line.available_permits() > 0 && self.of.try_expect(len);
        if !at_once {
            let place = self.of.places.try_acquire();
            let _place = place.map_err(|_full| CallError::Untaken { len })?;
            let waited = timeout(WAIT_MAX, self.of.expect(len)).await;
            waited.map_err(|_late| CallError::Untaken { len })?;
        }
        Ok(ExpectedReply {
            of: Arc::clone(&self.of),
            len,
        })
    }

    /// Counts a reply until the last of its bytes is gone.
    pub(crate) fn count(&self, reply: Bytes) -> Bytes {
        let len = reply.len();
        let Some(share) = self.me.upgrade().filter(|_| len >= COUNTED_BYTES_MIN) else {
            return reply;
        };
        self.bytes.fetch_add(len, Ordering::Relaxed);
        self.of.bytes.fetch_add(len, Ordering::Relaxed);
        Bytes::from_owner(Counted { share, reply })
    }

    /// Notes that a reply has to wait.
    pub(crate) fn wait(&self, len: usize, call: Weak<HttpExchange>) -> Option<WaitingReply> {
        (len >= COUNTED_BYTES_MIN).then(|| self.of.wait(len, call))
    }

    /// Notes that the connection takes nothing now, though so many bytes were handed to it; called again
    /// whenever it has taken some. `cx` is woken if it has to end.
    pub(super) fn block(&self, bytes: usize, moved: bool, cx: &Context<'_>) {
        let known = self.blocked.swap(bytes, Ordering::Relaxed);
        self.of.blocked.fetch_add(bytes, Ordering::Relaxed);
        self.of.blocked.fetch_sub(known, Ordering::Relaxed);
        self.driver.register(cx.waker());
        let mut number = self.number.lock().unwrap_or_else(PoisonError::into_inner);
        if moved || number.is_none() {
            let mut waiting = self.of.lock();
            if let Some(number) = *number {
                waiting.connections.remove(&number);
            }
            let next = waiting.next();
            let connection = (Instant::now(), Weak::clone(&self.me));
            waiting.connections.insert(next, connection);
            *number = Some(next);
        }
    }

    /// Notes that all has left.
    pub(super) fn unblock(&self) {
        let known = self.blocked.swap(0, Ordering::Relaxed);
        if known > 0 {
            self.of.blocked.fetch_sub(known, Ordering::Relaxed);
            self.of.freed.notify_waiters();
        }
        let number = self.number.lock();
        if let Some(number) = number.unwrap_or_else(PoisonError::into_inner).take() {
            self.of.lock().connections.remove(&number);
        }
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.driver.wake();
    }

    /// Whether the connection has to end because others wait for what it holds.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.unblock();
    }
}

/// How much a method's replies are expected to have, in bytes: as much as the largest of the last ones.
#[derive(Debug, Default)]
pub(crate) struct Expected(AtomicUsize);

impl Expected {
    /// Notes a reply.
    pub(crate) fn learn(&self, len: usize) {
        // One of several at once may be forgotten: the next one tells the same.
        let known = self.0.load(Ordering::Relaxed);
        if known.max(len) < COUNTED_BYTES_MIN {
            return;
        }
        let next = if len >= known {
            len
        } else {
            known - (known - len).div_ceil(FORGET_PART)
        };
        if next != known {
            self.0.store(next, Ordering::Relaxed);
        }
    }
}

/// Room for a reply that is not here yet, until this is dropped.
#[derive(Debug)]
pub(crate) struct ExpectedReply {
    of: Arc<Unsent>,
    len: usize,
}

impl ExpectedReply {
    /// Whether it is still about as much as the method replies: while a call waits for an instance, others
    /// may have replied what nobody knew of.
    pub(crate) fn suffices(&self, of_method: &Expected) -> bool {
        let known = of_method.0.load(Ordering::Relaxed);
        known < COUNTED_BYTES_MIN || known / 2 <= self.len
    }
}

impl Drop for ExpectedReply {
    fn drop(&mut self) {
        if self.len > 0 {
            self.of.free(self.len);
        }
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
        share.freed.notify_waiters();
        share.of.free(len);
    }
}

#[cfg(test)]
mod tests;
