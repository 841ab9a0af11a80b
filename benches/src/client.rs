//! A caller of `echo.Echo` on plain `h2` that checks every byte of every answer.
//!
//! Called by `load` and by the benches that run in one process. It does no more than a gRPC client
//! must, so that on a machine of few cores most of the time is left to the server.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::messages::Call;
use crate::tls::SERVER_NAME;
use crate::tunnel;

/// What the server may send before it was read: large enough to never be what limits it.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;

/// Bytes in front of a message. Source: gRPC over HTTP/2, "Length-Prefixed-Message".
const HEAD_BYTES: usize = 5;

/// Whom to call.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its address.
    pub addr: SocketAddr,
    /// How to trust it; none for plain TCP.
    pub tls: Option<Arc<ClientConfig>>,
    /// Whether through its WebSocket tunnel.
    pub tunnel: bool,
}

/// A message as it goes over the wire, and as it must come back.
#[derive(Clone, Debug)]
pub struct Frame(Bytes);

impl Frame {
    /// A message of `len` bytes, no two neighbours equal.
    ///
    /// # Panics
    /// If `len` is 4 GiB or more.
    #[must_use]
    pub fn new(len: usize) -> Self {
        let mut frame = BytesMut::with_capacity(HEAD_BYTES + len);
        frame.put_u8(0);
        frame.put_u32(u32::try_from(len).expect("a message is shorter than 4 GiB"));
        frame.extend((0..251_u8).cycle().take(len));
        Self(frame.freeze())
    }

    /// Bytes on the wire.
    fn len(&self) -> usize {
        self.0.len()
    }

    /// Compares a piece of an answer that repeats this frame with what must stand at `at`; answers
    /// where the next piece begins.
    fn check(&self, mut at: usize, piece: &[u8]) -> Result<usize> {
        let mut rest = piece;
        while !rest.is_empty() {
            let expected = &self.0[at..];
            let (now, later) = rest.split_at(rest.len().min(expected.len()));
            ensure!(now == &expected[..now.len()], "the answer is not the echo");
            at = (at + now.len()) % self.len();
            rest = later;
        }
        Ok(at)
    }
}

/// One HTTP/2 connection. Dropping it closes it.
#[derive(Debug)]
pub struct Connection {
    caller: Caller,
    _driver: JoinSet<()>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When any of TCP, TLS and HTTP/2 is refused.
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection.
    pub async fn open(target: &Target) -> Result<Self> {
        let socket = TcpStream::connect(target.addr)
            .await
            .with_context(|| format!("connecting to {}", target.addr))?;
        socket.set_nodelay(true)?;
        match &target.tls {
            None => Self::through(target, socket, "http").await,
            Some(config) => {
                let name = ServerName::try_from(SERVER_NAME).context("the server's name")?;
                let connector = TlsConnector::from(Arc::clone(config));
                let stream = connector.connect(name, socket).await.context("TLS")?;
                Self::through(target, stream, "https").await
            }
        }
    }

    async fn through<S>(target: &Target, stream: S, scheme: &str) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if target.tunnel {
            let stream = tunnel::open(stream, target.addr).await.context("tunnel")?;
            return Self::shake(stream, target.addr, scheme).await;
        }
        Self::shake(stream, target.addr, scheme).await
    }

    async fn shake<S>(stream: S, addr: SocketAddr, scheme: &str) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (send, connection) = client::Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .handshake(stream)
            .await
            .context("HTTP/2")?;
        let mut driver = JoinSet::new();
        // An error ends every call of the connection, which is where it is reported.
        driver.spawn(async move { drop(connection.await) });
        let uri = |method: &str| Uri::try_from(format!("{scheme}://{addr}/echo.Echo/{method}"));
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("te", HeaderValue::from_static("trailers"));
        Ok(Self {
            caller: Caller {
                send,
                unary: uri("Unary")?,
                turns: None,
                bidi: uri("Bidi")?,
                headers,
            },
            _driver: driver,
        })
    }

    /// Calls over this connection.
    #[must_use]
    pub fn caller(&self) -> Caller {
        self.caller.clone()
    }
}

