//! The host's `call` resource and its `pollable`, as safe types.
//!
//! Called by `Context`, `Incoming`, `Outgoing` and `Pollable`; made and ended by `entry`.
//! Invariant, asserted at each use: a handle is used only between entry into a handler and its
//! return. The number may be another call's after that, so each handle remembers which call of
//! this instance it belongs to.
#![expect(
    unsafe_code,
    reason = "calls the host's functions and takes over the memory they fill"
)]

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::mem::MaybeUninit;
use core::time::Duration;

use super::entry::OneThread;
use super::{Received, ReceivedMany, SendError, imports, raw};
use crate::log::Level;
use crate::{CancelReason, Metadata, MetadataError, TraceContext};

/// Which call of this instance runs, counted from 1; 0 means none.
static RUNNING: OneThread<Cell<u64>> = OneThread(Cell::new(0));
static STARTED: OneThread<Cell<u64>> = OneThread(Cell::new(0));

/// A handle on the call being served. A copy is the same call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    handle: u32,
    number: u64,
}

impl Call {
    /// Takes the handle that the host passed to a handler.
    pub(super) fn start(handle: u32) -> Self {
        let number = STARTED.0.get() + 1;
        STARTED.0.set(number);
        RUNNING.0.set(number);
        Self { handle, number }
    }

    /// Gives the handle back, whatever copies of it remain.
    pub(super) fn end(self) {
        let handle = self.handle();
        RUNNING.0.set(0);
        // SAFETY: the handle is ours, and no copy can use it any more.
        unsafe { imports::call_drop(handle) };
    }

    fn handle(&self) -> u32 {
        assert!(
            self.number == RUNNING.0.get(),
            "the call is over: its handler has returned"
        );
        self.handle
    }

    pub(crate) fn get(&self, key: &str) -> Option<Vec<u8>> {
        let mut result = MaybeUninit::<raw::OptionSlice>::uninit();
        // SAFETY: the key is valid for reading, the result for writing; the host fills it.
        let result = unsafe {
            imports::call_get(self.handle(), key.as_ptr(), key.len(), result.as_mut_ptr());
            result.assume_init()
        };
        // SAFETY: a list from the host is ours.
        (result.tag == 1).then(|| unsafe { take(result.some) })
    }

    pub(crate) fn metadata(&self) -> Metadata {
        let mut result = MaybeUninit::<raw::Slice>::uninit();
        // SAFETY: the result is valid for writing; the host fills it.
        let result = unsafe {
            imports::call_metadata(self.handle(), result.as_mut_ptr());
            result.assume_init()
        };
        // SAFETY: a list from the host is ours, and so are the lists in it, each taken once.
        unsafe {
            let entries = take::<raw::Entry>(result).into_iter();
            entries
                .map(|entry| (take_string(entry.key), take::<u8>(entry.value)))
                .collect()
        }
    }

    pub(crate) fn peer(&self) -> String {
        let mut result = MaybeUninit::<raw::Slice>::uninit();
        // SAFETY: the result is valid for writing; the host fills it with a string of ours.
        unsafe {
            imports::call_peer(self.handle(), result.as_mut_ptr());
            take_string(result.assume_init())
        }
    }

    pub(crate) fn time_left(&self) -> Option<Duration> {
        let mut result = MaybeUninit::<raw::OptionU64>::uninit();
        // SAFETY: the result is valid for writing. Of `none` the host fills the tag alone, so the
        // rest is read only after it.
        unsafe {
            imports::call_time_left(self.handle(), result.as_mut_ptr());
            let result = result.as_ptr();
            ((*result).tag == 1).then(|| Duration::from_nanos((*result).some))
        }
    }

    pub(crate) fn cancelled(&self) -> Option<CancelReason> {
        let mut result = raw::TaggedByte { tag: 0, value: 0 };
        // SAFETY: the result is valid for writing.
        unsafe { imports::call_cancelled(self.handle(), &raw mut result) };
        (result.tag == 1).then(|| cancel_reason(result.value))
    }

    pub(crate) fn set_header(&self, key: &str, value: &[u8]) -> Result<(), MetadataError> {
        let mut result = raw::TaggedByte { tag: 0, value: 0 };
        // SAFETY: key and value are valid for reading, the result for writing.
        unsafe {
            imports::call_set_header(
                self.handle(),
                key.as_ptr(),
                key.len(),
                value.as_ptr(),
                value.len(),
                &raw mut result,
            );
        }
        metadata_result(result)
    }

