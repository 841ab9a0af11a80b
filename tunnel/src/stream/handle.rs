//! What a stream shares with the rest of the program: orders to close, its ending, its counters.
//!
//! Invariants: an order is seen by the stream's next poll, and wakes whoever polled it last, to
//! read or to write; the ending is published once, at the latest when the stream is dropped.
//! Wakers are kept only while the stream lives. Knows no frames.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use tokio::sync::watch;

use crate::close::Close;
use crate::error::{Ending, TunnelError};

/// What a tunnel has carried, headers not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Activity {
    /// Bytes of the stream that came from the peer.
    pub received_bytes: u64,
    /// Bytes of the stream that were accepted for the peer.
    pub sent_bytes: u64,
    /// Messages begun for the peer.
    pub sent_messages: u64,
}

/// Closes a [`TunnelStream`](crate::TunnelStream) from elsewhere and tells how it ended.
///
/// Outlives the stream, which may be deep inside an HTTP/2 connection.
#[derive(Clone)]
pub struct TunnelHandle {
    shared: Arc<Shared>,
}

impl fmt::Debug for TunnelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelHandle")
            .field("ending", &*self.shared.ended.borrow())
            .finish_non_exhaustive()
    }
}

impl TunnelHandle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Begins the close handshake after what was written so far. From then on writes fail with
    /// [`TunnelError::Closing`]; reads go on until the peer's answer, then end. Without effect on
    /// a tunnel that is closing or has ended.
    pub fn close(&self, close: Close) {
        self.shared.order(Order::Close(close));
    }

    /// Ends the tunnel at once, without a close frame: reads and writes fail with
    /// [`TunnelError::Aborted`].
    pub fn close_now(&self) {
        self.shared.order(Order::Abort);
    }

    /// Waits for the end of the tunnel and tells how it came.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing; a later call gives the same answer.
    pub async fn closed(&self) -> Ending {
        let mut ended = self.shared.ended.subscribe();
        let ending = ended.wait_for(Option::is_some).await;
        match ending.ok().as_deref() {
            Some(Some(ending)) => ending.clone(),
            // The sender lives as long as this handle.
            _ => Ending::Failed(TunnelError::Aborted),
        }
    }

    /// How the tunnel ended, if it has.
    pub fn ending(&self) -> Option<Ending> {
        self.shared.ended.borrow().clone()
    }

    /// What the tunnel has carried so far.
    pub fn activity(&self) -> Activity {
        let counters = &self.shared.counters;
        Activity {
            received_bytes: counters.received_bytes.load(Ordering::Relaxed),
            sent_bytes: counters.sent_bytes.load(Ordering::Relaxed),
            sent_messages: counters.sent_messages.load(Ordering::Relaxed),
        }
    }
}

/// What a handle wants of the stream.
#[derive(Debug)]
pub(super) enum Order {
    Close(Close),
    Abort,
}

/// Written by the stream alone, which holds itself exclusively: adding needs no locked instruction.
#[derive(Debug, Default)]
pub(super) struct Counters {
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    sent_messages: AtomicU64,
}

impl Counters {
    pub(super) fn count_received(&self, bytes: usize) {
        add(&self.received_bytes, bytes as u64);
    }

    pub(super) fn count_sent(&self, bytes: usize) {
        add(&self.sent_bytes, bytes as u64);
        add(&self.sent_messages, 1);
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(more),
        Ordering::Relaxed,
    );
}

#[derive(Debug, Default)]
struct Wakers {
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Between a stream and its handles. As a waker it wakes the stream's reader and writer.
#[derive(Debug)]
pub(super) struct Shared {
    wakers: Mutex<Wakers>,
    order: Mutex<Option<Order>>,
    /// Whether there is an order, so that the usual poll takes no lock.
    ordered: AtomicBool,
    /// Whether the stream was woken through this since it last asked.
    woken: AtomicBool,
    ended: watch::Sender<Option<Ending>>,
    pub(super) counters: Counters,
}

impl Shared {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            wakers: Mutex::default(),
            order: Mutex::default(),
            ordered: AtomicBool::new(false),
            woken: AtomicBool::new(false),
            ended: watch::Sender::new(None),
            counters: Counters::default(),
        })
    }

    fn order(&self, order: Order) {
        {
            let mut slot = lock(&self.order);
            // Giving up outdoes closing, and a second close comes too late.
            if matches!(order, Order::Abort) || slot.is_none() {
                *slot = Some(order);
            }
            self.ordered.store(true, Ordering::Release);
        }
        self.wake_both();
    }

    pub(super) fn take_order(&self) -> Option<Order> {
        if !self.is_ordered() {
            return None;
        }
        let mut slot = lock(&self.order);
        self.ordered.store(false, Ordering::Release);
        slot.take()
    }

    pub(super) fn is_ordered(&self) -> bool {
        self.ordered.load(Ordering::Acquire)
    }

    pub(super) fn set_reader(&self, waker: Waker) {
        lock(&self.wakers).reader = Some(waker);
    }

    pub(super) fn set_writer(&self, waker: Waker) {
        lock(&self.wakers).writer = Some(waker);
    }

    pub(super) fn take_woken(&self) -> bool {
        self.woken.load(Ordering::Relaxed) && self.woken.swap(false, Ordering::AcqRel)
    }

    /// Publishes how the tunnel ended; the first time counts.
    pub(super) fn publish(&self, ending: &Ending) {
        let published = self.ended.send_if_modified(|slot| {
            let first = slot.is_none();
            if first {
                *slot = Some(ending.clone());
            }
            first
        });
        if published {
            self.wake_both();
        }
    }

    /// Lets go of the tasks that polled the stream, which is no more.
    pub(super) fn forget_wakers(&self) {
        *lock(&self.wakers) = Wakers::default();
    }

    fn wake_both(&self) {
        let (reader, writer) = {
            let wakers = lock(&self.wakers);
            (wakers.reader.clone(), wakers.writer.clone())
        };
        let same = match (&reader, &writer) {
            (Some(reader), Some(writer)) => reader.will_wake(writer),
            _ => false,
        };
        if let Some(reader) = reader {
            reader.wake();
        }
        if let Some(writer) = writer.filter(|_| !same) {
            writer.wake();
        }
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        Self::wake_by_ref(&self);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.wake_both();
    }
}

/// Nothing behind these locks can be left half-done, so a panic elsewhere does not spoil them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
