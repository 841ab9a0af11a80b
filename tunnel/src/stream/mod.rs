//! A tunnel as a byte stream of tokio: [`Codec`] over any `AsyncRead + AsyncWrite`.
//!
//! Used by `host` below its HTTP/2 server and by `client` below its HTTP/2 connection. Owns the
//! order of what goes out: the rest of a message, then control frames, then the next message.
//! Invariants: what comes in is read into the caller's own buffer and nothing of it is kept; of
//! what goes out at most one message is kept, and the next is not accepted before; whatever waits
//! for the connection to become writable is woken, whether a reader or a writer found it full.
//! Knows no HTTP.

mod clock;
mod entropy;
mod handle;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use tokio::io::AsyncWrite;

use crate::codec::Codec;
use crate::error::{Ending, TunnelError};
use crate::{Config, Role};

use clock::Clock;
use handle::{Order, Shared};
use write::Outbox;

pub use entropy::random_key;
pub use handle::{Activity, TunnelHandle};

/// A byte stream over a WebSocket over `S`, after the handshake.
///
/// Every write, vectored or not, is one binary message, up to
/// [`Config::message_bytes_max`](crate::Config::message_bytes_max). It is accepted whole, and what
/// the connection does not take at once is kept: flush after writing, as with a buffered writer.
///
/// Reading also answers pings, sends pings and notices a dead peer, so keep reading, as an HTTP/2
/// connection does. A clean close of the peer (1000, 1001, 1005, 1012) is the end of the stream;
/// any other ending is an `io::Error` with a [`TunnelError`] inside.
///
/// A WebSocket has no half-close: `poll_shutdown` sends a close frame (1000) after what was
/// written, drops what still arrives, and waits at most
/// [`Config::close_timeout`](crate::Config::close_timeout) for the peer's answer.
///
/// ```
/// use switchboard_tunnel::{Config, Role, TunnelStream};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let (near, far) = tokio::io::duplex(1024); // two ends of a connection, past the handshake
/// let config = Config::default();
/// let mut client = TunnelStream::new(near, Role::Client, Default::default(), &config);
/// let mut server = TunnelStream::new(far, Role::Server, Default::default(), &config);
///
/// client.write_all(b"hello").await?;
/// client.flush().await?;
/// let mut heard = [0; 5];
/// server.read_exact(&mut heard).await?;
/// assert_eq!(&heard, b"hello");
/// # Ok(())
/// # }
/// ```
///
/// # Panics
///
/// Polling panics outside a tokio runtime with its clock enabled.
///
/// # Cancel safety
///
/// Reads, writes, flushes and shutdown may be given up between any two polls: a write is either
/// accepted, then it is sent whole, or not begun. Dropping the stream without shutdown ends the
/// connection without a close frame, and the peer sees it as lost (1006).
pub struct TunnelStream<S> {
    io: S,
    codec: Codec,
    /// What the connection had given before it became a WebSocket.
    already_read: Bytes,
    out: Outbox,
    clock: Clock,
    shared: Arc<Shared>,
    /// `shared` as a waker: for whatever reader and writer both may wait for.
    both: Waker,
    /// The wakers that `shared` has, so that setting the same again takes no lock.
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Whether the connection took nothing when it was last offered something.
    blocked: bool,
    /// Whether something went out on a reader's behalf that the connection was not told to flush.
    unflushed: bool,
    /// Whether the connection has no more bytes.
    at_end: bool,
    /// Whether `poll_shutdown` was called.
    in_shutdown: bool,
}

impl<S> TunnelStream<S> {
    /// The stream of this end over `io`, which is past the handshake; `already_read` is what the
    /// other end sent right behind it.
    pub fn new(io: S, role: Role, already_read: Bytes, config: &Config) -> Self {
        let codec = match role {
            Role::Server => Codec::server(config),
            Role::Client => Codec::client(config, entropy::masking_keys()),
        };
        let shared = Shared::new();
        Self {
            io,
            codec,
            already_read,
            out: Outbox::new(role),
            clock: Clock::new(),
            both: Waker::from(shared.clone()),
            shared,
            reader: None,
            writer: None,
            blocked: false,
            unflushed: false,
            at_end: false,
            in_shutdown: false,
        }
    }

    /// A handle that closes this stream from elsewhere.
    pub fn handle(&self) -> TunnelHandle {
        TunnelHandle::new(self.shared.clone())
    }

