//! Where a channel connects to: `http://HOST:PORT`, `https://HOST`, `ws://HOST/tunnel`, `wss://HOST/tunnel`.
//!
//! Parsed once, by the builder of a channel and by `tunnel::connect`; read by transports. A leaf.
//! Invariant: there is a host, and no user's name; `Display` shows no query, since people put
//! one-time tickets there.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::Authority;

use crate::error::ConfigError;

/// How bytes get to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP/2 over TCP, without negotiation.
    Http,
    /// HTTP/2 over TLS.
    Https,
    /// HTTP/2 in a WebSocket.
    Ws,
    /// HTTP/2 in a WebSocket over TLS.
    Wss,
}

impl Scheme {
    /// As it is written before `://`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// Whether TLS protects it.
    #[must_use]
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Wss)
    }

    /// Whether it is a WebSocket.
    #[must_use]
    pub fn is_tunnel(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }
}

/// Where to connect to.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    scheme: Scheme,
    uri: Uri,
    authority: Authority,
}

impl Target {
    /// How bytes get there.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The address in full.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The name or address of the host; an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.authority.host();
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
    }

    /// The port; 80 or 443 when none is written.
    #[must_use]
    pub fn port(&self) -> u16 {
        let standard = if self.scheme.is_tls() { 443 } else { 80 };
        self.authority.port_u16().unwrap_or(standard)
    }

    /// Host and port as they are written.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }
}

impl FromStr for Target {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let wrong = || ConfigError::Target {
            target: shown(text),
        };
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            Some("ws") => Scheme::Ws,
            Some("wss") => Scheme::Wss,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().cloned().ok_or_else(wrong)?;
        // A path means nothing where calls bring their own.
        let stray = !scheme.is_tunnel() && (uri.path() != "/" || uri.query().is_some());
        // A port that is no number, or zero, is found here and not by a resolver.
        let port = authority
            .as_str()
            .rsplit_once(':')
            .filter(|(_, port)| !port.ends_with(']'))
            .is_none_or(|(_, port)| port.parse::<u16>().is_ok_and(|port| port != 0));
        if stray || !port || authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(wrong());
        }
        Ok(Self {
            scheme,
            uri,
            authority,
        })
    }
}

/// A target as it was given, without what may be a secret in it: a query, where people put one-time
/// tickets, and a user's name and password.
pub(crate) fn shown(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or(text);
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    let authority = rest.split('/').next().unwrap_or(rest);
    let rest = match authority.rfind('@') {
        Some(at) => format!("..{}", &rest[at..]),
        None => rest.to_owned(),
    };
    scheme + &rest
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.scheme.is_tunnel() {
            self.uri.path()
        } else {
            ""
        };
        write!(f, "{}://{}{path}", self.scheme.name(), self.authority)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read() {
        let table = [
            ("http://host.test:50051", Scheme::Http, "host.test", 50051),
            ("https://example.test", Scheme::Https, "example.test", 443),
            ("ws://10.0.0.1/tunnel", Scheme::Ws, "10.0.0.1", 80),
            ("wss://[fe80::1]:8443/a/b?c=d", Scheme::Wss, "fe80::1", 8443),
            ("http://[::1]/", Scheme::Http, "::1", 80),
        ];
        for (text, scheme, host, port) in table {
            let target: Target = text.parse().expect(text);
            assert_eq!(
                (target.scheme(), target.host(), target.port()),
                (scheme, host, port)
            );
        }
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for text in [
            "",
            "host.test:50051",
            "ftp://host.test",
            "/tunnel",
            "http://",
            "http://user@host.test",
            "ws://:80/tunnel",
            "http://host.test:0",
            "http://host.test:99999",
            "http://host.test/path",
            "http://host.test/?query",
        ] {
            let parsed: Result<Target, _> = text.parse();
            assert!(
                matches!(parsed, Err(ConfigError::Target { .. })),
                "{text}: {parsed:?}"
            );
        }
    }

    #[test]
    fn a_ticket_in_the_query_is_not_shown() {
        let target: Target = "wss://example.test/tunnel?ticket=secret"
            .parse()
            .expect("a target");
        let shown = format!("{target} {target:?}");
        assert!(!shown.contains("secret"), "{shown}");
        let wrong: ConfigError = "wss:///tunnel?ticket=secret"
            .parse::<Target>()
            .expect_err("no host");
        assert!(!wrong.to_string().contains("secret"), "{wrong}");
    }

    #[test]
    fn nothing_that_is_built_from_a_url_shows_its_secrets() {
        for url in [
            "wss://example.test/tunnel?ticket=secret",
            "wss://example.test?ticket=secret",
            "wss://example.test/tunnel#secret",
            "wss://user:secret@example.test/tunnel",
            "user:secret@example.test/tunnel",
        ] {
            let channel = crate::Channel::builder(url);
            let mut texts = vec![shown(url), format!("{channel:?} {channel:#?}")];
            if let Err(wrong) = channel.build() {
                texts.push(format!("{wrong} {wrong:?}"));
            }
            #[cfg(not(target_family = "wasm"))]
            {
                let tunnel = crate::tunnel::TunnelTarget::builder(url);
                texts.push(format!("{tunnel:?} {tunnel:#?}"));
                texts.push(format!("{:?}", tunnel.build()));
            }
            for text in texts {
                assert!(!text.contains("secret"), "{url}: {text}");
                assert!(text.contains("example.test"), "{url}: {text}");
            }
        }
        assert_eq!(shown("http://host.test:1/path"), "http://host.test:1/path");
        assert_eq!(shown("/tunnel?ticket=1"), "/tunnel");
        assert_eq!(shown("ws://me@h/@"), "ws://..@h/@");
    }
}
