//! What is sent as the head of a request: address, headers, deadline; and the options of a call.
//!
//! The fixed part is made once for a channel. Pure. Invariant: `grpc-timeout` says what is left of
//! the deadline when the request goes out, not what there was before it waited for a connection.
//! Source: PROTOCOL-HTTP2.md of gRPC, "Requests".

use std::time::Duration;

use http::header::{HeaderValue, USER_AGENT};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Request, Uri, Version};

use super::timer::Timer;
use crate::config::Config;
use crate::error::CallError;

const TIMEOUT: &str = "grpc-timeout";

/// Put among the extensions of a request, says whether that call waits for a connection after an
/// attempt has failed: `request.extensions_mut().insert(WaitForReady(true))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitForReady(pub bool);

/// What a call asks for besides its message.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) deadline: Option<Duration>,
    pub(super) wait_for_ready: bool,
}

impl Options {
    pub(super) fn take(parts: &mut Parts, config: &Config) -> Self {
        let asked = parts.extensions.get::<WaitForReady>();
        let timeout = parts.headers.remove(TIMEOUT);
        Self {
            deadline: timeout
                .as_ref()
                .and_then(parse_timeout)
                .or(config.deadline_default),
            wait_for_ready: asked.map_or(config.wait_for_ready, |asked| asked.0),
        }
    }
}

/// The part of a head that is the same for all calls of a channel.
#[derive(Debug)]
pub(crate) struct Heading {
    scheme: Scheme,
    authority: Authority,
    user_agent: HeaderValue,
}

impl Heading {
    pub(crate) fn new(tls: bool, authority: Authority, user_agent: HeaderValue) -> Self {
        let scheme = if tls { Scheme::HTTPS } else { Scheme::HTTP };
        Self {
            scheme,
            authority,
            user_agent,
        }
    }

    /// The head of a request. A client that was given an origin of its own keeps it.
    pub(super) fn head(&self, parts: Parts) -> Request<()> {
        let mut uri = parts.uri.into_parts();
        let authority = &self.authority;
        uri.authority.get_or_insert_with(|| authority.clone());
        uri.scheme.get_or_insert_with(|| self.scheme.clone());
        uri.path_and_query
            .get_or_insert_with(|| PathAndQuery::from_static("/"));
        let mut head = Request::new(());
        *head.method_mut() = parts.method;
        *head.version_mut() = Version::HTTP_2;
        // All three parts are there, so this cannot fail.
        *head.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        *head.headers_mut() = parts.headers;
        head.headers_mut()
            .entry(USER_AGENT)
            .or_insert_with(|| self.user_agent.clone());
        head
    }
}

/// Says how much time is left.
///
/// # Errors
/// When there is none.
pub(super) fn with_time_left(
    mut head: Request<()>,
    timer: Option<&Timer>,
) -> Result<Request<()>, CallError> {
    if let Some(timer) = timer {
        put_timeout(head.headers_mut(), timer.left()?);
    }
    Ok(head)
}

fn put_timeout(headers: &mut HeaderMap, left: Duration) {
    // At most eight digits, and rounded up, so that nothing becomes zero.
    const NUMBER_MAX: u128 = 99_999_999;
    let units = [(1_000, "u"), (1_000_000, "m"), (1_000_000_000, "S")];
    let nanos = left.as_nanos();
    let fitting = units.iter().find_map(|(unit, name)| {
        let number = nanos.div_ceil(*unit);
        (number <= NUMBER_MAX).then(|| format!("{number}{name}"))
    });
    // Beyond three years: as good as none.
    if let Some(value) = fitting.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(TIMEOUT, value);
    }
}

fn parse_timeout(value: &HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(number * 3600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_in_all_units() {
        let table = [
            ("2H", Some(7_200_000_000_000)),
            ("3M", Some(180_000_000_000)),
            ("4S", Some(4_000_000_000)),
            ("5m", Some(5_000_000)),
            ("6u", Some(6_000)),
            ("7n", Some(7)),
            ("99999999n", Some(99_999_999)),
            ("999999999n", None),
            ("S", None),
            ("+1S", None),
            ("1", None),
            ("", None),
            ("1x", None),
        ];
        for (text, nanos) in table {
            let value = HeaderValue::from_static(text);
            let expected = nanos.map(Duration::from_nanos);
            assert_eq!(parse_timeout(&value), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_left_is_written_in_eight_digits_and_never_less() {
        let table = [
            (Duration::from_nanos(1), "1u"),
            (Duration::from_millis(1500), "1500000u"),
            (Duration::from_secs(99), "99000000u"),
            (Duration::from_secs(3600), "3600000m"),
            (Duration::from_secs(90_000_000), "90000000S"),
        ];
        for (left, expected) in table {
            let mut headers = HeaderMap::new();
            put_timeout(&mut headers, left);
            assert_eq!(headers[TIMEOUT], expected);
            let read = parse_timeout(&headers[TIMEOUT]).expect("ours");
            assert!(read >= left, "{left:?} became {read:?}");
        }
        let mut headers = HeaderMap::new();
        put_timeout(&mut headers, Duration::MAX);
        assert!(headers.is_empty());
    }

    #[test]
    fn a_head_has_the_channels_address_unless_the_client_has_its_own() {
        let heading = Heading::new(
            true,
            Authority::from_static("example.test:8443"),
            HeaderValue::from_static("agent"),
        );
        let head = |uri: &'static str| {
            let (mut parts, ()) = Request::new(()).into_parts();
            parts.uri = Uri::from_static(uri);
            heading.head(parts)
        };
        let plain = head("/pkg.Service/Method");
        let expected = "https://example.test:8443/pkg.Service/Method";
        assert_eq!(plain.uri(), expected);
        assert_eq!(plain.headers()[USER_AGENT], "agent");
        let own = head("http://other.test/pkg.Service/Method");
        assert_eq!(own.uri(), "http://other.test/pkg.Service/Method");
    }

    #[test]
    fn options_come_from_the_call_before_the_channel() {
        let config = Config {
            deadline_default: Some(Duration::from_secs(9)),
            wait_for_ready: true,
            ..Config::default()
        };
        let (mut parts, ()) = Request::new(()).into_parts();
        let options = Options::take(&mut parts, &config);
        assert_eq!(options.deadline, Some(Duration::from_secs(9)));
        assert!(options.wait_for_ready);
        let timeout = HeaderValue::from_static("5S");
        parts.headers.insert(TIMEOUT, timeout);
        parts.extensions.insert(WaitForReady(false));
        let options = Options::take(&mut parts, &config);
        assert_eq!(options.deadline, Some(Duration::from_secs(5)));
        assert!(!options.wait_for_ready);
    }
}
