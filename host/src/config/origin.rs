//! Web origins, and which of them may open a tunnel or call by gRPC-Web.
//!
//! A leaf: text in, values out. `listener::origin` compares what a browser sent with these rules; who
//! may be trusted to say which host was asked for is `listener::proxies`' business.
//! Source: RFC 6454, sections 4 to 7.

use std::fmt;
use std::str::FromStr;

/// A web origin: scheme, host and port, in one spelling for all that are the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    /// The origin of what `authority` (`host` or `host:port`, as in a `Host` header) serves under
    /// `scheme`; none if it is no authority.
    #[must_use]
    pub fn of(scheme: &str, authority: &str) -> Option<Self> {
        let scheme = scheme.to_ascii_lowercase();
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        let begins_well = scheme
            .as_bytes()
            .first()
            .is_some_and(u8::is_ascii_alphabetic);
        if !begins_well || !scheme.bytes().all(is_scheme) {
            return None;
        }
        let (host, port) = split_port(authority)?;
        // "If the port is the default port for the protocol ..., let it be empty" is what browsers do;
        // spelling both ways alike makes `https://a` and `https://a:443` one origin.
        let port = port.filter(|port| Some(*port) != default_port(&scheme));
        Some(Self {
            scheme,
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(end);
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
    let valid = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(inside),
    };
    let port = match rest.strip_prefix(':') {
        None => None,
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok()?)
        }
        Some(_) => return None,
    };
    valid.then_some((host, port))
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// Why a text is no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an origin: write scheme://host or scheme://host:port, without a path")]
pub struct OriginError;

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let (scheme, authority) = text.split_once("://").ok_or(OriginError)?;
        Self::of(scheme, authority).ok_or(OriginError)
    }
}

/// Whose pages may open a tunnel, or call by gRPC-Web.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OriginRule {
    /// Pages from this host itself, as the browser was told its name: `same`.
    Same,
    /// Pages of one origin.
    Exactly(Origin),
    /// Any page of anybody, and files opened from disk: `*`.
    Any,
}

impl fmt::Display for OriginRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => f.write_str("same"),
            Self::Exactly(origin) => origin.fmt(f),
            Self::Any => f.write_str("*"),
        }
    }
}

impl FromStr for OriginRule {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        match text {
            "same" => Ok(Self::Same),
            "*" => Ok(Self::Any),
            origin => origin.parse().map(Self::Exactly),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_origin_has_one_spelling() {
        for (text, spelling) in [
            ("https://a.example", "https://a.example"),
            ("HTTPS://A.Example:443", "https://a.example"),
            ("http://a.example:80", "http://a.example"),
            ("http://a.example:443", "http://a.example:443"),
            ("http://192.0.2.1:8080", "http://192.0.2.1:8080"),
            ("http://[2001:DB8::1]:8080", "http://[2001:db8::1]:8080"),
            ("http://[::1]", "http://[::1]"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ] {
            let origin: Origin = text.parse().expect(text);
            assert_eq!(origin.to_string(), spelling, "{text}");
        }
    }

    #[test]
    fn what_is_no_origin_is_none() {
        for text in [
            "",
            "null",
            "a.example",
            "://a.example",
            "https://",
            "https://a.example/",
            "https://a.example/path",
            "https://a.example:",
            "https://a.example:port",
            "https://a.example:65536",
            "https://user@a.example",
            "https://a b",
            "https://[::1",
            "https://[nonsense]",
            "1https://a",
            "https://a.example\u{e9}",
        ] {
            assert_eq!(text.parse::<Origin>(), Err(OriginError), "{text:?}");
        }
    }

    #[test]
    fn rules_are_words_or_origins() {
        assert_eq!("same".parse(), Ok(OriginRule::Same));
        assert_eq!("*".parse(), Ok(OriginRule::Any));
        let origin = "https://a.example".parse().expect("an origin");
        assert_eq!(
            "https://a.example:443".parse(),
            Ok(OriginRule::Exactly(origin))
        );
        assert_eq!("*.example".parse::<OriginRule>(), Err(OriginError));
        assert_eq!("https://*.example".parse::<OriginRule>(), Err(OriginError));
    }
}
