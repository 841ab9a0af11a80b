//! Why a connection ended.
//!
//! Made by the connection's driver, told to observers in events and quoted in the status of the calls
//! that the end took along. A leaf.

use std::time::Duration;

/// Why a connection ended. The doc comment of a variant begins with whose doing it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// Caller: the channel was stopped.
    #[error("the channel was stopped")]
    Stopped,
    /// Caller: the last clone of the channel is gone.
    #[error("the channel was dropped")]
    Dropped,
    /// Caller: asked for another connection.
    #[error("another connection was asked for")]
    Replaced,
    /// Caller: no call for as long as the configuration allows.
    #[error("no call for {0:?}")]
    Idle(Duration),
    /// Us: the connection has carried as many calls as HTTP/2 can number.
    #[error("the connection is used up")]
    UsedUp,
    /// Peer: it takes no more calls on this connection.
    #[error("the server takes no more calls on this connection (GOAWAY {code}{text})")]
    GoAway {
        /// The name or number of the HTTP/2 error code; `NO_ERROR` for an ordinary drain.
        code: String,
        /// What the server adds, with a colon before it; empty when it adds nothing.
        text: String,
    },
    /// Peer or network: no answer to a PING in this time.
    #[error("the server does not answer a PING within {0:?}")]
    Silent(Duration),
    /// Peer or network: the byte stream ended or failed.
    #[error("the connection is gone: {0}")]
    Lost(String),
    /// Peer: it broke HTTP/2.
    #[error("the server broke HTTP/2: {0}")]
    Protocol(String),
    /// Caller: the runtime that drove the connection has ended.
    #[error("the runtime that drove the connection has ended")]
    RuntimeEnded,
}

impl CloseReason {
    /// Whether it was the server's doing, or that of something on the way.
    pub(crate) fn is_theirs(&self) -> bool {
        match self {
            Self::GoAway { .. } | Self::Silent(_) | Self::Lost(_) | Self::Protocol(_) => true,
            Self::Stopped
            | Self::Dropped
            | Self::Replaced
            | Self::Idle(_)
            | Self::UsedUp
            | Self::RuntimeEnded => false,
        }
    }
}
