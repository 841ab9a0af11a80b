//! The body of an answer: its messages and trailers, under flow control, deadline and pause.
//!
//! Made by `call` once the head has come, read by the generated client. Invariants: bytes are given
//! back to flow control as they are handed on, not before; none are handed on after the deadline; the
//! body ends with trailers that hold a status, or with an error; from then on it holds nothing of its
//! connection. Dropping it before that cancels the call.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use super::answer;
use super::lifeline::Lifeline;
use super::poll_why;
use super::timer::{self, Timer};
use crate::connection::Ticket;
use crate::error::CallError;
use crate::gate::Pass;

/// The body of an answer, as generated clients read it. The default is one that has ended.
#[derive(Default)]
pub struct ResponseBody(Option<Live>);

/// An answer whose head was taken in, before it has its way to the caller.
#[derive(Debug)]
pub(super) struct Incoming {
    stream: RecvStream,
    stream_id: u32,
    ticket: Ticket,
    lifeline: Lifeline,
    /// Whether the head was all there is to it.
    status_in_head: bool,
}

#[derive(Debug)]
struct Live {
    incoming: Incoming,
    pass: Pass,
    timer: Option<Timer>,
    /// What the library said when the stream failed, until we know what it means.
    failed: Option<h2::Error>,
    /// Whether the messages are over.
    trailing: bool,
}

impl Incoming {
    pub(super) fn new(
        stream: RecvStream,
        stream_id: u32,
        ticket: Ticket,
        lifeline: Lifeline,
    ) -> Self {
        Self {
            stream,
            stream_id,
            ticket,
            lifeline,
            status_in_head: false,
        }
    }

    pub(super) fn with_status_in_head(mut self) -> Self {
        self.status_in_head = true;
        self
    }

    pub(super) fn into_body(self, pass: Pass, timer: Option<Timer>) -> ResponseBody {
        if self.status_in_head && self.stream.is_end_stream() {
            self.lifeline.done();
            return ResponseBody(None);
        }
        ResponseBody(Some(Live {
            incoming: self,
            pass,
            timer,
            failed: None,
            trailing: false,
        }))
    }
}

impl Live {
    /// The next frame; at the deadline its error, unless the answer is just ending.
    fn poll_in_time(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        let frame = self.poll_frame(cx);
        let goes_on = match &frame {
            Poll::Pending => true,
            Poll::Ready(Some(Ok(frame))) => frame.is_data(),
            Poll::Ready(Some(Err(_)) | None) => false,
        };
        if goes_on
            && let Some(timer) = &mut self.timer
            && let Poll::Ready(late) = timer.poll_late(cx)
        {
            return Poll::Ready(Some(Err(late.into())));
        }
        frame
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        ready!(self.pass.poll_open(cx));
        loop {
            if let Some(error) = &self.failed {
                let incoming = &self.incoming;
                let link = incoming.ticket.link();
                let why = poll_why(error, incoming.stream_id, link, &incoming.lifeline, cx);
                return why.map(|error| Some(Err(timer::in_time(self.timer.as_ref(), error))));
            }
            let stream = &mut self.incoming.stream;
            if self.trailing {
                match ready!(stream.poll_trailers(cx)) {
                    Ok(trailers) => return Poll::Ready(self.end(trailers)),
                    Err(error) => self.failed = Some(error),
                }
                continue;
            }
            match ready!(stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Fails only for more than was received.
                    drop(stream.flow_control().release_capacity(data.len()));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => self.failed = Some(error),
                None => self.trailing = true,
            }
        }
    }

    fn end(&self, trailers: Option<HeaderMap>) -> Option<Result<Frame<Bytes>, CallError>> {
        match trailers.and_then(answer::tidy_trailers) {
            Some(trailers) => {
                self.incoming.lifeline.done();
                Some(Ok(Frame::trailers(trailers)))
            }
            None if self.incoming.status_in_head => {
                self.incoming.lifeline.done();
                None
            }
            None => Some(Err(CallError::NoStatus)),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(live) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let frame = ready!(live.poll_in_time(cx));
        let more = matches!(&frame, Some(Ok(frame)) if frame.is_data());
        if !more {
            self.0 = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(CallError::status)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("ended", &self.0.is_none())
            .finish()
    }
}
