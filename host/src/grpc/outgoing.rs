//! What one call sends: headers, messages, and trailers with the status.
//!
//! Used by `grpc::exchange`, under its lock. Invariants: bytes are handed to h2 only when flow control
//! takes them; after the trailers nothing is sent; half a message is never followed by trailers.
//!
//! Small messages are gathered and leave as one DATA frame, when the handler waits or when there are
//! enough of them: each frame costs four locks, a slot in h2 and nine bytes, which is more than the
//! echo of 16 bytes itself. Nothing waits for more to come: a call that pauses is flushed.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{HeaderMap, Response};

use super::compression::Responses;
use super::link::Link;
use super::web::Dialect;
use super::wire;
use crate::config::CompressionConfig;
use crate::imports::call::{MetadataError, Outbound};
use crate::status::Status;

/// Bytes gathered before they are sent although the handler has more. One DATA frame of the size
/// that every HTTP/2 peer takes. Source: RFC 9113, `SETTINGS_MAX_FRAME_SIZE`.
const GATHERED_BYTES_MAX: usize = 16 * 1024;

/// Largest message that is copied to be gathered; a larger one leaves by itself, uncopied.
const GATHER_MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// The response stream does not take any more: the caller reset it, or its connection is gone.
#[derive(Debug)]
pub(crate) struct Gone;

/// The sending half of a call.
#[derive(Debug)]
pub(crate) struct Outgoing {
    stage: Stage,
    link: Arc<Link>,
    dialect: Dialect,
    headers: HeaderMap,
    headers_bytes: usize,
    trailers: HeaderMap,
    trailers_bytes: usize,
    compression: Responses,
    /// Small messages that have not been handed over; at most [`GATHERED_BYTES_MAX`].
    gathered: BytesMut,
    /// Gathered messages of which flow control has taken only a part.
    leaving: Option<Outbound>,
    /// Messages framed so far.
    pub(crate) framed: u64,
    /// Messages that were taken whole.
    pub(crate) sent: u64,
    /// Whether a message was begun and not ended: then only a reset can follow.
    mid_message: bool,
}

/// How far a message was handed over.
#[derive(Clone, Copy, Debug)]
enum Pushed {
    All,
    /// The caller takes no more for now.
    NoWindow,
    /// The connection does not.
    NoRoom,
}

#[derive(Debug)]
enum Stage {
    Headers(SendResponse<Outbound>),
    Body(SendStream<Outbound>),
    /// The last frame of a body that has its trailers there, as far as it was not taken.
    Ending(SendStream<Outbound>, Outbound),
    Done,
}

impl Outgoing {
    pub(crate) fn new(
        respond: SendResponse<Outbound>,
        compression: Responses,
        dialect: Dialect,
        link: Arc<Link>,
    ) -> Self {
        Self {
            stage: Stage::Headers(respond),
            link,
            dialect,
            headers: HeaderMap::new(),
            headers_bytes: 0,
            trailers: HeaderMap::new(),
            trailers_bytes: 0,
            compression,
            gathered: BytesMut::new(),
            leaving: None,
            framed: 0,
            sent: 0,
            mid_message: false,
        }
    }

