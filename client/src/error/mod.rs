//! Everything that can go wrong in a channel, and the one mapping from it to gRPC codes.
//!
//! [`ConnectError`] is why an attempt to connect failed, [`CloseReason`] why a connection ended,
//! [`CallError`] why a call failed without a status of its server, [`ConfigError`] why a channel was
//! not built. A leaf: it names no foreign error type, so those stop where they occur. Texts never
//! hold a token. The table for users is in `docs/clients.md`.

mod call;
mod close;
mod connect;

pub use call::CallError;
pub(crate) use call::reason_name;
pub use close::CloseReason;
pub use connect::{ConnectError, Refusal};

/// Caller: why a channel cannot be built as asked for. Nothing was connected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The target is none of `http`, `https`, `ws` and `wss`, has no host, or a user's name in it.
    #[error(
        "{target:?} is not a target: write http://HOST:PORT, https://HOST, ws://HOST/tunnel or wss://HOST/tunnel"
    )]
    Target {
        /// What was given; never a token.
        target: String,
    },
    /// A tunnel is a WebSocket.
    #[error("{target:?} is not a tunnel: write ws://HOST/tunnel or wss://HOST/tunnel")]
    NotATunnel {
        /// What was given; never a token.
        target: String,
    },
    /// A WebSocket is all that a browser lets us open.
    #[error("a browser connects over ws:// and wss:// only, not {0}://")]
    NotInBrowsers(&'static str),
    /// `https` and `wss` need the crate's feature `tls`.
    #[error("{0}:// needs the feature `tls` of switchboard-client")]
    NoTls(&'static str),
    /// A token travels in the WebSocket's upgrade; calls over HTTP carry theirs as metadata.
    #[error("a token goes with ws:// and wss:// only: over http use metadata, `authorization`")]
    TokenWithoutTunnel,
    /// A number outside its range.
    #[error("{key} must be {rule}")]
    Range {
        /// The setting.
        key: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// A header that cannot be sent, or that the upgrade itself sets.
    #[error("header {0:?} cannot be set on the upgrade")]
    Header(String),
    /// A certificate or key that cannot be read.
    #[error("{what} cannot be read: {text}")]
    Certificate {
        /// Which one.
        what: &'static str,
        /// What the reader says.
        text: String,
    },
    /// The `:authority` asked for is none.
    #[error("{0:?} is not an authority: write HOST or HOST:PORT")]
    Authority(String),
}
