//! What the host calls: describe, unary, stream, and each one's post-return.
//!
//! Called by the exports that `__entry!` writes into the plugin. An answer stays in a static until
//! its post-return, so that the host can read it; at most one call runs and one answer waits, as
//! an instance has one thread and the host calls post-return before it enters again.
#![expect(unsafe_code, reason = "takes over the memory that the host filled")]

use alloc::alloc::{Layout, handle_alloc_error};
use alloc::vec::Vec;
use core::cell::{OnceCell, UnsafeCell};
use core::fmt;

use super::call::{self, Call};
use super::{lower, raw};
use crate::log::{self, Level};
use crate::{Context, Incoming, Outgoing, Plugin, Status};

/// A static of an instance, which has one thread.
pub(super) struct OneThread<T>(pub(super) T);

// SAFETY: this crate does not compile for wasm32 with threads (see below), so there is no other
// thread to share it with.
unsafe impl<T> Sync for OneThread<T> {}

#[cfg(target_feature = "atomics")]
compile_error!("a plugin has one thread: build it for wasm32-wasip2 without `atomics`");

static PLUGIN: OneThread<OnceCell<Plugin>> = OneThread(OnceCell::new());
static OUTCOME: OneThread<UnsafeCell<lower::Outcome>> =
    OneThread(UnsafeCell::new(lower::Outcome::NONE));
static DESCRIPTION: OneThread<UnsafeCell<Option<lower::Description>>> =
    OneThread(UnsafeCell::new(None));

/// The plugin of this instance, made at its first entry.
fn plugin(start: fn() -> Plugin) -> &'static Plugin {
    PLUGIN.0.get_or_init(|| {
        unsafe extern "C" {
            /// Made by the linker: runs static constructors, as those of C libraries.
            fn __wasm_call_ctors();
        }
        // Whoever calls this tells the linker that it is called once. Otherwise the linker wraps
        // every export, `cabi_realloc` too, in a run of all constructors and destructors.
        // SAFETY: it is called once, before any code of the plugin but `cabi_realloc`.
        unsafe { __wasm_call_ctors() };
        start()
    })
}

/// `handler.describe`
pub fn describe(start: fn() -> Plugin) -> *const u8 {
    let description = lower::Description::new(plugin(start));
    // SAFETY: nobody else has a reference to it: those given out below are read by the host, and
    // only until post-return.
    let kept = unsafe { &mut *DESCRIPTION.0.get() };
    (&raw const *kept.insert(description).raw()).cast()
}

/// Post-return of `handler.describe`.
pub fn describe_done() {
    // SAFETY: the host has read the answer; nobody has a reference to it.
    unsafe { *DESCRIPTION.0.get() = None };
}

/// `handler.unary`
///
/// # Safety
/// `request` was allocated with `cabi_realloc` for `request_bytes` and is ours; `call` is a handle
/// of ours to drop before this returns.
pub unsafe fn unary(
    start: fn() -> Plugin,
    method: u32,
    call: u32,
    request: *mut u8,
    request_bytes: usize,
) -> *const u8 {
    let plugin = plugin(start);
    let request = raw::Slice {
        pointer: request,
        length: request_bytes,
    };
    // SAFETY: the caller's promise.
    let request = unsafe { call::take(request) };
    let call = Call::start(call);
    let outcome = plugin.unary(method, &Context::new(call.clone()), request);
    call.end();
    answer(outcome)
}

/// `handler.stream`
pub fn stream(start: fn() -> Plugin, method: u32, call: u32) -> *const u8 {
    let plugin = plugin(start);
    let call = Call::start(call);
    let (incoming, outgoing) = (Incoming::new(call.clone()), Outgoing::new(call.clone()));
    let outcome = plugin.stream(method, &Context::new(call.clone()), incoming, outgoing);
    call.end();
    answer(outcome.map(|()| Vec::new()))
}

fn answer(outcome: Result<Vec<u8>, Status>) -> *const u8 {
    let outcome = lower::Outcome::new(outcome);
    // SAFETY: nobody else has a reference to it: those given out below are read by the host, and
    // only until post-return.
    let kept = unsafe { &mut *OUTCOME.0.get() };
    *kept = outcome;
    (&raw const *kept.raw()).cast()
}

/// Post-return of `handler.unary` and `handler.stream`.
pub fn call_done() {
    // SAFETY: the host has read the answer; nobody has a reference to it.
    unsafe { *OUTCOME.0.get() = lower::Outcome::NONE };
}

/// Writes a panic, as its `Display` has it, to the host's log. It allocates nothing: memory may be
/// what there is none of.
pub fn panicked(panic: &dyn fmt::Display) {
    let mut line = Line {
        bytes: [0; LINE_BYTES],
        length: 0,
    };
    // An error means that the line is full, and a part of the message is better than none.
    let _full = fmt::write(&mut line, format_args!("{panic}"));
    log::write(Level::Error, line.text());
}

const LINE_BYTES: usize = 1024;

/// Text up to a limit.
struct Line {
    bytes: [u8; LINE_BYTES],
    length: usize,
}

impl Line {
    fn text(&self) -> &str {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        // SAFETY: `write_str` copies whole characters only, one behind the other.
        unsafe { core::str::from_utf8_unchecked(bytes) }
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LINE_BYTES - self.length;
        let fits = text.floor_char_boundary(text.len().min(room));
        let end = self.length + fits;
        if let (Some(to), Some(from)) = (
            self.bytes.get_mut(self.length..end),
            text.as_bytes().get(..fits),
        ) {
            to.copy_from_slice(from);
        }
        self.length = end;
        if fits == text.len() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}

/// Allocates for the host, with the plugin's global allocator: whoever replaces that one would
/// otherwise free with it what wasi-libc's `cabi_realloc` allocated.
///
/// # Safety
/// `block` is null with `old_bytes` 0, or a block of that size and alignment from this function.
pub unsafe fn realloc(block: *mut u8, old_bytes: usize, align: usize, new_bytes: usize) -> *mut u8 {
    if new_bytes == 0 {
        // An empty list: any aligned pointer will do, and it is never freed.
        return core::ptr::without_provenance_mut(align);
    }
    // SAFETY: the canonical ABI aligns to 1, 2, 4 or 8, and memory is smaller than `isize::MAX`.
    let layout = unsafe { Layout::from_size_align_unchecked(new_bytes, align) };
    let grown = if old_bytes == 0 {
        // SAFETY: the size is not zero.
        unsafe { alloc::alloc::alloc(layout) }
    } else {
        // SAFETY: the caller's promise; the size is not zero.
        unsafe {
            let old = Layout::from_size_align_unchecked(old_bytes, align);
            alloc::alloc::realloc(block, old, new_bytes)
        }
    };
    if grown.is_null() {
        handle_alloc_error(layout);
    }
    grown
}
