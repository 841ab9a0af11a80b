//! A connection that speaks HTTP/1.1, until it ends or becomes a tunnel.
//!
//! Called by `listener` with a stream whose first bytes are a request; calls `listener::router` for each
//! request. hyper reads heads and writes answers; what it leaves open is here: the end of a drain, peers
//! that stop reading, and a close that does not take an answer away with it.
//!
//! Invariants: every wait has a limit (a head, an answer that moves no byte, the end); an upgraded
//! connection goes on in the same task, so it never leaves the count of connections or the drain.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{sleep, timeout};

use super::bridge::{Bridge, Carrying};
use super::router::{Answer, Body, Router};
use super::tunnel::Opening;
use crate::config::Http1Config;
use crate::grpc::Connections;
use crate::peer::Peer;

/// Time for a peer to read the last answer and to end the connection from its side. Closing while it
/// still sends would make the kernel take back an answer that it has not read yet.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// Time for a call to say how it ended when there is no time left: its grace and the way out, and less than the
/// host waits then.
const CUT_TIMEOUT: Duration = Duration::from_millis(500);

/// Who is at the other end of the connection itself, and whether it is encrypted.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    pub peer: Peer,
    pub tls: bool,
}

impl Sender {
    /// Its address.
    pub(super) fn addr(&self) -> SocketAddr {
        self.peer.addr()
    }
}

/// A connection that was upgraded: it is a tunnel from here on.
pub(super) struct Upgraded<S> {
    pub opening: Opening,
    pub stream: S,
    /// What the peer sent right behind its request.
    pub already_read: Bytes,
}

/// What the connection and its requests share.
#[derive(Default)]
struct State {
    /// Whether a request has come.
    asked: AtomicBool,
    /// Whether a byte went either way since this was looked at last.
    moved: AtomicBool,
    /// Whether the end of the peer would be noticed: its bytes are waited for.
    listening: AtomicBool,
    /// Whether the peer does not take what there is for it.
    blocked: AtomicBool,
    /// Where calls of gRPC-Web go on.
    bridge: Arc<Bridge>,
    /// The tunnel that the connection becomes once its answer is written.
    opening: Mutex<Option<Opening>>,
}

/// Serves requests until the connection ends, or until one of them makes it a tunnel.
///
/// # Cancel safety
/// Dropping the future drops the connection.
pub(super) async fn serve<S>(
    stream: S,
    sender: Sender,
    config: &Http1Config,
    router: &Arc<Router>,
    until: &Connections,
) -> Option<Upgraded<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let state = Arc::new(State::default());
    let watched = Watched {
        stream,
        state: Arc::clone(&state),
    };
    let peer = sender.peer.clone();
    let service = service_fn(|request: Request<Incoming>| {
        let asked = (Arc::clone(router), Arc::clone(&state), until.clone());
        Box::pin(answer(asked, sender.clone(), request))
    });
    let mut connection = protocol(config).serve_connection(TokioIo::new(watched), service);
    let mut carrying = Carrying::new(&state.bridge);
    let mut grace = pin!(until.grace());
    let mut cut = pin!(cut(until, &state.bridge));
    let mut stalled = pin!(stalled(&state, config.stall_timeout, &peer));
    let mut drained = false;
    let ended = loop {
        tokio::select! {
            ended = poll_fn(|cx| {
                let polled = connection.poll_without_shutdown(cx);
                // After it, so that what it has just begun goes on in the same turn.
                carrying.poll(cx);
                polled
            }) => break Some(ended),
            () = until.drain.cancelled(), if !drained => {
                drained = true;
                // One that has asked nothing yet has the grace of any other handshake.
                if state.asked.load(Ordering::Relaxed) {
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
            () = grace.as_mut(), if !state.asked.load(Ordering::Relaxed) => break None,
            () = stalled.as_mut() => break None,
            () = cut.as_mut() => break None,
        }
    };
    let Some(ended) = ended else {
        drop(connection);
        carrying.end(until).await;
        return None;
    };
    let parts = connection.into_parts();
    let stream = parts.io.into_inner().stream;
    let opening = lock(&state.opening).take();
    match (ended, opening) {
        (Ok(()), Some(opening)) => {
            return Some(Upgraded {
                opening,
                stream,
                already_read: parts.read_buf,
            });
        }
        (Ok(()), None) => {}
        (Err(error), _) => tracing::debug!(%peer, %error, "HTTP/1.1 ended"),
    }
    tokio::join!(linger(stream, until), carrying.end(until));
    None
}

/// Ends when there is no time left. A call has a moment to say how it ended.
async fn cut(until: &Connections, bridge: &Bridge) {
    until.cut.cancelled().await;
    if bridge.is_busy() {
        sleep(CUT_TIMEOUT).await;
    }
}

/// HTTP/1.1 within its limits.
fn protocol(config: &Http1Config) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(config.head_timeout)
        .max_header_size(config.head_bytes_max)
        .max_buf_size(config.head_bytes_max)
        .max_headers(config.headers_max);
    builder
}

