//! The upgrade from HTTP to a WebSocket, on `http` types alone: RFC 6455 section 4, RFC 8441.
//!
//! A server calls [`check_request`] and [`response`], a client [`request`] and [`check_response`];
//! over HTTP/2 a server calls [`check_connect`] in place of the first. Pure: who may connect,
//! origins, limits and timeouts are the caller's. Invariants: a token is in no `Debug` or `Display`
//! output and in no response; no extension is ever agreed; what the other end sends is matched
//! without case where RFC 6455 says so, and not repaired.

mod client;
mod error;
mod lists;
mod server;
#[cfg(test)]
mod tests;
mod token;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

pub use client::{Agreed, check_response, request};
pub use error::HandshakeError;
pub use server::{Offer, check_connect, check_request, response};
pub use token::Token;

/// The only version of the protocol there is. Source: RFC 6455 4.1.
const VERSION: &str = "13";

/// What a server answers to this key. Source: RFC 6455 4.2.2.
fn accept(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}
