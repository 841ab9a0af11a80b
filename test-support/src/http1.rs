//! A client that writes HTTP/1.1 by hand: for what stock clients never send, and to see what really
//! came.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::patiently;

/// One answer, and the connection behind it.
#[derive(Debug)]
pub struct HttpAnswer<S> {
    /// The HTTP status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, as far as `content-length` says.
    pub body: String,
    /// The connection.
    pub stream: S,
    /// What came behind the answer.
    pub rest: Bytes,
}

/// Sends `request` as it is and reads one answer.
///
/// # Panics
/// If there is none, or it is not HTTP/1.1.
pub async fn http1<S>(mut stream: S, request: &[u8]) -> HttpAnswer<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(request).await.expect("sent");
    stream.flush().await.expect("sent");
    let mut read = BytesMut::new();
    let end = loop {
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        more(&mut stream, &mut read).await;
    };
    let head = read.split_to(end + 4);
    let head = std::str::from_utf8(&head).expect("a head is text");
    let mut lines = head.split("\r\n");
    let first = lines.next().expect("a status line");
    let status = first.strip_prefix("HTTP/1.1 ").expect("HTTP/1.1");
    let status = status[..3].parse().expect("a status");
    let headers: HeaderMap = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| {
            let name: HeaderName = name.parse().expect("a name");
            (name, HeaderValue::from_str(value).expect("a value"))
        })
        .collect();
    let length = headers.get("content-length").map_or(0, |length| {
        let length = length.to_str().expect("ASCII");
        length.parse().expect("a number")
    });
    while read.len() < length {
        more(&mut stream, &mut read).await;
    }
    let body = read.split_to(length).to_vec();
    HttpAnswer {
        status,
        headers,
        body: String::from_utf8(body).expect("a body is text here"),
        stream,
        rest: read.freeze(),
    }
}

async fn more<S: AsyncRead + Unpin>(stream: &mut S, read: &mut BytesMut) {
    let count = patiently("an answer", stream.read_buf(read)).await;
    let count = count.expect("an answer, not a reset");
    assert!(count > 0, "the connection ended within an answer: {read:?}");
}

impl<S> HttpAnswer<S> {
    /// A header as text, empty if it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("ASCII"))
    }
}

/// Reads until the other side ends the connection; what came until then.
pub async fn rest_of<S: AsyncRead + Unpin>(mut stream: S) -> Vec<u8> {
    let mut read = Vec::new();
    // A reset is an end too.
    let _how = patiently("the end", stream.read_to_end(&mut read)).await;
    read
}
