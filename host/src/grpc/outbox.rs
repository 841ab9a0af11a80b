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

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::flood::{Flood, Watch};
use crate::config::PingConfig;

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

/// Bytes of a peer that was sent away which are read and dropped at a time, and in all. Closed while
/// the peer still sends, a socket takes back what was not read yet, and that says why. In all: as much
/// as is on the way on a fast line.
const DROPPED_BYTES: usize = 8 * 1024;
const DROPPED_BYTES_MAX: usize = 4 << 20;

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
    /// Whether bytes were read, or taken by a peer that had let them wait, since [`Outbox::take_activity`]
    /// asked last.
    active: bool,
    /// Bytes that may still be read in this round.
    readable: usize,
    /// Bytes that the stream took so far.
    sent_bytes: u64,
    /// Whether the last write of h2 has to be tried again: what it writes does not leave.
    refused: bool,
    /// Whether the stream was full when it was written to last.
    full: bool,
    failed: bool,
    watch: Watch,
}

/// Splits a byte stream into the two halves.
pub(crate) fn outbox<S>(socket: S, pings: PingConfig) -> (Outbox<S>, OutboxIo<S>) {
    let shared = Arc::new(Mutex::new(Shared {
        socket,
        gathered: BytesMut::new(),
        unflushed: false,
        active: false,
        readable: ROUND_BYTES_MAX,
        sent_bytes: 0,
        refused: false,
        full: false,
        failed: false,
        watch: Watch::new(pings),
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

    /// Whether the peer sent anything since the last question, or took what it had let wait.
    pub(crate) fn take_activity(&self) -> bool {
        std::mem::take(&mut lock(&self.0).active)
    }
}

impl<S> Outbox<S> {
    /// Bytes that the stream took so far.
    pub(crate) fn sent_bytes(&self) -> u64 {
        lock(&self.0).sent_bytes
    }

    /// Whether all that h2 wrote was taken.
    pub(crate) fn has_all(&self) -> bool {
        !lock(&self.0).refused
    }

    /// Lets another round of bytes be read; says whether there are calls.
    pub(crate) fn begin_round(&self, busy: bool) {
        let mut shared = lock(&self.0);
        shared.readable = ROUND_BYTES_MAX;
        shared.watch.set_busy(busy);
    }

    /// What the peer sent too much of. From then on nothing is read any more.
    pub(crate) fn flood(&self) -> Option<Flood> {
        lock(&self.0).watch.flood()
    }

    /// Tells the peer why it has to go. Only when h2 writes nothing any more.
    pub(crate) fn say_goodbye(&self, flood: Flood) {
        let mut shared = lock(&self.0);
        let goodbye = shared.watch.goodbye(flood).unwrap_or_default();
        shared.gathered.extend_from_slice(&goodbye);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Outbox<S> {
    /// Sends what is left, ends our side, and drops what the peer sends until it has ended its own, so
    /// that it gets to read why. Whoever calls limits the time.
    ///
    /// # Cancel safety
    /// Begins anew, but for what was dropped.
    pub(crate) async fn part(&self) {
        let sent = poll_fn(|cx| {
            ready!(self.poll_send(cx))?;
            Pin::new(&mut lock(&self.0).socket).poll_shutdown(cx)
        });
        if sent.await.is_err() {
            return;
        }
        let mut left = DROPPED_BYTES_MAX;
        while left > 0 {
            let dropped = poll_fn(|cx| {
                let mut room = [MaybeUninit::uninit(); DROPPED_BYTES];
                let mut room = ReadBuf::uninit(&mut room);
                let read = Pin::new(&mut lock(&self.0).socket).poll_read(cx, &mut room);
                read.map(|read| read.map_or(0, |()| room.filled().len()))
            });
            match dropped.await {
                0 => return,
                count => left = left.saturating_sub(count),
            }
        }
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
        let was_full = std::mem::replace(&mut self.full, written.is_pending());
        if let Poll::Ready(Ok(count)) = written {
            // Its peer took some of what was there.
            self.active |= was_full;
            self.unflushed = true;
            self.sent_bytes = self.sent_bytes.wrapping_add(count as u64);
        }
        written
    }

    /// Takes as much as there is room for, and counts the frames in it.
    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let taken = self.poll_gather(cx, slices);
        self.refused = taken.is_pending();
        let taken = ready!(taken)?;
        let mut left = taken;
        for slice in slices {
            let part = left.min(slice.len());
            self.watch.leaves(&slice[..part]);
            left -= part;
        }
        Poll::Ready(Ok(taken))
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
        if shared.watch.flood().is_some() {
            // The connection ends as soon as it looks, which is in this round.
            return Poll::Pending;
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
                shared.watch.arrived(&buf.filled()[before..]);
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
        lock(&self.0).poll_take(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_take(cx, slices)
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn writes_wait_for_the_connection_to_send_them() {
        let (near, mut far) = tokio::io::duplex(1024);
        let (outbox, mut io) = outbox(near, PingConfig::default());
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
        let (outbox, mut io) = outbox(Sticky::default(), PingConfig::default());
        io.write_all(b"tail").await.expect("gathered");
        poll_fn(|cx| outbox.poll_send(cx)).await.expect("sent");
        assert!(lock(&outbox.0).socket.flushed);
    }

    #[tokio::test]
    async fn large_and_small_writes_keep_their_order() {
        let (near, mut far) = tokio::io::duplex(7000);
        let (outbox, mut io) = outbox(near, PingConfig::default());
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
        let (outbox, mut io) = outbox(near, PingConfig::default());
        drop(far);
        io.write_all(b"gone").await.expect("gathered");
        poll_fn(|cx| outbox.poll_send(cx))
            .await
            .expect_err("nobody is there");
        io.write_all(b"more").await.expect_err("failed before");
        io.read_u8().await.expect_err("failed before");
    }
}
