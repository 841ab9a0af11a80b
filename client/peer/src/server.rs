//! A tonic server over any stream of connections, which a test can kill as a crash would.
//!
//! Invariants: [`Server::kill`] fails every read and write of every connection from then on; dropping
//! a server kills it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::{Stream, StreamExt};
use switchboard_client::transport::ByteStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpIncoming};

use crate::peer::peer_server::PeerServer;
use crate::service::Services;
use crate::testservice::test_service_server::TestServiceServer;

/// Longest message that the server takes. Bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// What its services saw.
    pub services: Services,
    killed: CancellationToken,
    drained: CancellationToken,
}

/// Settings of HTTP/2.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Calls on one connection at once.
    pub streams_max: Option<u32>,
}

impl Server {
    /// Serves these connections.
    pub fn start<I>(incoming: I, limits: Limits) -> Self
    where
        I: Stream<Item = io::Result<Box<dyn ByteStream>>> + Send + 'static,
    {
        let server = Self {
            services: Services::default(),
            killed: CancellationToken::new(),
            drained: CancellationToken::new(),
        };
        let killed = server.killed.clone();
        let ended = server.killed.clone();
        let incoming = incoming
            .take_until(server.killed.clone().cancelled_owned())
            .map(move |io| io.map(|io| Mortal::new(io, killed.clone())));
        let peer = PeerServer::new(server.services.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(usize::MAX);
        let router = tonic::transport::Server::builder()
            .max_concurrent_streams(limits.streams_max)
            .add_service(peer)
            .add_service(TestServiceServer::new(server.services.clone()));
        let drained = server.drained.clone().cancelled_owned();
        crate::run(async move {
            let serving = router.serve_with_incoming_shutdown(incoming, drained);
            tokio::select! {
                served = serving => drop(served),
                () = ended.cancelled() => {}
            }
        });
        server
    }

    /// Serves on a port of its own.
    ///
    /// # Errors
    /// When there is none.
    pub async fn tcp(limits: Limits) -> io::Result<(Self, SocketAddr)> {
        Self::tcp_at(SocketAddr::from(([127, 0, 0, 1], 0)), limits).await
    }

    /// Serves at this address, perhaps that of a server before it.
    ///
    /// # Errors
    /// When it is taken.
    pub async fn tcp_at(at: SocketAddr, limits: Limits) -> io::Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind(at).await?;
        let at = listener.local_addr()?;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let incoming = incoming.map(|socket| socket.map(|socket| Box::new(socket) as _));
        Ok((Self::start(incoming, limits), at))
    }

    /// Serves what is sent to it.
    #[must_use]
    pub fn fed(limits: Limits) -> (Self, mpsc::Sender<Box<dyn ByteStream>>) {
        let (feed, fed) = mpsc::channel(16);
        let server = Self::start(ReceiverStream::new(fed).map(Ok), limits);
        (server, feed)
    }

    /// Ends as a crash does.
    pub fn kill(&self) {
        self.killed.cancel();
    }

    /// Takes no more calls (GOAWAY), lets those under way finish.
    pub fn drain(&self) {
        self.drained.cancel();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A byte stream that fails once its server is killed.
pub struct Mortal {
    io: Option<Box<dyn ByteStream>>,
    death: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl std::fmt::Debug for Mortal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mortal").finish_non_exhaustive()
    }
}

impl Mortal {
    fn new(io: Box<dyn ByteStream>, killed: CancellationToken) -> Self {
        Self {
            io: Some(io),
            death: Box::pin(killed.cancelled_owned()),
        }
    }

    fn alive(&mut self, cx: &mut Context<'_>) -> io::Result<&mut Box<dyn ByteStream>> {
        if self.death.as_mut().poll(cx).is_ready() {
            self.io = None;
        }
        let dead = || io::Error::from(io::ErrorKind::ConnectionReset);
        self.io.as_mut().ok_or_else(dead)
    }
}

impl Connected for Mortal {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Mortal {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(self.alive(cx)?).poll_read(cx, buf)
    }
}

impl AsyncWrite for Mortal {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.alive(cx)?).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.alive(cx)?).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(|io| io.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.alive(cx)?).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(self.alive(cx)?).poll_shutdown(cx))?;
        Poll::Ready(Ok(()))
    }
}
