//! The byte stream under HTTP/2: gathers what is written, and watches what is read.
//!
//! The HTTP/2 library flushes before every DATA frame that it does not copy. Here a write only fills
//! a buffer and a flush does nothing; [`Wire::poll_send`], which the connection's driver calls when
//! all that is ready was written, sends it in one go: one system call, or one WebSocket message.
//!
//! Invariants: bytes leave in the order they came; at most [`GATHERED_BYTES_MAX`] wait, beyond which
//! the writer does; after an error of reading every read and write fails; after one of writing, what
//! has come is read to its end first, since a server that takes no more bytes may have said which
//! calls it left out. [`Wire`] of the driver and [`WireIo`] of the library are used by one task.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{FrameWatch, GoAwayCell, Seen};

/// Bytes gathered before they are sent although more may come: a full WebSocket message.
const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// Room that an empty buffer keeps.
const GATHERED_KEPT_BYTES_MAX: usize = 8 * 1024;

/// The driver's half.
#[derive(Debug)]
pub(crate) struct Wire<S>(Arc<Mutex<Shared<S>>>);

/// The library's half.
#[derive(Debug)]
pub(crate) struct WireIo<S>(Arc<Mutex<Shared<S>>>);

/// What was read since the driver asked last.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Anything at all.
    pub heard: bool,
    pub settings: bool,
    /// A GOAWAY; what it says is where the stream's maker wanted it.
    pub go_away: bool,
}

/// How the byte stream ended, as far as it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    #[default]
    Open,
    /// The peer sends no more.
    Ended,
    /// Reading or writing failed.
    Failed(String),
    /// What the peer sends is not HTTP/2.
    Foreign(String),
}

#[derive(Debug)]
struct Shared<S> {
    io: S,
    gathered: BytesMut,
    /// Whether anything was written that was not flushed to its end.
    unflushed: bool,
    watch: FrameWatch,
    news: News,
    go_away: GoAwayCell,
    fate: Fate,
    /// Why the peer takes no more bytes, once it does not.
    unsendable: Option<String>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// The two halves of a byte stream. A GOAWAY is in `go_away` before the library sees it.
    pub(crate) fn split(io: S, go_away: GoAwayCell) -> (Self, WireIo<S>) {
        let shared = Arc::new(Mutex::new(Shared {
            io,
            gathered: BytesMut::new(),
            unflushed: false,
            watch: FrameWatch::default(),
            news: News::default(),
            go_away,
            fate: Fate::Open,
            unsendable: None,
        }));
        (Self(Arc::clone(&shared)), WireIo(shared))
    }

    /// Whether anything waits to be sent.
    pub(crate) fn has_unsent(&self) -> bool {
        let shared = lock(&self.0);
        !shared.gathered.is_empty() || shared.unflushed
    }

    /// Sends what was gathered.
    ///
    /// # Errors
    /// When the peer takes no more bytes; the library gets the error when it has read all there is.
    pub(crate) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.0);
        ready!(shared.poll_drain(cx))?;
        if !shared.unflushed {
            return Poll::Ready(Ok(()));
        }
        let flushed = Pin::new(&mut shared.io).poll_flush(cx);
        shared.unflushed = flushed.is_pending();
        shared.sendable(flushed)
    }

    /// What was read since the last question.
    pub(crate) fn take_news(&self) -> News {
        std::mem::take(&mut lock(&self.0).news)
    }

    /// What came instead of a first frame, as far as it came.
    pub(crate) fn beginning(&self) -> Option<String> {
        lock(&self.0).watch.beginning()
    }

    pub(crate) fn fate(&self) -> Fate {
        lock(&self.0).fate.clone()
    }

    /// Ends the stream as its transport does: for a WebSocket, close code 1000.
    pub(crate) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.0);
        ready!(shared.poll_drain(cx))?;
        Pin::new(&mut shared.io).poll_shutdown(cx)
    }
}

