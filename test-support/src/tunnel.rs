//! The other end of a tunnel: asks for one in any way a test wants, speaks HTTP/2 through it, or writes
//! WebSocket frames by hand.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use hyper_util::rt::TokioIo;
use switchboard_tunnel::handshake::{self, Agreed, Token};
use switchboard_tunnel::{Config, Role, SUBPROTOCOL, TunnelHandle, TunnelStream, random_key};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tower_service::Service;

use crate::http1::{HttpAnswer, http1};
use crate::{RawClient, TestHost, patiently};

/// A request for a tunnel. As it comes it is sound; a test changes what it is about.
#[derive(Clone, Debug)]
pub struct Ask {
    addr: SocketAddr,
    request: Request<()>,
    subprotocols: Vec<String>,
    key: [u8; 16],
}

impl Ask {
    /// For the tunnel at its usual path, without an origin or a token, with our subprotocol.
    #[must_use]
    pub fn new(addr: SocketAddr) -> Self {
        let uri = Uri::try_from(format!("ws://{addr}/tunnel")).expect("a URI");
        let key = random_key().expect("random bytes");
        let request = handshake::request(&uri, &[SUBPROTOCOL], key).expect("a request");
        Self {
            addr,
            request,
            subprotocols: vec![SUBPROTOCOL.to_owned()],
            key,
        }
    }

    /// With this header instead of those of the name.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a value");
        self.request.headers_mut().insert(name, value);
        self
    }

    /// With one more header of the name.
    #[must_use]
    pub fn and_header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a value");
        self.request.headers_mut().append(name, value);
        self
    }

    /// Without any header of the name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        let name: HeaderName = name.parse().expect("a name");
        self.request.headers_mut().remove(name);
        self
    }

    /// With another method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        *self.request.method_mut() = method;
        self
    }

    /// At another path.
    #[must_use]
    pub fn path(mut self, path: &'static str) -> Self {
        *self.request.uri_mut() = Uri::from_static(path);
        self
    }

    /// From a page of this origin.
    #[must_use]
    pub fn origin(self, origin: &str) -> Self {
        self.header("origin", origin)
    }

    /// Offering these subprotocols.
    #[must_use]
    pub fn offer(mut self, subprotocols: &[&str]) -> Self {
        self.subprotocols = subprotocols.iter().map(|&word| word.to_owned()).collect();
        if subprotocols.is_empty() {
            return self.without("sec-websocket-protocol");
        }
        self.header("sec-websocket-protocol", &subprotocols.join(", "))
    }

    /// Offering our subprotocol and this token.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        let token = Token::new(token).to_subprotocol();
        self.offer(&[SUBPROTOCOL, &token])
    }

    /// The request as it goes over the wire.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let (method, uri) = (self.request.method(), self.request.uri());
        let mut wire = format!("{method} {uri} HTTP/1.1\r\n").into_bytes();
        for (name, value) in self.request.headers() {
            wire.extend_from_slice(name.as_str().as_bytes());
            wire.extend_from_slice(b": ");
            wire.extend_from_slice(value.as_bytes());
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"\r\n");
        wire
    }

    /// Asks, and answers whatever came back.
    pub async fn send(&self) -> HttpAnswer<TcpStream> {
        let stream = TcpStream::connect(self.addr).await;
        let stream = stream.expect("the host listens");
        stream.set_nodelay(true).expect("a socket takes options");
        http1(stream, &self.bytes()).await
    }

    /// Opens the tunnel.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn open(&self) -> TunnelStream<TcpStream> {
        let answer = self.send().await;
        self.opened(answer).0
    }

    /// The same over a connection of the test's own, such as one with TLS.
    pub async fn open_over<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> TunnelStream<S> {
        let answer = http1(stream, &self.bytes()).await;
        self.opened(answer).0
    }

    /// The tunnel behind an answer, and what was agreed on.
    ///
    /// # Panics
    /// If the answer is a refusal.
    pub fn opened<S>(&self, answer: HttpAnswer<S>) -> (TunnelStream<S>, Agreed) {
        let mut response = http::Response::new(());
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        let offered: Vec<_> = self.subprotocols.iter().map(String::as_str).collect();
        let agreed = handshake::check_response(&response, &offered, self.key);
        let agreed = agreed.unwrap_or_else(|error| panic!("{error}: {}", answer.body));
        let stream = TunnelStream::new(answer.stream, Role::Client, answer.rest, &config());
        (stream, agreed)
    }

    /// Asks for the tunnel in a stream of HTTP/2.
    pub async fn send_over_http2(&self, client: &RawClient) -> HttpAnswer<DuplexStream> {
        let uri = format!("http://{}{}", self.addr, self.request.uri());
        let mut head = Request::builder().uri(uri);
        for (name, value) in self.request.headers() {
            let of_http1 = ["host", "upgrade", "connection", "sec-websocket-key"];
            if !of_http1.contains(&name.as_str()) {
                head = head.header(name, value);
            }
        }
        client.connect_to("websocket", head).await
    }

    /// Opens the tunnel in a stream of HTTP/2.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn open_over_http2(&self, client: &RawClient) -> TunnelStream<DuplexStream> {
        let answer = self.send_over_http2(client).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        TunnelStream::new(answer.stream, Role::Client, answer.rest, &config())
    }

    /// Opens the tunnel for frames by hand.
    pub async fn by_hand(&self) -> WebSocketByHand {
        let answer = self.send().await;
        assert_eq!(answer.status, 101, "{}", answer.body);
        WebSocketByHand {
            stream: answer.stream,
            read: BytesMut::from(answer.rest),
        }
    }
}

