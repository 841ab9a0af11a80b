//! A tunnel without a channel, natively: a byte stream to whatever is behind a WebSocket.
//!
//! For programs that forward bytes, and for the channel's own transport. Owns the upgrade: TCP, TLS
//! for `wss`, the request of RFC 6455 over HTTP/1.1, and the reading of a refusal. Invariants: of a
//! refusal's body at most 1 KiB is read; a token is in no error and no log. Knows
//! no HTTP/2.

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use switchboard_tunnel::handshake::{self, HandshakeError};
use switchboard_tunnel::{Config, Role, SUBPROTOCOL, TunnelStream, random_key};

use crate::channel::{TlsOptions, TokenCell, TunnelOptions, upgrade_header};
use crate::config::Keepalive;
use crate::error::{ConfigError, ConnectError, Refusal};
use crate::target::{self, Target};
use crate::transport::{BoxIo, ByteStream, Secure, dial};

pub use switchboard_tunnel::{CloseCode, Ending};

/// How much of a refusal's body is read for its first line. Bytes.
const REFUSAL_BYTES_MAX: usize = 1024;

/// Largest head of the server's answer. Bytes; what hyper's own buffer begins with.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A tunnel to open: where, with which token, trusting whom.
#[derive(Clone)]
pub struct TunnelTarget {
    target: Arc<Target>,
    token: TokenCell,
    offer: bool,
    headers: HeaderMap,
    ping: Option<Keepalive>,
    secure: Secure,
}

/// What goes with a tunnel's address.
pub struct TunnelBuilder {
    url: String,
    options: TunnelOptions,
    tls: TlsOptions,
}

/// An open tunnel.
#[non_exhaustive]
pub struct Tunnel {
    /// The byte stream.
    pub stream: TunnelStream<Box<dyn ByteStream>>,
    /// The subprotocol that the server chose, if any.
    pub subprotocol: Option<String>,
}

/// Opens a tunnel, in `within` at most.
///
/// # Errors
/// [`ConnectError`]; [`try_again`](ConnectError::try_again) says whether another attempt makes sense,
/// [`retry_after`](ConnectError::retry_after) when the server wants it.
///
/// # Cancel safety
/// Dropping the future ends the attempt.
pub async fn connect(target: &TunnelTarget, within: Duration) -> Result<Tunnel, ConnectError> {
    match tokio::time::timeout(within, upgrade(target)).await {
        Ok(result) => result,
        Err(_) => Err(ConnectError::Timeout(within)),
    }
}

impl TunnelTarget {
    /// A tunnel at this address: `ws://HOST/PATH` or `wss://HOST/PATH`.
    #[must_use]
    pub fn builder(url: &str) -> TunnelBuilder {
        TunnelBuilder {
            url: url.to_owned(),
            options: TunnelOptions::default(),
            tls: TlsOptions::default(),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    pub(crate) fn of(
        target: Target,
        options: TunnelOptions,
        tls: &TlsOptions,
    ) -> Result<Self, ConfigError> {
        if !target.scheme().is_tunnel() {
            let target = target.to_string();
            return Err(ConfigError::NotATunnel { target });
        }
        Ok(Self {
            secure: Secure::new(&target, tls, b"http/1.1")?,
            target: Arc::new(target),
            token: options.token,
            offer: options.offer,
            headers: options.headers,
            ping: options.ping,
        })
    }

    fn subprotocols(&self) -> Vec<String> {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = self.offer.then(|| SUBPROTOCOL.to_owned());
        let token = token.as_ref().map(handshake::Token::to_subprotocol);
        ours.into_iter().chain(token).collect()
    }
}

impl fmt::Debug for TunnelTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelTarget")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TunnelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelBuilder")
            .field("url", &target::shown(&self.url))
            .field("options", &self.options)
            .field("tls", &self.tls)
            .finish()
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel")
            .field("subprotocol", &self.subprotocol)
            .finish_non_exhaustive()
    }
}

