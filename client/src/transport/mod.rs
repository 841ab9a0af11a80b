//! How bytes get to the server: a connector makes byte streams, HTTP/2 runs over them.
//!
//! | file | owns |
//! |---|---|
//! | `memory.rs` | streams inside the process, for tests |
//! | `tcp.rs`, `tls.rs` | `http`, `https` (native) |
//! | `tunnel.rs` | `ws`, `wss` (native) |
//! | `../web/socket.rs` | `ws`, `wss` (browsers) |
//!
//! Called by `hub` for each attempt. [`Connector`] is open to callers: any byte stream will do. An
//! attempt has no timeout of its own, since the channel's covers it. Knows no HTTP/2 and no calls.

mod memory;
#[cfg(not(target_family = "wasm"))]
mod tcp;
#[cfg(all(not(target_family = "wasm"), feature = "tls"))]
mod tls;
#[cfg(not(target_family = "wasm"))]
pub(crate) mod tunnel;

use std::fmt;

use tokio::io::{AsyncRead, AsyncWrite};

pub use memory::{MemoryConnector, MemoryListener, memory};
#[cfg(not(target_family = "wasm"))]
pub(crate) use tcp::{Secure, TcpConnector, dial};
#[cfg(not(target_family = "wasm"))]
pub(crate) use tunnel::TunnelConnector;

use crate::error::ConnectError;
pub use crate::platform::{BoxFuture, EndText, MaybeSend};

/// Makes the byte streams of a channel, one for each attempt.
pub trait Connector: Send + Sync + 'static {
    /// Begins an attempt. Dropping the future ends it.
    fn connect(&self) -> BoxFuture<Result<Connected, ConnectError>>;
}

/// A byte stream to the server, over which HTTP/2 is to be set up.
pub struct Connected {
    pub(crate) io: BoxIo,
    pub(crate) transport: Transport,
    pub(crate) subprotocol: Option<String>,
    pub(crate) end_text: Option<EndText>,
}

impl Connected {
    /// A byte stream of this kind.
    pub fn new(io: impl ByteStream + 'static, transport: Transport) -> Self {
        Self {
            io: Box::new(io),
            transport,
            subprotocol: None,
            end_text: None,
        }
    }

    /// Names the WebSocket subprotocol that was agreed on, for observers.
    #[must_use]
    pub fn with_subprotocol(mut self, subprotocol: Option<String>) -> Self {
        self.subprotocol = subprotocol;
        self
    }

    /// Adds a function that says why the stream ended, once it has: a close code and its reason, say.
    #[must_use]
    pub fn with_end_text(mut self, end_text: EndText) -> Self {
        self.end_text = Some(end_text);
        self
    }
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected")
            .field("transport", &self.transport)
            .field("subprotocol", &self.subprotocol)
            .finish_non_exhaustive()
    }
}

/// What HTTP/2 can run over. Every type that has the parts is one.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + MaybeSend {}
impl<T: AsyncRead + AsyncWrite + Unpin + MaybeSend> ByteStream for T {}

/// A byte stream of any transport.
pub(crate) type BoxIo = Box<dyn ByteStream>;

/// How the bytes of a connection travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// A WebSocket.
    WebSocket,
    /// A WebSocket over TLS.
    WebSocketTls,
    /// Inside the process.
    Memory,
    /// What a connector of the caller's own calls it.
    Other(&'static str),
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::WebSocket => "WebSocket",
            Self::WebSocketTls => "WebSocket over TLS",
            Self::Memory => "memory",
            Self::Other(name) => name,
        })
    }
}
