//! gRPC's message framing: bytes in, bytes out. Pure; the host never decodes a message.
//!
//! Called by `grpc::incoming`. Source: gRPC over HTTP/2, "Length-Prefixed-Message". Invariant: never
//! holds more than the limit plus one chunk, whatever length a peer declares; a length over the
//! limit is refused when its five bytes are read, before any byte of the message. What is compressed
//! stays so: `grpc::compression` opens it, when it is wanted.

use bytes::{Buf, Bytes, BytesMut};

use crate::error::CallError;

/// Bytes of the frame header: the compressed flag and the length.
const HEAD_BYTES: usize = 5;

/// Most that is reserved for a message before its bytes are here. A peer that declares much and
/// sends little must not cost memory.
const RESERVE_BYTES_MAX: usize = 64 * 1024;

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Its bytes.
    pub bytes: Bytes,
    /// Whether they are compressed, as the flag before them says.
    pub compressed: bool,
}

/// Cuts a byte stream into messages.
#[derive(Debug)]
pub(crate) struct Decoder {
    bytes_max: usize,
    head: [u8; HEAD_BYTES],
    head_len: usize,
    /// Whether messages may be compressed: the request has an encoding.
    encoded: bool,
    /// Length of the message that is being read; none while its header is.
    body_len: Option<usize>,
    /// What came and was not looked at.
    chunk: Bytes,
    /// The beginning of a message that came in several chunks.
    partial: BytesMut,
}

impl Decoder {
    /// For messages of at most `bytes_max`, compressed or not; compressed ones only if `encoded`.
    pub(crate) fn new(bytes_max: usize, encoded: bool) -> Self {
        Self {
            bytes_max,
            head: [0; HEAD_BYTES],
            head_len: 0,
            encoded,
            body_len: None,
            chunk: Bytes::new(),
            partial: BytesMut::new(),
        }
    }

