//! Limits and times of one tunnel, each with its unit, its default and what happens at the limit.
//!
//! Made by `host` and `client` from their own configuration, read by the codec. A leaf. Memory of a
//! tunnel: at most `message_bytes_max` and 14 bytes of output that the peer does not take, and less
//! than 1 KiB beside; of input nothing is kept.

use std::num::NonZeroUsize;
use std::time::Duration;

/// To a peer that agreed to our subprotocol.
const MESSAGE_BYTES_OURS: NonZeroUsize = NonZeroUsize::new(64 << 10).expect("not zero");
/// To any other: what a Go client takes unless told otherwise.
const MESSAGE_BYTES_OTHERS: NonZeroUsize = NonZeroUsize::new(32 << 10).expect("not zero");

/// Limits and times of one tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Payload of one message that this end sends, in bytes. Default 64 KiB, 32 KiB to a peer
    /// without our subprotocol: a common Go library closes a connection over a longer message
    /// unless told otherwise. A longer write takes several messages.
    pub message_bytes_max: NonZeroUsize,
    /// Payload of one data frame that this end takes, in bytes. Default 16 MiB, far beyond what
    /// HTTP/2 in a tunnel ever writes at once; no memory depends on it. Beyond it the tunnel is
    /// closed with 1009. A message of many frames may have any length.
    pub frame_bytes_max: u64,
    /// Frames without data (ping, pong, empty) that are taken within one second and without data
    /// between them. Count; default 128. Beyond it the tunnel is closed with 1008.
    pub control_frames_max: u32,
    /// Silence of the peer after which it is pinged. Default 30 s, below the 60 s after which
    /// common proxies drop an idle connection. `None` never pings and never finds a peer silent.
    pub ping_interval: Option<Duration>,
    /// Silence after a ping beyond which the peer is dead. Default 20 s: 50 s in all, as the pings of
    /// HTTP/2 have it at both ends. The tunnel then fails with `TimedOut`.
    pub ping_timeout: Duration,
    /// Longest wait for the peer's answer to a close frame, and for it to take ours. Default 5 s.
    /// Then the connection is closed without it.
    pub close_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            message_bytes_max: MESSAGE_BYTES_OURS,
            frame_bytes_max: 16 << 20,
            control_frames_max: 128,
            ping_interval: Some(Duration::from_secs(30)),
            ping_timeout: Duration::from_secs(20),
            close_timeout: Duration::from_secs(5),
        }
    }
}

impl Config {
    /// The longest message for a peer: 64 KiB when it agreed to our subprotocol, else 32 KiB.
    pub fn message_bytes_for(ours: bool) -> NonZeroUsize {
        if ours {
            MESSAGE_BYTES_OURS
        } else {
            MESSAGE_BYTES_OTHERS
        }
    }

    /// The same limits with messages no longer than a peer takes that did (`ours`) or did not
    /// agree to our subprotocol.
    #[must_use]
    pub fn for_peer(mut self, ours: bool) -> Self {
        self.message_bytes_max = self.message_bytes_max.min(Self::message_bytes_for(ours));
        self
    }
}
