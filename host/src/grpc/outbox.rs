//! The byte stream under HTTP/2: gathers what h2 writes and sends it in one go.
//!
//! h2 wants to flush before every DATA frame that it does not copy, so that a batch of responses of
//! 1 KiB costs a system call each. Here a write only fills the outbox, a flush only notes the wish,
//! and [`Outbox::poll_send`], which `grpc::connection` calls when all that is ready has been
//! written, makes one system call for all of it.
//!
//! Invariants: bytes leave in the order they came; the outbox holds at most [`OUTBOX_BYTES_MAX`]
//! and one write; after an error every read and write fails, so that h2 learns of it.
//!
//! The two halves are [`Outbox`], kept by the connection, and [`OutboxIo`], owned by h2. Both are
//! used by the connection's task alone; the lock between them is never contended.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes gathered before they are sent although more may come. One system call for 64 KiB costs
/// little more than for 16 KiB, and beyond it the copy outweighs the call.
const OUTBOX_BYTES_MAX: usize = 64 * 1024;

/// Room that an empty outbox keeps. What a burst needed is given back, or ten thousand connections
/// that were busy once would hold 640 MiB for ever.
const OUTBOX_KEPT_BYTES_MAX: usize = 8 * 1024;

/// A write of this size goes to the socket together with what is gathered, uncopied.
const DIRECT_BYTES_MIN: usize = 32 * 1024;

/// Buffers handed to one vectored write besides the outbox itself.
const SLICES_MAX: usize = 16;

/// Bytes read before the calls have a turn. h2 reads until nothing is there, so without this a fast
/// peer could pile up more small frames in h2 than its budget for them allows.
const ROUND_BYTES_MAX: usize = 64 * 1024;

/// The connection's half: sends.
#[derive(Debug)]
pub(crate) struct Outbox<S>(Arc<Mutex<Shared<S>>>);

/// h2's half: a byte stream that is slow to send.
#[derive(Debug)]
pub(crate) struct OutboxIo<S>(Arc<Mutex<Shared<S>>>);

#[derive(Debug)]
struct Shared<S> {
    socket: S,
    gathered: BytesMut,
    /// Whether anything was written that was not flushed to its end.
    unflushed: bool,
    /// Whether bytes were read since [`Outbox::take_activity`] asked last.
    active: bool,
    /// Bytes that may still be read in this round.
    readable: usize,
    /// Bytes that the stream took so far.
    sent_bytes: u64,
    failed: bool,
}

/// Splits a byte stream into the two halves.
pub(crate) fn outbox<S>(socket: S) -> (Outbox<S>, OutboxIo<S>) {
    let shared = Arc::new(Mutex::new(Shared {
        socket,
        gathered: BytesMut::new(),
        unflushed: false,
        active: false,
        readable: ROUND_BYTES_MAX,
        sent_bytes: 0,
        failed: false,
    }));
    (Outbox(Arc::clone(&shared)), OutboxIo(shared))
}

fn lock<S>(shared: &Mutex<Shared<S>>) -> MutexGuard<'_, Shared<S>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: AsyncWrite + Unpin> Outbox<S> {
    /// Sends what was gathered.
    ///
    /// # Errors
    /// When the stream fails; h2 gets the error at its next read or write.
    pub(crate) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.0);
        if shared.gathered.is_empty() && !shared.unflushed {
            return Poll::Ready(Ok(()));
        }
        ready!(shared.poll_drain(cx))?;
        // A TLS stream has a buffer of its own, which may not have left with the last write; for a
        // socket this does nothing.
        let flushed = Pin::new(&mut shared.socket).poll_flush(cx);
        shared.failed |= matches!(flushed, Poll::Ready(Err(_)));
        shared.unflushed &= flushed.is_pending();
        flushed
    }

    /// Whether the peer sent anything since the last question.
    pub(crate) fn take_activity(&self) -> bool {
        std::mem::take(&mut lock(&self.0).active)
    }
}

impl<S> Outbox<S> {
    /// Bytes that the stream took so far.
    pub(crate) fn sent_bytes(&self) -> u64 {
        lock(&self.0).sent_bytes
    }

    /// Lets another round of bytes be read.
    pub(crate) fn begin_round(&self) {
        lock(&self.0).readable = ROUND_BYTES_MAX;
    }
}