    /// What the stream runs over.
    pub fn get_ref(&self) -> &S {
        &self.io
    }

    fn obey(&mut self) {
        match self.shared.take_order() {
            None => {}
            Some(Order::Close(close)) => self.codec.close(self.clock.now(), close),
            Some(Order::Abort) => self.give_up(TunnelError::Aborted),
        }
    }

    /// Ends the tunnel without another word.
    fn give_up(&mut self, error: TunnelError) {
        self.codec.abort(error);
        self.out.clear();
        self.publish();
    }

    /// The connection took nothing, for good. The reader is woken: it has only so long now.
    fn fail_output(&mut self, error: io::Error) -> io::Error {
        let now = self.clock.now();
        self.codec.handle_output_failure(now, error.kind());
        self.out.clear();
        self.both.wake_by_ref();
        error
    }

    fn publish(&self) {
        if let Some(ending) = self.codec.ending() {
            self.shared.publish(ending);
        }
    }

    fn register_reader(&mut self, cx: &Context<'_>) {
        if !self
            .reader
            .as_ref()
            .is_some_and(|old| old.will_wake(cx.waker()))
        {
            self.reader = Some(cx.waker().clone());
            self.shared.set_reader(cx.waker().clone());
        }
    }

    fn register_writer(&mut self, cx: &Context<'_>) {
        if !self
            .writer
            .as_ref()
            .is_some_and(|old| old.will_wake(cx.waker()))
        {
            self.writer = Some(cx.waker().clone());
            self.shared.set_writer(cx.waker().clone());
        }
    }

    /// Does what is due; whether anything was. If not, reader and writer are woken when it is.
    fn poll_timer(&mut self) -> bool {
        let Some(due) = self.codec.poll_timeout() else {
            return false;
        };
        let mut both = Context::from_waker(&self.both);
        if !self.clock.poll_due(&mut both, due) {
            return false;
        }
        self.codec.handle_timeout(self.clock.now());
        true
    }
}

impl<S: AsyncWrite + Unpin> TunnelStream<S> {
    /// Writes out what was accepted, and the control frames that are due. Reader and writer are
    /// both woken when the connection takes more: register the one that asks before.
    fn poll_drain(&mut self) -> Poll<io::Result<()>> {
        loop {
            if self.out.is_empty() && !self.codec.poll_output(self.out.fresh()) {
                self.blocked = false;
                return Poll::Ready(Ok(()));
            }
            match ready!(self.poll_write_out()) {
                Ok(0) => {
                    let error = io::Error::from(io::ErrorKind::WriteZero);
                    return Poll::Ready(Err(self.fail_output(error)));
                }
                Ok(count) => self.out.advance(count),
                Err(error) => return Poll::Ready(Err(self.fail_output(error))),
            }
        }
    }

    fn poll_flush_connection(&mut self) -> Poll<io::Result<()>> {
        self.shared.take_woken();
        let mut cx = Context::from_waker(&self.both);
        let flushed = Pin::new(&mut self.io).poll_flush(&mut cx);
        self.blocked = flushed.is_pending();
        match ready!(flushed) {
            Ok(()) => {
                self.unflushed = false;
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(self.fail_output(error))),
        }
    }

    /// [`poll_drain`](Self::poll_drain), and sees that it leaves the connection.
    fn poll_drain_through(&mut self) -> Poll<io::Result<()>> {
        self.unflushed = true;
        ready!(self.poll_drain())?;
        self.poll_flush_connection()
    }
}

impl<S> Drop for TunnelStream<S> {
    fn drop(&mut self) {
        self.shared.forget_wakers();
        let ending = self.codec.handle_drop();
        self.shared.publish(&ending);
    }
}

impl<S: fmt::Debug> fmt::Debug for TunnelStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelStream")
            .field("io", &self.io)
            .field("codec", &self.codec)
            .finish_non_exhaustive()
    }
}

/// What a reader is told of an ending: nothing of a clean one, which is the end of the stream.
fn read_result(ending: &Ending) -> io::Result<()> {
    match ending {
        Ending::ClosedByUs(_) => Ok(()),
        Ending::ClosedByPeer(close) if close.code.is_clean() => Ok(()),
        Ending::ClosedByPeer(close) => Err(TunnelError::ClosedByPeer(close.clone()).into()),
        Ending::Failed(error) => Err(error.clone().into()),
    }
}
