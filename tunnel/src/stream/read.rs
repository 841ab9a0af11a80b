//! Reading a tunnel: the connection's bytes go into the caller's buffer and are unframed there.
//!
//! Invariants: a poll that returns `Pending` has asked the connection, the timer and the handle;
//! the peer counts as silent only when the connection was asked first and had nothing.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{TunnelStream, read_result};
use crate::CloseCode;
use crate::error::{Ending, TunnelError};

/// Reads without a byte of the stream before others on this thread have their turn.
const ROUNDS_MAX: usize = 32;
/// What arrives during shutdown is dropped in pieces of this size.
const SCRATCH_BYTES: usize = 4096;

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TunnelStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..ROUNDS_MAX {
            this.obey();
            if this.codec.is_closing() && this.codec.ending().is_none() {
                // A peer that never stops sending must not put off the end.
                this.poll_timer();
            }
            if this.codec.ending().is_some() {
                return this.poll_ending(cx);
            }
            if this.in_shutdown {
                this.register_reader(cx);
            }
            match this.poll_fill(cx, buf) {
                Poll::Ready(Ok(count)) => {
                    this.drain_for_reader(cx);
                    if count > 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    this.register_reader(cx);
                    this.drain_for_reader(cx);
                    let ended = this.codec.ending().is_some();
                    if !this.poll_timer() && !ended && !this.shared.is_ordered() {
                        return Poll::Pending;
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TunnelStream<S> {
    /// Reads once; how many bytes of the stream that gave, perhaps none.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        let start = buf.filled().len();
        if self.already_read.is_empty() {
            let read = if self.in_shutdown {
                // A reader and a task in shutdown may wait for the same bytes.
                let mut both = Context::from_waker(&self.both);
                Pin::new(&mut self.io).poll_read(&mut both, buf)
            } else {
                Pin::new(&mut self.io).poll_read(cx, buf)
            };
            if let Err(error) = ready!(read) {
                self.at_end = true;
                self.give_up(TunnelError::Connection(error.kind()));
                return Poll::Ready(Err(error));
            }
        } else {
            let count = self.already_read.len().min(buf.remaining());
            buf.put_slice(&self.already_read.split_to(count));
        }
        let now = self.clock.now();
        let fresh = &mut buf.filled_mut()[start..];
        if fresh.is_empty() {
            self.at_end = true;
            self.codec.handle_end_of_input(now);
            return Poll::Ready(Ok(0));
        }
        let count = self.codec.handle_input(now, fresh);
        buf.set_filled(start + count);
        self.shared.counters.count_received(count);
        Poll::Ready(Ok(count))
    }

    /// Sends what is due as far as the connection takes it, without a second try while it is full.
    fn drain_for_reader(&mut self, cx: &Context<'_>) {
        let idle = self.out.is_empty() && !self.codec.has_output() && !self.unflushed;
        if idle || (self.blocked && !self.shared.take_woken()) {
            return;
        }
        self.register_reader(cx);
        // A failure is the codec's to know: what the connection still gives is read first.
        let _ = self.poll_drain_through();
    }

    /// Holds the ending back until the peer was told, or does not want to know.
    fn poll_ending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.register_reader(cx);
        while self.poll_drain_through().is_pending() {
            let dead = matches!(
                self.codec.ending(),
                Some(Ending::Failed(
                    TunnelError::Silent(_) | TunnelError::Vanished
                ))
            );
            if dead || self.codec.poll_timeout().is_none() {
                self.out.clear();
                break;
            }
            if !self.poll_timer() {
                return Poll::Pending;
            }
        }
        self.publish();
        Poll::Ready(self.codec.ending().map_or(Ok(()), read_result))
    }

    /// The close handshake, from whichever side, to the end of the connection.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.register_writer(cx);
        self.in_shutdown = true;
        self.obey();
        self.codec.close(self.clock.now(), CloseCode::NORMAL.into());
        for _ in 0..ROUNDS_MAX {
            let told = self.poll_drain_through().is_ready();
            let timed = self.poll_timer();
            if (told && self.is_closed()) || self.is_given_up() {
                self.publish();
                let mut both = Context::from_waker(&self.both);
                // All is said: how the connection ends changes nothing any more.
                let _ = ready!(Pin::new(&mut self.io).poll_shutdown(&mut both));
                return Poll::Ready(self.close_result());
            }
            let mut scratch = [MaybeUninit::uninit(); SCRATCH_BYTES];
            let mut scratch = ReadBuf::uninit(&mut scratch);
            let read = !self.at_end && self.poll_fill(cx, &mut scratch).is_ready();
            if !read && !timed && !self.shared.is_ordered() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
