//! What one call receives: the bytes of its HTTP/2 stream, cut into messages.
//!
//! Used by `grpc::exchange`, under its lock. Invariants: the caller's window is opened again only for
//! bytes that the handler takes, so what waits here and in h2 is at most the stream's window; a
//! message is at most its limit, and stays compressed until the handler wants it.
//!
//! Bytes do not wait in h2 but here, in one buffer for each call: h2 counts what every unread DATA
//! frame costs and ends the whole connection, other calls included, when a caller has sent some
//! eight thousand small messages to a handler that pauses.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;

use super::codec::{Decoder, Message};
use super::compression::Unpacking;
use super::exchange::HttpExchange;
use super::text::TextDecoder;
use super::unread::{FREE_BYTES_MAX, Place};
use crate::config::Encoding;
use crate::error::CallError;

/// What is taken from the backlog at a time at most: the window is opened in these steps, so that a handler
/// that takes one message does not let the caller send another whole window.
const BACKLOG_STEP_BYTES: usize = 16 * 1024;

/// What is reserved for it at least: small messages do not each need an allocation.
const BACKLOG_BLOCK_BYTES_MIN: usize = 1024;

/// The receiving half of a call.
#[derive(Debug)]
pub(crate) struct Incoming {
    stream: RecvStream,
    decoder: Decoder,
    /// Between stream and decoder, for calls in base64.
    text: Option<TextDecoder>,
    /// Bytes that came while the handler did not ask; their window is not opened yet.
    backlog: Backlog,
    /// Room for the message that is being read, or was read last and not taken; small ones need none.
    pub(crate) place: Option<Place>,
    /// Waits for it.
    placing: Option<Placing>,
    /// A message that was cut off and not looked at; still compressed, if it came so.
    pub(crate) ready: Option<Message>,
    /// What messages may be compressed with.
    encoding: Option<Encoding>,
    /// Largest message, in bytes, also once it is decompressed.
    bytes_max: usize,
    /// A message that is being decompressed. Only what the handler wants now is.
    unpacking: Option<Box<Unpacking>>,
    /// A message that was looked at and not taken.
    pub(crate) opened: Option<Message>,
    /// Nothing more will come from the stream.
    ended: bool,
    /// The stream ended with an error.
    gone: bool,
    /// Messages decoded so far.
    pub(crate) count: u64,
    /// What the caller did wrong; ends the call.
    pub(crate) failure: Option<CallError>,
}

impl Incoming {
    pub(crate) fn new(
        stream: RecvStream,
        bytes_max: usize,
        encoding: Option<Encoding>,
        text: Option<TextDecoder>,
    ) -> Self {
        Self {
            stream,
            decoder: Decoder::new(bytes_max, encoding.is_some()),
            text,
            backlog: Backlog::default(),
            place: None,
            placing: None,
            ready: None,
            encoding,
            bytes_max,
            unpacking: None,
            opened: None,
            ended: false,
            gone: false,
            count: 0,
            failure: None,
        }
    }

