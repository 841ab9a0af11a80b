//! Who may open a tunnel: the question an embedder answers, and what it is told.
//!
//! Called by `listener::tunnel` after the origin was checked and a place was taken, before the upgrade
//! is answered. Whoever answers sees the request's head and nothing more, changes nothing, and has
//! limited time. A token is never logged and never sent back; `Debug` leaves it out, and so it does
//! with the headers that may carry one.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;

use http::{HeaderMap, header};

use crate::error::BoxError;

/// Decides who may open a tunnel. Set with [`HostBuilder::authoriser`](crate::HostBuilder::authoriser);
/// without one, whoever passes the origin check may.
pub trait Authoriser: Send + Sync + 'static {
    /// Answers one upgrade.
    ///
    /// # Errors
    /// When it cannot decide. The upgrade is answered with 503 then, as it is when this takes longer
    /// than [`TunnelConfig::authorise_timeout`](crate::TunnelConfig::authorise_timeout) or panics.
    ///
    /// # Cancel safety
    /// The future is dropped when the peer is gone or has taken its request back (over HTTP/2, by resetting
    /// its stream), when the time is up, and when the host stops and has no more time.
    fn authorise<'a>(&'a self, upgrade: &'a Upgrade<'a>) -> AuthoriseFuture<'a>;
}

/// What [`Authoriser::authorise`] returns.
pub type AuthoriseFuture<'a> = Pin<Box<dyn Future<Output = Result<Verdict, BoxError>> + Send + 'a>>;

/// An authoriser's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The tunnel may be opened.
    Allow {
        /// Who it is. Plugins see it as the metadata `switchboard-identity` of each call.
        identity: Option<String>,
    },
    /// The upgrade is answered with 401.
    Deny {
        /// Why, in one line. The peer is told, and the log.
        reason: String,
    },
}

/// A request for a tunnel.
#[non_exhaustive]
#[derive(Clone)]
pub struct Upgrade<'a> {
    /// Path and query as they were asked for.
    pub path: &'a str,
    /// The page's origin, which was checked already; none if the client is no browser.
    pub origin: Option<&'a str>,
    /// The address of the peer, as far as trusted proxies tell it; port 0 if they do not tell the port.
    pub peer: SocketAddr,
    /// The token, if there is one: of the subprotocol `bearer.BASE64URL` (decoded), else of an
    /// `Authorization: Bearer` header, else of the configured cookie.
    pub token: Option<&'a [u8]>,
    /// All headers of the request.
    pub headers: &'a HeaderMap,
}

impl<'a> Upgrade<'a> {
    /// A request with these headers and nothing else, for an authoriser's tests.
    #[must_use]
    pub fn new(path: &'a str, headers: &'a HeaderMap) -> Self {
        Self {
            path,
            origin: None,
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            token: None,
            headers,
        }
    }
}

impl fmt::Debug for Upgrade<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The query may hold a ticket.
        let path = self.path.split('?').next().unwrap_or_default();
        f.debug_struct("Upgrade")
            .field("path", &path)
            .field("origin", &self.origin)
            .field("peer", &self.peer)
            .field("has_token", &self.token.is_some())
            .finish_non_exhaustive()
    }
}

/// The token in the headers: of `Authorization: Bearer`, else of the cookie of this name.
pub(super) fn token_in<'a>(headers: &'a HeaderMap, cookie: Option<&str>) -> Option<&'a [u8]> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.as_bytes().split_at_checked(7)?;
        scheme
            .eq_ignore_ascii_case(b"Bearer ")
            .then(|| token.trim_ascii())
    });
    bearer.or_else(|| cookie_in(headers, cookie?))
}

/// The first cookie of this name. Source: RFC 6265, section 4.2.1.
fn cookie_in<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let lists = headers.get_all(header::COOKIE).iter();
    let pairs = lists.flat_map(|list| list.as_bytes().split(|byte| *byte == b';'));
    pairs
        .filter_map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=')?;
            Some((pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()))
        })
        .find(|(key, _)| *key == name.as_bytes())
        .map(|(_, value)| {
            let quoted = value
                .strip_prefix(b"\"")
                .and_then(|rest| rest.strip_suffix(b"\""));
            quoted.unwrap_or(value)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pairs: &[(&'static str, &'static str)], cookie: Option<&str>) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect(value));
        }
        let token = token_in(&headers, cookie)?;
        Some(String::from_utf8(token.to_vec()).expect("text"))
    }

    #[test]
    fn tokens_in_headers() {
        for (pairs, cookie, token) in [
            (&[("authorization", "Bearer abc")][..], None, Some("abc")),
            (&[("authorization", "bearer  abc ")], None, Some("abc")),
            (&[("authorization", "Basic abc")], None, None),
            (&[("authorization", "Bear")], None, None),
            (&[("cookie", "session=abc")], None, None),
            (&[("cookie", "session=abc")], Some("session"), Some("abc")),
            (
                &[("cookie", "a=1; session=\"abc\"; b=2")],
                Some("session"),
                Some("abc"),
            ),
            (
                &[("cookie", "a=1"), ("cookie", "session=x=y")],
                Some("session"),
                Some("x=y"),
            ),
            (
                &[("cookie", "Session=abc; sessions=abc; session")],
                Some("session"),
                None,
            ),
            (
                &[("cookie", "session=c"), ("authorization", "Bearer b")],
                Some("session"),
                Some("b"),
            ),
        ] {
            assert_eq!(found(pairs, cookie).as_deref(), token, "{pairs:?}");
        }
    }

    #[test]
    fn what_is_printed_holds_no_secret() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, "session=secret".parse().expect("a value"));
        let mut upgrade = Upgrade::new("/tunnel?ticket=secret", &headers);
        upgrade.token = Some(b"secret");
        let printed = format!("{upgrade:?}");
        assert!(
            !printed.contains("secret") && !printed.contains("115"),
            "{printed}"
        );
    }
}