    pub(crate) fn send_headers(&self) {
        // SAFETY: no memory is involved.
        unsafe { imports::call_send_headers(self.handle()) };
    }

    pub(crate) fn set_trailer(&self, key: &str, value: &[u8]) -> Result<(), MetadataError> {
        let mut result = raw::TaggedByte { tag: 0, value: 0 };
        // SAFETY: key and value are valid for reading, the result for writing.
        unsafe {
            imports::call_set_trailer(
                self.handle(),
                key.as_ptr(),
                key.len(),
                value.as_ptr(),
                value.len(),
                &raw mut result,
            );
        }
        metadata_result(result)
    }

    pub(crate) fn received_compressed(&self) -> bool {
        // SAFETY: no memory is involved.
        unsafe { imports::call_received_compressed(self.handle()) != 0 }
    }

    pub(crate) fn set_compression(&self, on: bool) -> bool {
        // SAFETY: no memory is involved.
        unsafe { imports::call_set_compression(self.handle(), u32::from(on)) != 0 }
    }

    pub(crate) fn trace_context(&self) -> Option<TraceContext> {
        let mut result = MaybeUninit::<raw::OptionContext>::uninit();
        // SAFETY: the result is valid for writing. Of `none` the host fills the tag alone, so the
        // rest is read only after it; the strings in it are ours, each taken once.
        unsafe {
            imports::trace_current(self.handle(), result.as_mut_ptr());
            let result = result.as_ptr();
            ((*result).tag == 1).then(|| {
                let some = &raw const (*result).some;
                TraceContext {
                    traceparent: take_string((*some).traceparent),
                    tracestate: take_string((*some).tracestate),
                }
            })
        }
    }

    pub(crate) fn add_event(&self, name: &str, attributes: &[(&str, &str)]) {
        let slice = |text: &str| raw::Slice {
            pointer: text.as_ptr(),
            length: text.len(),
        };
        let entry = |(key, value): &(&str, &str)| raw::Entry {
            key: slice(key),
            value: slice(value),
        };
        let entries: Vec<raw::Entry> = attributes.iter().map(entry).collect();
        let (pointer, count) = (entries.as_ptr(), entries.len());
        // SAFETY: name, entries and the texts that they point to are valid for reading.
        unsafe {
            imports::trace_add_event(self.handle(), name.as_ptr(), name.len(), pointer, count);
        }
    }

    pub(crate) fn receive(&self) -> Received {
        let mut result = MaybeUninit::<raw::Received>::uninit();
        // SAFETY: the result is valid for writing; the host fills it.
        unsafe {
            imports::call_receive(self.handle(), result.as_mut_ptr());
            received(&result)
        }
    }

    pub(crate) fn receive_timeout(&self, nanoseconds: u64) -> Received {
        let mut result = MaybeUninit::<raw::Received>::uninit();
        // SAFETY: the result is valid for writing; the host fills it.
        unsafe {
            imports::call_receive_timeout(self.handle(), nanoseconds, result.as_mut_ptr());
            received(&result)
        }
    }

    pub(crate) fn receive_many(&self, count_max: u32, bytes_max: u32) -> ReceivedMany {
        let mut result = MaybeUninit::<raw::Received>::uninit();
        let result_pointer = result.as_mut_ptr();
        // SAFETY: the result is valid for writing; the host fills the tag, and the payload that
        // belongs to it. A list from the host is ours, and so are the lists in it.
        unsafe {
            imports::call_receive_many(self.handle(), count_max, bytes_max, result_pointer);
            let payload = &raw const (*result_pointer).payload;
            match (*result_pointer).tag {
                0 => ReceivedMany::Messages(
                    take::<raw::Slice>((*payload).list)
                        .into_iter()
                        .map(|message| take(message))
                        .collect(),
                ),
                1 => ReceivedMany::EndOfStream,
                _ => ReceivedMany::Cancelled(cancel_reason((*payload).reason)),
            }
        }
    }