impl TunnelBuilder {
    /// Sends a token as the subprotocol `bearer.` and its base64url.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.options.set_token(Some(token));
        self
    }

    /// Whether our subprotocol is offered; default yes. Servers that know none ignore it.
    #[must_use]
    pub fn with_subprotocol(mut self, offer: bool) -> Self {
        self.options.offer = offer;
        self
    }

    /// Adds a header to the upgrade.
    ///
    /// # Errors
    /// [`ConfigError::Header`] for one that cannot be sent, or that the upgrade needs for itself.
    pub fn with_header(mut self, name: &str, value: &str) -> Result<Self, ConfigError> {
        let (name, value) = upgrade_header(name, value)?;
        self.options.headers.append(name, value);
        Ok(self)
    }

    /// Pings a server that is silent for `interval`, and gives it up when it does not answer within
    /// `timeout`. Default: 30 s and 20 s.
    #[must_use]
    pub fn with_ping(mut self, interval: Duration, timeout: Duration) -> Self {
        self.options.ping = Some(Keepalive {
            interval,
            timeout,
            ..Keepalive::default()
        });
        self
    }

    /// Trusts the certificates in this PEM text instead of the system's.
    #[must_use]
    pub fn with_ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.ca_pem = Some(pem.into());
        self
    }

    /// The target, once it holds together.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn build(self) -> Result<TunnelTarget, ConfigError> {
        TunnelTarget::of(self.url.parse()?, self.options, &self.tls)
    }
}

/// Opens a tunnel; how long it may take is the caller's to say.
pub(crate) async fn upgrade(target: &TunnelTarget) -> Result<Tunnel, ConnectError> {
    let host = || target.target.authority().to_string();
    let handshake_error = |error: HandshakeError| ConnectError::Handshake {
        host: host(),
        text: error.to_string(),
    };
    let key = random_key()
        .ok_or_else(|| ConnectError::Unusable("the system has no random bytes".to_owned()))?;
    let subprotocols = target.subprotocols();
    let offered: Vec<&str> = subprotocols.iter().map(String::as_str).collect();
    let mut request = handshake::request(target.target.uri(), &offered, key)
        .map_err(|error| ConnectError::Unusable(error.to_string()))?
        .map(|()| Empty::<Bytes>::new());
    for (name, value) in &target.headers {
        request.headers_mut().append(name, value.clone());
    }
    let socket = dial(&target.target).await?;
    let io = target.secure.over(&target.target, socket).await?;
    let response = match ask(io, request).await? {
        Answer::Refused(refusal) => return Err(ConnectError::Refused(refusal)),
        Answer::Switched(response) => response,
    };
    let agreed = handshake::check_response(&response, &offered, key).map_err(handshake_error)?;
    let upgraded = hyper::upgrade::on(response).await;
    let upgraded = upgraded.map_err(|error| ConnectError::Ended(error.to_string()))?;
    let parts = upgraded
        .downcast::<TokioIo<BoxIo>>()
        .map_err(|_| ConnectError::Unusable("the upgraded stream is not ours".to_owned()))?;
    let limits = Config::default();
    let config = Config {
        ping_interval: target.ping.as_ref().map(|ping| ping.interval),
        ping_timeout: (target.ping.as_ref()).map_or(limits.ping_timeout, |ping| ping.timeout),
        ..limits
    }
    .for_peer(agreed.ours);
    let io = parts.io.into_inner();
    Ok(Tunnel {
        stream: TunnelStream::new(io, Role::Client, parts.read_buf, &config),
        subprotocol: agreed.subprotocol,
    })
}

/// The server's answer to an upgrade.
enum Answer {
    Switched(Response<Incoming>),
    Refused(Refusal),
}

