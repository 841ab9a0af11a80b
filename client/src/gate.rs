//! Holds answers back while a channel is paused.
//!
//! Closed and opened by `hub`, asked by every body before it reads. Answers that are not read fill
//! HTTP/2's windows, and the server stops sending; PINGs go on being answered, so a pause does not
//! cost the connection. Invariants: a body that was told to wait is woken when the gate opens; at most
//! one waker is kept for a call. Cost when open: one atomic load.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Shared by a channel and its calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    closed: AtomicBool,
    passes: AtomicU64,
    waiting: Mutex<BTreeMap<u64, Waker>>,
}

/// One call's way through the gate.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Gate,
    id: u64,
}

impl Gate {
    pub(crate) fn pass(&self) -> Pass {
        Pass {
            gate: self.clone(),
            id: self.0.passes.fetch_add(1, Ordering::Relaxed),
        }
    }

    pub(crate) fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn open(&self) {
        self.0.closed.store(false, Ordering::SeqCst);
        let waiting = std::mem::take(&mut *self.waiting());
        waiting.into_values().for_each(Waker::wake);
    }

    fn is_open(&self) -> bool {
        !self.0.closed.load(Ordering::SeqCst)
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Waker>> {
        self.0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// Ready when answers may be handed on.
    pub(crate) fn poll_open(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.gate.is_open() {
            return Poll::Ready(());
        }
        let mut waiting = self.gate.waiting();
        let mut unused = waiting.insert(self.id, cx.waker().clone());
        // `open` sets the flag before it takes this lock: either it finds our waker, or we see here
        // that the gate is open.
        let open = self.gate.is_open();
        if open {
            unused = waiting.remove(&self.id);
        }
        drop(waiting);
        // Outside the lock: a waker may be all that keeps a task alive, and a task may hold a pass.
        drop(unused);
        if open { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.gate.is_open() {
            let unused = self.gate.waiting().remove(&self.id);
            drop(unused);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn who_waits_is_woken_when_it_opens() {
        let gate = Gate::default();
        let pass = gate.pass();
        poll_fn(|cx| pass.poll_open(cx)).await;
        gate.close();
        assert!(poll_fn(|cx| pass.poll_open(cx)).now_or_never().is_none());
        let opening = async {
            tokio::task::yield_now().await;
            gate.open();
        };
        tokio::join!(poll_fn(|cx| pass.poll_open(cx)), opening);
    }

    #[test]
    fn a_call_that_ends_leaves_no_waker_behind() {
        let gate = Gate::default();
        gate.close();
        let pass = gate.pass();
        assert!(poll_fn(|cx| pass.poll_open(cx)).now_or_never().is_none());
        assert_eq!(gate.waiting().len(), 1);
        drop(pass);
        assert!(gate.waiting().is_empty());
    }
}
