//! A client that speaks HTTP/2 frame by frame: for what a stock gRPC client never sends, and to see
//! what really came.

use std::future::poll_fn;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, StatusCode};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf,
};
use tokio::net::TcpStream;

use crate::{HttpAnswer, patiently};

/// One HTTP/2 connection.
#[derive(Clone, Debug)]
pub struct RawClient {
    requests: SendRequest<Bytes>,
}

/// A request whose answer may not be here yet.
#[derive(Debug)]
pub struct RawCall {
    /// Sends the request's body; dropping it resets the stream.
    pub body: SendStream<Bytes>,
    response: ResponseFuture,
}

/// All that came back.
#[derive(Debug)]
pub struct RawAnswer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The response headers.
    pub headers: HeaderMap,
    /// The body, frames and all.
    pub body: Bytes,
    /// The trailers; the headers again if the response had only those.
    pub trailers: HeaderMap,
}

/// A gRPC message in its frame.
#[must_use]
pub fn frame(message: &[u8]) -> Bytes {
    let mut wire = BytesMut::with_capacity(5 + message.len());
    wire.extend_from_slice(&[0]);
    let len = u32::try_from(message.len()).expect("a test's message is short");
    wire.extend_from_slice(&len.to_be_bytes());
    wire.extend_from_slice(message);
    wire.freeze()
}

/// The messages in a body.
///
/// # Panics
/// If the body does not consist of whole, uncompressed frames.
#[must_use]
pub fn frames(mut body: Bytes) -> Vec<Bytes> {
    let mut messages = Vec::new();
    while !body.is_empty() {
        let head = body.split_to(5);
        assert_eq!(head[0], 0, "not compressed");
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        messages.push(body.split_to(usize::try_from(len).expect("a length fits")));
    }
    messages
}

impl RawClient {
    /// Connects with h2's default settings.
    pub async fn connect(addr: SocketAddr) -> Self {
        Self::connect_with(addr, &h2::client::Builder::new()).await
    }

    /// Connects with settings of the test's own, such as small windows.
    pub async fn connect_with(addr: SocketAddr, settings: &h2::client::Builder) -> Self {
        let socket = TcpStream::connect(addr).await.expect("the host listens");
        socket.set_nodelay(true).expect("a socket takes options");
        Self::over(socket, settings).await
    }

    /// The same over a stream of the test's own, such as a tunnel.
    pub async fn over<S>(stream: S, settings: &h2::client::Builder) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shaken = patiently("HTTP/2", settings.handshake(stream)).await;
        let (requests, connection) = shaken.expect("HTTP/2");
        #[expect(clippy::disallowed_methods, reason = "a test's own task")]
        tokio::spawn(async move {
            // How it ended shows in the calls.
            drop(connection.await);
        });
        Self { requests }
    }

    /// A gRPC request's head, to be changed at will.
    #[must_use]
    pub fn head(path: &str) -> http::request::Builder {
        Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
    }

    /// Sends a head and leaves the body open.
    pub async fn begin(&self, head: http::request::Builder) -> RawCall {
        let request = head.body(()).expect("a request");
        let mut requests = self
            .requests
            .clone()
            .ready()
            .await
            .expect("the connection is open");
        let (response, body) = requests.send_request(request, false).expect("a request");
        RawCall { body, response }
    }

    /// Whether the host offers extended CONNECT. Known once something was answered.
    #[must_use]
    pub fn may_connect(&self) -> bool {
        self.requests.is_extended_connect_protocol_enabled()
    }

    /// Asks for something else than gRPC in a stream of this connection (RFC 8441).
    pub async fn connect_to(
        &self,
        protocol: &'static str,
        head: http::request::Builder,
    ) -> HttpAnswer<DuplexStream> {
        let protocol = Protocol::from_static(protocol);
        let head = head.method(http::Method::CONNECT).extension(protocol);
        let call = self.begin(head).await;
        let response = patiently("a response", call.response).await;
        let (head, mut answers) = response.expect("no reset").into_parts();
        let mut body = String::new();
        if head.status != StatusCode::OK {
            while let Some(chunk) = patiently("a body", answers.data()).await {
                let chunk = chunk.expect("no reset");
                body += std::str::from_utf8(&chunk).expect("a body is text here");
            }
        }
        let (stream, far) = tokio::io::duplex(64 * 1024);
        let (read, write) = tokio::io::split(far);
        #[expect(clippy::disallowed_methods, reason = "a test's own tasks")]
        {
            tokio::spawn(to_http2(read, call.body));
            tokio::spawn(from_http2(answers, write));
        }
        HttpAnswer {
            status: head.status,
            headers: head.headers,
            body,
            stream,
            rest: Bytes::new(),
        }
    }

    /// Sends a whole request and waits for the whole answer.
    pub async fn call(&self, head: http::request::Builder, body: impl Into<Bytes>) -> RawAnswer {
        let mut call = self.begin(head).await;
        // A request that is refused for its head may be closed already: the answer says why.
        drop(call.body.send_data(body.into(), true));
        call.answer().await.expect("an answer, not a reset")
    }

    /// A unary call of `path` with one message.
    pub async fn unary(&self, path: &str, message: &[u8]) -> RawAnswer {
        self.call(Self::head(path), frame(message)).await
    }
}

