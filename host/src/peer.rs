//! Who is at the other end of a connection, and what the host knows of it. A leaf: listeners make it,
//! calls carry it.
//!
//! Invariant: metadata whose key begins with [`RESERVED`] is the host's word. What a caller sends under
//! such a key is never shown to a plugin (`grpc::exchange`), on any way in. What stands in a [`Client`]
//! was verified: the certificate by its signatures, up to a CA that the operator named.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// How metadata begins that only the host sets.
pub(crate) const RESERVED: &str = "switchboard-";

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum Peer {
    /// Over TCP, with or without TLS.
    Tcp(SocketAddr),
    /// Over TLS, with a certificate that was verified.
    Certified {
        /// Its address.
        addr: SocketAddr,
        /// Who it is.
        client: Arc<Client>,
    },
    /// Over a Unix socket, from this machine.
    Unix,
    /// Through a tunnel.
    Tunnel(Arc<TunnelPeer>),
}

/// Who the owner of a verified certificate is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Client {
    /// Its subject as RFC 4514 writes it, such as `CN=reporter,O=Example`; none if it is empty.
    pub subject: Option<String>,
    /// The alternative names of the subject, of each kind in the order of the certificate.
    pub dns: Vec<String>,
    /// SPIFFE ids are of this kind.
    pub uri: Vec<String>,
    pub email: Vec<String>,
    pub ip: Vec<String>,
}

impl Client {
    fn metadata(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let subject = self
            .subject
            .iter()
            .map(|name| ("switchboard-client-subject", name));
        let named = [
            ("switchboard-client-uri", &self.uri),
            ("switchboard-client-dns", &self.dns),
            ("switchboard-client-email", &self.email),
            ("switchboard-client-ip", &self.ip),
        ];
        let named = named
            .into_iter()
            .flat_map(|(key, names)| names.iter().map(move |name| (key, name)));
        subject.chain(named).map(|(key, name)| (key, name.as_str()))
    }
}

/// For the log: the subject, or else the first name there is.
impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.metadata().next();
        f.write_str(first.map_or("a certificate without a name", |(_, name)| name))
    }
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
    /// Who opened the connection that carries it, if that had a certificate.
    pub client: Option<Arc<Client>>,
}

impl Peer {
    /// Who it is by its certificate, or by that of whoever carries its tunnel.
    pub(crate) fn client(&self) -> Option<&Arc<Client>> {
        match self {
            Self::Tcp(_) | Self::Unix => None,
            Self::Certified { client, .. } => Some(client),
            Self::Tunnel(tunnel) => tunnel.client.as_ref(),
        }
    }

    /// What the host adds to the metadata of the peer's calls. All keys begin with [`RESERVED`].
    pub(crate) fn metadata(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let tunnel = match self {
            Self::Tcp(_) | Self::Certified { .. } | Self::Unix => None,
            Self::Tunnel(tunnel) => Some(tunnel),
        };
        let pairs = tunnel.map(|tunnel| {
            [
                ("switchboard-tunnel-id", Some(&*tunnel.id)),
                ("switchboard-origin", tunnel.origin.as_deref()),
                ("switchboard-identity", tunnel.identity.as_deref()),
            ]
        });
        let told = |(key, value): (&'static str, Option<_>)| value.map(|value| (key, value));
        let client = self
            .client()
            .into_iter()
            .flat_map(|client| client.metadata());
        pairs.into_iter().flatten().filter_map(told).chain(client)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) | Self::Certified { addr, .. } => addr.fmt(f),
            Self::Unix => f.write_str("unix"),
            Self::Tunnel(tunnel) => tunnel.addr.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(peer: &Peer) -> Vec<String> {
        assert!(peer.metadata().all(|(key, _)| key.starts_with(RESERVED)));
        peer.metadata()
            .map(|(_, value)| value.to_owned())
            .collect::<Vec<_>>()
    }

    #[test]
    fn a_tunnel_says_what_is_known_of_it() {
        let mut tunnel = TunnelPeer {
            addr: "192.0.2.1:0".parse().expect("an address"),
            id: "0123".to_owned(),
            origin: None,
            identity: Some("alice".to_owned()),
            client: None,
        };
        let known = |tunnel: &TunnelPeer| {
            let peer = Peer::Tunnel(Arc::new(tunnel.clone()));
            assert_eq!(peer.to_string(), "192.0.2.1:0");
            known(&peer)
        };
        assert_eq!(known(&tunnel), ["0123", "alice"]);
        tunnel.origin = Some("https://a.example".to_owned());
        assert_eq!(known(&tunnel), ["0123", "https://a.example", "alice"]);
        let subject = Some("CN=ingress".to_owned());
        tunnel.client = Some(Arc::new(Client {
            subject,
            ..Client::default()
        }));
        let expected = ["0123", "https://a.example", "alice", "CN=ingress"];
        assert_eq!(known(&tunnel), expected);
        assert_eq!(Peer::Tcp(tunnel.addr).metadata().count(), 0);
        assert_eq!(Peer::Unix.metadata().count(), 0);
    }

    #[test]
    fn a_certificate_gives_all_its_names() {
        let mut client = Client {
            subject: None,
            dns: vec!["a.example".to_owned(), "b.example".to_owned()],
            uri: vec!["spiffe://example/a".to_owned()],
            email: vec!["a@example".to_owned()],
            ip: vec!["192.0.2.7".to_owned()],
        };
        assert_eq!(client.to_string(), "spiffe://example/a");
        client.subject = Some("CN=a".to_owned());
        assert_eq!(client.to_string(), "CN=a");
        let addr = "192.0.2.1:4000".parse().expect("an address");
        let client = Arc::new(client);
        let peer = Peer::Certified { addr, client };
        assert_eq!(peer.to_string(), "192.0.2.1:4000");
        assert_eq!(
            known(&peer),
            [
                "CN=a",
                "spiffe://example/a",
                "a.example",
                "b.example",
                "a@example",
                "192.0.2.7"
            ]
        );
        assert_eq!(
            Client::default().to_string(),
            "a certificate without a name"
        );
    }
}
