//! Waiting for several things at once, over `wasi:io/poll`.
//!
//! A guest that never calls [`crate::Incoming::receivable`] or [`poll`] does not import that
//! interface. Natively a pollable stands for the fake call of [`crate::testing`].

use alloc::vec::Vec;
use core::marker::PhantomData;

use crate::abi;

/// Something that becomes ready. Borrows from the call, because the host wants it dropped before
/// the handler returns.
#[derive(Debug)]
pub struct Pollable<'a> {
    pollable: abi::Pollable,
    call: PhantomData<&'a ()>,
}

impl Pollable<'_> {
    pub(crate) fn new(pollable: abi::Pollable) -> Self {
        Self {
            pollable,
            call: PhantomData,
        }
    }

    /// Whether it is ready; does not wait.
    pub fn ready(&self) -> bool {
        self.pollable.ready()
    }

    /// Waits until it is ready.
    pub fn block(&self) {
        self.pollable.block();
    }
}

#[cfg(target_arch = "wasm32")]
impl Pollable<'static> {
    /// Takes over a `wasi:io/poll.pollable` handle from other bindings, as one of a timer, so that
    /// [`poll`] can wait for it too. Dropping the result drops the handle; a number that is not
    /// such a handle makes the plugin trap when it is used.
    pub fn from_handle(handle: u32) -> Self {
        Self::new(abi::Pollable::from_handle(handle))
    }
}

/// Waits until one of them is ready and answers the indices of those that are. Of nothing at all
/// it answers nothing, at once.
pub fn poll(pollables: &[&Pollable<'_>]) -> Vec<u32> {
    if pollables.is_empty() {
        // `wasi:io/poll` traps on an empty list.
        return Vec::new();
    }
    let pollables: Vec<&abi::Pollable> = pollables.iter().map(|p| &p.pollable).collect();
    abi::poll(&pollables)
}