    /// Takes the first message into `ready`.
    pub(crate) fn poll_first(
        &mut self,
        cx: &mut Context<'_>,
        call: &HttpExchange,
    ) -> Poll<Result<(), CallError>> {
        if self.ready.is_none() {
            let message = ready!(self.poll_message(cx, call))?;
            self.ready = Some(message.ok_or(CallError::Cardinality("none"))?);
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for the end of the request, which must come next.
    pub(crate) fn poll_no_more(
        &mut self,
        cx: &mut Context<'_>,
        call: &HttpExchange,
    ) -> Poll<Result<(), CallError>> {
        match ready!(self.poll_message(cx, call))? {
            None => Poll::Ready(Ok(())),
            Some(_) => Poll::Ready(Err(CallError::Cardinality("more than one"))),
        }
    }

    /// Begins to decompress a message.
    pub(crate) fn open(&mut self, packed: Bytes) -> Result<(), CallError> {
        // The decoder lets no compressed message pass in a call without an encoding.
        let encoding = self.encoding.ok_or(CallError::Bug)?;
        let unpacking = Unpacking::new(encoding, packed, self.bytes_max)?;
        self.unpacking = Some(Box::new(unpacking));
        Ok(())
    }

    /// Whether a message is being decompressed.
    pub(crate) fn is_opening(&self) -> bool {
        self.unpacking.is_some()
    }

    /// Goes on with what [`Incoming::open`] began.
    pub(crate) fn poll_opened(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, CallError>> {
        let Some(unpacking) = &mut self.unpacking else {
            return Poll::Ready(Err(CallError::Bug));
        };
        let opened = ready!(unpacking.poll(cx));
        self.unpacking = None;
        Poll::Ready(opened)
    }

    /// The next message as it came; none at the end, also every later time.
    pub(crate) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
        call: &HttpExchange,
    ) -> Poll<Result<Option<Message>, CallError>> {
        loop {
            if let Some(len) = self.decoder.incomplete()?
                && len > FREE_BYTES_MAX
            {
                if self.ready.is_some() {
                    // It can only be one too many, and must not take room to find that out.
                    return Poll::Ready(Err(CallError::Cardinality("more than one")));
                }
                if self.place.is_none() {
                    ready!(self.poll_place(cx, len, call))?;
                }
            }
            if let Some(message) = self.decoder.message()? {
                self.count += 1;
                call.endpoint().metrics.received();
                if let Some(place) = &mut self.place {
                    place.whole();
                }
                return Poll::Ready(Ok(Some(message)));
            }
            let chunk = match self.backlog.pop() {
                Some(chunk) => chunk,
                None => match ready!(self.poll_chunk(cx)) {
                    Some(chunk) => chunk,
                    None if self.gone => return Poll::Ready(Err(CallError::Cancelled)),
                    None => return Poll::Ready(self.finish().map(|()| None)),
                },
            };
            // What is taken may be sent again: a message is bounded by its limit, and the next one
            // is asked for only when the handler wants it.
            let released = self.stream.flow_control().release_capacity(chunk.len());
            if released.is_err() {
                return Poll::Ready(Err(CallError::Cancelled));
            }
            self.decoder.push(match &mut self.text {
                None => chunk,
                Some(text) => text.decode(&chunk)?,
            });
        }
    }

    /// Waits for room for a message of `len` bytes.
    fn poll_place(
        &mut self,
        cx: &mut Context<'_>,
        len: usize,
        call: &HttpExchange,
    ) -> Poll<Result<(), CallError>> {
        let Placing(placing) = self.placing.get_or_insert_with(|| {
            let (unread, call) = call.room();
            Placing(Box::pin(Arc::clone(unread).place(len, Weak::clone(call))))
        });
        let placed = ready!(placing.as_mut().poll(cx));
        self.placing = None;
        self.place = Some(placed?);
        Poll::Ready(Ok(()))
    }

    /// Checks that nothing was cut at the end of the stream.
    fn finish(&self) -> Result<(), CallError> {
        self.text.as_ref().map_or(Ok(()), TextDecoder::finish)?;
        self.decoder.finish()
    }

    /// Takes over what has come, without opening the window for it. Called when the handler waits
    /// for something else.
    pub(crate) fn drain(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(chunk)) = self.poll_chunk(cx) {
            self.backlog.push(chunk);
        }
        if self.ended && !self.gone {
            // gRPC has no trailers in requests. Nobody asks for these, and they would be held, out of any
            // window's reach, for as long as the call waits; one that does not wait is gone sooner.
            drop(self.stream.poll_trailers(cx));
        }
    }

    /// The next bytes of the stream; none at its end.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match ready!(self.stream.poll_data(cx)) {
            Some(Ok(chunk)) => Poll::Ready(Some(chunk)),
            Some(Err(_gone)) => {
                self.ended = true;
                self.gone = true;
                Poll::Ready(None)
            }
            None => {
                self.ended = true;
                Poll::Ready(None)
            }
        }
    }
}

/// Bytes that wait, in blocks of the size that they came in: a buffer that doubles as it grows would hold
/// twice as much for each of many calls.
#[derive(Debug, Default)]
struct Backlog(VecDeque<BytesMut>);

impl Backlog {
    fn push(&mut self, mut chunk: Bytes) {
        if let Some(last) = self.0.back_mut() {
            let room = (last.capacity() - last.len()).min(chunk.len());
            last.extend_from_slice(&chunk.split_to(room));
        }
        if !chunk.is_empty() {
            let mut block = BytesMut::with_capacity(chunk.len().max(BACKLOG_BLOCK_BYTES_MIN));
            block.extend_from_slice(&chunk);
            self.0.push_back(block);
        }
    }

    /// The bytes that came first, as many as may be taken at a time.
    fn pop(&mut self) -> Option<Bytes> {
        let first = self.0.front_mut()?;
        if first.len() > BACKLOG_STEP_BYTES {
            return Some(first.split_to(BACKLOG_STEP_BYTES).freeze());
        }
        self.0.pop_front().map(BytesMut::freeze)
    }
}

/// A message that waits for room.
struct Placing(Pin<Box<dyn Future<Output = Result<Place, CallError>> + Send>>);

impl std::fmt::Debug for Placing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Placing")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_comes_out_as_it_came_in_and_takes_little_more_room() {
        let mut backlog = Backlog::default();
        let mut sent = Vec::new();
        for (len, byte) in [1, 20, 2000, 16_384, 16_384, 640, 3, 40_000]
            .into_iter()
            .zip(0..)
        {
            let chunk = vec![byte; len];
            sent.extend_from_slice(&chunk);
            backlog.push(chunk.into());
        }
        let taken: usize = backlog.0.iter().map(BytesMut::capacity).sum();
        assert!(taken < sent.len() + 2 * BACKLOG_BLOCK_BYTES_MIN, "{taken}");
        let mut came = Vec::new();
        while let Some(part) = backlog.pop() {
            assert!(!part.is_empty() && part.len() <= BACKLOG_STEP_BYTES);
            came.extend_from_slice(&part);
        }
        assert_eq!(came, sent);
    }
}