/// Limits and times of the tests' ends.
fn config() -> Config {
    Config {
        // A test that is about pings sends its own.
        ping_interval: None,
        ..Config::default()
    }
}

impl TestHost {
    /// A request for a tunnel to this host.
    #[must_use]
    pub fn ask(&self) -> Ask {
        Ask::new(self.addr)
    }

    /// A client that speaks HTTP/2 through a tunnel, and what closes the tunnel and tells its end.
    pub async fn raw_tunnel(&self) -> (RawClient, TunnelHandle) {
        let stream = self.ask().open().await;
        let handle = stream.handle();
        let client = RawClient::over(stream, &h2::client::Builder::new()).await;
        (client, handle)
    }

    /// A tonic channel through a tunnel.
    pub async fn tunnel_channel(&self) -> Channel {
        channel_over(self.ask().open().await).await
    }
}

/// A tonic channel over this stream; once it ends, calls fail.
pub async fn channel_over<S>(stream: S) -> Channel
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let endpoint = Endpoint::from_static("http://localhost");
    let channel = endpoint.connect_with_connector(Once(Some(stream))).await;
    channel.expect("HTTP/2")
}

/// A connector that has one connection to give.
struct Once<S>(Option<S>);

impl<S: Send + 'static> Service<Uri> for Once<S> {
    type Response = TokioIo<S>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<TokioIo<S>>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let stream = self.0.take().map(TokioIo::new);
        let stream = stream.ok_or_else(|| std::io::ErrorKind::NotConnected.into());
        Box::pin(std::future::ready(stream))
    }
}

/// A WebSocket whose frames a test writes and reads itself.
#[derive(Debug)]
pub struct WebSocketByHand {
    /// The connection.
    pub stream: TcpStream,
    read: BytesMut,
}

/// One frame as it came.
#[derive(Debug, PartialEq, Eq)]
pub struct WebSocketFrame {
    /// What kind it is: 1 text, 2 binary, 8 close, 9 ping, 10 pong.
    pub opcode: u8,
    /// What it carries.
    pub payload: Bytes,
}

/// The mask of every frame that a test writes by hand.
const MASK: [u8; 4] = [0x5a, 0xa5, 0x0f, 0xf0];

impl WebSocketByHand {
    /// Sends one whole frame, masked as a client has to.
    pub async fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.begin(opcode, payload.len()).await;
        let masked: Vec<_> = payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask)
            .collect();
        self.stream.write_all(&masked).await.expect("sent");
    }

    /// Sends the head of a frame of this length, whose payload is the test's business.
    pub async fn begin(&mut self, opcode: u8, length: usize) {
        let mut head = head(opcode, length, 0x80);
        head.put_slice(&MASK);
        self.stream.write_all(&head).await.expect("sent");
    }

    /// Sends one whole frame without a mask, as a client must not.
    pub async fn send_unmasked(&mut self, opcode: u8, payload: &[u8]) {
        let mut frame = head(opcode, payload.len(), 0);
        frame.put_slice(payload);
        self.stream.write_all(&frame).await.expect("sent");
    }

    /// The next frame; none once the other side has ended the connection.
    ///
    /// # Panics
    /// If a frame of the host is masked or not whole.
    pub async fn next(&mut self) -> Option<WebSocketFrame> {
        loop {
            if let Some(frame) = self.parse() {
                return Some(frame);
            }
            let read = patiently("a frame", self.stream.read_buf(&mut self.read)).await;
            if read.is_err() || read.is_ok_and(|count| count == 0) {
                assert!(self.read.is_empty(), "half a frame: {:?}", self.read);
                return None;
            }
        }
    }

    /// Reads to the close frame and answers its code and reason; the payload of all binary frames
    /// before it comes with them.
    ///
    /// # Panics
    /// If the connection ends without one.
    pub async fn closed(&mut self) -> (u16, String, Bytes) {
        let mut bytes = BytesMut::new();
        loop {
            let frame = self.next().await.expect("a close frame before the end");
            match frame.opcode {
                2 => bytes.extend_from_slice(&frame.payload),
                8 => {
                    let code = u16::from_be_bytes([frame.payload[0], frame.payload[1]]);
                    let reason = String::from_utf8_lossy(&frame.payload[2..]).into_owned();
                    return (code, reason, bytes.freeze());
                }
                _ => {}
            }
        }
    }

    fn parse(&mut self) -> Option<WebSocketFrame> {
        let [first, second] = *self.read.first_chunk()?;
        assert!(first & 0x80 != 0 && second & 0x80 == 0, "whole, not masked");
        let (head, length) = match second {
            126 => (
                4,
                u64::from(u16::from_be_bytes(*self.read.get(2..4)?.first_chunk()?)),
            ),
            127 => (
                10,
                u64::from_be_bytes(*self.read.get(2..10)?.first_chunk()?),
            ),
            short => (2, u64::from(short)),
        };
        let length = usize::try_from(length).expect("a length fits");
        if self.read.len() < head + length {
            return None;
        }
        let payload = self.read.split_to(head + length).freeze().slice(head..);
        let opcode = first & 0x0f;
        Some(WebSocketFrame { opcode, payload })
    }
}

/// The head of a frame without its mask. Source: RFC 6455, section 5.2.
fn head(opcode: u8, length: usize, mask_bit: u8) -> Vec<u8> {
    let mut head = vec![0x80 | opcode];
    match length {
        0..126 => head.put_u8(mask_bit | u8::try_from(length).expect("below 126")),
        126..65_536 => {
            head.put_u8(mask_bit | 126);
            head.put_u16(u16::try_from(length).expect("below 65 536"));
        }
        _ => {
            head.put_u8(mask_bit | 127);
            head.put_u64(u64::try_from(length).expect("a length fits"));
        }
    }
    head
}
