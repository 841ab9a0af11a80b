//! The server's half of the upgrade: reads what a client asks for, and answers it.
//!
//! Called by `host` before a connection is taken over. RFC 6455 4.2; over HTTP/2 RFC 8441 5.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, HOST, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, Request, Response, StatusCode, Version};

use super::error::HandshakeError;
use super::token::Token;
use super::{VERSION, accept, lists};
use crate::{SUBPROTOCOL, TOKEN_PREFIX};

/// What a client asks for, checked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Offer {
    /// The subprotocols it offers, in its order, without the one that is a token.
    pub subprotocols: Vec<String>,
    /// The token that it offers among its subprotocols.
    pub token: Option<Token>,
    /// Whether [`SUBPROTOCOL`] is among them.
    pub ours: bool,
    /// What proves that we have read the request; none over HTTP/2.
    accept: Option<HeaderValue>,
}

/// Reads a request for the tunnel's path over HTTP/1.1. RFC 6455 4.2.1.
///
/// # Errors
///
/// The first thing that is wrong with it, in the order of [`HandshakeError`]'s variants;
/// [`HandshakeError::to_response`] is the answer.
pub fn check_request<B>(request: &Request<B>) -> Result<Offer, HandshakeError> {
    if request.method() != Method::GET {
        return Err(HandshakeError::Method);
    }
    if request.version() != Version::HTTP_11 {
        return Err(HandshakeError::HttpVersion);
    }
    let headers = request.headers();
    if !lists::contains(headers, &UPGRADE, "websocket") {
        return Err(HandshakeError::NotAnUpgrade);
    }
    if !lists::contains(headers, &CONNECTION, "upgrade") {
        return Err(HandshakeError::NoConnectionUpgrade);
    }
    check_version(headers)?;
    if headers.get_all(HOST).into_iter().count() != 1 {
        return Err(HandshakeError::Host);
    }
    let accept = Some(check_key(headers)?);
    read_offer(headers, accept)
}

/// Reads an extended CONNECT over HTTP/2, whose `:protocol` the caller has found to be
/// `websocket`. RFC 8441 5.
///
/// # Errors
///
/// As [`check_request`], without what only HTTP/1.1 has.
pub fn check_connect<B>(request: &Request<B>) -> Result<Offer, HandshakeError> {
    if request.method() != Method::CONNECT {
        return Err(HandshakeError::Method);
    }
    check_version(request.headers())?;
    read_offer(request.headers(), None)
}

/// The answer that begins the tunnel: 101, or over HTTP/2 200. `subprotocol` is the one chosen of
/// those offered; `None` when none is, or none suits.
pub fn response(offer: &Offer, subprotocol: Option<&str>) -> Response<()> {
    let mut response = Response::new(());
    let chosen = subprotocol.filter(|chosen| offer.subprotocols.iter().any(|own| own == chosen));
    if let Some(chosen) = chosen.and_then(|chosen| HeaderValue::from_str(chosen).ok()) {
        response
            .headers_mut()
            .insert(SEC_WEBSOCKET_PROTOCOL, chosen);
    }
    if let Some(accept) = &offer.accept {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept.clone());
    }
    response
}

fn check_version(headers: &HeaderMap) -> Result<(), HandshakeError> {
    match headers.get(SEC_WEBSOCKET_VERSION) {
        Some(version) if version == VERSION => Ok(()),
        _ => Err(HandshakeError::WebSocketVersion),
    }
}

fn check_key(headers: &HeaderMap) -> Result<HeaderValue, HandshakeError> {
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).into_iter();
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(HandshakeError::Key);
    };
    match STANDARD.decode(key.as_bytes()) {
        Ok(nonce) if nonce.len() == 16 => {}
        _ => return Err(HandshakeError::Key),
    }
    HeaderValue::try_from(accept(key.as_bytes())).map_err(|_| HandshakeError::Key)
}

fn read_offer(headers: &HeaderMap, accept: Option<HeaderValue>) -> Result<Offer, HandshakeError> {
    let mut offer = Offer {
        subprotocols: Vec::new(),
        token: None,
        ours: false,
        accept,
    };
    let mut seen = HashSet::new();
    for word in lists::words(headers, &SEC_WEBSOCKET_PROTOCOL) {
        let word = word.ok_or(HandshakeError::Subprotocols)?;
        if let Some(encoded) = word.strip_prefix(TOKEN_PREFIX) {
            let token = Token::decode(encoded)?;
            if offer.token.replace(token).is_some() {
                return Err(HandshakeError::TokenRepeated);
            }
            continue;
        }
        if !lists::is_token(word) || !seen.insert(word) {
            return Err(HandshakeError::Subprotocols);
        }
        offer.ours |= word == SUBPROTOCOL;
        offer.subprotocols.push(word.to_owned());
    }
    Ok(offer)
}
