//! The token that a client may offer among its subprotocols: RFC 6750 through a WebSocket.
//!
//! Made by the server's check from `bearer.` and base64url, and by a client for its request.
//! Invariant: its bytes leave only through `as_bytes`; `Debug` shows none of them. Knows no
//! meaning of a token.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::TOKEN_PREFIX;
use crate::handshake::error::HandshakeError;

/// A token as the client meant it, decoded.
#[derive(Clone)]
pub struct Token(Vec<u8>);

impl Token {
    /// A token of these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes. Whoever prints them has leaked a password.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the token expected. Takes the same time wherever the two differ, so that
    /// nobody finds a token byte by byte; it does show whether the lengths are equal.
    pub fn matches(&self, expected: &[u8]) -> bool {
        let differing = self
            .0
            .iter()
            .zip(expected)
            .fold(0, |sum, (a, b)| sum | (a ^ b));
        self.0.len() == expected.len() && std::hint::black_box(differing) == 0
    }

    /// The subprotocol that carries it, to be offered beside [`SUBPROTOCOL`](crate::SUBPROTOCOL).
    pub fn to_subprotocol(&self) -> String {
        format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(&self.0))
    }

    /// Reads what follows the prefix.
    pub(super) fn decode(encoded: &str) -> Result<Self, HandshakeError> {
        match URL_SAFE_NO_PAD.decode(encoded) {
            Ok(bytes) if !bytes.is_empty() => Ok(Self(bytes)),
            // The cause would quote a byte of the token.
            _ => Err(HandshakeError::TokenMalformed),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}
