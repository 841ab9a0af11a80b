//! HTTP/2 and gRPC: from a byte stream to calls, and back. Knows no wasm and no socket.
//!
//! Called by `listener` with a byte stream and a peer; calls `pool` for instances. The way of a
//! call through these files, in order:
//!
//! 1. `connection` reads requests off HTTP/2 and polls the calls;
//! 2. `request` checks a request's head, with `content_type`;
//! 3. `route` finds the method, in the table that `live` has in force, of a plugin in its `version`;
//! 4. `call` runs it: message in, instance, message out, deadline, cancellation, status;
//! 5. `exchange` is what the handler sees of it, over `incoming`, `outgoing`, `codec`,
//!    `compression` and `wire`.
//!
//! `link` is what the calls of a connection share; `unread` and `unsent` bound what waits in the host.
//!
//! A request that is not gRPC is `page`'s, if it is anything; what gRPC-Web changes is in `web` and `text`. What
//! the host says of itself over gRPC is in `health`, `reflection` and `admin`, on `built_in`, `descriptors` and
//! `protobuf`.
//!
//! HTTP/2 is the h2 crate used directly. Between it and us, hyper and tonic cost 1 us a call of
//! about 4 us, and hide what this server needs: when a stream is polled, when bytes are flushed,
//! and whether a response was taken by flow control (docs/architecture.md has the numbers).

mod admin;
mod built_in;
mod call;
mod codec;
mod compression;
mod connect;
mod connection;
mod content_type;
mod descriptors;
mod exchange;
mod flood;
mod health;
mod incoming;
mod lifetime;
mod link;
mod live;
mod outbox;
mod outgoing;
mod page;
mod protobuf;
mod reflection;
mod request;
mod route;
mod schema;
mod sluice;
mod stall;
mod text;
mod unread;
mod unsent;
mod version;
pub(crate) mod web;
mod wire;

pub(crate) use admin::{ADMIN, AdminService};
#[cfg(feature = "ladder")]
pub(crate) use codec::Decoder;
pub(crate) use connect::{Connect, Connects};
pub(crate) use connection::{Connections, Ended, Server};
pub(crate) use health::{HEALTH, Health, HealthService};
pub(crate) use link::Buffers;
pub(crate) use live::LiveRoutes;
pub(crate) use page::Pages;
pub(crate) use reflection::{REFLECTION, Reflection, ReflectionService};
pub(crate) use route::Routes;
#[cfg(feature = "ladder")]
pub(crate) use route::{Backend, Endpoint};
pub use route::{NativeFuture, NativeMethod, NativeService};
pub(crate) use schema::Schema;
pub(crate) use version::{Ending, Version};
