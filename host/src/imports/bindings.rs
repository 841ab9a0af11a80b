//! What `bindgen!` makes of `wit/`, and nothing else.
//!
//! `imports::*` implement the generated traits; `guest::instance` calls the generated exports.
//! Functions that may wait are `async`; every function may trap, which ends the call.
#![allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    reason = "generated from wit/, whose documentation is the source"
)]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "plugin",
    imports: {
        "switchboard:grpc/call@0.1.0.[method]call.receive": async | trappable,
        "switchboard:grpc/call@0.1.0.[method]call.receive-timeout": async | trappable,
        "switchboard:grpc/call@0.1.0.[method]call.receive-many": async | trappable,
        "switchboard:grpc/call@0.1.0.[method]call.send": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: {
        "switchboard:grpc/call@0.1.0.call": super::call::CallHandle,
        "wasi:io/poll@0.2.0": wasmtime_wasi::p2::bindings::io::poll,
    },
});
