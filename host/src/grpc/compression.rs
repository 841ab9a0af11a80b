//! Compressed messages: which encoding a call uses, and when. The work itself is below.
//!
//! Used by `grpc::request`, `grpc::incoming` (through [`Unpacking`]) and `grpc::outgoing` (through
//! [`Responses`]). Source: grpc/doc/compression.md and gRPC over HTTP/2, "Message-Encoding".
//!
//! Invariants: a message is never compressed unless the headers named the encoding, and the caller
//! said that it takes it; what a message decompresses to is limited like a message that came as it
//! is; a large message is worked on in steps, between which its call pauses, so compression counts
//! as the call's own CPU time (`lane`) and holds up nobody; what all of it takes together is limited
//! (`room`). A call without compression pays for a comparison or two.

mod pack;
mod room;
mod shelf;
mod unpack;

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use self::pack::Packing;
pub(crate) use self::unpack::Unpacking;
use crate::config::{CompressionConfig, Encoding};
use crate::error::CallError;
use crate::imports::call::Outbound;

/// What is put in or taken out before the call pauses, in bytes. Measured on 2 cores: 0.03 to 0.1 ms of
/// decompression, 0.1 ms (zstd) to 1 ms (gzip of data that is hard to compress) of compression.
const STEP_BYTES: usize = 64 * 1024;

/// What requests may be encoded in. Sent where the spec asks for it: with the refusal of an unknown
/// encoding, and to a caller who compresses.
pub(crate) const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,deflate,gzip,zstd");

const ENCODING: &str = "grpc-encoding";
/// The header that [`ACCEPTED`] is the value of.
pub(crate) const ACCEPT_ENCODING: &str = "grpc-accept-encoding";

/// The encoding of a request's messages.
///
/// # Errors
/// [`CallError::UnknownEncoding`].
pub(crate) fn of_request(headers: &HeaderMap) -> Result<Option<Encoding>, CallError> {
    let Some(name) = headers.get(ENCODING) else {
        return Ok(None);
    };
    if name == "identity" {
        return Ok(None);
    }
    let known = name.to_str().ok().and_then(|name| name.parse().ok());
    match known {
        Some(encoding) => Ok(Some(encoding)),
        None => {
            let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
            Err(CallError::UnknownEncoding(name))
        }
    }
}

/// The first of `encodings` that the caller takes.
fn agreed(headers: &HeaderMap, encodings: &[Encoding]) -> Option<Encoding> {
    let takes = |encoding: &Encoding| {
        let values = headers.get_all(ACCEPT_ENCODING).into_iter();
        let mut names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        names.any(|name| name.trim_ascii() == encoding.name().as_bytes())
    };
    encodings.iter().copied().find(takes)
}

/// Which messages are compressed, if the headers name an encoding.
#[derive(Clone, Copy, Debug)]
enum When {
    /// Those from this size, if it makes them smaller: what the operator says.
    From(usize),
    /// All but empty ones: the plugin asked for it.
    Always,
    Never,
}

/// Compression of what one call sends.
#[derive(Debug)]
pub(crate) struct Responses {
    /// What the headers name, or will. Does not change once they have left.
    encoding: Option<Encoding>,
    when: When,
    /// The caller compresses, so it is told what it may use.
    tells_accepted: bool,
    /// A message that is being compressed.
    packing: Option<Box<Packing>>,
}

impl Responses {
    /// For a call with these request headers; `encoding` is that of its request.
    pub(crate) fn new(
        headers: &HeaderMap,
        encoding: Option<Encoding>,
        config: &CompressionConfig,
    ) -> Self {
        let mut responses = Self {
            encoding: None,
            when: When::Never,
            tells_accepted: encoding.is_some(),
            packing: None,
        };
        if config.by_default {
            responses.encoding = agreed(headers, &config.encodings);
            responses.when = When::From(config.bytes_min);
        }
        responses
    }

    /// What the plugin asks for, from the next message on. `headers` are those of the request, or
    /// none once the response's have left. Answers whether messages will be compressed.
    pub(crate) fn set(
        &mut self,
        on: bool,
        headers: Option<&HeaderMap>,
        config: &CompressionConfig,
    ) -> bool {
        self.when = if on { When::Always } else { When::Never };
        if on && self.encoding.is_none() {
            self.encoding = headers.and_then(|headers| agreed(headers, &config.encodings));
        }
        on && self.encoding.is_some()
    }

    /// Adds to the response headers what the caller must know.
    pub(crate) fn announce(&self, headers: &mut HeaderMap) {
        if let Some(encoding) = self.encoding {
            headers.insert(ENCODING, HeaderValue::from_static(encoding.name()));
        }
        self.announce_accepted(headers);
    }

    /// The same for a response without messages.
    pub(crate) fn announce_accepted(&self, headers: &mut HeaderMap) {
        if self.tells_accepted {
            headers.insert(ACCEPT_ENCODING, ACCEPTED);
        }
    }

    /// Frames a message, to be compressed when it is sent or not.
    pub(crate) fn frame(&self, message: Bytes) -> Outbound {
        let wanted = match self.when {
            When::Never => false,
            When::Always => !message.is_empty(),
            When::From(bytes_min) => message.len() >= bytes_min.max(1),
        };
        if wanted && self.encoding.is_some() {
            Outbound::to_compress(message)
        } else {
            Outbound::new(message)
        }
    }

    /// Compresses `message`, if it was framed so; ready once it can be sent, with whether it did.
    /// Called again with the same one until then.
    pub(crate) fn poll_pack(&mut self, cx: &mut Context<'_>, message: &mut Outbound) -> Poll<bool> {
        let (Some(raw), Some(encoding)) = (message.uncompressed(), self.encoding) else {
            return Poll::Ready(false);
        };
        let packing = self
            .packing
            .get_or_insert_with(|| Box::new(Packing::new(encoding, raw.clone())));
        let packed = ready!(packing.poll(cx));
        self.packing = None;
        let gains =
            |packed: &Bytes| packed.len() < raw.len() || !matches!(self.when, When::From(_));
        let packed = packed.filter(gains);
        let compressed = packed.is_some();
        *message = match packed {
            Some(packed) => Outbound::compressed(packed),
            None => Outbound::new(raw),
        };
        Poll::Ready(compressed)
    }
}

#[cfg(test)]
mod tests;
