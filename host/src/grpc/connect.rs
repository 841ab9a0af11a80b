//! Streams of HTTP/2 that carry bytes of something else: extended CONNECT (RFC 8441).
//!
//! Called by `grpc::connection` for such a request; gives it to [`Connects`], which `listener` implements
//! and which knows what may be connected to. Invariants: bytes are handed to HTTP/2 only as flow control
//! and the connection take them, and the peer's window is opened again only for bytes that were read; a stream that is
//! dropped is reset.
//!
//! Knows neither WebSockets nor tunnels.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::ext::Protocol;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{Method, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Connections;
use super::link::Link;
use super::page;
use crate::imports::call::Outbound;
use crate::peer::Peer;

/// Bytes handed to HTTP/2 at a time: more than anything that is written at once, less than the send buffer
/// of a stream.
const WRITE_BYTES_MAX: usize = 128 * 1024;

/// What connects peers to something else than gRPC.
pub(crate) trait Connects: std::fmt::Debug + Send + Sync {
    /// Takes a request, answers it and goes on with it by itself. Returns at once.
    fn connect(&self, connect: Connect, peer: &Peer);
}

/// Whether a request is an extended CONNECT. Only then [`Connect::new`] makes sense.
pub(super) fn is_connect<B>(request: &Request<B>) -> bool {
    *request.method() == Method::CONNECT && request.extensions().get::<Protocol>().is_some()
}

/// An extended CONNECT that was not answered yet.
#[derive(Debug)]
pub(crate) struct Connect {
    /// Its head.
    pub(crate) request: Request<()>,
    receive: RecvStream,
    respond: SendResponse<Outbound>,
    link: Arc<Link>,
}

impl Connect {
    pub(super) fn new(
        request: Request<RecvStream>,
        respond: SendResponse<Outbound>,
        link: Arc<Link>,
    ) -> Self {
        let (head, receive) = request.into_parts();
        Self {
            request: Request::from_parts(head, ()),
            receive,
            respond,
            link,
        }
    }

    /// The protocol that the peer wants to speak.
    pub(crate) fn protocol(&self) -> &str {
        let protocol = self.request.extensions().get::<Protocol>();
        protocol.map_or("", Protocol::as_str)
    }

    /// Answers with success, and becomes the bytes both ways; none if the peer is gone.
    pub(crate) fn accept(mut self, response: Response<()>) -> Option<ConnectStream> {
        let send = self.respond.send_response(response, false).ok()?;
        Some(ConnectStream {
            send,
            receive: self.receive,
            unread: Bytes::new(),
            link: self.link,
        })
    }

    /// Answers with anything else, as long as the peer takes it and the host has time.
    ///
    /// # Cancel safety
    /// Dropping the future resets the stream.
    pub(crate) async fn refuse(self, response: Response<Bytes>, until: Connections) {
        tokio::select! {
            () = page::send(response, self.respond, until.clone()) => {}
            // It is one line: whoever has not taken it by then does not want it.
            () = until.grace() => {}
        }
    }

    /// Waits until the peer takes its request back, or is gone.
    ///
    /// # Cancel safety
    /// Begins anew.
    pub(crate) async fn taken_back(&mut self) {
        poll_fn(|cx| self.respond.poll_reset(cx).map(drop)).await;
    }
}

/// The bytes of a stream, both ways.
#[derive(Debug)]
pub(crate) struct ConnectStream {
    send: SendStream<Outbound>,
    receive: RecvStream,
    /// Came in one frame with what was read last; its window is not opened yet.
    unread: Bytes,
    link: Arc<Link>,
}

impl ConnectStream {
    /// Hands over as much of `slices` as flow control takes now.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = slices.iter().map(|slice| slice.len()).sum::<usize>();
        let len = len.min(WRITE_BYTES_MAX);
        if len == 0 {
            return Poll::Ready(Ok(0));
        }
        self.send.reserve_capacity(len);
        // Told once for each change, so what is there already is asked for first.
        while self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let window = len.min(self.send.capacity());
        let link = &self.link;
        let mut left = link.sluice.room(&link.unsent, window);
        if left == 0 {
            link.sluice.wait(cx);
            // It may have come just before this task was noted.
            left = link.sluice.room(&link.unsent, window);
        }
        if left == 0 {
            return Poll::Pending;
        }
        link.sluice.entered(left);
        let mut part = BytesMut::with_capacity(left);
        for slice in slices {
            let some = &slice[..left.min(slice.len())];
            part.extend_from_slice(some);
            left -= some.len();
        }
        let count = part.len();
        let sent = self.send.send_data(Outbound::framed(part.freeze()), false);
        Poll::Ready(sent.map(|()| count).map_err(io_error))
    }
}

fn io_error(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error
            .into_io()
            .unwrap_or_else(|| io::ErrorKind::Other.into());
    }
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

impl AsyncRead for ConnectStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        while self.unread.is_empty() {
            match ready!(self.receive.poll_data(cx)) {
                Some(Ok(bytes)) => self.unread = bytes,
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.unread.len().min(buf.remaining());
        buf.put_slice(&self.unread.split_to(count));
        let opened = self.receive.flow_control().release_capacity(count);
        Poll::Ready(opened.map_err(io_error))
    }
}

impl AsyncWrite for ConnectStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What HTTP/2 was given wakes its connection, which sends it.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // "The orderly TCP-level closures are represented as END_STREAM flags": RFC 8441, section 5.
        let ended = self.send.send_data(Outbound::framed(Bytes::new()), true);
        Poll::Ready(ended.map_err(io_error))
    }
}
