//! Why an attempt to connect failed, and whether another one makes sense.
//!
//! Made by transports, kept by the state machine, quoted in the status of every call that it fails.
//! Invariant: [`ConnectError::try_again`] and [`ConnectError::code`] have no wildcard arm. A leaf.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use tonic::Code;

use super::CloseReason;

/// Why there is no connection. The doc comment of a variant begins with who has to act.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Operator: the name of the server has no address.
    #[error("cannot look up {host}: {text}")]
    Lookup {
        /// The name.
        host: String,
        /// What the resolver says.
        text: String,
    },
    /// Operator: nobody accepts connections at any address of the server.
    #[error("cannot connect to {address}: {text}")]
    Unreachable {
        /// Where.
        address: String,
        /// What the system says.
        text: String,
    },
    /// Operator or network: the connection was not set up in this time.
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    /// Operator: TLS failed; most often the certificate is not trusted or for another name.
    #[error("TLS with {host} failed: {text}")]
    Tls {
        /// The server's name.
        host: String,
        /// What the TLS library says.
        text: String,
    },
    /// Operator: the server's TLS does not offer HTTP/2.
    #[error(
        "{host} does not offer HTTP/2 over TLS (ALPN `h2`): is this a gRPC server, or a plain web server?"
    )]
    NoHttp2OverTls {
        /// The server's name.
        host: String,
    },
    /// Operator or caller: the server answered the WebSocket upgrade with another status than 101.
    #[error("{0}")]
    Refused(Refusal),
    /// Operator: the server switched protocols, but not to a WebSocket that we can use.
    #[error("{host} opened no usable WebSocket: {text}")]
    Handshake {
        /// The server.
        host: String,
        /// What is wrong with the answer.
        text: String,
    },
    /// Operator: the byte stream is there, but what answers is not HTTP/2.
    #[error("the server does not speak HTTP/2 here: {0}")]
    NotHttp2(String),
    /// Peer or network: the connection ended before HTTP/2 was set up.
    #[error("the connection ended before it was set up: {0}")]
    Ended(String),
    /// Peer or network: connections are set up, and end before any call on them is answered.
    #[error("the last connection ended soon and had answered nothing: {0}")]
    Fruitless(CloseReason),
    /// Operator or network: the browser did not open the WebSocket, and does not say why.
    #[error(
        "the browser could not open the WebSocket ({0}): server down, path wrong, origin or token not allowed; its console may say more"
    )]
    Browser(String),
    /// Caller: something that another attempt would not change either.
    #[error("{0}")]
    Unusable(String),
    /// Whatever a connector of the caller's own says.
    #[error("{0}")]
    Other(String),
}

impl ConnectError {
    /// Whether the same attempt may succeed later without anybody changing anything. Calls that wait
    /// for a connection go on waiting after such a failure, and fail at once after any other.
    #[must_use]
    pub fn try_again(&self) -> bool {
        match self {
            Self::Lookup { .. }
            | Self::Unreachable { .. }
            | Self::Timeout(_)
            | Self::Ended(_)
            | Self::Fruitless(_)
            | Self::Browser(_)
            | Self::Other(_) => true,
            Self::Refused(refusal) => refusal.try_again(),
            Self::Tls { .. }
            | Self::NoHttp2OverTls { .. }
            | Self::Handshake { .. }
            | Self::NotHttp2(_)
            | Self::Unusable(_) => false,
        }
    }

    /// How long the server asks to be left alone, by `Retry-After`; at most
    /// [`Refusal::RETRY_AFTER_MAX`].
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal
                .retry_after
                .map(|after| after.min(Refusal::RETRY_AFTER_MAX)),
            Self::Lookup { .. }
            | Self::Unreachable { .. }
            | Self::Timeout(_)
            | Self::Tls { .. }
            | Self::NoHttp2OverTls { .. }
            | Self::Handshake { .. }
            | Self::NotHttp2(_)
            | Self::Ended(_)
            | Self::Fruitless(_)
            | Self::Browser(_)
            | Self::Unusable(_)
            | Self::Other(_) => None,
        }
    }

    /// The code of a call that fails because of this.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Lookup { .. }
            | Self::Unreachable { .. }
            | Self::Timeout(_)
            | Self::Tls { .. }
            | Self::NoHttp2OverTls { .. }
            | Self::Handshake { .. }
            | Self::NotHttp2(_)
            | Self::Ended(_)
            | Self::Fruitless(_)
            | Self::Browser(_)
            | Self::Unusable(_)
            | Self::Other(_) => Code::Unavailable,
        }
    }
}

