//! What the tunnel may cost, and who may open one.
//!
//! Read by `listener`; checked by [`HostConfig::check`](super::HostConfig::check). Memory of a tunnel is
//! that of any connection (its windows, its calls) and less than 100 KiB beside: messages are never
//! put together.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{Http1Config, OriginRule};

/// What a tunnel is told when the host stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DrainClose {
    /// 1001, going away. The default: every client knows it.
    #[default]
    GoingAway,
    /// 1012, service restart: a client that knows it reconnects after a random delay.
    Restart,
}

/// The tunnel: HTTP/2, and gRPC in it, over one WebSocket on the port that serves gRPC.
#[derive(Clone, Debug)]
pub struct TunnelConfig {
    /// Where it is. Default `/tunnel`.
    pub path: String,
    /// Whose pages may open one; a page must satisfy one of the rules. Default: pages of the same
    /// origin only. A client that names no origin is no browser, and is not asked for one.
    pub origins: Vec<OriginRule>,
    /// Name of the cookie that may carry the token. Default: none; then a token comes as the
    /// subprotocol `bearer.BASE64URL` or in an `Authorization: Bearer` header.
    pub cookie: Option<String>,
    /// Time for the authoriser to answer, if there is one. Default 5 s. At the limit the upgrade is
    /// answered with 503.
    pub authorise_timeout: Duration,
    /// Tunnels at once. Count; default 5 000, half of `connections_max`, of which each takes one: so
    /// tunnels cannot keep gRPC without one out. At the limit an upgrade is answered with 503.
    pub tunnels_max: NonZeroU32,
    /// Tunnels at once from one address; of IPv6 the first 64 bits count, because one customer has
    /// all that begin with them. Count; default 128: an office behind one address, and some hundred
    /// addresses to fill `tunnels_max`. At the limit an upgrade is answered with 503.
    pub tunnels_per_peer_max: NonZeroU32,
    /// Calls at once in one tunnel. Count; default 100, the least that RFC 9113 recommends. The peer
    /// is told, and refused (`REFUSED_STREAM`) above it.
    pub calls_max: NonZeroU32,
    /// Silence after which the peer is sent a WebSocket ping. Default 30 s, as for the PINGs of
    /// HTTP/2 ([`ConnectionConfig::keepalive_interval`](super::ConnectionConfig::keepalive_interval)) and
    /// below the 60 s after which common proxies drop a silent connection.
    pub ping_interval: Duration,
    /// Silence after which the peer is dead and its calls are cancelled. Default 50 s: 20 s for the
    /// answer to a ping, as HTTP/2's have it.
    pub dead_after: Duration,
    /// Time without any call after which a tunnel is closed with 1001. Default 10 min: who comes back
    /// from a pause finds it open, and a page that was forgotten costs its place for minutes, not
    /// for days. Opening it again costs a client two round trips. Pings do not count. None: never.
    pub idle_timeout: Option<Duration>,
    /// Largest WebSocket data frame that is taken, in bytes. Default 16 MiB. No memory depends on it.
    /// Beyond it the tunnel is closed with 1009.
    pub frame_bytes_max: u64,
    /// Time for the peer to answer the frame that closes its tunnel, and once more to end the
    /// connection from its side. Default 1 s. Then the connection is closed without it.
    pub close_timeout: Duration,
    /// The close code when the host stops.
    pub drain_close: DrainClose,
}

impl Default for TunnelConfig {
    fn default() -> Self {
        let count = |count| NonZeroU32::new(count).expect("no default is zero");
        Self {
            path: "/tunnel".to_owned(),
            origins: vec![OriginRule::Same],
            cookie: None,
            authorise_timeout: Duration::from_secs(5),
            tunnels_max: count(5_000),
            tunnels_per_peer_max: count(128),
            calls_max: count(100),
            ping_interval: Duration::from_secs(30),
            dead_after: Duration::from_secs(50),
            idle_timeout: Some(Duration::from_secs(600)),
            frame_bytes_max: 16 << 20,
            close_timeout: Duration::from_secs(1),
            drain_close: DrainClose::default(),
        }
    }
}

