//! A server of single frames: it does to a call exactly what a test says, at the moment it says.
//!
//! Speaks as much HTTP/2 as that takes: literal headers, no compression, no flow control.

use switchboard_client::transport::ByteStream;
use switchboard_client_peer::line::{Line, To};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::support::patiently;

const PREFACE_BYTES: usize = 24;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// A frame: kind, flags, stream, payload.
pub(crate) type Frame = (u8, u8, u32, Vec<u8>);

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RESET: u8 = 3;
pub(crate) const PING: u8 = 6;
const SETTINGS: u8 = 4;

/// Where connections come in.
pub(crate) struct Fake(mpsc::Receiver<Box<dyn ByteStream>>);

/// One of them.
pub(crate) struct FakeConnection(Box<dyn ByteStream>);

impl Fake {
    pub(crate) fn new() -> (Self, Line) {
        let (feed, fed) = mpsc::channel(16);
        (Self(fed), Line::new(To::Server(feed)))
    }

    /// The next connection, with its settings exchanged.
    pub(crate) async fn accept(&mut self) -> FakeConnection {
        self.accept_with(&[]).await
    }

    /// The same with settings of ours: identifier and value.
    pub(crate) async fn accept_with(&mut self, settings: &[(u16, u32)]) -> FakeConnection {
        patiently(async {
            let mut io = self.0.recv().await.expect("a connection");
            let mut preface = [0; PREFACE_BYTES];
            io.read_exact(&mut preface).await.expect("the preface");
            let mut connection = FakeConnection(io);
            connection.settings(settings).await;
            connection
        })
        .await
    }
}

impl FakeConnection {
    pub(crate) async fn settings(&mut self, settings: &[(u16, u32)]) {
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend_from_slice(&id.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        self.write(SETTINGS, 0, 0, &payload).await;
    }

    pub(crate) async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let len = u32::try_from(payload.len()).expect("short").to_be_bytes();
        let mut frame = vec![len[1], len[2], len[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        // A client that has closed is what some tests are about.
        drop(self.0.write_all(&frame).await);
    }

    /// The next frame that tests ask for; `None` at the end. Answers what wants an answer.
    pub(crate) async fn read(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; len as usize];
            self.0.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            match (head[3], head[4] & ACK) {
                (SETTINGS, 0) => self.write(SETTINGS, ACK, 0, &[]).await,
                (PING, 0) => self.write(PING, ACK, 0, &payload).await,
                _ => {}
            }
            if matches!(head[3], DATA | HEADERS | RESET | PING) {
                return Some((head[3], head[4], stream, payload));
            }
        }
    }

    /// The next frame of this kind.
    pub(crate) async fn until(&mut self, kind: u8) -> Frame {
        patiently(async {
            loop {
                let frame = self.read().await.expect("the connection lives");
                if frame.0 == kind {
                    return frame;
                }
            }
        })
        .await
    }

    /// The next call: its stream.
    pub(crate) async fn call(&mut self) -> u32 {
        self.until(HEADERS).await.2
    }

    /// Waits until the client has read all that was written before.
    pub(crate) async fn until_taken(&mut self) {
        self.write(PING, 0, 0, &[0; 8]).await;
        let (_, flags, _, _) = self.until(PING).await;
        assert_eq!(flags & ACK, ACK, "the client pings nobody here");
    }

    /// Reads on until the client closes, so that it can.
    pub(crate) async fn until_closed(&mut self) {
        patiently(async { while self.read().await.is_some() {} }).await;
    }

    pub(crate) async fn headers(&mut self, stream: u32, fields: &[(&str, &str)], end: bool) {
        let mut block = Vec::new();
        for (name, value) in fields {
            // A literal that is not indexed, with a literal name. Source: RFC 7541 6.2.2.
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).expect("short"));
                block.extend_from_slice(text.as_bytes());
            }
        }
        let end = if end { END_STREAM } else { 0 };
        self.write(HEADERS, END_HEADERS | end, stream, &block).await;
    }

    pub(crate) async fn head(&mut self, stream: u32) {
        let fields = [(":status", "200"), ("content-type", "application/grpc")];
        self.headers(stream, &fields, false).await;
    }

    pub(crate) async fn data(&mut self, stream: u32, bytes: &[u8], end: bool) {
        self.write(DATA, u8::from(end), stream, bytes).await;
    }

    /// One empty message.
    pub(crate) async fn message(&mut self, stream: u32) {
        self.data(stream, &[0; 5], false).await;
    }

    pub(crate) async fn status(&mut self, stream: u32, status: &str) {
        self.headers(stream, &[("grpc-status", status)], true).await;
    }

    /// A whole answer to a unary call.
    pub(crate) async fn answer(&mut self, stream: u32) {
        self.head(stream).await;
        self.message(stream).await;
        self.status(stream, "0").await;
    }

    pub(crate) async fn reset(&mut self, stream: u32, code: u32) {
        self.write(RESET, 0, stream, &code.to_be_bytes()).await;
    }

    pub(crate) async fn go_away(&mut self, last_stream: u32, code: u32, text: &str) {
        const GO_AWAY: u8 = 7;
        let payload = [
            &last_stream.to_be_bytes()[..],
            &code.to_be_bytes(),
            text.as_bytes(),
        ];
        self.write(GO_AWAY, 0, 0, &payload.concat()).await;
    }
}
