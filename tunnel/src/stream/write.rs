//! Writing a tunnel: each write is one message, and what the connection does not take is kept.
//!
//! Invariants: the outbox ends with a whole frame, so that anything may follow it; a message is
//! put into it only when it is empty, so that it never holds more than one and the control frames
//! that were due at once.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};

use super::TunnelStream;
use crate::Role;
use crate::codec::MessageHeader;
use crate::error::{Ending, TunnelError};

/// Slices of one vectored write, the header included. Linux takes 1024, HTTP/2 writes give few.
const SLICES_MAX: usize = 64;
/// An empty outbox of a server keeps no more room than this: it needs it only when a peer is slow.
const IDLE_BYTES_MAX: usize = 1024;

/// Frames that were accepted and not yet taken by the connection.
#[derive(Debug)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    taken: usize,
    /// A client masks every message in here, so it keeps the room.
    keeps_room: bool,
}

impl Outbox {
    pub(super) fn new(role: Role) -> Self {
        Self {
            bytes: Vec::new(),
            taken: 0,
            keeps_room: role == Role::Client,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }

    pub(super) fn clear(&mut self) {
        self.taken = self.bytes.len();
    }

    /// The room for new frames of an outbox that is empty.
    pub(super) fn fresh(&mut self) -> &mut Vec<u8> {
        self.bytes.clear();
        self.taken = 0;
        &mut self.bytes
    }

    pub(super) fn advance(&mut self, count: usize) {
        self.taken += count;
        if self.is_empty() && !self.keeps_room && self.bytes.capacity() > IDLE_BYTES_MAX {
            self.bytes = Vec::new();
            self.taken = 0;
        }
    }

    /// What it occupies, full or empty.
    #[cfg(test)]
    pub(super) fn room_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    fn pending(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TunnelStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.register_writer(cx);
        this.obey();
        ready!(this.poll_drain())?;
        this.poll_message(bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.register_writer(cx);
        this.obey();
        ready!(this.poll_drain())?;
        match this.codec.write_error() {
            // What was written before the close is on its way.
            None | Some(TunnelError::Closing) => {}
            Some(error) => return Poll::Ready(Err(error.into())),
        }
        this.poll_flush_connection()
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_close(cx)
    }
}

impl<S> TunnelStream<S> {
    /// Both ends have said what they had to say. A client then waits for the server to end the
    /// connection, so that it is not the client's port that is left in TIME_WAIT. RFC 6455 7.1.1.
    pub(super) fn is_closed(&self) -> bool {
        match self.codec.ending() {
            None => false,
            Some(Ending::Failed(_)) => true,
            Some(Ending::ClosedByPeer(_) | Ending::ClosedByUs(_)) => {
                self.codec.role() == Role::Server || self.at_end
            }
        }
    }

    /// The close handshake took too long, or the connection is of no use.
    pub(super) fn is_given_up(&self) -> bool {
        self.codec.ending().is_some() && self.codec.poll_timeout().is_none()
    }

    pub(super) fn close_result(&self) -> io::Result<()> {
        match self.codec.ending() {
            Some(Ending::Failed(error)) => Err(error.clone().into()),
            Some(Ending::ClosedByPeer(_) | Ending::ClosedByUs(_)) | None => Ok(()),
        }
    }
}

impl<S: AsyncWrite + Unpin> TunnelStream<S> {
    pub(super) fn poll_write_out(&mut self) -> Poll<io::Result<usize>> {
        // A wake-up from here on is about this try.
        self.shared.take_woken();
        let mut cx = Context::from_waker(&self.both);
        let written = Pin::new(&mut self.io).poll_write(&mut cx, self.out.pending());
        self.blocked = written.is_pending();
        written
    }

    /// Sends as much of `bufs` as one message holds. The outbox is empty.
    fn poll_message(&mut self, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let available = bufs.iter().map(|buf| buf.len()).sum();
        if available == 0 {
            return Poll::Ready(Ok(0));
        }
        let gathers = self.codec.role() == Role::Server && self.io.is_write_vectored();
        let count = if gathers {
            ready!(self.poll_gathered(bufs))?
        } else {
            let header = self.codec.message_header(available)?;
            self.buffer_message(&header, bufs);
            if let Poll::Ready(Err(error)) = self.poll_drain() {
                return Poll::Ready(Err(error));
            }
            header.payload_bytes()
        };
        self.shared.counters.count_sent(count);
        Poll::Ready(Ok(count))
    }

    /// Writes header and payload where they lie; keeps what the connection does not take.
    fn poll_gathered(&mut self, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 1;
        let mut room = self.codec.message_bytes_max();
        for buf in bufs.iter().filter(|buf| !buf.is_empty()) {
            if room == 0 || count == SLICES_MAX {
                break;
            }
            let part = &buf[..buf.len().min(room)];
            slices[count] = IoSlice::new(part);
            count += 1;
            room -= part.len();
        }
        let payload_bytes = self.codec.message_bytes_max() - room;
        let header = self.codec.message_header(payload_bytes)?;
        slices[0] = IoSlice::new(header.as_slice());
        let slices = &slices[..count];

        self.shared.take_woken();
        let mut cx = Context::from_waker(&self.both);
        let written = Pin::new(&mut self.io).poll_write_vectored(&mut cx, slices);
        self.blocked = written.is_pending();
        let mut taken = match ready!(written) {
            Ok(0) => {
                let error = io::Error::from(io::ErrorKind::WriteZero);
                return Poll::Ready(Err(self.fail_output(error)));
            }
            Ok(taken) => taken,
            Err(error) => return Poll::Ready(Err(self.fail_output(error))),
        };
        // The header has promised the whole payload, so the whole payload is accepted.
        if taken < header.as_slice().len() + payload_bytes {
            let out = self.out.fresh();
            out.reserve_exact(header.as_slice().len() + payload_bytes - taken);
            for slice in slices {
                let skipped = taken.min(slice.len());
                out.extend_from_slice(&slice[skipped..]);
                taken -= skipped;
            }
        }
        Poll::Ready(Ok(payload_bytes))
    }

    /// Puts a whole message into the outbox, masked if this is a client.
    fn buffer_message(&mut self, header: &MessageHeader, bufs: &[IoSlice<'_>]) {
        let out = self.out.fresh();
        let mut left = header.payload_bytes();
        out.reserve_exact(header.as_slice().len() + left);
        out.extend_from_slice(header.as_slice());
        let payload_at = out.len();
        for buf in bufs {
            let part = &buf[..buf.len().min(left)];
            out.extend_from_slice(part);
            left -= part.len();
        }
        if let Some(mut mask) = header.mask() {
            mask.apply(&mut out[payload_at..]);
        }
    }
}
