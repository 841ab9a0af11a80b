//! The canonical ABI of `wit/`, by hand: the only part of this crate that knows it, and the only
//! one with `unsafe`.
//!
//! On wasm32, `imports` names the host's functions, `call` calls them and `entry` is called by the
//! host through [`crate::export!`]; `raw` has the memory layouts and `lower` writes them. Natively
//! `crate::testing` stands in for the host. Invariant: an instance has one thread and serves one
//! call at a time.
//!
//! Hidden from the documentation: only the macros of this crate use it.

#[cfg(any(target_arch = "wasm32", test))]
mod allocator;
#[cfg(target_arch = "wasm32")]
mod call;
#[cfg(any(target_arch = "wasm32", test))]
mod dispatch;
#[cfg(target_arch = "wasm32")]
mod entry;
#[cfg(target_arch = "wasm32")]
mod imports;
#[cfg(any(target_arch = "wasm32", test))]
mod lower;
#[cfg(any(target_arch = "wasm32", test))]
mod raw;

use alloc::vec::Vec;

pub use alloc::boxed::Box;
pub use alloc::vec;

#[cfg(target_arch = "wasm32")]
pub use self::allocator::Allocator;
#[cfg(target_arch = "wasm32")]
pub(crate) use self::call::{Call, Pollable, log, poll};
#[cfg(target_arch = "wasm32")]
pub use self::entry::{call_done, describe, describe_done, panicked, realloc, stream, unary};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::testing::fake::{Call, Pollable, log, poll};

use crate::CancelReason;

/// The component-type section: `wit/` in binary, for the linker that makes the component.
///
/// `tests/section.rs` compares it with `wit/` and rewrites it.
#[cfg(target_arch = "wasm32")]
pub const SECTION: &[u8; include_bytes!("section.bin").len()] = include_bytes!("section.bin");

/// What `call.receive` and `call.receive-timeout` answer.
#[derive(Debug)]
pub(crate) enum Received {
    Message(Vec<u8>),
    EndOfStream,
    Cancelled(CancelReason),
    Timeout,
}

/// What `call.receive-many` answers.
#[derive(Debug)]
pub(crate) enum ReceivedMany {
    Messages(Vec<Vec<u8>>),
    EndOfStream,
    Cancelled(CancelReason),
}

/// Why `call.send` did not send.
#[derive(Debug)]
pub(crate) enum SendError {
    Cancelled(CancelReason),
    TooLarge,
    Closed,
}