/// Sends what is read until there is no more of it.
async fn to_http2(mut read: ReadHalf<DuplexStream>, mut body: SendStream<Bytes>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = read.read(&mut buffer).await {
        let mut left = Bytes::copy_from_slice(&buffer[..count]);
        while !left.is_empty() {
            body.reserve_capacity(left.len());
            let room = poll_fn(|cx| body.poll_capacity(cx)).await;
            let Some(Ok(room)) = room else {
                return;
            };
            let part = left.split_to(room.min(left.len()));
            if body.send_data(part, false).is_err() {
                return;
            }
        }
    }
    // An error means that the stream is gone.
    drop(body.send_data(Bytes::new(), true));
}

/// Writes what comes until there is no more of it.
async fn from_http2(mut answers: RecvStream, mut write: WriteHalf<DuplexStream>) {
    while let Some(Ok(chunk)) = answers.data().await {
        if write.write_all(&chunk).await.is_err() {
            return;
        }
        drop(answers.flow_control().release_capacity(chunk.len()));
    }
    drop(write.shutdown().await);
}

impl RawCall {
    /// Sends one message, without ending the request.
    pub fn send(&mut self, message: &[u8]) {
        self.body
            .send_data(frame(message), false)
            .expect("the stream is open");
    }

    /// Ends the request.
    pub fn end(&mut self) {
        self.body
            .send_data(Bytes::new(), true)
            .expect("the stream is open");
    }

    /// Cancels the call as a client does.
    pub fn cancel(&mut self) {
        self.body.send_reset(Reason::CANCEL);
    }

    /// Waits for the response's head; its body is read by the test.
    pub async fn headers(self) -> Result<(HeaderMap, RecvStream, SendStream<Bytes>), h2::Error> {
        let response = patiently("a response", self.response).await?;
        let (parts, body) = response.into_parts();
        Ok((parts.headers, body, self.body))
    }

    /// Waits for everything.
    ///
    /// # Errors
    /// When the stream is reset instead.
    pub async fn answer(self) -> Result<RawAnswer, h2::Error> {
        let response = patiently("a response", self.response).await?;
        let (parts, mut stream) = response.into_parts();
        let mut body = BytesMut::new();
        while let Some(chunk) = patiently("a response's body", stream.data()).await {
            let chunk = chunk?;
            stream.flow_control().release_capacity(chunk.len())?;
            body.extend_from_slice(&chunk);
        }
        let trailers = patiently("trailers", stream.trailers()).await?;
        Ok(RawAnswer {
            status: parts.status,
            trailers: trailers.unwrap_or_else(|| parts.headers.clone()),
            headers: parts.headers,
            body: body.freeze(),
        })
    }
}

impl RawAnswer {
    /// The gRPC status code.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn code(&self) -> u16 {
        let value = self
            .trailers
            .get("grpc-status")
            .expect("every answer has a status");
        value.to_str().expect("ASCII").parse().expect("a number")
    }

    /// The status message as it stands on the wire.
    #[must_use]
    pub fn message(&self) -> &str {
        self.trailers
            .get("grpc-message")
            .map_or("", |value| value.to_str().expect("ASCII"))
    }

    /// The messages of the response.
    #[must_use]
    pub fn messages(&self) -> Vec<Bytes> {
        frames(self.body.clone())
    }
}
