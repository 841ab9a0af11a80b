//! Whose call an instance serves, for what it prints: WASI's streams know no Store.
//!
//! Made by `guest::state` with WASI, which most instances never ask for; kept true by it when a call begins
//! and ends. Invariant: it holds a call no longer than the instance serves it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::imports::call::Exchange;

/// A cell with the call that an instance serves.
#[derive(Clone, Default)]
pub(crate) struct Caller(Arc<Mutex<Option<Arc<dyn Exchange>>>>);

impl Caller {
    /// Notes the call that is served now, or that none is.
    pub(crate) fn set(&self, call: Option<Arc<dyn Exchange>>) {
        *self.lock() = call;
    }

    pub(super) fn get(&self) -> Option<Arc<dyn Exchange>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<dyn Exchange>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("in_call", &self.lock().is_some())
            .finish()
    }
}