/// What several callers call in turns. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Turns(Arc<[Uri]>);

/// Makes calls over one connection.
#[derive(Clone, Debug)]
pub struct Caller {
    send: SendRequest<Bytes>,
    unary: Uri,
    /// What is called instead, and whose turn it is.
    turns: Option<(Turns, usize)>,
    bidi: Uri,
    headers: HeaderMap,
}

impl Caller {
    /// Calls this path instead of `Unary`.
    ///
    /// # Errors
    /// When it is no path.
    pub fn of(self, path: &str) -> Result<Self> {
        Ok(Self {
            unary: at_path(&self.unary, path)?,
            ..self
        })
    }

    /// These paths at the same server, one at least.
    ///
    /// # Errors
    /// When there is none, or one is no path.
    pub fn turns(&self, paths: &[String]) -> Result<Turns> {
        ensure!(!paths.is_empty(), "nothing to call");
        let all = paths.iter().map(|path| at_path(&self.unary, path));
        Ok(Turns(all.collect::<Result<_>>()?))
    }

    /// Calls these in turns instead of `Unary`, beginning with the one at `first`.
    #[must_use]
    pub fn in_turns(self, all: &Turns, first: usize) -> Self {
        Self {
            turns: Some((all.clone(), first)),
            ..self
        }
    }

    /// Calls `Unary`, or what is called instead, and checks the answer.
    ///
    /// # Errors
    /// When the answer is not the echo with status OK.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call.
    pub async fn unary(&mut self, frame: &Frame) -> Result<()> {
        let uri = self.next();
        let (mut response, mut to) = self.start(uri).await?;
        to.send_data(frame.0.clone(), true).context("sending")?;
        let mut from = accepted(&mut response).await?;
        let mut at = 0;
        let mut len = 0;
        while let Some(piece) = from.data().await {
            let piece = piece.context("receiving")?;
            from.flow_control().release_capacity(piece.len())?;
            at = frame.check(at, &piece)?;
            len += piece.len();
        }
        ensure!(len == frame.len(), "{len} bytes of {}", frame.len());
        ended(&mut from).await
    }

    /// Opens `Bidi`.
    ///
    /// # Errors
    /// When the server does not take the call.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call.
    pub async fn bidi(&mut self, frame: Frame) -> Result<Stream> {
        let (response, to) = self.start(self.bidi.clone()).await?;
        Ok(Stream {
            frame,
            to,
            response: Some(response),
            from: None,
            at: 0,
            partial: 0,
        })
    }

    /// Makes a call of any method and checks that what comes back is what must. The request is sent as a whole;
    /// what flow control does not take yet waits in `h2`.
    ///
    /// # Errors
    /// When the answer is another one, or its status is not OK.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call.
    pub async fn call(&mut self, call: &Call) -> Result<()> {
        let mut uri = self.unary.clone().into_parts();
        uri.path_and_query = Some(PathAndQuery::from_static(call.path));
        let (mut response, mut to) = self.start(Uri::from_parts(uri)?).await?;
        to.send_data(call.request.clone(), true)
            .context("sending")?;
        let mut from = accepted(&mut response).await?;
        let mut missing = &call.answer[..];
        while let Some(piece) = from.data().await {
            let piece = piece.context("receiving")?;
            from.flow_control().release_capacity(piece.len())?;
            let rest = missing.strip_prefix(&piece[..]);
            missing = rest.with_context(|| format!("{}: another answer", call.path))?;
        }
        ensure!(missing.is_empty(), "{} bytes are missing", missing.len());
        ended(&mut from).await
    }

    /// What is called next.
    fn next(&mut self) -> Uri {
        let Some((all, turn)) = &mut self.turns else {
            return self.unary.clone();
        };
        *turn = (*turn + 1) % all.0.len();
        all.0[*turn].clone()
    }

