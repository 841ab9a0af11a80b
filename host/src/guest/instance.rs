//! One running instance: a Store, the plugin's exports in it, and what it has been through.
//!
//! Called by `grpc::call` with a lease; enters wasm. Invariant: an instance counts as clean only
//! between calls. Entering a call takes the mark away and only a regular return gives it back, so
//! a trap, a dropped future and a panic all leave it off, and the pool drops the whole Store: a
//! trap poisons more than the instance (`wasm trap: cannot enter component instance` for every
//! later instance in that Store).

use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::component::Resource;
use wasmtime::{Store, Trap};
use wasmtime_wasi::ResourceTableError;

use super::cpu::{Cpu, UsedUp};
use super::failure::boxed;
use super::state::GuestState;
use super::ticker::Pulse;
use crate::error::{self, CallError};
use crate::imports::bindings::Plugin;
use crate::imports::call::Exchange;
use crate::status::Status;

/// How a call ended, as far as it says something about its plugin. One that was cut short says nothing,
/// even if the guest trapped in what was left of its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The plugin answered, be it with an error.
    Answered,
    /// It trapped, or broke the contract.
    Failed,
}

/// A running instance of a plugin.
pub(crate) struct Instance {
    store: Store<GuestState>,
    plugin: Plugin,
    pulse: Arc<Pulse>,
    /// Counts the CPU time of a call, where it is limited.
    cpu: Option<Arc<Cpu>>,
    calls: u64,
    born: Duration,
    clean: bool,
    /// How the last call ended; none while one runs, and after one that was cut short.
    ended: Option<Ended>,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance")
            .field("calls", &self.calls)
            .field("clean", &self.clean)
            .finish_non_exhaustive()
    }
}

impl Instance {
    pub(super) fn new(
        store: Store<GuestState>,
        plugin: Plugin,
        pulse: Arc<Pulse>,
        cpu: Option<Arc<Cpu>>,
    ) -> Self {
        Self {
            store,
            plugin,
            pulse,
            cpu,
            calls: 0,
            born: now(),
            clean: true,
            ended: None,
        }
    }

    /// Calls served so far.
    #[must_use]
    pub(crate) fn calls(&self) -> u64 {
        self.calls
    }

    /// Time since it was made, to a few milliseconds.
    #[must_use]
    pub(crate) fn age(&self) -> Duration {
        now().saturating_sub(self.born)
    }

    /// Linear memory it holds, in bytes.
    #[must_use]
    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.data().limits.memory_bytes()
    }

    /// Ticks that it computed on after its last call was over.
    #[must_use]
    pub(crate) fn overrun(&self) -> u32 {
        self.store.data().overrun()
    }

    /// Whether it may serve another call.
    #[must_use]
    pub(crate) fn is_clean(&self) -> bool {
        self.clean
    }

    /// How the last call ended, the first time that it is asked for.
    pub(crate) fn take_ended(&mut self) -> Option<Ended> {
        self.ended.take()
    }

    /// Notes that what the plugin answered breaks the contract.
    pub(crate) fn broke_contract(&mut self) {
        self.ended = self.ended.map(|_| Ended::Failed);
    }

    /// Serves a unary call: one message in, one message or the plugin's own status out.
    ///
    /// # Errors
    /// [`CallError::Trap`] and [`CallError::Exhausted`]; the instance is not clean then.
    ///
    /// # Cancel safety
    /// Dropping the future ends the guest where it stands; the instance is not clean then.
    pub(crate) async fn unary(
        &mut self,
        exchange: Arc<dyn Exchange>,
        method: u32,
        request: &[u8],
    ) -> Result<Result<Vec<u8>, Status>, CallError> {
        let call = self.enter(exchange);
        let handler = self.plugin.switchboard_grpc_handler();
        let call = Resource::new_borrow(call);
        let called = handler.call_unary(&mut self.store, method, call, request);
        let called = self.pulse.during(called);
        let outcome = match &self.cpu {
            None => called.await,
            Some(cpu) => cpu.counted(called).await,
        };
        self.leave(outcome)
    }

    /// Serves a streaming call of any kind; messages pass through the exchange.
    ///
    /// # Errors
    /// [`CallError::Trap`] and [`CallError::Exhausted`]; the instance is not clean then.
    ///
    /// # Cancel safety
    /// Dropping the future ends the guest where it stands; the instance is not clean then.
    pub(crate) async fn stream(
        &mut self,
        exchange: Arc<dyn Exchange>,
        method: u32,
    ) -> Result<Result<(), Status>, CallError> {
        let call = self.enter(exchange);
        let handler = self.plugin.switchboard_grpc_handler();
        let called = handler.call_stream(&mut self.store, method, Resource::new_own(call));
        let called = self.pulse.during(called);
        let outcome = match &self.cpu {
            None => called.await,
            Some(cpu) => cpu.counted(called).await,
        };
        self.leave(outcome)
    }

    fn enter(&mut self, exchange: Arc<dyn Exchange>) -> u32 {
        self.clean = false;
        self.ended = None;
        self.calls += 1;
        if let Some(cpu) = &self.cpu {
            cpu.reset();
        }
        // The epoch has moved on while the instance was idle: a whole slice from now.
        self.store.set_epoch_deadline(1);
        self.store.data_mut().begin_call(exchange)
    }

    fn leave<T, E: Into<Status>>(
        &mut self,
        outcome: wasmtime::Result<Result<T, E>>,
    ) -> Result<Result<T, Status>, CallError> {
        let state = self.store.data_mut();
        // A call that was cut short may have left the guest's own state half done, even if it
        // returned within its grace.
        let cut = state
            .call()
            .current()
            .is_some_and(|exchange| exchange.cancelled().is_some());
        state.end_call();
        let refused = state.limits.refused;
        match outcome {
            Ok(returned) => {
                self.clean = !cut;
                self.ended = (!cut).then_some(Ended::Answered);
                Ok(returned.map_err(Into::into))
            }
            Err(error) => {
                self.ended = (!cut).then_some(Ended::Failed);
                Err(failed(&error, refused))
            }
        }
    }
}

/// A trap, or the end of what the plugin may have. A guest that is refused memory rarely copes: if it traps in the
/// same call, that is taken for the reason.
fn failed(error: &wasmtime::Error, refused: Option<error::Resource>) -> CallError {
    let full = |table: &ResourceTableError| matches!(table, ResourceTableError::Full);
    let what = if error.is::<UsedUp>() {
        Some(error::Resource::Cpu)
    } else if error.downcast_ref::<Trap>() == Some(&Trap::StackOverflow) {
        Some(error::Resource::Stack)
    } else if error.downcast_ref::<ResourceTableError>().is_some_and(full) {
        Some(error::Resource::Handles)
    } else {
        refused
    };
    let source = boxed(error);
    match what {
        Some(what) => CallError::Exhausted { what, source },
        None => CallError::Trap(source),
    }
}

/// The kernel's clock of the last timer interrupt: asked at the end of every call, it costs a fifth of
/// the exact one.
fn now() -> Duration {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    Duration::new(
        now.tv_sec.unsigned_abs(),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}