fn lock<S>(shared: &Mutex<Shared<S>>) -> MutexGuard<'_, Shared<S>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: AsyncRead + AsyncWrite + Unpin> Shared<S> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() && self.unsendable.is_none() {
            let written = Pin::new(&mut self.io).poll_write(cx, &self.gathered);
            let written = written.map(|written| match written {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => Ok(count),
                Err(error) => Err(error),
            });
            let count = ready!(self.sendable(written))?;
            self.gathered.advance(count);
            self.unflushed = true;
        }
        if self.gathered.capacity() > GATHERED_KEPT_BYTES_MAX {
            self.gathered = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    fn checked<T>(&mut self, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &done
            && self.fate == Fate::Open
        {
            self.fate = Fate::Failed(error.to_string());
        }
        done
    }

    /// Notes that the peer takes no more bytes, and forgets those it will not take.
    fn sendable<T>(&mut self, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &done {
            self.unsendable.get_or_insert_with(|| error.to_string());
            self.gathered.clear();
            self.unflushed = false;
        }
        done
    }

    /// A read; the error of a write, when nothing is left to read.
    fn poll_take(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        let nothing = read.is_pending() || buf.filled().len() == before;
        match &self.unsendable {
            Some(text) if nothing => {
                let error = io::Error::new(io::ErrorKind::BrokenPipe, text.clone());
                self.checked(Poll::Ready(Err(error)))
            }
            _ => self.checked(read),
        }
    }

    fn still_open(&self) -> io::Result<()> {
        match &self.fate {
            Fate::Open | Fate::Ended => Ok(()),
            Fate::Failed(text) | Fate::Foreign(text) => {
                Err(io::Error::new(io::ErrorKind::BrokenPipe, text.clone()))
            }
        }
    }

    fn poll_gather(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.still_open()?;
        if self.gathered.len() >= GATHERED_BYTES_MAX {
            // An error is told by a read.
            drop(ready!(self.poll_drain(cx)));
        }
        if self.unsendable.is_some() {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let before = self.gathered.len();
        for slice in slices {
            let room = GATHERED_BYTES_MAX - self.gathered.len();
            self.gathered
                .extend_from_slice(&slice[..slice.len().min(room)]);
        }
        Poll::Ready(Ok(self.gathered.len() - before))
    }

    fn look_at(&mut self, bytes: &[u8]) -> io::Result<()> {
        let news = &mut self.news;
        news.heard = true;
        let watched = self.watch.handle(bytes, |seen| match seen {
            Seen::Settings => news.settings = true,
            // A second one can only lower the last stream.
            Seen::GoAway(go_away) => {
                news.go_away = true;
                self.go_away.put(go_away);
            }
        });
        watched.map_err(|text| {
            self.fate = Fate::Foreign(text.clone());
            io::Error::new(io::ErrorKind::InvalidData, text)
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WireIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.0);
        shared.still_open()?;
        let before = buf.filled().len();
        ready!(shared.poll_take(cx, buf))?;
        let bytes = &buf.filled()[before..];
        if bytes.is_empty() {
            if buf.remaining() > 0 && shared.fate == Fate::Open {
                shared.fate = Fate::Ended;
            }
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(shared.look_at(bytes))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WireIo<S> {
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
        // The driver sends when everything that is ready has been gathered.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The driver ends the stream, so that the library tells at once why it is done.
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

    #[tokio::test]
    async fn writes_wait_for_the_driver_to_send_them() {
        let (near, mut far) = tokio::io::duplex(1024);
        let (wire, mut io) = Wire::split(near, GoAwayCell::default());
        io.write_all(b"one ").await.expect("gathered");
        io.flush().await.expect("nothing yet");
        io.write_all(b"two").await.expect("gathered");
        assert!(wire.has_unsent());
        let mut seen = [0; 7];
        assert!(far.read(&mut seen).now_or_never().is_none(), "too early");
        poll_fn(|cx| wire.poll_send(cx)).await.expect("sent");
        assert!(!wire.has_unsent());
        far.read_exact(&mut seen).await.expect("both");
        assert_eq!(&seen, b"one two");
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_stops_the_writer() {
        let (near, mut far) = tokio::io::duplex(100);
        let (wire, mut io) = Wire::split(near, GoAwayCell::default());
        let chunk = [7; 10_000];
        let mut taken = 0;
        while let Some(count) = io.write(&chunk).now_or_never() {
            taken += count.expect("written");
        }
        assert_eq!(taken, GATHERED_BYTES_MAX);
        let mut seen = Vec::new();
        let sending = async {
            io.shutdown().await.expect("of no effect");
            poll_fn(|cx| wire.poll_shutdown(cx)).await.expect("ended");
        };
        let (_, read) = tokio::join!(sending, far.read_to_end(&mut seen));
        read.expect("read");
        assert_eq!(seen.len(), taken);
    }

    #[tokio::test]
    async fn settings_are_news_once() {
        let (near, mut far) = tokio::io::duplex(100);
        let (wire, mut io) = Wire::split(near, GoAwayCell::default());
        far.write_all(&SETTINGS).await.expect("written");
        io.read_exact(&mut [0; 9]).await.expect("read");
        let news = wire.take_news();
        assert!(news.heard && news.settings && !news.go_away);
        assert!(!wire.take_news().heard);
        drop(far);
        assert_eq!(io.read(&mut [0; 9]).await.expect("the end"), 0);
        assert_eq!(wire.fate(), Fate::Ended);
    }

    #[tokio::test]
    async fn a_foreign_protocol_fails_the_stream_and_is_named() {
        let (near, mut far) = tokio::io::duplex(100);
        let (wire, mut io) = Wire::split(near, GoAwayCell::default());
        far.write_all(b"HTTP/1.1 404 Not Found\r\n")
            .await
            .expect("written");
        io.read(&mut [0; 50]).await.expect_err("foreign");
        io.write(b"more").await.expect_err("failed before");
        let Fate::Foreign(text) = wire.fate() else {
            panic!("{:?}", wire.fate());
        };
        assert!(text.contains("404 Not Found"), "{text}");
    }

    #[tokio::test]
    async fn a_failure_is_kept_for_who_asks_why() {
        let (near, far) = tokio::io::duplex(10);
        let (wire, mut io) = Wire::split(near, GoAwayCell::default());
        drop(far);
        io.write_all(b"gone").await.expect("gathered");
        let failed = poll_fn(|cx| wire.poll_send(cx)).await;
        failed.expect_err("nobody is there");
        io.write_all(b"dropped").await.expect("taken");
        assert!(!wire.has_unsent());
        io.read(&mut [0; 9]).await.expect_err("failed before");
        assert!(matches!(wire.fate(), Fate::Failed(_)));
        io.write_all(b"more").await.expect_err("failed before");
    }

    #[tokio::test]
    async fn the_last_words_of_a_peer_that_takes_no_more_are_read() {
        let (near, mut far) = tokio::io::duplex(100);
        let (wire, mut io) = Wire::split(near, GoAwayCell::default());
        far.write_all(&SETTINGS).await.expect("written");
        far.write_all(&SETTINGS).await.expect("written");
        drop(far);
        io.write_all(b"gone").await.expect("gathered");
        let failed = poll_fn(|cx| wire.poll_send(cx)).await;
        failed.expect_err("nobody is there");
        assert_eq!(wire.fate(), Fate::Open);
        for _ in 0..2 {
            io.write_all(b"more").await.expect("dropped");
            io.read_exact(&mut [0; 9]).await.expect("last words");
        }
        io.read(&mut [0; 9]).await.expect_err("no more");
        assert!(matches!(wire.fate(), Fate::Failed(_)));
    }

    #[tokio::test]
    async fn a_peer_that_takes_no_more_and_says_nothing_is_not_waited_for() {
        let (near, far) = tokio::io::duplex(10);
        let (_reads, writes) = tokio::io::split(near);
        let (wire, mut io) = Wire::split(tokio::io::join(Silent, writes), GoAwayCell::default());
        drop(far);
        io.write_all(b"gone").await.expect("gathered");
        let failed = poll_fn(|cx| wire.poll_send(cx)).await;
        failed.expect_err("nobody is there");
        io.read(&mut [0; 9]).await.expect_err("no more will come");
    }

    /// Never comes to an end.
    struct Silent;

    impl AsyncRead for Silent {
        fn poll_read(
            self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            _buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }
}
