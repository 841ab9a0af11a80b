//! Why an upgrade was refused or failed, what to do about it, and the HTTP status that says so.
//!
//! Made by the checks of both ends; `host` answers with [`HandshakeError::to_response`], `client`
//! shows it. Invariants: [`HandshakeError::status`] has no wildcard arm; no text holds what the other
//! end sent, except a status, so that no token gets into a log.

use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{Response, StatusCode};

use super::VERSION;

/// Why there is no tunnel. The doc comment of a variant begins with who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// Client: the method is wrong. RFC 6455 4.1.
    #[error("a tunnel is opened with GET (over HTTP/2 with extended CONNECT)")]
    Method,
    /// Client, or a proxy that speaks HTTP/1.0. RFC 6455 4.1.
    #[error("a tunnel is opened over HTTP/1.1: an older version cannot upgrade")]
    HttpVersion,
    /// Client: an ordinary request for the tunnel's path.
    #[error(
        "this path is a tunnel: open it as a WebSocket (the request has no `Upgrade: websocket`)"
    )]
    NotAnUpgrade,
    /// Operator: a proxy removed the header; or the client forgot it.
    #[error(
        "the request has `Upgrade` but no `Connection: Upgrade`: if it passed a proxy, \
         let the proxy forward both"
    )]
    NoConnectionUpgrade,
    /// Client: another version of the protocol. RFC 6455 4.4.
    #[error("only version 13 of WebSocket is spoken here: send `Sec-WebSocket-Version: 13`")]
    WebSocketVersion,
    /// Client: RFC 6455 4.1, 4.
    #[error("the request needs one `Host` header")]
    Host,
    /// Client: RFC 6455 4.1, 7.
    #[error("`Sec-WebSocket-Key` must be there once: 16 random bytes in base64")]
    Key,
    /// Client: RFC 6455 4.1, 10.
    #[error("`Sec-WebSocket-Protocol` must be a list of different words")]
    Subprotocols,
    /// Client: what follows `bearer.` is not base64url.
    #[error(
        "the token offered as a subprotocol cannot be read: write `bearer.` and the token in \
         base64url without padding"
    )]
    TokenMalformed,
    /// Client: more than one token.
    #[error("more than one token is offered: offer one")]
    TokenRepeated,
    /// Caller: the URI names no host, has a user's name in it, or is not ws, wss, http or https.
    #[error(
        "the tunnel's address must be ws://HOST/PATH or wss://HOST/PATH, without a user's name"
    )]
    Uri,
    /// Server's operator: it did not switch protocols.
    #[error("the server refused the tunnel with {status}: {}", advice(*status))]
    Refused {
        /// What it answered.
        status: StatusCode,
        /// Seconds after which it wants to be asked again.
        retry_after_s: Option<u64>,
    },
    /// Server's operator: 101, but not to a WebSocket. RFC 6455 4.1.
    #[error("the server switched protocols, but not to WebSocket: is this a tunnel's address?")]
    NotAWebSocket,
    /// Server's operator: the answer is not to our key; perhaps one out of a cache. RFC 6455 4.1.
    #[error("the server's `Sec-WebSocket-Accept` is not the answer to this request")]
    Accept,
    /// Server's operator: it uses an extension that was not offered. RFC 6455 4.1.
    #[error("the server uses a WebSocket extension that was not offered")]
    Extension,
    /// Server's operator: it chose a subprotocol that was not offered. RFC 6455 4.1.
    #[error("the server chose a subprotocol that was not offered")]
    SubprotocolNotOffered,
}

impl HandshakeError {
    /// The status to answer with: a server to its client, or, where it is the server that is to
    /// blame (502), a gateway to whoever asked it to open the tunnel.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::HttpVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::NotAnUpgrade | Self::WebSocketVersion => StatusCode::UPGRADE_REQUIRED,
            Self::NoConnectionUpgrade
            | Self::Host
            | Self::Key
            | Self::Subprotocols
            | Self::TokenMalformed
            | Self::TokenRepeated
            | Self::Uri => StatusCode::BAD_REQUEST,
            Self::Refused { .. }
            | Self::NotAWebSocket
            | Self::Accept
            | Self::Extension
            | Self::SubprotocolNotOffered => StatusCode::BAD_GATEWAY,
        }
    }

    /// The answer over HTTP/1.1 to a request that fails with this: the status, the headers that
    /// RFC 9110 and RFC 6455 4.4 want beside it, and one line of plain text. Over HTTP/2, leave
    /// out `Connection` and `Upgrade`.
    pub fn to_response(&self) -> Response<String> {
        let mut response = Response::new(format!("{self}\n"));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        match self.status() {
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(ALLOW, HeaderValue::from_static("GET"));
            }
            StatusCode::UPGRADE_REQUIRED => {
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
            }
            _ => {}
        }
        response
    }
}

/// What to do about a refusal.
fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "give a valid token",
        StatusCode::FORBIDDEN => "this token or origin is not allowed here",
        StatusCode::NOT_FOUND => "there is no tunnel at this path",
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            "it has no room now, try again later"
        }
        StatusCode::UPGRADE_REQUIRED => "a proxy on the way may not forward WebSockets",
        status if status.is_redirection() => "redirects are not followed, give the final address",
        status if status.is_server_error() => "the server or a proxy before it is in trouble",
        _ => "is this a tunnel's address?",
    }
}
