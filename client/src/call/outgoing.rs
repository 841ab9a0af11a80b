//! The messages that a caller sends: the first with the head, the others by a task of their own.
//!
//! Used by `call`. A unary request goes out whole in one go: head, message and end of stream. Others
//! are pumped as HTTP/2's flow control allows, by a task, since a caller may send without reading.
//! Invariants: nothing of the messages is gone as long as [`Outgoing::reclaim`] says so, and then
//! the old pump takes no more of them; a pump that ends before its time fails the call.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;
use http_body::{Body as _, Frame};
use tonic::body::Body;
use tonic::{Code, Status};

use super::lifeline::{Line, Over};
use crate::error::CallError;

/// Longest first message that is kept until the answer begins, for another try. Bytes; a larger one
/// is rare, and not worth its memory.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// The source of a call's messages, shared by its tries.
#[derive(Clone, Debug)]
pub(super) struct Outgoing(Arc<Mutex<Source>>);

/// What goes out with the head.
#[derive(Debug)]
pub(super) struct First {
    pub(super) data: Option<Bytes>,
    /// Whether that is all.
    pub(super) ended: bool,
}

#[derive(Debug)]
struct Source {
    body: Body,
    looked: bool,
    /// What went out with the head, as long as it may have to again.
    first: Option<Bytes>,
    /// Found while looking whether the first was the last.
    next: Option<Next>,
    ended: bool,
    /// Whether anything is out of reach for another try.
    gone: bool,
    /// Counts tries; a pump of an older one gets nothing.
    tries: u32,
}

#[derive(Debug)]
enum Next {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    /// Another try has taken over.
    TakenOver,
}

impl Outgoing {
    pub(super) fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(Source {
            body,
            looked: false,
            first: None,
            next: None,
            ended: false,
            gone: false,
            tries: 0,
        })))
    }

    /// What is there to go out with the head, without waiting for it.
    ///
    /// # Errors
    /// When the caller's messages fail.
    pub(super) fn poll_first(&self, cx: &mut Context<'_>) -> Result<First, CallError> {
        let mut source = self.lock();
        if !source.looked {
            source.look(cx)?;
        }
        Ok(First {
            data: source.first.clone(),
            ended: source.ended,
        })
    }

    /// The first message is on its way.
    pub(super) fn sent_first(&self) {
        let mut source = self.lock();
        let len = source.first.as_ref().map_or(0, Bytes::len);
        if len > KEPT_BYTES_MAX {
            source.first = None;
            source.gone = true;
        }
    }

    /// Takes the messages back for another try, if none is gone.
    pub(super) fn reclaim(&self) -> bool {
        let mut source = self.lock();
        source.tries += 1;
        !source.gone
    }

    /// The answer has begun: there is no other try.
    pub(super) fn settle(&self) {
        let mut source = self.lock();
        source.gone = true;
        source.first = None;
    }

    fn lock(&self) -> MutexGuard<'_, Source> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_next(&self, tries: u32, cx: &mut Context<'_>) -> Poll<Result<Next, CallError>> {
        let mut source = self.lock();
        if source.tries != tries {
            return Poll::Ready(Ok(Next::TakenOver));
        }
        let next = match source.next.take() {
            Some(next) => next,
            None => ready!(source.poll_body(cx))?,
        };
        source.gone = true;
        Poll::Ready(Ok(next))
    }
}

impl Source {
    /// Looks for the first message, and whether it is the last.
    fn look(&mut self, cx: &mut Context<'_>) -> Result<(), CallError> {
        self.looked = true;
        match self.poll_body(cx)? {
            Poll::Ready(Next::Data(data)) => self.first = Some(data),
            Poll::Ready(Next::End) => {
                self.ended = true;
                return Ok(());
            }
            Poll::Ready(other) => {
                self.next = Some(other);
                return Ok(());
            }
            Poll::Pending => return Ok(()),
        }
        match self.poll_body(cx)? {
            Poll::Ready(Next::End) => self.ended = true,
            Poll::Ready(other) => self.next = Some(other),
            Poll::Pending => {}
        }
        Ok(())
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, CallError>> {
        let frame: Option<Result<Frame<Bytes>, Status>> =
            ready!(Pin::new(&mut self.body).poll_frame(cx));
        let frame = match frame {
            None => return Poll::Ready(Ok(Next::End)),
            Some(Ok(frame)) => frame,
            Some(Err(status)) => {
                let error = CallError::Messages(status.code(), status.message().to_owned());
                return Poll::Ready(Err(error));
            }
        };
        Poll::Ready(Ok(match frame.into_data() {
            Ok(data) => Next::Data(data),
            Err(frame) => frame.into_trailers().map_or(Next::End, Next::Trailers),
        }))
    }
}

/// The task that sends what comes after the first message.
#[derive(Debug)]
pub(super) struct Pump {
    stream: SendStream<Bytes>,
    outgoing: Outgoing,
    tries: u32,
    line: Line,
    /// Taken, not sent yet.
    data: Bytes,
    ended: bool,
}

impl Pump {
    pub(super) fn new(stream: SendStream<Bytes>, outgoing: Outgoing, line: Line) -> Self {
        let tries = outgoing.lock().tries;
        Self {
            stream,
            outgoing,
            tries,
            line,
            data: Bytes::new(),
            ended: false,
        }
    }

    /// Sends as much of `data` as flow control allows. Ready when it is gone, or nobody wants it.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        while !self.data.is_empty() {
            self.stream.reserve_capacity(self.data.len());
            let allowed = match ready!(self.stream.poll_capacity(cx)) {
                Some(allowed) => allowed?,
                None => return Poll::Ready(Err(Reason::STREAM_CLOSED.into())),
            };
            let piece = self.data.split_to(allowed.min(self.data.len()));
            self.stream.send_data(piece, false)?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_pump(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        if let Poll::Ready(over) = self.line.poll_over(cx) {
            // The server has its answer, or nobody wants it any more: what is not sent yet never is.
            self.stream.send_reset(match over {
                Over::Done => Reason::NO_ERROR,
                Over::Dropped => Reason::CANCEL,
            });
            return Poll::Ready(Ok(()));
        }
        if self.stream.poll_reset(cx).is_ready() {
            // The answer's side is told by the library itself.
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(self.poll_send(cx))?;
            match ready!(self.outgoing.poll_next(self.tries, cx)) {
                Ok(Next::Data(data)) => self.data = data,
                Ok(Next::Trailers(trailers)) => {
                    return Poll::Ready(self.stream.send_trailers(trailers));
                }
                Ok(Next::End) => return Poll::Ready(self.stream.send_data(Bytes::new(), true)),
                Ok(Next::TakenOver) => return Poll::Ready(Ok(())),
                Err(error) => {
                    self.line.fail(error);
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl Future for Pump {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // An error of the stream is its answer's too.
        let pumped = ready!(self.poll_pump(cx));
        if let Err(error) = pumped {
            tracing::trace!(%error, "no more messages are wanted");
        }
        self.ended = true;
        Poll::Ready(())
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        if !self.ended {
            // The caller's stream panicked, or the runtime is gone. The server must not take what
            // it has for all there is.
            let text = "the stream of messages ended without its end".to_owned();
            self.line.fail(CallError::Messages(Code::Internal, text));
            self.stream.send_reset(Reason::CANCEL);
        }
    }
}
