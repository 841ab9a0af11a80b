//! The host's functions, as the canonical ABI lowers those of `wit/call.wit`, `wit/log.wit`, `wit/trace.wit`
//! and `wasi:io/poll`.
//!
//! Called by `call` alone. A result that does not fit in one register goes to the pointer in the
//! last argument, laid out as in `raw`; lists in it were allocated with `cabi_realloc` and are
//! ours. What a plugin does not call, the linker leaves out of its imports.
#![expect(unsafe_code, reason = "functions of the host")]

use super::raw;

#[link(wasm_import_module = "switchboard:grpc/call@0.1.0")]
unsafe extern "C" {
    #[link_name = "[method]call.get"]
    pub(super) fn call_get(
        call: u32,
        key: *const u8,
        key_bytes: usize,
        result: *mut raw::OptionSlice,
    );
    #[link_name = "[method]call.metadata"]
    pub(super) fn call_metadata(call: u32, result: *mut raw::Slice);
    #[link_name = "[method]call.peer"]
    pub(super) fn call_peer(call: u32, result: *mut raw::Slice);
    #[link_name = "[method]call.time-left"]
    pub(super) fn call_time_left(call: u32, result: *mut raw::OptionU64);
    #[link_name = "[method]call.cancelled"]
    pub(super) fn call_cancelled(call: u32, result: *mut raw::TaggedByte);
    #[link_name = "[method]call.set-header"]
    pub(super) fn call_set_header(
        call: u32,
        key: *const u8,
        key_bytes: usize,
        value: *const u8,
        value_bytes: usize,
        result: *mut raw::TaggedByte,
    );
    #[link_name = "[method]call.send-headers"]
    pub(super) fn call_send_headers(call: u32);
    #[link_name = "[method]call.set-trailer"]
    pub(super) fn call_set_trailer(
        call: u32,
        key: *const u8,
        key_bytes: usize,
        value: *const u8,
        value_bytes: usize,
        result: *mut raw::TaggedByte,
    );
    #[link_name = "[method]call.received-compressed"]
    pub(super) fn call_received_compressed(call: u32) -> u32;
    #[link_name = "[method]call.set-compression"]
    pub(super) fn call_set_compression(call: u32, on: u32) -> u32;
    #[link_name = "[method]call.receive"]
    pub(super) fn call_receive(call: u32, result: *mut raw::Received);
    #[link_name = "[method]call.receive-timeout"]
    pub(super) fn call_receive_timeout(call: u32, nanoseconds: u64, result: *mut raw::Received);
    #[link_name = "[method]call.receive-many"]
    pub(super) fn call_receive_many(
        call: u32,
        count_max: u32,
        bytes_max: u32,
        result: *mut raw::Received,
    );
    #[link_name = "[method]call.send"]
    pub(super) fn call_send(
        call: u32,
        message: *const u8,
        message_bytes: usize,
        result: *mut raw::Sent,
    );
    #[link_name = "[method]call.receivable"]
    pub(super) fn call_receivable(call: u32) -> u32;
    #[link_name = "[resource-drop]call"]
    pub(super) fn call_drop(call: u32);
}

#[link(wasm_import_module = "switchboard:grpc/log@0.1.0")]
unsafe extern "C" {
    #[link_name = "write"]
    pub(super) fn log_write(level: u32, message: *const u8, message_bytes: usize);
}

#[link(wasm_import_module = "switchboard:grpc/trace@0.1.0")]
unsafe extern "C" {
    #[link_name = "current"]
    pub(super) fn trace_current(call: u32, result: *mut raw::OptionContext);
    #[link_name = "add-event"]
    pub(super) fn trace_add_event(
        call: u32,
        name: *const u8,
        name_bytes: usize,
        attributes: *const raw::Entry,
        count: usize,
    );
}

#[link(wasm_import_module = "wasi:io/poll@0.2.0")]
unsafe extern "C" {
    #[link_name = "[method]pollable.ready"]
    pub(super) fn pollable_ready(pollable: u32) -> u32;
    #[link_name = "[method]pollable.block"]
    pub(super) fn pollable_block(pollable: u32);
    #[link_name = "[resource-drop]pollable"]
    pub(super) fn pollable_drop(pollable: u32);
    #[link_name = "poll"]
    pub(super) fn poll(pollables: *const u32, count: usize, result: *mut raw::Slice);
}
