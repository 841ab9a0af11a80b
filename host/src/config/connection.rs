//! What one connection may cost, how long it may last, and how many there may be.
//!
//! Read by `listener` (how many) and `grpc::connection` (all else); checked by
//! [`HostConfig::check`](super::HostConfig::check). A connection that nobody uses ends in one of four ways,
//! each with its own time: it is not set up, it asks nothing, its peer is dead, it has no calls any more.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{CallConfig, PingConfig};

/// Largest header block that is read if nothing else is said, in bytes: room for a request that is over
/// our own limit to be answered as gRPC has it, instead of with 431. No more, because trailers of requests may
/// be as large, and HTTP/2 holds them until their calls are looked at.
const HEADER_LIST_BYTES: u32 = 32 << 10;

/// Largest header block that may be configured, in bytes: beyond it, the `http` crate cannot hold what a
/// peer may send.
const HEADER_LIST_BYTES_MAX: u32 = 1 << 20;

/// Limits of a connection and of all of them.
#[derive(Clone, Debug)]
pub struct ConnectionConfig {
    /// Connections at once. Count; default 10 000. At the limit new ones wait in the kernel's
    /// backlog.
    pub connections_max: NonZeroU32,
    /// Connections at once from one address; of IPv6 the first 64 bits count. Count; default: none,
    /// because all clients of a load balancer have its address. Trusted proxies and Unix sockets are
    /// not counted. At the limit a new connection is closed at once.
    pub connections_per_peer_max: Option<NonZeroU32>,
    /// Calls at once on one connection. Count; default 256. The peer is told, and refused
    /// (`REFUSED_STREAM`) above it.
    pub calls_max: NonZeroU32,
    /// Time for each step of a connection's beginning: TLS, the first bytes, the set-up of HTTP/2.
    /// Default 10 s. Beyond it the connection is closed.
    pub handshake_timeout: Duration,
    /// Time for the first request to come, once HTTP/2 is set up. Default 60 s: gRPC channels may
    /// connect before they are used, and one that is told to go (GOAWAY) connects again when it is;
    /// what a server that waits for ever keeps instead are the connections of port scanners and
    /// floods. Beyond it the connection is told to end. None: never. A tunnel has
    /// [`TunnelConfig::idle_timeout`](super::TunnelConfig::idle_timeout) instead.
    pub first_request_timeout: Option<Duration>,
    /// A PING is sent after this time in which nothing came. Default 30 s.
    pub keepalive_interval: Duration,
    /// The connection ends when the PING is not answered in this time. Default 20 s.
    pub keepalive_timeout: Duration,
    /// Time in which a peer must take a byte of what waits to be sent to it. Default 60 s: longer than
    /// it may be silent, since a page that computes takes nothing either, and what waits is bounded.
    /// Before twice of it has passed the connection ends, and its calls are cancelled. Tunnels too:
    /// their pings, like any question, do not reach a peer that takes nothing.
    pub send_stall_timeout: Duration,
    /// Whether a connection without a call is asked too. Default: yes, or one whose peer has lost
    /// power stays for ever, unless `idle_timeout` ends it.
    pub keepalive_without_calls: bool,
    /// Which pings a peer may send.
    pub pings: PingConfig,
    /// Age at which a connection is told to end (GOAWAY), give or take a tenth, so that connections
    /// that were made together do not end together. Default: none, as other gRPC servers have it; set
    /// it where a load balancer should spread clients anew. Source of the tenth: gRFC A9.
    pub age_max: Option<Duration>,
    /// Time for the calls of such a connection to end. Default 30 s, as long as those of a host that
    /// stops. At the limit they are cancelled (`UNAVAILABLE`) and the connection is closed.
    pub age_grace: Duration,
    /// Largest header block that is read at all, in bytes as HTTP/2 counts them, 1 MiB at most. The
    /// peer is told, and answered with 431 above it. Default: 32 KiB, or twice
    /// [`CallConfig::metadata_bytes_max`] if that is more.
    pub header_list_bytes_max: Option<u32>,
    /// Bytes a peer may send on one stream before the plugin reads. Default 512 KiB.
    pub stream_window_bytes: u32,
    /// Bytes a peer may send on all streams before plugins read. Default 4 MiB: large requests that wait for room
    /// (`BufferConfig::unread_bytes_max`) must leave some for those that have it. Beside them each call
    /// may hold one message that is not whole yet.
    pub connection_window_bytes: u32,
    /// Bytes of one response stream that wait for the socket. Default 256 KiB.
    pub send_buffer_bytes: usize,
    /// Time without any call after which the connection is told to end (GOAWAY). Default: none, as
    /// other gRPC servers have it; tunnels have
    /// [`TunnelConfig::idle_timeout`](super::TunnelConfig::idle_timeout).
    pub idle_timeout: Option<Duration>,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            connections_max: NonZeroU32::new(10_000).expect("10 000 is not zero"),
            connections_per_peer_max: None,
            calls_max: NonZeroU32::new(256).expect("256 is not zero"),
            handshake_timeout: Duration::from_secs(10),
            first_request_timeout: Some(Duration::from_secs(60)),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(20),
            send_stall_timeout: Duration::from_secs(60),
            keepalive_without_calls: true,
            pings: PingConfig::default(),
            age_max: None,
            age_grace: Duration::from_secs(30),
            header_list_bytes_max: None,
            stream_window_bytes: 512 << 10,
            connection_window_bytes: 4 << 20,
            send_buffer_bytes: 256 << 10,
            idle_timeout: None,
        }
    }
}