/// How much of a request's path the log shows, in characters.
const PATH_SHOWN_MAX: usize = 200;

/// Answers one request.
async fn answer(
    (router, state, until): (Arc<Router>, Arc<State>, Connections),
    sender: Sender,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    state.asked.store(true, Ordering::Relaxed);
    let asked = tracing::enabled!(tracing::Level::DEBUG).then(|| {
        // Paths may be long, and are a stranger's: as much of them as tells which it is.
        let path: String = request.uri().path().chars().take(PATH_SHOWN_MAX).collect();
        (sender.peer.clone(), request.method().clone(), path)
    });
    let answered = router.answer(request, sender, &state.bridge, &until).await;
    if let Some((peer, method, path)) = asked {
        let status = match &answered {
            Answer::Here(response) => response.status().as_u16(),
            Answer::Tunnel(response, _) => response.status().as_u16(),
        };
        tracing::debug!(%peer, %method, path, status, "answered over HTTP/1.1");
    }
    Ok(match answered {
        Answer::Here(mut response) => {
            if until.drain.is_cancelled() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            response
        }
        Answer::Tunnel(response, opening) => {
            *lock(&state.opening) = Some(opening);
            response
        }
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends when no byte went either way for `time`, and before twice of it, unless it is our turn: a call may
/// have nothing to say for as long as it likes.
async fn stalled(state: &State, time: Duration, peer: &Peer) {
    loop {
        sleep(time).await;
        if !state.moved.swap(false, Ordering::Relaxed) && !state.is_our_turn() {
            return tracing::debug!(%peer, "no byte moved for too long, on HTTP/1.1");
        }
    }
}

impl State {
    /// Whether a call's request is here, what there is of its answer was taken, and the peer's end would be
    /// noticed. That it is alive without a word the kernel finds out (`tcp::tune`).
    fn is_our_turn(&self) -> bool {
        self.bridge.owes()
            && self.listening.load(Ordering::Relaxed)
            && !self.blocked.load(Ordering::Relaxed)
    }
}

/// Ends the connection when the peer has, but soon. In a drain it is not waited for.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, until: &Connections) {
    let last = async {
        stream.shutdown().await?;
        let mut dropped = [0; 1024];
        while stream.read(&mut dropped).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    tokio::select! {
        biased;
        // How it ended is nobody's concern any more.
        _ended = timeout(LINGER_TIMEOUT, last) => {}
        () = until.drain.cancelled() => {}
    }
}

/// A stream that notes when bytes move.
struct Watched<S> {
    stream: S,
    state: Arc<State>,
}

impl<S> Watched<S> {
    fn note_read(&self, done: bool) {
        self.state.listening.store(!done, Ordering::Relaxed);
        self.note_moved(done);
    }

    fn note_written(&self, done: bool) {
        self.state.blocked.store(!done, Ordering::Relaxed);
        self.note_moved(done);
    }

    fn note_moved(&self, done: bool) {
        if done {
            self.state.moved.store(true, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.note_read(read.is_ready());
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note_written(written.is_ready());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note_written(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What TLS has taken may wait here.
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.state
            .blocked
            .store(flushed.is_pending(), Ordering::Relaxed);
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
