//! A live connection as calls see it: a place to send requests, slots, and how it ended.
//!
//! Made by `hub` when HTTP/2 is set up, shared by its calls and its driver. Invariants: no more
//! calls are on it than the server allows at once; once it is closed to new calls it stays so; its
//! end is known before anybody waits for it in vain, since the driver tells it even when dropped.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use h2::client::SendRequest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::frames::{GoAway, GoAwayCell};
use crate::error::CloseReason;

/// Calls that one connection carries before it makes place for another. Streams have odd numbers
/// below 2^31, so this is half of what HTTP/2 can count. Source: RFC 9113 5.1.1.
const CALLS_MAX: u32 = 1 << 29;

/// What the driver is told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Run,
    /// End when the last call has.
    Drain(CloseReason),
    /// End now.
    Cut(CloseReason),
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: u64,
    go_away: GoAwayCell,
    slots: Arc<Semaphore>,
    calls: AtomicUsize,
    carried: AtomicU32,
    driver: AtomicWaker,
    /// Whether the server has answered a call, in whatever way.
    answered: AtomicBool,
    /// Whether the driver wants to know when the last call has ended.
    wake_when_idle: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    sender: Option<SendRequest<Bytes>>,
    order: Order,
    end: Option<CloseReason>,
    /// Who waits for the end.
    waiting: Vec<Waker>,
    /// Calls that the server allows at once.
    slots_max: usize,
    /// Slots to be taken away when their calls end.
    slots_owed: usize,
}

/// A call's place on a connection; dropped when the call has ended.
#[derive(Debug)]
pub(crate) struct Ticket {
    link: Arc<Link>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Link {
    pub(crate) fn new(id: u64, sender: SendRequest<Bytes>, go_away: GoAwayCell) -> Arc<Self> {
        let slots_max = slots(&sender);
        Arc::new(Self {
            id,
            go_away,
            slots: Arc::new(Semaphore::new(slots_max)),
            calls: AtomicUsize::new(0),
            carried: AtomicU32::new(0),
            driver: AtomicWaker::new(),
            answered: AtomicBool::new(false),
            wake_when_idle: AtomicBool::new(false),
            state: Mutex::new(State {
                sender: Some(sender),
                order: Order::Run,
                end: None,
                waiting: Vec::new(),
                slots_max,
                slots_owed: 0,
            }),
        })
    }

    /// A place for a call, if there is one now.
    pub(crate) fn try_admit(self: &Arc<Self>) -> Result<Ticket, TryAcquireError> {
        let permit = Arc::clone(&self.slots).try_acquire_owned()?;
        Ok(self.ticket(permit))
    }

    /// A place for a call, in turn; `None` when the connection takes no more calls.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the line.
    pub(crate) async fn admit(self: &Arc<Self>) -> Option<Ticket> {
        let permit = Arc::clone(&self.slots).acquire_owned().await.ok()?;
        Some(self.ticket(permit))
    }

    fn ticket(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Ticket {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Ticket {
            link: Arc::clone(self),
            permit: Some(permit),
        }
    }

    /// Whether this call is the last but few that the connection can number.
    pub(crate) fn is_used_up(&self) -> bool {
        self.carried.fetch_add(1, Ordering::Relaxed) >= CALLS_MAX
    }

    /// The head of an answer has come.
    pub(crate) fn note_answer(&self) {
        // All calls share the line of cache: only the first one writes to it.
        if !self.has_answered() {
            self.answered.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// A handle to send a request with; `None` when the connection takes no more calls.
    pub(crate) fn sender(&self) -> Option<SendRequest<Bytes>> {
        self.lock().sender.clone()
    }

    /// Takes no more calls: those that wait for a slot look elsewhere.
    pub(crate) fn close_to_calls(&self) {
        let sender = self.lock().sender.take();
        // Its drop may take locks of the library.
        drop(sender);
        self.slots.close();
        self.driver.wake();
    }

    /// Follows the server's settings.
    pub(crate) fn update_slots(&self) {
        let mut state = self.lock();
        let Some(slots_max) = state.sender.as_ref().map(slots) else {
            return;
        };
        if slots_max > state.slots_max {
            let more = slots_max - state.slots_max;
            let kept = more.min(state.slots_owed);
            state.slots_owed -= kept;
            self.slots.add_permits(more - kept);
        } else {
            let less = state.slots_max - slots_max;
            state.slots_owed += less - self.slots.forget_permits(less);
        }
        state.slots_max = slots_max;
    }

    /// Calls under way.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn wake_when_idle(&self, wanted: bool) {
        self.wake_when_idle.store(wanted, Ordering::Relaxed);
    }

    /// Tells the driver. The first reason to end stands, but that something is to end now outdoes
    /// that it is to end some time.
    pub(crate) fn order(&self, order: Order) {
        let mut state = self.lock();
        match (&state.order, &order) {
            (Order::Run, _) | (Order::Drain(_), Order::Cut(_)) => state.order = order,
            (Order::Drain(_) | Order::Cut(_), _) => {}
        }
        drop(state);
        self.driver.wake();
    }

    pub(crate) fn ordered(&self) -> Order {
        self.lock().order.clone()
    }

    /// Wakes this when there is something for the driver to do.
    pub(crate) fn register_driver(&self, waker: &Waker) {
        self.driver.register(waker);
    }

    pub(crate) fn go_away(&self) -> Option<GoAway> {
        self.go_away.last()
    }

    /// The connection has ended.
    pub(crate) fn end(&self, reason: CloseReason) {
        let mut state = self.lock();
        state.end.get_or_insert(reason);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Why the connection ended, once it has. For calls that were told by the library, which tells
    /// them a moment before the driver knows.
    pub(crate) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let mut state = self.lock();
        if let Some(reason) = &state.end {
            return Poll::Ready(reason.clone());
        }
        if !state
            .waiting
            .iter()
            .any(|waker| waker.will_wake(cx.waker()))
        {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let link = &self.link;
        let mut state = link.lock();
        if state.slots_owed > 0 {
            state.slots_owed -= 1;
            if let Some(permit) = self.permit.take() {
                permit.forget();
            }
        }
        let wake = state.order != Order::Run || link.wake_when_idle.load(Ordering::Relaxed);
        drop(state);
        // The permit goes first, so that nobody sees an idle connection without a free slot.
        drop(self.permit.take());
        if link.calls.fetch_sub(1, Ordering::SeqCst) == 1 && wake {
            link.driver.wake();
        }
    }
}

fn slots(sender: &SendRequest<Bytes>) -> usize {
    sender
        .current_max_send_streams()
        .min(Semaphore::MAX_PERMITS)
}