    pub(crate) fn send(&self, message: &[u8]) -> Result<(), SendError> {
        let mut result = raw::Sent {
            tag: 0,
            error: 0,
            reason: 0,
        };
        let (pointer, bytes) = (message.as_ptr(), message.len());
        // SAFETY: the message is valid for reading, the result for writing.
        unsafe { imports::call_send(self.handle(), pointer, bytes, &raw mut result) };
        match (result.tag, result.error) {
            (0, _) => Ok(()),
            (_, 0) => Err(SendError::Cancelled(cancel_reason(result.reason))),
            (_, 1) => Err(SendError::TooLarge),
            (_, _) => Err(SendError::Closed),
        }
    }

    pub(crate) fn receivable(&self) -> Pollable {
        // SAFETY: no memory is involved; the handle that comes back is ours.
        let handle = unsafe { imports::call_receivable(self.handle()) };
        Pollable { handle }
    }
}

/// Reads what `receive` and `receive-timeout` answer.
///
/// # Safety
/// The host has filled `result`, and nobody else has taken the message out.
unsafe fn received(result: &MaybeUninit<raw::Received>) -> Received {
    let result = result.as_ptr();
    // SAFETY: the tag is always filled, the payload when it belongs to the tag; only that one is
    // read.
    unsafe {
        let payload = &raw const (*result).payload;
        match (*result).tag {
            0 => Received::Message(take((*payload).list)),
            1 => Received::EndOfStream,
            2 => Received::Cancelled(cancel_reason((*payload).reason)),
            _ => Received::Timeout,
        }
    }
}

/// The numbers are those of `cancel-reason`; the host cannot pass another.
fn cancel_reason(number: u8) -> CancelReason {
    match number {
        0 => CancelReason::ClientGone,
        1 => CancelReason::Deadline,
        _ => CancelReason::Shutdown,
    }
}

/// The numbers are those of `metadata-error`; the host cannot pass another.
fn metadata_result(result: raw::TaggedByte) -> Result<(), MetadataError> {
    match (result.tag, result.value) {
        (0, _) => Ok(()),
        (_, 0) => Err(MetadataError::InvalidKey),
        (_, 1) => Err(MetadataError::ReservedKey),
        (_, 2) => Err(MetadataError::InvalidValue),
        (_, 3) => Err(MetadataError::TooLarge),
        (_, _) => Err(MetadataError::AlreadySent),
    }
}

/// Takes over a list that the host allocated with `cabi_realloc`.
///
/// # Safety
/// The list has elements of type `T` in the layout of the canonical ABI, was allocated with the
/// global allocator for exactly this length, and nobody else owns it. The elements are plain: what
/// they point to is taken separately.
pub(super) unsafe fn take<T>(list: raw::Slice) -> Vec<T> {
    // SAFETY: as above; an empty list has a pointer that is aligned and not null.
    unsafe { Vec::from_raw_parts(list.pointer.cast_mut().cast(), list.length, list.length) }
}

/// Takes over a string, as [`take`].
///
/// # Safety
/// As [`take`]; the canonical ABI passes only valid UTF-8.
unsafe fn take_string(string: raw::Slice) -> String {
    // SAFETY: as above.
    unsafe { String::from_utf8_unchecked(take(string)) }
}

/// A `wasi:io/poll.pollable` of ours.
#[derive(Debug)]
pub(crate) struct Pollable {
    handle: u32,
}

impl Pollable {
    pub(crate) fn from_handle(handle: u32) -> Self {
        Self { handle }
    }

    pub(crate) fn ready(&self) -> bool {
        // SAFETY: no memory is involved.
        unsafe { imports::pollable_ready(self.handle) != 0 }
    }

    pub(crate) fn block(&self) {
        // SAFETY: no memory is involved.
        unsafe { imports::pollable_block(self.handle) };
    }
}

impl Drop for Pollable {
    fn drop(&mut self) {
        // SAFETY: the handle is ours, and nobody uses it after this.
        unsafe { imports::pollable_drop(self.handle) };
    }
}

pub(crate) fn poll(pollables: &[&Pollable]) -> Vec<u32> {
    let handles: Vec<u32> = pollables.iter().map(|pollable| pollable.handle).collect();
    let mut result = MaybeUninit::<raw::Slice>::uninit();
    // SAFETY: the handles are valid for reading, the result for writing; the host fills it with a
    // list of ours.
    unsafe {
        imports::poll(handles.as_ptr(), handles.len(), result.as_mut_ptr());
        take(result.assume_init())
    }
}

pub(crate) fn log(level: Level, message: &str) {
    // SAFETY: the message is valid for reading.
    unsafe { imports::log_write(level as u32, message.as_ptr(), message.len()) };
}
