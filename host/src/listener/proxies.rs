//! Where a request comes from and which host it asked for, seen through proxies that are trusted.
//!
//! Used by `listener::tunnel` and `listener::cors`. Pure. Invariant: a header is believed only when the other end of the
//! connection is a trusted proxy, and of a list only the part that trusted proxies wrote, which is its
//! end: everything before it can be made up by whoever asks.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, Uri};

use crate::config::{Network, Origin};

/// How a request came here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// The address of whoever asks; port 0 if a proxy did not tell the port.
    pub client: SocketAddr,
    /// The origin that a page of this very host has; none if the request names no host.
    pub own: Option<Origin>,
}

impl Way {
    /// Of a request that came from `socket`, over TLS or not.
    pub(super) fn new(
        trusted: &[Network],
        socket: SocketAddr,
        tls: bool,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Self {
        let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
        let asked = only(headers, "host");
        let asked = uri
            .authority()
            .map(|authority| authority.as_str())
            .or(asked);
        let scheme = if tls { "https" } else { "http" };
        if !is_trusted(socket.ip()) {
            let own = asked.and_then(|host| Origin::of(scheme, host));
            let client = socket;
            return Self { client, own };
        }
        let mut client = socket;
        for hop in list(headers, "x-forwarded-for").rev() {
            // Something else than an address: the last proxy that is known is all that is known.
            let Some(hop) = hop.and_then(address) else {
                break;
            };
            client = hop;
            if !is_trusted(hop.ip()) {
                break;
            }
        }
        let last = |name| list(headers, name).next_back().flatten();
        let scheme = match last("x-forwarded-proto") {
            Some("https" | "wss") => "https",
            Some("http" | "ws") => "http",
            Some(_) | None => scheme,
        };
        let asked = last("x-forwarded-host").or(asked);
        let own = asked.and_then(|host| Origin::of(scheme, host));
        Self { client, own }
    }
}

/// The value of a header that may occur once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then(|| first.to_str().ok())?
}

/// The elements of a list, over all headers of that name; none for one that is no text.
fn list<'a>(
    headers: &'a HeaderMap,
    name: &str,
) -> impl DoubleEndedIterator<Item = Option<&'a str>> {
    let values = headers.get_all(name).iter();
    values.flat_map(|value| {
        let parts = value.as_bytes().split(|byte| *byte == b',');
        parts.map(|part| std::str::from_utf8(part).ok().map(str::trim))
    })
}

/// An address as proxies write it: alone, with a port, or in brackets.
fn address(text: &str) -> Option<SocketAddr> {
    let alone = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let address = alone.parse().map(|address| SocketAddr::new(address, 0));
    address.or_else(|_| text.parse()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect(value));
        }
        headers
    }

    fn way(socket: &str, tls: bool, pairs: &[(&'static str, &'static str)]) -> (String, String) {
        let trusted = ["10.0.0.0/8".parse().expect("a network")];
        let socket = socket.parse().expect(socket);
        let uri = Uri::from_static("/tunnel");
        let way = Way::new(&trusted, socket, tls, &uri, &headers(pairs));
        let own = way.own.map_or_else(String::new, |own| own.to_string());
        (way.client.to_string(), own)
    }

    #[test]
    fn strangers_are_not_believed() {
        let claimed = [
            ("host", "a.example:8080"),
            ("x-forwarded-for", "192.0.2.99"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
        ];
        let (client, own) = way("192.0.2.1:4000", false, &claimed);
        assert_eq!(client, "192.0.2.1:4000");
        assert_eq!(own, "http://a.example:8080");
        let (_, own) = way("192.0.2.1:4000", true, &claimed);
        assert_eq!(own, "https://a.example:8080");
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxy_is_the_client() {
        for (values, client) in [
            (&["192.0.2.7"][..], "192.0.2.7:0"),
            (&["192.0.2.7:1234"], "192.0.2.7:1234"),
            (&["2001:db8::1"], "[2001:db8::1]:0"),
            (&["[2001:db8::1]"], "[2001:db8::1]:0"),
            (&["[2001:db8::1]:99"], "[2001:db8::1]:99"),
            (&["192.0.2.66, 192.0.2.7, 10.0.0.2"], "192.0.2.7:0"),
            (
                &["192.0.2.66", "192.0.2.7", "10.0.0.2,10.0.0.3"],
                "192.0.2.7:0",
            ),
            (&["10.0.0.9, 10.0.0.8"], "10.0.0.9:0"),
            (&["192.0.2.7, unknown"], "10.0.0.1:5000"),
            (&["192.0.2.7, unknown, 10.0.0.2"], "10.0.0.2:0"),
            (&[""], "10.0.0.1:5000"),
            (&[], "10.0.0.1:5000"),
        ] {
            let pairs: Vec<_> = values
                .iter()
                .map(|value| ("x-forwarded-for", *value))
                .collect();
            assert_eq!(way("10.0.0.1:5000", false, &pairs).0, client, "{values:?}");
        }
    }

    #[test]
    fn a_trusted_proxy_says_what_was_asked_for() {
        let asked = |pairs: &[_]| way("10.0.0.1:5000", false, pairs).1;
        let host = ("host", "inner:50051");
        assert_eq!(asked(&[host]), "http://inner:50051");
        assert_eq!(
            asked(&[
                host,
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "a.example")
            ]),
            "https://a.example"
        );
        // What the proxy appended counts, not what it was sent.
        assert_eq!(
            asked(&[host, ("x-forwarded-host", "evil.example, a.example")]),
            "http://a.example"
        );
        assert_eq!(
            asked(&[host, ("x-forwarded-proto", "gopher")]),
            "http://inner:50051"
        );
    }

    #[test]
    fn two_hosts_are_none() {
        let two = [("host", "a.example"), ("host", "b.example")];
        assert_eq!(way("192.0.2.1:1", false, &two).1, "");
        assert_eq!(way("192.0.2.1:1", false, &[]).1, "");
    }
}
