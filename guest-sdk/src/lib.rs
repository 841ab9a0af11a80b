//! Write a Switchboard plugin: gRPC services in a WebAssembly component, without dependencies.
//!
//! A plugin is a `cdylib` built for `wasm32-wasip2`; [`export!`] names its services. The file that
//! `cargo build` leaves is what `switchboard serve` loads: no build script, no further tool.
//!
//! ```
//! use switchboard_guest::{ByteService, Method, Status};
//!
//! static ECHO: ByteService = ByteService::new(
//!     "echo.Echo",
//!     &[
//!         Method::unary("Unary", |_context, request| Ok(request)).idempotent(),
//!         Method::client_stream("Join", |context, incoming| {
//!             let mut joined = Vec::new();
//!             for message in incoming {
//!                 joined.extend(message?);
//!             }
//!             context.set_trailer("joined-bytes", joined.len().to_string())?;
//!             Ok(joined)
//!         }),
//!         Method::server_stream("Bytes", |_context, request, outgoing| {
//!             if request.is_empty() {
//!                 return Err(Status::invalid_argument("nothing to send"));
//!             }
//!             request.iter().try_for_each(|byte| outgoing.send([*byte]))
//!         }),
//!         Method::bidi("Bidi", |_context, incoming, outgoing| {
//!             while let Some(message) = incoming.receive()? {
//!                 outgoing.send(message)?;
//!             }
//!             Ok(())
//!         }),
//!     ],
//! );
//!
//! switchboard_guest::export!(ECHO);
//!
//! // Natively, a handler is tested without wasm:
//! use switchboard_guest::testing::Call;
//!
//! let answer = Call::to(&ECHO, "Join").messages(["ab", "c"]).run();
//! assert_eq!(answer.status, Ok(()));
//! assert_eq!(answer.messages, [b"abc"]);
//! assert_eq!(answer.trailers.get_str("joined-bytes"), Some("3"));
//! ```
//!
//! Typed services come from a `.proto` file through `switchboard-guest-build`, which generates
//! what the [`typed`] module runs. [`export_no_std!`] makes the smallest plugins.
//!
//! One instance serves one call at a time; the host runs as many instances as it needs and drops
//! those whose call trapped or was cancelled. A panic traps; the caller gets `INTERNAL`, the
//! host's log gets the message.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

#[doc(hidden)]
pub mod abi;
mod context;
mod export;
mod include;
pub mod log;
mod metadata;
mod plugin;
mod poll;
mod service;
mod status;
mod stream;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod trace;
pub mod typed;

pub use context::{CancelReason, Context};
pub use metadata::{Metadata, MetadataError};
pub use plugin::Plugin;
pub use poll::{Pollable, poll};
pub use service::{ByteService, Method, MethodDescription, MethodKind, Service};
pub use status::{Code, Status};
pub use stream::{Incoming, Outgoing, Receive};
pub use trace::TraceContext;
pub use typed::{Codec, Request, Response, Sender, Streaming};
