//! The body of a response, as a plugin reads it: nothing is read ahead of it.
//!
//! Made by `imports::http::send`. Holds the request's place until it is dropped.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};
use wasmtime_wasi_http::Error;

/// A body, and how long it may be silent.
pub(super) struct Incoming {
    body: hyper::body::Incoming,
    between: Duration,
    /// Runs while the plugin waits for more.
    silence: Pin<Box<Sleep>>,
    waiting: bool,
    _place: OwnedSemaphorePermit,
}

impl Incoming {
    pub(super) fn new(
        body: hyper::body::Incoming,
        between: Duration,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            body,
            between,
            silence: Box::pin(sleep(between)),
            waiting: false,
            _place: place,
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.waiting = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(Error::from)));
        }
        if !this.waiting {
            this.waiting = true;
            let end = Instant::now() + this.between;
            this.silence.as_mut().reset(end);
        }
        this.silence
            .as_mut()
            .poll(cx)
            .map(|()| Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