impl TunnelConfig {
    /// What [`HostConfig::check`](super::HostConfig::check) finds wrong here.
    pub(super) fn faults(&self, http1: &Http1Config) -> Vec<String> {
        let mut faults = super::above_zero(&[
            ("tunnel authorise_timeout", self.authorise_timeout),
            ("tunnel ping_interval", self.ping_interval),
            (
                "tunnel idle_timeout",
                self.idle_timeout.unwrap_or(Duration::MAX),
            ),
            ("tunnel close_timeout", self.close_timeout),
        ]);
        let mut fault = |wrong: bool, text: &str| {
            if wrong {
                faults.push(text.to_owned());
            }
        };
        fault(
            !is_path(&self.path),
            "tunnel path must begin with / and have neither ? nor # nor spaces",
        );
        fault(
            self.dead_after <= self.ping_interval,
            "tunnel dead_after must be above ping_interval, or nobody has time to answer",
        );
        // An upgrade that waits for its authoriser moves no bytes.
        fault(
            http1.stall_timeout <= self.authorise_timeout,
            "http1 stall_timeout must be above tunnel authorise_timeout",
        );
        // HTTP/2 itself writes frames of 16 KiB, and their heads.
        fault(
            self.frame_bytes_max < 32 << 10,
            "tunnel frame_bytes_max must be 32768 bytes or more",
        );
        if let Some(cookie) = &self.cookie {
            fault(!is_token(cookie), "tunnel cookie must be a cookie's name");
            // A browser adds the cookie to whatever a page of anybody opens.
            fault(
                self.origins.contains(&OriginRule::Any),
                "tunnel cookie must not come with tunnel origins '*', which lets in pages of any origin",
            );
        }
        faults
    }
}

fn is_path(path: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte);
    path.starts_with('/') && path.bytes().all(allowed)
}

/// Source: RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(edit: impl FnOnce(&mut TunnelConfig)) -> Vec<String> {
        let mut config = TunnelConfig::default();
        edit(&mut config);
        config.faults(&Http1Config::default())
    }

    #[test]
    fn the_defaults_have_no_fault() {
        assert_eq!(faults(|_| {}), [""; 0]);
    }

    #[test]
    fn a_silent_peer_is_found_as_soon_over_either_kind_of_ping() {
        let (tunnel, connection) = (
            TunnelConfig::default(),
            super::super::ConnectionConfig::default(),
        );
        assert_eq!(tunnel.ping_interval, connection.keepalive_interval);
        let answered = tunnel.dead_after - tunnel.ping_interval;
        assert_eq!(answered, connection.keepalive_timeout);
    }

    #[test]
    fn each_nonsense_is_named() {
        for (edit, named) in [
            (
                (|config| config.path = "tunnel".to_owned()) as fn(&mut TunnelConfig),
                "path",
            ),
            (|config| config.path = "/a b".to_owned(), "path"),
            (|config| config.path = "/a?b".to_owned(), "path"),
            (
                |config| config.dead_after = config.ping_interval,
                "dead_after",
            ),
            (
                |config| config.ping_interval = Duration::ZERO,
                "ping_interval",
            ),
            (
                |config| config.idle_timeout = Some(Duration::ZERO),
                "idle_timeout",
            ),
            (
                |config| config.close_timeout = Duration::ZERO,
                "close_timeout",
            ),
            (
                |config| config.authorise_timeout = Duration::from_secs(30),
                "stall_timeout",
            ),
            (|config| config.frame_bytes_max = 125, "frame_bytes_max"),
            (|config| config.cookie = Some("a b".to_owned()), "cookie"),
            (
                |config| {
                    config.cookie = Some("session".to_owned());
                    config.origins.push(OriginRule::Any);
                },
                "any origin",
            ),
        ] {
            let found = faults(edit);
            assert_eq!(found.len(), 1, "{named}: {found:?}");
            assert!(found[0].contains(named), "{named}: {found:?}");
        }
    }
}
