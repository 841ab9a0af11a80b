//! Why a tunnel fails, who has to act, and which close code the peer is told.
//!
//! Made by the codec and by the stream over it; read by `host` and `client`, which map it to gRPC
//! codes and log lines. A leaf. Invariant: [`TunnelError::close_code`] has no wildcard arm, so
//! whoever adds a variant chooses its code here.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::close::{Close, CloseCode};

/// Why a tunnel failed. The doc comment of a variant begins with who has to act.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TunnelError {
    /// Peer: a frame has reserved bits set, and no extension was agreed. RFC 6455 5.2.
    #[error("frame has reserved bits set, though no extension was agreed")]
    ReservedBits,
    /// Peer: the opcode is none of RFC 6455's. Section 5.2.
    #[error("frame has unknown opcode {0:#x}")]
    UnknownOpcode(u8),
    /// Peer: a text message; the tunnel is bytes.
    #[error("text message on a tunnel of binary messages")]
    Text,
    /// Peer: a client's frame is not masked. RFC 6455 5.1.
    #[error("frame from a client is not masked")]
    Unmasked,
    /// Peer: a server's frame is masked. RFC 6455 5.1.
    #[error("frame from a server is masked")]
    Masked,
    /// Peer: a length takes more bytes than it needs, or its top bit is set. RFC 6455 5.2.
    #[error("frame length is not in its shortest form, or above 2^63 - 1")]
    Length,
    /// Peer: a data frame is larger than [`Config::frame_bytes_max`](crate::Config::frame_bytes_max).
    #[error("data frame of {bytes} bytes, at most {bytes_max} are taken")]
    FrameTooLarge {
        /// What its header promises.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// Peer: a control frame is fragmented. RFC 6455 5.5.
    #[error("control frame is fragmented")]
    ControlFragmented,
    /// Peer: a control frame is longer than 125 bytes. RFC 6455 5.5.
    #[error("control frame is longer than 125 bytes")]
    ControlTooLong,
    /// Peer: a continuation frame while no message is open. RFC 6455 5.4.
    #[error("continuation frame outside a message")]
    UnexpectedContinuation,
    /// Peer: a new message begins inside a fragmented one. RFC 6455 5.4.
    #[error("new message inside an unfinished one")]
    UnfinishedMessage,
    /// Peer: more than [`Config::control_frames_max`](crate::Config::control_frames_max).
    #[error("more than {0} frames in a second that carry no data")]
    ControlFlood(u32),
    /// Peer: a close frame of one byte, or with a code that no frame may carry. RFC 6455 5.5.1, 7.4.
    #[error("close frame has no valid code")]
    CloseInvalid,
    /// Peer: the reason of a close frame is not UTF-8. RFC 6455 5.5.1.
    #[error("reason of a close frame is not UTF-8")]
    CloseReasonNotUtf8,
    /// Peer: it closed the tunnel with a code that is no clean end.
    #[error("peer closed the tunnel with {0}")]
    ClosedByPeer(Close),
    /// Peer or network: nothing arrived for this long, not even the answer to a ping.
    #[error("peer was silent for {0:?} and answered no ping")]
    Silent(Duration),
    /// Peer or network: the connection ended without a close frame.
    #[error("connection ended without a close frame")]
    Vanished,
    /// Peer or network: our close frame got no answer in this time.
    #[error("peer did not answer the close frame within {0:?}")]
    CloseUnanswered(Duration),
    /// Network: reading from or writing to the connection failed.
    #[error("connection failed: {0}")]
    Connection(io::ErrorKind),
    /// Caller: this end has begun to close, nothing more can be written.
    #[error("tunnel is closing")]
    Closing,
    /// Caller: this end gave the tunnel up without a close handshake.
    #[error("tunnel was given up")]
    Aborted,
    /// Operator: the system gives no random bytes, without which a client must not send.
    #[error("system has no random bytes for masking keys")]
    NoEntropy,
}

impl TunnelError {
    /// The code that tells the peer, for failures that a peer can be told of.
    pub fn close_code(&self) -> Option<CloseCode> {
        match self {
            Self::ReservedBits
            | Self::UnknownOpcode(_)
            | Self::Unmasked
            | Self::Masked
            | Self::Length
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::UnexpectedContinuation
            | Self::UnfinishedMessage
            | Self::CloseInvalid => Some(CloseCode::PROTOCOL),
            Self::Text => Some(CloseCode::UNSUPPORTED),
            Self::CloseReasonNotUtf8 => Some(CloseCode::INVALID_DATA),
            Self::FrameTooLarge { .. } => Some(CloseCode::TOO_BIG),
            Self::ControlFlood(_) => Some(CloseCode::POLICY),
            Self::Silent(_) | Self::NoEntropy => Some(CloseCode::INTERNAL),
            Self::ClosedByPeer(_)
            | Self::Vanished
            | Self::CloseUnanswered(_)
            | Self::Connection(_)
            | Self::Closing
            | Self::Aborted => None,
        }
    }

    /// The kind of the `io::Error` that carries this error through a byte stream.
    pub fn io_kind(&self) -> io::ErrorKind {
        match self {
            Self::ReservedBits
            | Self::UnknownOpcode(_)
            | Self::Text
            | Self::Unmasked
            | Self::Masked
            | Self::Length
            | Self::FrameTooLarge { .. }
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::UnexpectedContinuation
            | Self::UnfinishedMessage
            | Self::ControlFlood(_)
            | Self::CloseInvalid
            | Self::CloseReasonNotUtf8 => io::ErrorKind::InvalidData,
            Self::Silent(_) | Self::CloseUnanswered(_) => io::ErrorKind::TimedOut,
            Self::Vanished => io::ErrorKind::UnexpectedEof,
            Self::Connection(kind) => *kind,
            Self::ClosedByPeer(_) => io::ErrorKind::ConnectionReset,
            Self::Closing => io::ErrorKind::BrokenPipe,
            Self::Aborted => io::ErrorKind::ConnectionAborted,
            Self::NoEntropy => io::ErrorKind::Other,
        }
    }
}

impl From<TunnelError> for io::Error {
    /// Keeps the error inside: `error.get_ref()` downcasts to it.
    fn from(error: TunnelError) -> Self {
        Self::new(error.io_kind(), error)
    }
}

/// How a tunnel ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The peer closed it first, with this.
    ClosedByPeer(Close),
    /// This end closed it first, with this, and the peer agreed.
    ClosedByUs(Close),
    /// It did not end by a close handshake.
    Failed(TunnelError),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClosedByPeer(close) => write!(f, "closed by the peer with {close}"),
            Self::ClosedByUs(close) => write!(f, "closed by this end with {close}"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use super::{Ending, TunnelError};
    use crate::close::{Close, CloseCode};

    #[test]
    fn an_error_survives_inside_an_io_error() {
        let error = io::Error::from(TunnelError::Text);
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        assert_eq!(inner, Some(&TunnelError::Text));
    }

    #[test]
    fn an_ending_says_who_and_why() {
        let close = Close::new(CloseCode::RESTART, "new version");
        let shown = [
            Ending::ClosedByPeer(close.clone()),
            Ending::ClosedByUs(close),
            Ending::Failed(TunnelError::Silent(Duration::from_secs(60))),
        ]
        .map(|ending| ending.to_string());
        assert_eq!(
            shown,
            [
                "closed by the peer with 1012 (new version)",
                "closed by this end with 1012 (new version)",
                "peer was silent for 60s and answered no ping",
            ]
        );
    }
}
