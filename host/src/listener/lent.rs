//! What is under a tunnel, and a tunnel that is lent to HTTP/2 and comes back when HTTP/2 is done with it.
//!
//! `grpc` takes a byte stream and drops it at the end, and a WebSocket that is dropped ends without a
//! word. So it gets a [`Lent`] one, and `listener::tunnel` takes the tunnel back for its close handshake.
//! Invariant: whatever way the borrower goes, the tunnel is back before it is gone.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use switchboard_tunnel::TunnelStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes dropped at a time from a peer that still sends, and how often before others have their turn.
const DROPPED_BYTES: usize = 4096;
const DROPPED_COUNT_MAX: usize = 16;

/// What carries a tunnel. Without a type of its own: one indirect call for each system call is nothing,
/// and HTTP/2 is compiled once for all tunnels.
pub(super) type Carrier = Box<dyn ByteStream>;

/// Bytes both ways.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for S {}

type Tunnel = TunnelStream<Lingering>;

/// A carrier whose end waits for the peer's: closed while the peer still sends, a socket takes back what
/// the peer has not read yet, and that is the frame which says why the tunnel was closed. Whoever shuts it
/// down limits the time.
pub(super) struct Lingering {
    carrier: Carrier,
    /// Whether our side has ended.
    ended: bool,
}

impl Lingering {
    pub(super) fn new(carrier: Carrier) -> Self {
        Self {
            carrier,
            ended: false,
        }
    }
}

/// The tunnel as HTTP/2 has it.
pub(super) struct Lent {
    /// There until this is dropped.
    tunnel: Option<Tunnel>,
    back: Back,
}

/// Where the tunnel comes back to.
#[derive(Clone, Default)]
pub(super) struct Back(Arc<Mutex<Option<Tunnel>>>);

impl Back {
    /// The tunnel, if it is back.
    pub(super) fn take(&self) -> Option<Tunnel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Lends a tunnel.
pub(super) fn lend(tunnel: Tunnel) -> (Lent, Back) {
    let back = Back::default();
    let lent = Lent {
        tunnel: Some(tunnel),
        back: back.clone(),
    };
    (lent, back)
}

impl Drop for Lent {
    fn drop(&mut self) {
        *self.back.0.lock().unwrap_or_else(PoisonError::into_inner) = self.tunnel.take();
    }
}

impl Lent {
    fn tunnel(self: Pin<&mut Self>) -> Pin<&mut Tunnel> {
        let tunnel = self.get_mut().tunnel.as_mut();
        Pin::new(tunnel.expect("it is taken out only when this is dropped"))
    }
}

impl AsyncRead for Lingering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.carrier).poll_read(cx, buf)
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.carrier).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.carrier).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.carrier.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.carrier).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            ready!(Pin::new(&mut self.carrier).poll_shutdown(cx))?;
            self.ended = true;
        }
        let mut dropped = [MaybeUninit::uninit(); DROPPED_BYTES];
        for _ in 0..DROPPED_COUNT_MAX {
            let mut dropped = ReadBuf::uninit(&mut dropped);
            ready!(Pin::new(&mut self.carrier).poll_read(cx, &mut dropped))?;
            if dropped.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncRead for Lent {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.tunnel().poll_read(cx, buf)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.tunnel().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.tunnel().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tunnel().poll_flush(cx)
    }

    /// The end of HTTP/2 is not the end of the tunnel: its owner closes it, and knows why.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