    /// Ready when the caller has reset the stream, or the connection is gone.
    pub(crate) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let reset = match &mut self.stage {
            Stage::Headers(respond) => respond.poll_reset(cx),
            Stage::Body(stream) | Stage::Ending(stream, _) => stream.poll_reset(cx),
            Stage::Done => Poll::Pending,
        };
        // An error is the connection's, which is gone just as well.
        reset.map(drop)
    }

    /// Adds to the headers, unless they have left.
    pub(crate) fn set_header(
        &mut self,
        bytes_max: usize,
        key: &str,
        value: &[u8],
    ) -> Result<(), MetadataError> {
        if !matches!(self.stage, Stage::Headers(_)) {
            return Err(MetadataError::AlreadySent);
        }
        wire::append(
            &mut self.headers,
            &mut self.headers_bytes,
            bytes_max,
            key,
            value,
        )
    }

    /// Adds to the trailers.
    pub(crate) fn set_trailer(
        &mut self,
        bytes_max: usize,
        key: &str,
        value: &[u8],
    ) -> Result<(), MetadataError> {
        wire::append(
            &mut self.trailers,
            &mut self.trailers_bytes,
            bytes_max,
            key,
            value,
        )
    }

    /// Switches compression of the next messages, for a request with these headers.
    pub(crate) fn set_compression(
        &mut self,
        on: bool,
        request: &HeaderMap,
        config: &CompressionConfig,
    ) -> bool {
        let can_announce = matches!(self.stage, Stage::Headers(_));
        self.compression
            .set(on, can_announce.then_some(request), config)
    }

    /// Gives a message its frame header.
    pub(crate) fn frame(&mut self, message: Bytes) -> Outbound {
        self.framed += 1;
        let mut framed = self.compression.frame(message);
        if framed.uncompressed().is_none() {
            self.dialect.encode(&mut framed);
        }
        framed
    }

    /// Compresses a message that was framed so; answers whether it did, which makes other bytes of it.
    pub(crate) fn poll_pack(&mut self, cx: &mut Context<'_>, message: &mut Outbound) -> Poll<bool> {
        let waits = message.uncompressed().is_some();
        let packed = ready!(self.compression.poll_pack(cx, message));
        let encoded = waits && self.dialect.encode(message);
        Poll::Ready(packed || encoded)
    }

    /// Sends the headers, unless they have left.
    pub(crate) fn send_headers(&mut self) {
        let Stage::Headers(respond) = &mut self.stage else {
            return;
        };
        let mut response = Response::new(());
        *response.headers_mut() = std::mem::take(&mut self.headers);
        self.compression.announce(response.headers_mut());
        self.dialect.complete(response.headers_mut());
        self.stage = match respond.send_response(response, false) {
            Ok(stream) => Stage::Body(stream),
            // The stream was reset; whoever waits for it learns so by itself.
            Err(_gone) => Stage::Done,
        };
    }

    /// Takes a message whole: hands it over, or gathers it for [`Outgoing::poll_flush`].
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Outbound,
    ) -> Poll<Result<(), Gone>> {
        self.send_headers();
        ready!(self.poll_pack(cx, message));
        let len = message.remaining();
        let begun = self.mid_message && self.leaving.is_none();
        if !begun {
            if len > GATHER_MESSAGE_BYTES_MAX || self.gathered.len() + len > GATHERED_BYTES_MAX {
                ready!(self.poll_flush(cx))?;
            }
            if len <= GATHER_MESSAGE_BYTES_MAX {
                self.gathered.put(message);
                self.sent += 1;
                let open = matches!(self.stage, Stage::Body(_));
                return Poll::Ready(if open { Ok(()) } else { Err(Gone) });
            }
        }
        ready!(self.poll_push(cx, message))?;
        self.sent += 1;
        Poll::Ready(Ok(()))
    }

    /// Takes a message whole and hands it over at once: for the only message of a response, which
    /// the trailers follow.
    pub(crate) fn poll_send_only(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Outbound,
    ) -> Poll<Result<(), Gone>> {
        self.send_headers();
        ready!(self.poll_push(cx, message))?;
        self.sent += 1;
        Poll::Ready(Ok(()))
    }

    /// Hands over what was gathered.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let Some(mut leaving) = self.take_gathered() else {
            return Poll::Ready(Ok(()));
        };
        let pushed = self.poll_push(cx, &mut leaving);
        if pushed.is_pending() {
            self.leaving = Some(leaving);
        }
        pushed
    }

    fn take_gathered(&mut self) -> Option<Outbound> {
        self.leaving.take().or_else(|| {
            let gathered = self.gathered.split().freeze();
            (!gathered.is_empty()).then(|| Outbound::framed(gathered))
        })
    }

    /// Hands `message` over as flow control allows; ready when nothing of it is left.
    fn poll_push(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Outbound,
    ) -> Poll<Result<(), Gone>> {
        let mut waits = false;
        loop {
            match (self.push(message)?, &mut self.stage) {
                (Pushed::All, _) => return Poll::Ready(Ok(())),
                (Pushed::NoWindow, Stage::Body(stream)) => match ready!(stream.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Poll::Ready(Err(Gone)),
                },
                (Pushed::NoWindow, _) => return Poll::Ready(Err(Gone)),
                // It may have come just before this task was noted.
                (Pushed::NoRoom, _) if waits => return Poll::Pending,
                (Pushed::NoRoom, _) => {
                    self.link.sluice.wait(cx);
                    waits = true;
                }
            }
        }
    }

    /// Hands over what flow control and the connection take now.
    fn push(&mut self, message: &mut Outbound) -> Result<Pushed, Gone> {
        let Stage::Body(stream) = &mut self.stage else {
            return Err(Gone);
        };
        loop {
            let left = message.remaining();
            if left == 0 {
                self.mid_message = false;
                return Ok(Pushed::All);
            }
            stream.reserve_capacity(left);
            let window = stream.capacity().min(left);
            if window == 0 {
                return Ok(Pushed::NoWindow);
            }
            let room = self.link.sluice.room(&self.link.unsent, window);
            if room == 0 {
                return Ok(Pushed::NoRoom);
            }
            self.mid_message = true;
            self.link.sluice.entered(room);
            let part = message.split_to(room);
            stream.send_data(part, false).map_err(|_gone| Gone)?;
        }
    }

    /// Ends the response. Returns the names of what was left out of the trailers.
    ///
    /// Trailers that are part of the body wait for flow control like all of it: [`Outgoing::poll_end`].
    pub(crate) fn finish(&mut self, status: Option<&Status>, bytes_max: usize) -> Vec<String> {
        if self.is_ending() {
            return Vec::new();
        }
        let untouched = self.headers.is_empty() && self.gathered.is_empty();
        if let (Stage::Headers(respond), Some(status), true) = (&mut self.stage, status, untouched)
        {
            // "Trailers-Only is permitted for calls that produce an immediate error".
            let mut response = Response::new(());
            *response.headers_mut() = std::mem::take(&mut self.trailers);
            self.compression.announce_accepted(response.headers_mut());
            let left_out = wire::write_status(response.headers_mut(), bytes_max, Some(status));
            self.dialect.complete(response.headers_mut());
            // An error means that the caller is gone.
            drop(respond.send_response(response, true));
            self.stage = Stage::Done;
            return left_out;
        }
        self.send_headers();
        if let Some(mut leaving) = self.take_gathered() {
            // A call that ended by itself has flushed before. One that was cut short cannot wait:
            // what flow control does not take now is lost, and `mid_message` tells if it was cut.
            drop(self.push(&mut leaving));
        }
        let Stage::Body(mut stream) = std::mem::replace(&mut self.stage, Stage::Done) else {
            return Vec::new();
        };
        if self.mid_message {
            // Half a message has left: trailers would pass it off as an end.
            stream.send_reset(Reason::CANCEL);
            return Vec::new();
        }
        let mut trailers = std::mem::take(&mut self.trailers);
        let left_out = wire::write_status(&mut trailers, bytes_max, status);
        match self.dialect.trailers(&trailers) {
            // An error means that the caller is gone.
            None => drop(stream.send_trailers(trailers)),
            Some(frame) => {
                self.stage = Stage::Ending(stream, frame);
                self.push_end();
            }
        }
        left_out
    }

    /// Whether some of the end was not taken.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.stage, Stage::Ending(..))
    }

    /// Hands over the end of the response as flow control allows; ready when nothing of it is left, or
    /// nobody takes it any more.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.push_end();
            let Stage::Ending(stream, _) = &mut self.stage else {
                return Poll::Ready(());
            };
            if !matches!(ready!(stream.poll_capacity(cx)), Some(Ok(_))) {
                self.stage = Stage::Done;
            }
        }
    }

    /// Gives up an end that was not taken: half of it must not pass for all.
    pub(crate) fn give_up(&mut self) {
        if let Stage::Ending(stream, _) = &mut self.stage {
            stream.send_reset(Reason::CANCEL);
            self.stage = Stage::Done;
        }
    }

    /// Hands over what flow control takes now of the end.
    fn push_end(&mut self) {
        while let Stage::Ending(stream, frame) = &mut self.stage {
            let left = frame.remaining();
            stream.reserve_capacity(left);
            let room = stream.capacity().min(left);
            if room == 0 {
                return;
            }
            let part = frame.split_to(room);
            let sent = stream.send_data(part, room == left);
            if room == left || sent.is_err() {
                self.stage = Stage::Done;
            }
        }
    }
}