impl ConnectionConfig {
    /// The header block that is read at most, in bytes, where a call may have this much metadata.
    pub(crate) fn header_list_bytes(&self, call: &CallConfig) -> u32 {
        self.header_list_bytes_max.unwrap_or_else(|| {
            let metadata = u32::try_from(call.metadata_bytes_max).unwrap_or(u32::MAX);
            metadata.saturating_mul(2).max(HEADER_LIST_BYTES)
        })
    }

    /// What [`HostConfig::check`](super::HostConfig::check) finds wrong here.
    pub(super) fn faults(&self, call: &CallConfig) -> Vec<String> {
        let unless_none = |time: Option<Duration>| time.unwrap_or(Duration::MAX);
        let mut faults = super::above_zero(&[
            ("handshake_timeout", self.handshake_timeout),
            (
                "first_request_timeout",
                unless_none(self.first_request_timeout),
            ),
            ("keepalive_interval", self.keepalive_interval),
            ("keepalive_timeout", self.keepalive_timeout),
            ("send_stall_timeout", self.send_stall_timeout),
            ("connection age_max", unless_none(self.age_max)),
            ("connection idle_timeout", unless_none(self.idle_timeout)),
        ]);
        if let Some(bytes) = self.header_list_bytes_max {
            let least = u32::try_from(call.metadata_bytes_max).unwrap_or(u32::MAX);
            if !(least..=HEADER_LIST_BYTES_MAX).contains(&bytes) {
                faults.push(format!(
                    "header_list_bytes_max must be metadata_bytes_max ({least}) to \
                     {HEADER_LIST_BYTES_MAX} bytes, not {bytes}"
                ));
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(edit: impl FnOnce(&mut ConnectionConfig)) -> Vec<String> {
        let mut config = ConnectionConfig::default();
        edit(&mut config);
        config.faults(&CallConfig::default())
    }

    #[test]
    fn the_defaults_have_no_fault() {
        assert_eq!(faults(|_| {}), [""; 0]);
    }

    #[test]
    fn each_nonsense_is_named() {
        type Edit = fn(&mut ConnectionConfig);
        let zero = Duration::ZERO;
        for (edit, named) in [
            (
                (|config| config.handshake_timeout = Duration::ZERO) as Edit,
                "handshake_timeout",
            ),
            (
                |config| config.first_request_timeout = Some(Duration::ZERO),
                "first_request_timeout",
            ),
            (
                |config| config.keepalive_interval = Duration::ZERO,
                "keepalive_interval",
            ),
            (
                |config| config.keepalive_timeout = Duration::ZERO,
                "keepalive_timeout",
            ),
            (
                |config| config.send_stall_timeout = Duration::ZERO,
                "send_stall_timeout",
            ),
            (
                |config| config.age_max = Some(Duration::ZERO),
                "connection age_max",
            ),
            (
                |config| config.idle_timeout = Some(Duration::ZERO),
                "connection idle_timeout",
            ),
            (
                |config| config.header_list_bytes_max = Some(1000),
                "header_list_bytes_max must be metadata_bytes_max (16384) to 1048576",
            ),
            (
                |config| config.header_list_bytes_max = Some(u32::MAX),
                "header_list_bytes_max",
            ),
        ] {
            let found = faults(edit);
            assert_eq!(found.len(), 1, "{named}: {found:?}");
            assert!(found[0].contains(named), "{named}: {found:?}");
        }
        // To be cut at once is a choice.
        assert_eq!(faults(|config| config.age_grace = zero), [""; 0]);
    }

    #[test]
    fn the_header_list_has_room_for_what_is_refused_as_grpc() {
        let (mut config, mut call) = (ConnectionConfig::default(), CallConfig::default());
        assert_eq!(config.header_list_bytes(&call), 32 << 10);
        call.metadata_bytes_max = 100 << 10;
        assert_eq!(config.header_list_bytes(&call), 200 << 10);
        config.header_list_bytes_max = Some(128 << 10);
        assert_eq!(config.header_list_bytes(&call), 128 << 10);
    }
}
