//! A byte stream over one WebSocket: HTTP/2 travels in binary messages whose boundaries mean nothing.
//!
//! | module | owns |
//! |---|---|
//! | [`handshake`] | the upgrade of RFC 6455 section 4, on `http` types, without a connection |
//! | [`Codec`] | frames to bytes and back, ping, pong, close, limits; no socket, no clock, no runtime |
//! | `TunnelStream` | the codec over any `AsyncRead + AsyncWrite` (feature `tokio`) |
//!
//! `host` serves it and `client` opens it; neither meets the other but here. A message is never
//! reassembled: its payload goes on as it arrives, so a tunnel costs the same memory whatever its
//! peer sends, and HTTP/2's windows are the only flow control. No compression, no text, no
//! extensions. Nothing here knows HTTP/2, gRPC, browsers or who may connect.

mod close;
mod codec;
mod config;
mod error;
mod frame;
pub mod handshake;
mod mask;
#[cfg(feature = "tokio")]
mod stream;

pub use close::{Close, CloseCode};
pub use codec::{Codec, MessageHeader};
pub use config::Config;
pub use error::{Ending, TunnelError};
pub use mask::Mask;
#[cfg(feature = "tokio")]
pub use stream::{Activity, TunnelHandle, TunnelStream, random_key};

/// The subprotocol of this tunnel, offered by our clients and echoed by our servers. A peer
/// without it is served too: it speaks the same bytes, and gets shorter messages.
pub const SUBPROTOCOL: &str = "switchboard.v1";

/// Begins the subprotocol that carries a token, since browsers can set no header on a WebSocket:
/// `bearer.` and the token in base64url without padding. A server reads it and never echoes it.
pub const TOKEN_PREFIX: &str = "bearer.";

/// Which end of the WebSocket this is. A client masks what it sends, a server does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The end that asked for the upgrade.
    Client,
    /// The end that answered it.
    Server,
}
