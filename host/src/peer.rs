//! Who is at the other end of a connection, and what the host knows of it. A leaf: listeners make it,
//! calls carry it.
//!
//! Invariant: metadata whose key begins with [`RESERVED`] is the host's word. What a caller sends under
//! such a key is never shown to a plugin (`grpc::exchange`), on any way in.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// How metadata begins that only the host sets.
pub(crate) const RESERVED: &str = "switchboard-";

/// The metadata that names a tunnel, and the origin of the page that opened it.
pub(crate) const TUNNEL_ID: &str = "switchboard-tunnel-id";
pub(crate) const ORIGIN: &str = "switchboard-origin";

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum Peer {
    /// Over TCP, with or without TLS.
    Tcp(SocketAddr),
    /// Through a tunnel.
    Tunnel(Arc<TunnelPeer>),
}

/// The other end of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TunnelPeer {
    /// Its address, as far as trusted proxies tell it; port 0 if they do not tell the port.
    pub addr: SocketAddr,
    /// Names the tunnel in logs and to plugins: 32 random hexadecimal digits.
    pub id: String,
    /// The origin of the page that opened it; none for a client that is no browser.
    pub origin: Option<String>,
    /// Who it is, if an authoriser said so.
    pub identity: Option<String>,
}

impl Peer {
    /// Names the tunnel, if it is one, as logs and plugins know it.
    pub(crate) fn tunnel_id(&self) -> Option<&str> {
        self.tunnel().map(|tunnel| &*tunnel.id)
    }

    /// The origin of the page that opened the tunnel, if one did.
    pub(crate) fn origin(&self) -> Option<&str> {
        self.tunnel()?.origin.as_deref()
    }

    fn tunnel(&self) -> Option<&TunnelPeer> {
        match self {
            Self::Tcp(_) => None,
            Self::Tunnel(tunnel) => Some(tunnel),
        }
    }

    /// What the host adds to the metadata of the peer's calls. All keys begin with [`RESERVED`].
    pub(crate) fn metadata(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let pairs = self.tunnel().map(|tunnel| {
            [
                (TUNNEL_ID, Some(&*tunnel.id)),
                (ORIGIN, tunnel.origin.as_deref()),
                ("switchboard-identity", tunnel.identity.as_deref()),
            ]
        });
        let told = |(key, value): (&'static str, Option<_>)| value.map(|value| (key, value));
        pairs.into_iter().flatten().filter_map(told)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Tunnel(tunnel) => tunnel.addr.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_says_what_is_known_of_it() {
        let mut tunnel = TunnelPeer {
            addr: "192.0.2.1:0".parse().expect("an address"),
            id: "0123".to_owned(),
            origin: None,
            identity: Some("alice".to_owned()),
        };
        let known = |tunnel: &TunnelPeer| {
            let peer = Peer::Tunnel(Arc::new(tunnel.clone()));
            assert_eq!(peer.to_string(), "192.0.2.1:0");
            assert!(peer.metadata().all(|(key, _)| key.starts_with(RESERVED)));
            peer.metadata()
                .map(|(_, value)| value.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(known(&tunnel), ["0123", "alice"]);
        tunnel.origin = Some("https://a.example".to_owned());
        assert_eq!(known(&tunnel), ["0123", "https://a.example", "alice"]);
        assert_eq!(Peer::Tcp(tunnel.addr).metadata().count(), 0);
    }
}
