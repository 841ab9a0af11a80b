//! A connector that a test cuts, mends and redirects, without a socket or a name.
//!
//! For tests with paused time, which real sockets would confuse. Invariant: each attempt is counted
//! and answered as the line stands then.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use switchboard_client::ConnectError;
use switchboard_client::transport::{BoxFuture, ByteStream, Connected, Connector, Transport};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::sync::mpsc;

/// Bytes on their way in each direction.
const BUFFER_BYTES: usize = 64 * 1024;

/// What an attempt meets.
#[derive(Clone, Debug)]
pub enum To {
    /// A server that is fed with connections.
    Server(mpsc::Sender<Box<dyn ByteStream>>),
    /// This error, at once.
    Error(ConnectError),
    /// Nothing, ever.
    Nowhere,
    /// A server that accepts and says this.
    Says(&'static [u8]),
}

/// A line to a server. A clone is the same line.
#[derive(Clone, Debug)]
pub struct Line(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    to: To,
    attempts: usize,
    cables: Vec<Cable>,
    sticks: bool,
}

/// A connection that a test can cut or stop.
#[derive(Clone, Debug)]
struct Cable {
    cut: tokio_util::sync::CancellationToken,
    stopped: tokio::sync::watch::Sender<bool>,
}

impl Line {
    /// A line to here.
    #[must_use]
    pub fn new(to: To) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            to,
            attempts: 0,
            cables: Vec::new(),
            sticks: false,
        })))
    }

    /// Leads attempts there from now on.
    pub fn set(&self, to: To) {
        self.lock().to = to;
    }

    /// Attempts so far.
    #[must_use]
    pub fn attempts(&self) -> usize {
        self.lock().attempts
    }

    /// Cuts every connection that there is.
    pub fn cut(&self) {
        for cable in self.lock().cables.drain(..) {
            cable.cut.cancel();
        }
    }

    /// Carries no more bytes, or carries them again: the connections stay.
    pub fn stop(&self, stopped: bool) {
        for cable in &self.lock().cables {
            cable.stopped.send_replace(stopped);
        }
    }

    /// Lets no connection from now on be closed by the client: its wish is never granted.
    pub fn stick(&self) {
        self.lock().sticks = true;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connector for Line {
    fn connect(&self) -> BoxFuture<Result<Connected, ConnectError>> {
        let mut inner = self.lock();
        inner.attempts += 1;
        let to = inner.to.clone();
        let cable = Cable {
            cut: tokio_util::sync::CancellationToken::new(),
            stopped: tokio::sync::watch::Sender::new(false),
        };
        inner.cables.push(cable.clone());
        let sticks = inner.sticks;
        drop(inner);
        Box::pin(async move {
            let (client, near) = tokio::io::duplex(BUFFER_BYTES);
            match to {
                To::Server(feed) => {
                    let (far, server) = tokio::io::duplex(BUFFER_BYTES);
                    let fed = feed.send(Box::new(server)).await;
                    fed.map_err(|_| ConnectError::Unreachable {
                        address: "the line".to_owned(),
                        text: "the server is gone".to_owned(),
                    })?;
                    crate::run(carry(near, far, cable));
                }
                To::Error(error) => return Err(error),
                To::Nowhere => std::future::pending().await,
                To::Says(bytes) => crate::run(async move {
                    let mut near = near;
                    drop(near.write_all(bytes).await);
                    drop(near.read_to_end(&mut Vec::new()).await);
                }),
            }
            let client = Plug { io: client, sticks };
            Ok(Connected::new(client, Transport::Other("line")))
        })
    }
}

/// The client's end.
struct Plug {
    io: DuplexStream,
    sticks: bool,
}

impl AsyncRead for Plug {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Plug {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.sticks {
            return Poll::Pending;
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Carries bytes both ways until both ends have closed or the cable is cut. What one end said before it
/// closed arrives, although it takes no more.
async fn carry(near: DuplexStream, far: DuplexStream, cable: Cable) {
    let (near_read, near_write) = tokio::io::split(near);
    let (far_read, far_write) = tokio::io::split(far);
    let up = one_way(near_read, far_write, cable.stopped.subscribe());
    let down = one_way(far_read, near_write, cable.stopped.subscribe());
    tokio::select! {
        _ = futures_util::future::join(up, down) => {}
        () = cable.cut.cancelled() => {}
    }
}

async fn one_way(
    mut from: tokio::io::ReadHalf<DuplexStream>,
    mut to: tokio::io::WriteHalf<DuplexStream>,
    mut stopped: tokio::sync::watch::Receiver<bool>,
) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if stopped.wait_for(|stopped| !stopped).await.is_err() {
            break;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    drop(to.shutdown().await);
}