/// Sends the request, and reads the answer as far as it matters.
async fn ask(io: BoxIo, request: Request<Empty<Bytes>>) -> Result<Answer, ConnectError> {
    let ended = |error: hyper::Error| {
        if error.is_parse() {
            ConnectError::Handshake {
                host: "the server".to_owned(),
                text: format!("its answer is not HTTP/1.1 ({error})"),
            }
        } else {
            ConnectError::Ended(error.to_string())
        }
    };
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(io))
        .await
        .map_err(ended)?;
    let connection = Box::pin(connection.with_upgrades());
    let answer = Box::pin(async {
        let response = sender.send_request(request).await.map_err(ended)?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Answer::Switched(response));
        }
        Ok(Answer::Refused(refusal(response).await))
    });
    // The connection moves the bytes of both; it is over first when it hands the socket on.
    match select(answer, connection).await {
        Either::Left((Ok(Answer::Switched(response)), connection)) => {
            connection.await.map_err(ended)?;
            Ok(Answer::Switched(response))
        }
        Either::Left((answer, _)) => answer,
        Either::Right((_, answer)) => answer.await,
    }
}

async fn refusal(response: Response<Incoming>) -> Refusal {
    let (head, mut body) = response.into_parts();
    let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let retry_after = header(RETRY_AFTER).and_then(retry_after);
    let mut text = Vec::new();
    let is_text = header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/plain"));
    while is_text && text.len() < REFUSAL_BYTES_MAX && !text.contains(&b'\n') {
        let Some(Ok(frame)) = body.frame().await else {
            break;
        };
        if let Some(data) = frame.data_ref() {
            let room = REFUSAL_BYTES_MAX - text.len();
            text.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Refusal {
        status: head.status,
        line: first_line(&text),
        retry_after,
    }
}

/// `Retry-After` in seconds. A date is left out: what it means is for the server's clock to say.
fn retry_after(value: &str) -> Option<Duration> {
    let digits = value.trim();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // What does not fit its 64 bits is too long in any case.
    let seconds = digits.parse().unwrap_or(u64::MAX);
    Some(Duration::from_secs(seconds).min(Refusal::RETRY_AFTER_MAX))
}

fn first_line(text: &[u8]) -> Option<String> {
    let line = text.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let line: String = line
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(Refusal::LINE_CHARS_MAX)
        .collect();
    (!line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_refusal_is_short_and_printable() {
        assert_eq!(first_line(b""), None);
        assert_eq!(first_line(b"\n second"), None);
        assert_eq!(
            first_line(b" no \x1b[31mroom\r\nmore"),
            Some("no [31mroom".to_owned())
        );
        let long = first_line(&[b'x'; 1000]).expect("a line");
        assert_eq!(long.len(), Refusal::LINE_CHARS_MAX);
    }

    #[test]
    fn retry_after_is_read_in_seconds_and_has_a_limit() {
        let table = [
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("600", Some(600)),
            ("601", Some(600)),
            ("18446744073709551615", Some(600)),
            ("99999999999999999999999999", Some(600)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("Fri, 31 Dec 1999 23:59:59 GMT", None),
        ];
        for (text, expected) in table {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(retry_after(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_token_is_not_shown() {
        let builder = TunnelTarget::builder("ws://example.test/tunnel")
            .with_token("open sesame")
            .with_header("cookie", "session=secret")
            .expect("a header");
        let shown = format!("{builder:?}");
        assert!(
            !shown.contains("sesame") && !shown.contains("secret"),
            "{shown}"
        );
        let target = builder.build().expect("a target");
        let shown = format!("{target:?}");
        assert!(
            !shown.contains("sesame") && !shown.contains("secret"),
            "{shown}"
        );
        let words = target.subprotocols();
        assert_eq!(words, [SUBPROTOCOL, "bearer.b3BlbiBzZXNhbWU"]);
    }

    #[test]
    fn headers_of_the_upgrade_itself_are_not_for_callers() {
        for name in ["Host", "sec-websocket-key", "Upgrade", "bad name"] {
            let refused = TunnelTarget::builder("ws://example.test").with_header(name, "x");
            assert!(matches!(refused, Err(ConfigError::Header(_))), "{name}");
        }
    }

    #[test]
    fn only_websockets_are_tunnels() {
        let built = TunnelTarget::builder("http://example.test").build();
        let error = built.expect_err("not a tunnel").to_string();
        assert!(error.contains("http://example.test"), "{error}");
        assert!(
            error.ends_with("write ws://HOST/tunnel or wss://HOST/tunnel"),
            "{error}"
        );
    }
}
