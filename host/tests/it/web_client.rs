//! gRPC-Web as a page speaks it, over HTTP/1.1 and HTTP/2 by a stock HTTP client, with a reading of the answer
//! that shares nothing with the host's code.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use switchboard_test_support::patiently;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Which HTTP it goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Http1,
    Http2,
}

pub(crate) const BOTH: [Over; 2] = [Over::Http1, Over::Http2];

pub(crate) const BINARY: &str = "application/grpc-web+proto";
pub(crate) const TEXT: &str = "application/grpc-web-text+proto";

/// One connection.
pub(crate) enum WebClient {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// All that came back.
#[derive(Debug)]
pub(crate) struct WebAnswer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// As it came.
    pub(crate) body: Bytes,
    pub(crate) messages: Vec<Bytes>,
    /// The last frame's, or the headers of a response that has only those.
    pub(crate) trailers: HeaderMap,
}

impl WebClient {
    pub(crate) async fn connect(addr: SocketAddr, over: Over) -> Self {
        let socket = TcpStream::connect(addr).await.expect("the host listens");
        Self::on(socket, over).await
    }

    pub(crate) async fn on<S>(stream: S, over: Over) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = TokioIo::new(stream);
        // How a connection ends shows in its calls.
        #[expect(clippy::disallowed_methods, reason = "a test's own tasks")]
        match over {
            Over::Http1 => {
                let (client, connection) = http1::handshake(stream).await.expect("HTTP/1.1");
                tokio::spawn(async move { drop(connection.await) });
                Self::Http1(client)
            }
            Over::Http2 => {
                let shaken = http2::handshake(TokioExecutor::new(), stream).await;
                let (client, connection) = shaken.expect("HTTP/2");
                tokio::spawn(async move { drop(connection.await) });
                Self::Http2(client)
            }
        }
    }

    /// Sends a request as it is; `path` has no host.
    pub(crate) async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(client) => {
                let host = "localhost".parse().expect("a host");
                request.headers_mut().entry("host").or_insert(host);
                patiently("ready", client.ready()).await?;
                patiently("headers", client.send_request(request)).await
            }
            Self::Http2(client) => {
                let path = request.uri().path().to_owned();
                let uri = format!("http://localhost{path}");
                *request.uri_mut() = uri.parse().expect("a URI");
                patiently("ready", client.ready()).await?;
                patiently("headers", client.send_request(request)).await
            }
        }
    }

    /// A call with a request body of the test's own.
    pub(crate) async fn call_raw(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> WebAnswer {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).expect("a request");
        let response = self.send(request).await.expect("an answer, not an end");
        read(response).await
    }

    /// A call with one message.
    pub(crate) async fn call(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        message: &[u8],
    ) -> WebAnswer {
        let sent = headers.iter().find(|(name, _)| *name == "content-type");
        let (_, content_type) = sent.expect("a content type");
        let body = body(content_type, message);
        self.call_raw(path, headers, body).await
    }
}

/// A request's body with one message.
pub(crate) fn body(content_type: &str, message: &[u8]) -> Bytes {
    let frame = switchboard_test_support::frame(message);
    if content_type.contains("-text") {
        STANDARD.encode(frame).into()
    } else {
        frame
    }
}

/// Reads an answer to its end.
pub(crate) async fn read(response: Response<Incoming>) -> WebAnswer {
    let (head, body) = response.into_parts();
    let collected = patiently("a body", body.collect()).await;
    let collected = collected.expect("a whole body");
    assert!(collected.trailers().is_none(), "no page could read those");
    let body = collected.to_bytes();
    let content_type = head.headers.get("content-type");
    let content_type = content_type.map_or("", |value| value.to_str().expect("ASCII"));
    let (messages, trailers) = if content_type.starts_with("application/grpc-web") {
        let wire = if content_type.contains("-text") {
            untext(&body)
        } else {
            body.clone()
        };
        frames(wire)
    } else {
        (Vec::new(), None)
    };
    let trailers = trailers.unwrap_or_else(|| head.headers.clone());
    WebAnswer {
        status: head.status,
        headers: head.headers,
        body,
        messages,
        trailers,
    }
}

/// The bytes of a text that was encoded in pieces.
fn untext(text: &[u8]) -> Bytes {
    let quanta = text.chunks(4).map(|quantum| STANDARD.decode(quantum));
    let bytes: Vec<_> = quanta.map(|bytes| bytes.expect("base64")).collect();
    bytes.concat().into()
}

/// The messages of a body, and the trailers that end it.
pub(crate) fn frames(mut wire: Bytes) -> (Vec<Bytes>, Option<HeaderMap>) {
    let mut messages = Vec::new();
    while !wire.is_empty() {
        let flag = wire.get_u8();
        let length = usize::try_from(wire.get_u32()).expect("small");
        let frame = wire.split_to(length);
        match flag {
            0 => messages.push(frame),
            0x80 => {
                assert!(wire.is_empty(), "trailers are the last frame");
                return (messages, Some(lines(&frame)));
            }
            other => panic!("a frame with flag {other:#x}"),
        }
    }
    (messages, None)
}

fn lines(block: &[u8]) -> HeaderMap {
    let block = std::str::from_utf8(block).expect("ASCII");
    let lines = block
        .strip_suffix("\r\n")
        .expect("whole lines")
        .split("\r\n");
    let pairs = lines.map(|line| line.split_once(": ").expect("a name and a value"));
    pairs
        .map(|(name, value)| {
            assert_eq!(name, name.to_lowercase());
            let name: HeaderName = name.parse().expect("a name");
            (name, value.parse().expect("a value"))
        })
        .collect()
}

impl WebAnswer {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().expect("ASCII"))
    }

    pub(crate) fn trailer(&self, name: &str) -> &str {
        let value = self.trailers.get(name);
        value.map_or("", |value| value.to_str().expect("ASCII"))
    }

    /// The status of the call.
    pub(crate) fn code(&self) -> u16 {
        let code = self.trailer("grpc-status");
        code.parse()
            .unwrap_or_else(|_| panic!("no status: {self:?}"))
    }

    /// Whether the status is in the headers, and there is nothing else.
    pub(crate) fn is_trailers_only(&self) -> bool {
        self.headers.contains_key("grpc-status") && self.body.is_empty()
    }
}
