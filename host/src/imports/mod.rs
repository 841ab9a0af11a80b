//! Host side of what a plugin imports: one file for each interface in `wit/`, same stem, and what holds WASI's
//! network to what a plugin was granted.
//!
//! `guest` links these into every component and keeps their state in the Store; nothing here
//! knows a pool, HTTP/2 or a socket. What an import needs from the call it serves comes through
//! [`call::Exchange`], which `grpc` implements.
//!
//! A new host service is one file here, one in `wit/`, one in the guest SDK, and a line in
//! `guest::engine`, where the linker is filled.

pub(crate) mod bindings;
pub(crate) mod call;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod network;
mod trace;
