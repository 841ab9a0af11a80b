//! What a Store carries: WASI with what the plugin was granted, the table of resources, limits, and
//! the call that is being served.
//!
//! Made by `guest::component` for every instance; read by `imports` through views. One Store
//! belongs to one instance of one plugin and is never shared.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use wasmtime::component::HasData;
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use super::terms::Terms;
use crate::error::Resource;
use crate::imports::call::{CallState, CallView, Exchange};
use crate::imports::http::Http;
use crate::imports::log::{Caller, GuestLog, LogView};
use crate::imports::network::{NetworkView, Reach};

/// State of one Store.
pub struct GuestState {
    /// Made when the guest first asks WASI for something; most calls never do.
    wasi: Option<Box<WasiCtx>>,
    /// Tells what it prints whose call it is; made with it.
    caller: Option<Caller>,
    table: ResourceTable,
    log: Arc<GuestLog>,
    terms: Arc<Terms>,
    /// None without a grant.
    http: Option<Http>,
    /// The call being served.
    call: CallState,
    pub(super) limits: Limits,
    /// Ticks that the guest computed on after its call was over.
    overrun: u32,
    extensions: HashMap<TypeId, Box<dyn Any + Send>>,
}

impl std::fmt::Debug for GuestState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuestState")
            .field("plugin", self.log.plugin())
            .field("call", &self.call)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl GuestState {
    /// # Errors
    /// When a folder that the plugin is granted is not there any more.
    pub(super) fn new(
        log: Arc<GuestLog>,
        terms: Arc<Terms>,
        limits: Limits,
    ) -> wasmtime::Result<Self> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(terms.resources_max());
        let mut state = Self {
            wasi: None,
            caller: None,
            table,
            log,
            http: terms.http(),
            terms,
            call: CallState::default(),
            limits,
            overrun: 0,
            extensions: HashMap::new(),
        };
        if state.terms.has_folders() {
            let caller = Caller::default();
            let mut wasi = state.terms.wasi(&state.log, &caller);
            state.terms.open_folders(&mut wasi)?;
            state.wasi = Some(Box::new(wasi.build()));
            state.caller = Some(caller);
        }
        Ok(state)
    }

    /// The call being served: metadata, deadline, peer. For host services that need its context.
    #[must_use]
    pub fn call(&self) -> &CallState {
        &self.call
    }

    /// Name of the plugin that this state belongs to.
    #[must_use]
    pub fn plugin(&self) -> &str {
        self.log.plugin()
    }

    /// State of a host service, made on first use; it lives as long as the instance.
    ///
    /// # Panics
    /// Never: the entry under a type's id is of that type.
    pub fn extension<T: Default + Send + 'static>(&mut self) -> &mut T {
        self.extensions
            .entry(TypeId::of::<T>())
            .or_insert_with(|| Box::<T>::default())
            .downcast_mut()
            .expect("the entry under a type's id is of that type")
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: self.wasi.get_or_insert_with(|| {
                let caller = self.caller.insert(Caller::default());
                caller.set(self.call.current().cloned());
                Box::new(self.terms.wasi(&self.log, caller).build())
            }),
            table: &mut self.table,
        }
    }
}

impl NetworkView for GuestState {
    fn reach(&self) -> &Arc<Reach> {
        &self.terms.reach
    }
}

impl WasiHttpView for GuestState {
    /// # Panics
    /// Never: it is linked only into plugins that are granted HTTP.
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let http = self.http.as_mut();
        let (ctx, hooks) = http.expect("linked only where it is granted").parts();
        WasiHttpCtxView {
            ctx,
            table: &mut self.table,
            hooks,
        }
    }
}

/// Tells the linker how `imports::call` gets its part of the state.
pub(super) struct HasCall;

impl HasData for HasCall {
    type Data<'a> = CallView<'a>;
}

/// Tells the linker how `imports::log` gets its part of the state.
pub(super) struct HasLog;

impl HasData for HasLog {
    type Data<'a> = LogView<'a>;
}

impl GuestState {
    /// Begins a call; the handle that the guest gets is good until it ends.
    pub(super) fn begin_call(&mut self, exchange: Arc<dyn Exchange>) -> u32 {
        if let Some(caller) = &self.caller {
            caller.set(Some(Arc::clone(&exchange)));
        }
        self.overrun = 0;
        self.limits.refused = None;
        self.call.begin(exchange)
    }

    /// Counts a tick in which the guest computes.
    pub(super) fn tick(&mut self) {
        let over = |call: &Arc<dyn Exchange>| {
            call.cancelled().is_some() || call.time_left() == Some(Duration::ZERO)
        };
        if self.call.current().is_some_and(over) {
            self.overrun = self.overrun.saturating_add(1);
        }
    }

    /// Ticks that the guest computed on after its last call was over.
    pub(super) fn overrun(&self) -> u32 {
        self.overrun
    }

    pub(super) fn end_call(&mut self) {
        if let Some(caller) = &self.caller {
            caller.set(None);
        }
        self.call.end();
    }

    pub(super) fn call_view(&mut self) -> CallView<'_> {
        CallView {
            call: &mut self.call,
            table: &mut self.table,
        }
    }

    pub(super) fn log_view(&mut self) -> LogView<'_> {
        LogView {
            log: &self.log,
            call: self.call.current().map(|call| &**call),
        }
    }
}

/// What one Store may grow to, over all its memories and tables together. What it has is counted for its plugin
/// until it is dropped.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) memory_bytes_max: usize,
    pub(super) table_elements_max: usize,
    memory_bytes: usize,
    table_elements: usize,
    /// Linear memory of all Stores of the plugin.
    held_bytes: Arc<AtomicUsize>,
    /// What the guest wanted more of than it may have, in the last call.
    pub(super) refused: Option<Resource>,
}

impl Drop for Limits {
    fn drop(&mut self) {
        self.held_bytes
            .fetch_sub(self.memory_bytes, Ordering::Relaxed);
    }
}

impl Limits {
    pub(super) fn new(
        memory_bytes_max: usize,
        table_elements_max: usize,
        held_bytes: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            held_bytes,
            memory_bytes_max,
            table_elements_max,
            memory_bytes: 0,
            table_elements: 0,
            refused: None,
        }
    }

    /// Linear memory in use, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

impl wasmtime::ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self
            .memory_bytes
            .saturating_add(desired.saturating_sub(current));
        if total > self.memory_bytes_max {
            self.refused = Some(Resource::Memory);
            return Ok(false);
        }
        self.held_bytes
            .fetch_add(total - self.memory_bytes, Ordering::Relaxed);
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self
            .table_elements
            .saturating_add(desired.saturating_sub(current));
        if total > self.table_elements_max {
            self.refused = Some(Resource::Tables);
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }
}
