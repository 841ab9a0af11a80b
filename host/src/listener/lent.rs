//! A tunnel that is lent to HTTP/2 and comes back when HTTP/2 is done with it.
//!
//! `grpc` takes a byte stream and drops it at the end, and a WebSocket that is dropped ends without a
//! word. So it gets a [`Lent`] one, and `listener::tunnel` takes the tunnel back for its close handshake.
//! Invariant: whatever way the borrower goes, the tunnel is back before it is gone.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use switchboard_tunnel::TunnelStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What carries a tunnel. Without a type of its own: one indirect call for each system call is nothing,
/// and HTTP/2 is compiled once for all tunnels.
pub(super) type Carrier = Box<dyn ByteStream>;

/// Bytes both ways.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for S {}

type Tunnel = TunnelStream<Carrier>;

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