    async fn start(&mut self, uri: Uri) -> Result<(ResponseFuture, SendStream<Bytes>)> {
        poll_fn(|cx| self.send.poll_ready(cx))
            .await
            .context("the connection is gone")?;
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = uri;
        request.headers_mut().clone_from(&self.headers);
        self.send.send_request(request, false).context("calling")
    }
}

/// The same server, another path.
fn at_path(uri: &Uri, path: &str) -> Result<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(
        path.parse()
            .with_context(|| format!("{path:?} is no path"))?,
    );
    Ok(Uri::from_parts(parts)?)
}

/// Waits for the head of an answer that is not refused. Borrows, so that a dropped wait loses
/// nothing.
async fn accepted(response: &mut ResponseFuture) -> Result<RecvStream> {
    let (head, body) = response.await.context("no answer")?.into_parts();
    ensure!(head.status == 200, "HTTP status {}", head.status);
    if let Some(status) = head.headers.get("grpc-status") {
        return Err(anyhow!("grpc-status {status:?} instead of an answer"));
    }
    Ok(body)
}

async fn ended(from: &mut RecvStream) -> Result<()> {
    let trailers = from.trailers().await.context("no trailers")?;
    let status = trailers.as_ref().and_then(|all| all.get("grpc-status"));
    ensure!(
        status.is_some_and(|status| status == "0"),
        "grpc-status {status:?}"
    );
    Ok(())
}

/// A `Bidi` call under way.
#[derive(Debug)]
pub struct Stream {
    frame: Frame,
    to: SendStream<Bytes>,
    response: Option<ResponseFuture>,
    from: Option<RecvStream>,
    /// Where in the frame the next piece of the answer begins.
    at: usize,
    /// Bytes of the message that has not come whole.
    partial: usize,
}

impl Stream {
    /// Sends the message once more. What flow control does not take yet waits in `h2`, so it is
    /// the caller who must not run ahead.
    ///
    /// # Errors
    /// When the call is over.
    pub fn send(&mut self) -> Result<()> {
        let frame = self.frame.0.clone();
        self.to.send_data(frame, false).context("sending")
    }

    /// Waits for answers and checks them; returns how many messages came whole, one at least.
    ///
    /// # Errors
    /// When what comes is not the echo, or the call ends.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn receive(&mut self) -> Result<usize> {
        let mut whole = 0;
        while whole == 0 {
            let frame = self.frame.clone();
            let from = self.from().await?;
            let piece = from.data().await.context("the stream ended early")?;
            let piece = piece.context("receiving")?;
            from.flow_control().release_capacity(piece.len())?;
            self.at = frame.check(self.at, &piece)?;
            let len = self.partial + piece.len();
            whole = len / frame.len();
            self.partial = len % frame.len();
        }
        Ok(whole)
    }

    /// Ends the call; every message must have been received.
    ///
    /// # Errors
    /// When more comes, or another status than OK.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call.
    pub async fn finish(mut self) -> Result<()> {
        self.to.send_data(Bytes::new(), true).context("ending")?;
        let from = self.from().await?;
        ensure!(from.data().await.is_none(), "more came than was sent");
        ended(from).await
    }

    async fn from(&mut self) -> Result<&mut RecvStream> {
        if let Some(response) = &mut self.response {
            let body = accepted(response).await?;
            self.from = Some(body);
            self.response = None;
        }
        self.from.as_mut().context("the answer's head came first")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_is_checked_across_pieces_of_any_size() {
        let frame = Frame::new(300);
        let wire = [&frame.0[..], &frame.0[..]].concat();
        for size in [1, 7, 305, 400, 610] {
            let at = wire
                .chunks(size)
                .try_fold(0, |at, piece| frame.check(at, piece));
            assert_eq!(at.expect("it is the echo"), 0, "pieces of {size}");
        }
        let mut wrong = wire;
        wrong[400] ^= 1;
        frame.check(0, &wrong).expect_err("one bit differs");
    }
}