impl<S> Clone for Outbox<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: AsyncWrite + Unpin> Shared<S> {
    /// Sends until nothing is gathered.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            let written = Pin::new(&mut self.socket).poll_write(cx, &self.gathered);
            let count = ready!(self.checked(written))?;
            self.gathered.advance(count);
        }
        if self.gathered.capacity() > OUTBOX_KEPT_BYTES_MAX {
            self.gathered = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what was gathered and `more` after it; answers how much of `more` left.
    fn poll_direct(
        &mut self,
        cx: &mut Context<'_>,
        more: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            let gathered = self.gathered.len();
            let mut slices = [IoSlice::new(&[]); SLICES_MAX + 1];
            let count = more.len().min(SLICES_MAX);
            slices[0] = IoSlice::new(&self.gathered);
            slices[1..=count].copy_from_slice(&more[..count]);
            let slices = &slices[usize::from(gathered == 0)..=count];
            let written = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
            let sent = ready!(self.checked(written))?;
            self.gathered.advance(sent.min(gathered));
            if sent > gathered {
                return Poll::Ready(Ok(sent - gathered));
            }
        }
    }

    fn checked(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let written = written.map(|written| match written {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => Ok(count),
            Err(error) => Err(error),
        });
        self.failed |= matches!(written, Poll::Ready(Err(_)));
        if let Poll::Ready(Ok(count)) = written {
            self.unflushed = true;
            self.sent_bytes = self.sent_bytes.wrapping_add(count as u64);
        }
        written
    }

    fn poll_gather(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.failed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        if len >= DIRECT_BYTES_MIN {
            return self.poll_direct(cx, slices);
        }
        if self.gathered.len() + len > OUTBOX_BYTES_MAX {
            ready!(self.poll_drain(cx))?;
        }
        for slice in slices {
            self.gathered.extend_from_slice(slice);
        }
        Poll::Ready(Ok(len))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for OutboxIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.0);
        if shared.failed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if shared.readable == 0 {
            // The next round goes on here; the connection asks for it because it is woken.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut shared.socket).poll_read(cx, buf);
        match &read {
            Poll::Ready(Ok(())) => {
                shared.active = true;
                let count = buf.filled().len() - before;
                shared.readable = shared.readable.saturating_sub(count);
            }
            Poll::Ready(Err(_)) => shared.failed = true,
            Poll::Pending => {}
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for OutboxIo<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_gather(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_gather(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection sends when everything that is ready has been gathered.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.0);
        ready!(shared.poll_drain(cx))?;
        Pin::new(&mut shared.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn writes_wait_for_the_connection_to_send_them() {
        let (near, mut far) = tokio::io::duplex(1024);
        let (outbox, mut io) = outbox(near);
        io.write_all(b"one ").await.expect("gathered");
        io.flush().await.expect("noted");
        io.write_all(b"two").await.expect("gathered");
        let mut seen = [0; 7];
        let early = futures_util::FutureExt::now_or_never(far.read(&mut seen));
        assert!(
            early.is_none(),
            "nothing leaves before the connection sends"
        );
        poll_fn(|cx| outbox.poll_send(cx)).await.expect("sent");
        far.read_exact(&mut seen).await.expect("both");
        assert_eq!(&seen, b"one two");
    }

    /// A stream that takes every write into a buffer of its own, as TLS does, and needs two flushes.
    #[derive(Debug, Default)]
    struct Sticky {
        flushes: usize,
        flushed: bool,
    }

    impl AsyncWrite for Sticky {
        fn poll_write(
            self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushes += 1;
            if self.flushes == 1 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.flushed = true;
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_flush_that_must_wait_is_asked_for_again() {
        let (outbox, mut io) = outbox(Sticky::default());
        io.write_all(b"tail").await.expect("gathered");
        poll_fn(|cx| outbox.poll_send(cx)).await.expect("sent");
        assert!(lock(&outbox.0).socket.flushed);
    }

    #[tokio::test]
    async fn large_and_small_writes_keep_their_order() {
        let (near, mut far) = tokio::io::duplex(7000);
        let (outbox, mut io) = outbox(near);
        let mut expected = Vec::new();
        let writing = async {
            for size in [
                10,
                DIRECT_BYTES_MIN,
                10,
                OUTBOX_BYTES_MAX - 1,
                1000,
                DIRECT_BYTES_MIN * 3,
                1,
            ] {
                let bytes = vec![u8::try_from(size % 251).expect("small"); size];
                expected.extend_from_slice(&bytes);
                io.write_all(&bytes).await.expect("written");
            }
            poll_fn(|cx| outbox.poll_send(cx)).await.expect("sent");
            io.shutdown().await.expect("closed");
        };
        let mut seen = Vec::new();
        let (_, read) = tokio::join!(writing, far.read_to_end(&mut seen));
        read.expect("read");
        assert!(
            seen == expected,
            "{} bytes of {}",
            seen.len(),
            expected.len()
        );
    }

    #[tokio::test]
    async fn a_failed_send_fails_every_later_read_and_write() {
        let (near, far) = tokio::io::duplex(10);
        let (outbox, mut io) = outbox(near);
        drop(far);
        io.write_all(b"gone").await.expect("gathered");
        poll_fn(|cx| outbox.poll_send(cx))
            .await
            .expect_err("nobody is there");
        io.write_all(b"more").await.expect_err("failed before");
        io.read_u8().await.expect_err("failed before");
    }
}