    /// Takes the next bytes. Only when [`Decoder::message`] has answered none.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        debug_assert!(
            self.chunk.is_empty(),
            "a chunk is pushed when the last one is used up"
        );
        self.chunk = chunk;
    }

    /// Length of the next message, if it has begun and is not all here. What came since the last
    /// [`Decoder::message`] is not copied: who waits for room for it has not taken any.
    pub(crate) fn incomplete(&mut self) -> Result<Option<usize>, CallError> {
        let body_len = match self.body_len {
            Some(len) => len,
            None => match self.read_head()? {
                Some(len) => len,
                None => return Ok(None),
            },
        };
        let here = self.partial.len() + self.chunk.len();
        Ok((here < body_len).then_some(body_len))
    }

    /// The next whole message, if it is here.
    pub(crate) fn message(&mut self) -> Result<Option<Message>, CallError> {
        let body_len = match self.body_len {
            Some(len) => len,
            None => match self.read_head()? {
                Some(len) => len,
                None => return Ok(None),
            },
        };
        if self.partial.is_empty() && self.chunk.len() >= body_len {
            self.body_len = None;
            return Ok(Some(Message {
                bytes: self.chunk.split_to(body_len),
                compressed: self.is_compressed(),
            }));
        }
        let take = self.chunk.len().min(body_len - self.partial.len());
        if self.partial.is_empty() {
            self.partial
                .reserve(body_len.min(RESERVE_BYTES_MAX).max(take));
        }
        self.partial.extend_from_slice(&self.chunk[..take]);
        self.chunk.advance(take);
        if self.partial.len() < body_len {
            return Ok(None);
        }
        self.body_len = None;
        Ok(Some(Message {
            bytes: std::mem::take(&mut self.partial).freeze(),
            compressed: self.is_compressed(),
        }))
    }

    /// Of the message whose header was read last.
    fn is_compressed(&self) -> bool {
        self.head[0] == 1
    }

    fn read_head(&mut self) -> Result<Option<usize>, CallError> {
        let take = self.chunk.len().min(HEAD_BYTES - self.head_len);
        self.head[self.head_len..self.head_len + take].copy_from_slice(&self.chunk[..take]);
        self.chunk.advance(take);
        self.head_len += take;
        if self.head_len < HEAD_BYTES {
            return Ok(None);
        }
        self.head_len = 0;
        let [flag, length @ ..] = self.head;
        match flag {
            0 => {}
            1 if self.encoded => {}
            1 => {
                return Err(CallError::Malformed(
                    "a compressed message without grpc-encoding",
                ));
            }
            _ => return Err(CallError::Malformed("unknown flag before a message")),
        }
        let len = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if len > self.bytes_max {
            return Err(CallError::RequestTooLarge {
                len,
                max: self.bytes_max,
            });
        }
        self.body_len = Some(len);
        Ok(Some(len))
    }

    /// Checks that the stream did not end within a message.
    pub(crate) fn finish(&self) -> Result<(), CallError> {
        if self.head_len > 0 || self.body_len.is_some() {
            return Err(CallError::Malformed("the request ends within a message"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 1000;

    fn frame(message: &[u8]) -> Vec<u8> {
        let mut wire = vec![0];
        wire.extend(u32::try_from(message.len()).expect("short").to_be_bytes());
        wire.extend_from_slice(message);
        wire
    }

    fn decode(chunks: impl IntoIterator<Item = Vec<u8>>) -> Result<Vec<Message>, CallError> {
        decode_with(false, chunks)
    }

    fn decode_with(
        encoded: bool,
        chunks: impl IntoIterator<Item = Vec<u8>>,
    ) -> Result<Vec<Message>, CallError> {
        let mut decoder = Decoder::new(MAX, encoded);
        let mut messages = Vec::new();
        for chunk in chunks {
            decoder.push(chunk.into());
            while let Some(message) = decoder.message()? {
                messages.push(message);
            }
        }
        decoder.finish()?;
        Ok(messages)
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_bytes() {
        let mut wire = vec![0];
        wire.extend(u32::MAX.to_be_bytes());
        let error = decode([wire]).expect_err("4 GiB");
        assert!(
            matches!(error, CallError::RequestTooLarge { max: MAX, .. }),
            "{error}"
        );
    }

    #[test]
    fn nothing_is_copied_before_there_is_room() {
        let mut decoder = Decoder::new(MAX, false);
        let wire = frame(&[7; MAX]);
        decoder.push(wire[..500].to_vec().into());
        for _ in 0..2 {
            assert_eq!(decoder.incomplete().expect("well-formed"), Some(MAX));
            assert_eq!(decoder.partial.capacity(), 0);
        }
        assert_eq!(decoder.message().expect("well-formed"), None);
        decoder.push(wire[500..].to_vec().into());
        assert_eq!(decoder.incomplete().expect("well-formed"), None);
        let message = decoder.message().expect("well-formed").expect("whole");
        assert_eq!(message.bytes, [7; MAX][..]);
    }

    #[test]
    fn a_message_of_exactly_the_limit_passes() {
        assert_eq!(decode([frame(&[7; MAX])]).expect("it fits").len(), 1);
        assert!(decode([frame(&[7; MAX + 1])]).is_err());
    }

    #[test]
    fn flags_and_cut_messages_are_malformed() {
        for wire in [
            vec![1, 0, 0, 0, 0],
            vec![2, 0, 0, 0, 0],
            vec![255, 0, 0, 0, 0],
            vec![0],
            vec![0, 0, 0, 0],
            vec![0, 0, 0, 0, 3, 1, 2],
        ] {
            let error = decode([wire.clone()]).expect_err("malformed");
            assert!(
                matches!(error, CallError::Malformed(_)),
                "{wire:?}: {error}"
            );
        }
    }

    #[test]
    fn other_flags_than_0_and_1_are_malformed_with_an_encoding_too() {
        for flag in 2..=u8::MAX {
            assert!(decode_with(true, [vec![flag, 0, 0, 0, 0]]).is_err());
        }
    }

    proptest! {
        /// However the bytes are cut, the messages are the same.
        #[test]
        fn messages_survive_any_cut(
            messages in prop::collection::vec(
                (any::<bool>(), prop::collection::vec(any::<u8>(), 0..200)),
                0..8,
            ),
            cuts in prop::collection::vec(1_usize..50, 1..200),
        ) {
            let frames = messages.iter().map(|(compressed, message)| {
                let mut wire = frame(message);
                wire[0] = u8::from(*compressed);
                wire
            });
            let wire: Vec<u8> = frames.flatten().collect();
            let mut rest = &wire[..];
            let mut chunks = Vec::new();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (chunk, after) = rest.split_at((*cut).min(rest.len()));
                chunks.push(chunk.to_vec());
                rest = after;
            }
            let decoded = decode_with(true, chunks).expect("well-formed");
            let messages = messages.into_iter().map(|(compressed, bytes)| Message {
                bytes: bytes.into(),
                compressed,
            });
            prop_assert_eq!(decoded, messages.collect::<Vec<_>>());
        }

        /// No input makes the decoder panic or hold more than it may.
        #[test]
        fn any_bytes_are_decoded_or_refused(encoded: bool, chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let _ = decode_with(encoded, chunks);
        }
    }
}
