//! The text encoding of gRPC-Web: base64, cut anywhere, padded anywhere. Pure.
//!
//! Called by `grpc::web` and `grpc::incoming`. Source: grpc/doc/PROTOCOL-WEB.md, "Text-encoded (response)
//! streams": what is flushed is encoded by itself, so padding stands wherever a sender flushed and says
//! nothing about messages. Invariants: between two pieces at most three characters are kept; what is
//! decoded is at most three quarters of what came.

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::{Buf, Bytes};

use crate::error::CallError;

/// Bits behind the last byte are nobody's concern, here as in `-bin` metadata.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

/// Characters that stand for three bytes.
const QUANTUM: usize = 4;

/// Decodes a stream of text that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct TextDecoder {
    /// The beginning of a quantum whose end is in the next piece.
    begun: [u8; QUANTUM],
    len: usize,
}

impl TextDecoder {
    /// The bytes that `text` completes.
    ///
    /// # Errors
    /// [`CallError::Malformed`] for what is not base64.
    pub(super) fn decode(&mut self, mut text: &[u8]) -> Result<Bytes, CallError> {
        let mut bytes = Vec::with_capacity(text.len() / QUANTUM * 3 + 3);
        if self.len > 0 {
            let count = text.len().min(QUANTUM - self.len);
            self.begun[self.len..self.len + count].copy_from_slice(&text[..count]);
            self.len += count;
            text = &text[count..];
            if self.len < QUANTUM {
                return Ok(Bytes::new());
            }
            self.len = 0;
            decode(&self.begun, &mut bytes)?;
        }
        loop {
            // Up to the next padding, which ends its quantum and what was encoded together.
            let padded = text.iter().position(|byte| *byte == b'=');
            let end = match padded.map(|at| (at / QUANTUM + 1) * QUANTUM) {
                Some(end) if end <= text.len() => end,
                Some(_) | None => break,
            };
            decode(&text[..end], &mut bytes)?;
            text = &text[end..];
        }
        let (whole, rest) = text.split_at(text.len() / QUANTUM * QUANTUM);
        decode(whole, &mut bytes)?;
        self.begun[..rest.len()].copy_from_slice(rest);
        self.len = rest.len();
        Ok(bytes.into())
    }

    /// Checks that the stream did not end within a quantum.
    ///
    /// # Errors
    /// [`CallError::Malformed`].
    pub(super) fn finish(&self) -> Result<(), CallError> {
        if self.len == 0 {
            Ok(())
        } else {
            Err(CallError::Malformed(
                "the base64 of the request ends too early",
            ))
        }
    }
}

fn decode(text: &[u8], bytes: &mut Vec<u8>) -> Result<(), CallError> {
    let decoded = BASE64.decode_vec(text, bytes);
    decoded.map_err(|_| CallError::Malformed("the request is not the base64 it is said to be"))
}

/// Encodes `bytes` by themselves, padded.
pub(super) fn encode(mut bytes: impl Buf) -> Bytes {
    let mut text = String::with_capacity(bytes.remaining().div_ceil(3) * QUANTUM);
    while bytes.has_remaining() {
        let piece = bytes.chunk();
        let whole = piece.len() / 3 * 3;
        if whole > 0 {
            BASE64.encode_string(&piece[..whole], &mut text);
            bytes.advance(whole);
        } else {
            // Three bytes across two pieces, or the last ones.
            let mut three = [0; 3];
            let count = bytes.remaining().min(3);
            bytes.copy_to_slice(&mut three[..count]);
            BASE64.encode_string(&three[..count], &mut text);
        }
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::imports::call::Outbound;

    fn decoded<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, CallError> {
        let mut decoder = TextDecoder::default();
        let mut bytes = Vec::new();
        for piece in pieces {
            bytes.extend_from_slice(&decoder.decode(piece)?);
        }
        decoder.finish()?;
        Ok(bytes)
    }

    #[test]
    fn padding_may_stand_anywhere_between_quanta() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("AAAA", b"\0\0\0"),
            ("AA==", b"\0"),
            ("AA==AAE=AAAB", b"\0\0\x01\0\0\x01"),
            ("AA==AA==AA==", b"\0\0\0"),
            // Bits behind the last byte.
            ("AB==", b"\0"),
        ] {
            assert_eq!(decoded([text.as_bytes()]).expect(text), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_no_base64_is_malformed() {
        for text in [
            "A", "AA", "AAA", "AA=", "A===", "====", "=AAA", "AA=A", "AAAA=", "AA==A", "AA\n=",
            "AA A", "AA-_", "A\0AA",
        ] {
            let error = decoded([text.as_bytes()]).expect_err(text);
            assert!(matches!(error, CallError::Malformed(_)), "{text}: {error}");
            let single: Vec<_> = text.as_bytes().chunks(1).collect();
            assert!(decoded(single).is_err(), "{text}, byte by byte");
        }
    }

    proptest! {
        /// However senders flush and networks cut, the bytes are the same.
        #[test]
        fn bytes_survive_any_flush_and_any_cut(
            flushed in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10),
            cuts in prop::collection::vec(1_usize..30, 1..100),
        ) {
            let text: Vec<u8> = flushed.iter().map(|bytes| encode(&bytes[..])).collect::<Vec<_>>().concat();
            let mut rest = &text[..];
            let mut pieces = Vec::new();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(decoded(pieces).expect("well-formed"), flushed.concat());
        }

        /// A frame is in two pieces; its text is that of one.
        #[test]
        fn a_message_is_encoded_as_if_in_one_piece(message in prop::collection::vec(any::<u8>(), 0..50)) {
            let mut whole = Outbound::new(message.clone().into());
            let whole = whole.copy_to_bytes(whole.remaining());
            let text = encode(Outbound::new(message.into()));
            let expected = BASE64.encode(whole);
            prop_assert_eq!(&text[..], expected.as_bytes());
        }

        /// No input makes the decoder panic, nor give more than it got.
        #[test]
        fn any_bytes_are_decoded_or_refused(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..10)) {
            let sent = pieces.concat().len();
            if let Ok(bytes) = decoded(pieces.iter().map(|piece| &piece[..])) {
                prop_assert!(bytes.len() <= sent * 3 / 4);
            }
        }
    }
}
