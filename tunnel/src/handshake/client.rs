//! The client's half of the upgrade: asks, and checks the answer.
//!
//! Called by `client` (natively; a browser does this itself) and by tests. RFC 6455 4.1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, HOST, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::uri::{PathAndQuery, Uri};
use http::{Request, Response, StatusCode};

use super::error::HandshakeError;
use super::{VERSION, accept, lists};
use crate::{SUBPROTOCOL, TOKEN_PREFIX};

/// What both ends agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Agreed {
    /// Whether the server chose [`SUBPROTOCOL`].
    pub ours: bool,
    /// What it chose, if anything.
    pub subprotocol: Option<String>,
}

/// The request that asks for a tunnel, in the form that goes to the server itself: a path, and
/// its host in `Host`. `key` is 16 random bytes, new for each request; `subprotocols` may hold a
/// [`Token`](super::Token) as [`to_subprotocol`](super::Token::to_subprotocol) writes it.
///
/// # Errors
///
/// [`HandshakeError::Uri`] and [`HandshakeError::Subprotocols`].
pub fn request(
    uri: &Uri,
    subprotocols: &[&str],
    key: [u8; 16],
) -> Result<Request<()>, HandshakeError> {
    let host = match (uri.scheme_str(), uri.authority()) {
        (Some("ws" | "wss" | "http" | "https"), Some(authority)) => authority.as_str(),
        _ => return Err(HandshakeError::Uri),
    };
    if host.contains('@') || uri.host().is_none_or(str::is_empty) {
        return Err(HandshakeError::Uri);
    }
    let path = match uri.path_and_query() {
        Some(path) => Uri::from(path.clone()),
        None => Uri::from(PathAndQuery::from_static("/")),
    };
    let mut request = Request::new(());
    *request.uri_mut() = path;
    let headers = request.headers_mut();
    let host = HeaderValue::from_str(host).map_err(|_| HandshakeError::Uri)?;
    headers.insert(HOST, host);
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
    let key = HeaderValue::try_from(STANDARD.encode(key)).map_err(|_| HandshakeError::Key)?;
    headers.insert(SEC_WEBSOCKET_KEY, key);
    if !subprotocols.iter().all(|word| lists::is_token(word)) {
        return Err(HandshakeError::Subprotocols);
    }
    if !subprotocols.is_empty() {
        let mut list = HeaderValue::try_from(subprotocols.join(", "))
            .map_err(|_| HandshakeError::Subprotocols)?;
        // Hides the value from `Debug`, and from an HTTP/2 peer's compression table.
        list.set_sensitive(
            subprotocols
                .iter()
                .any(|word| word.starts_with(TOKEN_PREFIX)),
        );
        headers.insert(SEC_WEBSOCKET_PROTOCOL, list);
    }
    Ok(request)
}

/// Reads the answer to the [`request`] made of the same `subprotocols` and `key`.
///
/// # Errors
///
/// [`HandshakeError::Refused`] for another status than 101; else what RFC 6455 4.1 does not allow
/// in it. The connection is then of no more use.
pub fn check_response<B>(
    response: &Response<B>,
    subprotocols: &[&str],
    key: [u8; 16],
) -> Result<Agreed, HandshakeError> {
    let headers = response.headers();
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let retry_after = headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok());
        return Err(HandshakeError::Refused {
            status: response.status(),
            retry_after_s: retry_after.and_then(|seconds| seconds.trim().parse().ok()),
        });
    }
    let upgraded = lists::contains(headers, &UPGRADE, "websocket");
    if !upgraded || !lists::contains(headers, &CONNECTION, "upgrade") {
        return Err(HandshakeError::NotAWebSocket);
    }
    let expected = accept(STANDARD.encode(key).as_bytes());
    match headers.get(SEC_WEBSOCKET_ACCEPT) {
        Some(answer) if answer.as_bytes().trim_ascii() == expected.as_bytes() => {}
        _ => return Err(HandshakeError::Accept),
    }
    if lists::words(headers, &SEC_WEBSOCKET_EXTENSIONS)
        .next()
        .is_some()
    {
        return Err(HandshakeError::Extension);
    }
    let mut chosen = lists::words(headers, &SEC_WEBSOCKET_PROTOCOL);
    let subprotocol = match (chosen.next(), chosen.next()) {
        (None, _) => None,
        // A token that comes back is refused too: whoever echoes it does not know what it is.
        (Some(Some(word)), None)
            if subprotocols.contains(&word) && !word.starts_with(TOKEN_PREFIX) =>
        {
            Some(word.to_owned())
        }
        _ => return Err(HandshakeError::SubprotocolNotOffered),
    };
    Ok(Agreed {
        ours: subprotocol.as_deref() == Some(SUBPROTOCOL),
        subprotocol,
    })
}
