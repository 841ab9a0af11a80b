//! What the two halves of a call know of each other: the answer's side and the pump of its messages.
//!
//! The answer's side owns the [`Lifeline`]; the pump holds a [`Line`] of it. Invariants: a pump is
//! told when its call is over, for whatever reason, so none outlives its call; the first error of the
//! pump is kept for the answer's side.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use crate::error::CallError;

const RUNS: u8 = 0;
const DONE: u8 = 1;
const DROPPED: u8 = 2;

/// The answer's side. Dropping it tells the pump that the call is over.
#[derive(Debug)]
pub(super) struct Lifeline(Line);

/// The pump's side.
#[derive(Clone, Debug)]
pub(super) struct Line(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: AtomicU8,
    pump: AtomicWaker,
    error: Mutex<Option<CallError>>,
}

/// How a call ended for its pump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// With the server's status.
    Done,
    /// Without one: cancelled, failed, or made again elsewhere.
    Dropped,
}

impl Lifeline {
    pub(super) fn new() -> Self {
        Self(Line(Arc::default()))
    }

    pub(super) fn line(&self) -> Line {
        self.0.clone()
    }

    /// The server has given its status.
    pub(super) fn done(&self) {
        self.0.end(DONE);
    }

    /// Why the caller's messages failed, if they did.
    pub(super) fn error(&self) -> Option<CallError> {
        let error = self.0.0.error.lock();
        error.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.0.end(DROPPED);
    }
}

impl Line {
    /// Whether the call is over.
    pub(super) fn poll_over(&self, cx: &mut Context<'_>) -> Poll<Over> {
        self.0.pump.register(cx.waker());
        match self.0.state.load(Ordering::SeqCst) {
            RUNS => Poll::Pending,
            DONE => Poll::Ready(Over::Done),
            _ => Poll::Ready(Over::Dropped),
        }
    }

    /// Keeps why the caller's messages failed. The caller then resets the stream, which wakes the
    /// answer's side.
    pub(super) fn fail(&self, error: CallError) {
        let mut kept = self.0.error.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get_or_insert(error);
    }

    fn end(&self, how: u8) {
        let runs = &self.0.state;
        if runs
            .compare_exchange(RUNS, how, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
        {
            self.0.pump.wake();
        }
    }
}