/// The server's answer to an upgrade that it refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// The first line of the answer's body, cut at [`LINE_CHARS_MAX`](Self::LINE_CHARS_MAX), when it is text.
    pub line: Option<String>,
    /// `Retry-After`, when the server sent one in seconds; a date is not read. At most
    /// [`RETRY_AFTER_MAX`](Self::RETRY_AFTER_MAX).
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// How much of the body's first line is kept. Characters: an error page is not a status message.
    pub const LINE_CHARS_MAX: usize = 200;

    /// Longest wait that a server can impose by `Retry-After`: ten minutes. A client that somebody sits
    /// before does not stay away for a day because of a typing error.
    pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

    /// Whether the server may think otherwise later. What it asks us to change, it will not.
    #[must_use]
    pub fn try_again(&self) -> bool {
        let status = self.status;
        status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::REQUEST_TIMEOUT
            || (status.is_server_error()
                && status != StatusCode::NOT_IMPLEMENTED
                && status != StatusCode::HTTP_VERSION_NOT_SUPPORTED)
    }

    /// The code of a call that fails because of this. 401 and 403 are what they are in gRPC; for any
    /// other status the call has not reached a server.
    #[must_use]
    pub fn code(&self) -> Code {
        match self.status {
            StatusCode::UNAUTHORIZED => Code::Unauthenticated,
            StatusCode::FORBIDDEN => Code::PermissionDenied,
            _ => Code::Unavailable,
        }
    }

    /// What to do about it.
    fn advice(&self) -> &'static str {
        match self.status {
            StatusCode::BAD_REQUEST => "a proxy on the way may have changed the request",
            StatusCode::UNAUTHORIZED => "give a valid token",
            StatusCode::FORBIDDEN => "this token or origin is not allowed there",
            StatusCode::NOT_FOUND => "there is no tunnel at this path",
            StatusCode::UPGRADE_REQUIRED => {
                "the server wants a WebSocket: a proxy on the way may not forward upgrades"
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                "it has no room now, try again later"
            }
            status if status.is_redirection() => {
                "redirects are not followed, give the final address"
            }
            StatusCode::HTTP_VERSION_NOT_SUPPORTED => {
                "a proxy on the way speaks HTTP/1.0 to the server, make it speak HTTP/1.1"
            }
            status if status.is_server_error() => "the server or a proxy before it is in trouble",
            status if status.is_success() => "this is a web page, not a tunnel",
            _ => "is this a tunnel's address?",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server refused the tunnel with {}", self.status)?;
        if let Some(line) = &self.line {
            write!(f, " ({line:?})")?;
        }
        write!(f, ": {}", self.advice())?;
        if let Some(after) = self.retry_after {
            write!(f, "; it asks to wait {} s", after.as_secs())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16) -> ConnectError {
        ConnectError::Refused(Refusal {
            status: StatusCode::from_u16(status).expect("a status"),
            line: Some("because \"I\" say so".to_owned()),
            retry_after: (status == 503).then_some(Duration::from_secs(7)),
        })
    }

    #[test]
    fn a_refusal_says_what_the_server_said_and_what_to_do() {
        let table = [
            (400, Code::Unavailable, false, "proxy"),
            (401, Code::Unauthenticated, false, "give a valid token"),
            (403, Code::PermissionDenied, false, "token or origin"),
            (404, Code::Unavailable, false, "no tunnel at this path"),
            (426, Code::Unavailable, false, "wants a WebSocket"),
            (429, Code::Unavailable, true, "no room now"),
            (503, Code::Unavailable, true, "no room now"),
            (502, Code::Unavailable, true, "in trouble"),
            (505, Code::Unavailable, false, "make it speak HTTP/1.1"),
            (301, Code::Unavailable, false, "redirects"),
            (200, Code::Unavailable, false, "web page"),
        ];
        for (status, code, again, advice) in table {
            let error = refusal(status);
            assert_eq!(error.code(), code, "{status}");
            assert_eq!(error.try_again(), again, "{status}");
            let text = error.to_string();
            assert!(text.contains(&status.to_string()), "{text}");
            assert!(text.contains(advice), "{text}");
            assert!(text.contains(r#"because \"I\" say so"#), "{text}");
        }
        let busy = refusal(503);
        assert_eq!(busy.retry_after(), Some(Duration::from_secs(7)));
        assert!(busy.to_string().ends_with("it asks to wait 7 s"));
    }
}
