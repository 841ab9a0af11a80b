//! A connection whose every answer the test decides: what has arrived, how much it takes, when.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{CloseCode, TunnelHandle};

/// What the test sees and sets. The default takes everything, has nothing, is not at its end.
#[derive(Debug)]
pub(crate) struct Inside {
    /// What the stream will read.
    pub(crate) arrived: VecDeque<u8>,
    /// Bytes of one read at most.
    pub(crate) read_max: usize,
    /// Whether reads after `arrived` give the end of the connection.
    pub(crate) at_end: bool,
    pub(crate) read_error: Option<io::ErrorKind>,
    /// What the stream wrote, one entry a call.
    pub(crate) writes: Vec<Vec<u8>>,
    /// Bytes that it takes before it is full.
    pub(crate) room: usize,
    pub(crate) write_error: Option<io::ErrorKind>,
    pub(crate) vectored: bool,
    /// Bytes that were written and not flushed.
    pub(crate) unflushed: usize,
    pub(crate) shut_down: bool,
    /// Flushes that succeeded; none does while they are blocked.
    pub(crate) flushes: usize,
    pub(crate) flush_blocked: bool,
    /// Whether it is ready for more as soon as it has said that it is not: on another thread, as
    /// it were, before the poll has returned.
    pub(crate) hasty_reads: bool,
    pub(crate) hasty_writes: bool,
    /// Reads and writes that were tried, successful or not.
    pub(crate) reads_tried: usize,
    pub(crate) writes_tried: usize,
    /// Closes the tunnel in the middle of the next read.
    pub(crate) meddler: Option<TunnelHandle>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// The test's and the stream's grip on the same connection.
#[derive(Clone, Debug)]
pub(crate) struct Conn(Arc<Mutex<Inside>>);

impl Conn {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Inside {
            arrived: VecDeque::new(),
            read_max: usize::MAX,
            at_end: false,
            read_error: None,
            writes: Vec::new(),
            room: usize::MAX,
            write_error: None,
            vectored: true,
            unflushed: 0,
            shut_down: false,
            flushes: 0,
            flush_blocked: false,
            hasty_reads: false,
            hasty_writes: false,
            reads_tried: 0,
            writes_tried: 0,
            meddler: None,
            reader: None,
            writer: None,
        })))
    }

    pub(crate) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap()
    }

    pub(crate) fn arrive(&self, bytes: &[u8]) {
        let mut inside = self.inside();
        inside.arrived.extend(bytes);
        wake(inside.reader.take());
    }

    pub(crate) fn end(&self) {
        let mut inside = self.inside();
        inside.at_end = true;
        wake(inside.reader.take());
    }

    pub(crate) fn set_room(&self, room: usize) {
        let mut inside = self.inside();
        inside.room = room;
        if room > 0 {
            wake(inside.writer.take());
        }
    }

    pub(crate) fn unblock_flush(&self) {
        let mut inside = self.inside();
        inside.flush_blocked = false;
        wake(inside.writer.take());
    }

    /// All that was written.
    pub(crate) fn wire(&self) -> Vec<u8> {
        self.inside().writes.concat()
    }

    /// All that was written since the last time it was taken.
    pub(crate) fn take_wire(&self) -> Vec<u8> {
        std::mem::take(&mut self.inside().writes).concat()
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl AsyncRead for Conn {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inside = self.inside();
        inside.reads_tried += 1;
        if let Some(handle) = inside.meddler.take() {
            handle.close(CloseCode::NORMAL.into());
        }
        if let Some(kind) = inside.read_error {
            return Poll::Ready(Err(kind.into()));
        }
        let count = inside
            .arrived
            .len()
            .min(buf.remaining())
            .min(inside.read_max);
        if count == 0 && !inside.at_end {
            inside.reader = Some(cx.waker().clone());
            if inside.hasty_reads {
                wake(inside.reader.take());
            }
            return Poll::Pending;
        }
        let bytes: Vec<u8> = inside.arrived.drain(..count).collect();
        buf.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Conn {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut inside = self.inside();
        inside.writes_tried += 1;
        if let Some(kind) = inside.write_error {
            return Poll::Ready(Err(kind.into()));
        }
        let count = inside.room.min(buf.len());
        if count == 0 {
            inside.writer = Some(cx.waker().clone());
            if inside.hasty_writes {
                wake(inside.writer.take());
            }
            return Poll::Pending;
        }
        inside.room -= count;
        inside.unflushed += count;
        inside.writes.push(buf[..count].to_vec());
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all: Vec<&[u8]> = bufs.iter().map(|buf| &**buf).collect();
        self.poll_write(cx, &all.concat())
    }

    fn is_write_vectored(&self) -> bool {
        self.inside().vectored
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inside = self.inside();
        if inside.flush_blocked {
            inside.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        inside.unflushed = 0;
        inside.flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inside().shut_down = true;
        Poll::Ready(Ok(()))
    }
}
