//! A gRPC channel, native and in browsers: over TCP, TLS or a WebSocket tunnel.
//!
//! Clients that tonic generates from a `.proto` work on a [`Channel`] unchanged, all four kinds of
//! calls, with the same code natively and on `wasm32-unknown-unknown`:
//!
//! ```no_run
//! use switchboard_client::Channel;
//!
//! # fn example() -> Result<(), switchboard_client::ConfigError> {
//! let channel = Channel::open("http://127.0.0.1:50051")?;
//! let tunnelled = Channel::open("wss://example.test/tunnel")?;
//! // let mut greeter = GreeterClient::new(channel);
//! # Ok(())
//! # }
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `channel`, `config`, `target` | what users build and hold |
//! | `hub`, `supervisor`, `state` | when there is a connection, and which calls get it |
//! | `call` | one call |
//! | `connection`, `keepalive` | one HTTP/2 connection |
//! | [`transport`] | byte streams: TCP, TLS, WebSocket, memory, the caller's own |
//! | `events`, `states`, `gate` | what happens, as observers see it; pauses |
//! | `error` | what can go wrong, and its gRPC code |
//! | `native`, `web` | tasks, clock, chance: the only switch between platforms |
//!
//! Calls go `channel -> call -> hub -> connection -> transport`, never back. `docs/clients.md` is for
//! users: it says what each status means, and has the limits.

mod call;
mod channel;
mod config;
mod connection;
mod error;
mod events;
mod gate;
mod hub;
mod keepalive;
mod state;
mod states;
mod supervisor;
mod target;
pub mod transport;
#[cfg(not(target_family = "wasm"))]
pub mod tunnel;

#[cfg(not(target_family = "wasm"))]
mod native;
#[cfg(not(target_family = "wasm"))]
use native as platform;
#[cfg(target_family = "wasm")]
mod web;
#[cfg(target_family = "wasm")]
use web as platform;

pub use call::{ResponseBody, WaitForReady};
pub use channel::{Builder, Channel, PauseGuard, ResponseFuture};
pub use config::{Backoff, Config, Keepalive};
pub use error::{CallError, CloseReason, ConfigError, ConnectError, Refusal};
pub use events::{Event, Events};
pub use state::State;
pub use states::States;
pub use target::{Scheme, Target};
