//! Which protocol a connection speaks, by its first bytes, so that one port serves gRPC and HTTP/1.1.
//!
//! Called by `listener` when TLS has not agreed on a protocol already. HTTP/2 always begins with the
//! same 24 bytes (RFC 9113, section 3.4), HTTP/1.1 with the name of a method. What was read to find out
//! is replayed once by [`Prefixed`]; after that, reading costs one comparison more than without it.
//!
//! Knows nothing of time: whoever calls waits no longer than it wants.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// Bytes that tell HTTP/2 from everything else: no method of HTTP/1.1 begins so. The rest of its
/// preface is checked by h2.
const HTTP2: &[u8] = b"PRI ";

/// Most bytes read to find out.
const PREFIX_BYTES_MAX: usize = 8;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/2 from its first byte.
    Http2,
    /// HTTP/1.0 or 1.1, as far as one can see.
    Http1,
    /// Nothing that is served here.
    Unknown,
}

/// What these first bytes begin; none if more are needed.
fn protocol_of(bytes: &[u8]) -> Option<Protocol> {
    let count = bytes.len().min(HTTP2.len());
    if bytes[..count] == HTTP2[..count] {
        return (count == HTTP2.len()).then_some(Protocol::Http2);
    }
    // Methods are tokens (RFC 9110, section 9.1), and all that exist are upper case.
    let method = bytes.split(|byte| *byte == b' ').next().unwrap_or(bytes);
    let is_method = |byte: &u8| byte.is_ascii_uppercase() || b"-_".contains(byte);
    if !method.is_empty() && method.iter().all(is_method) {
        Some(Protocol::Http1)
    } else {
        Some(Protocol::Unknown)
    }
}

/// Reads as many bytes as it takes to tell the protocol.
///
/// # Errors
/// When reading fails, or the stream ends before that.
///
/// # Cancel safety
/// The stream is dropped with the future.
pub(super) async fn tell<S: AsyncRead + Unpin>(
    mut stream: S,
) -> io::Result<(Protocol, Prefixed<S>)> {
    let mut prefix = [0; PREFIX_BYTES_MAX];
    let mut len = 0;
    loop {
        match stream.read(&mut prefix[len..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => len += count,
        }
        if let Some(protocol) = protocol_of(&prefix[..len]) {
            let stream = Prefixed {
                stream,
                prefix,
                at: 0,
                len,
            };
            return Ok((protocol, stream));
        }
    }
}

/// A stream whose first bytes were read already: they are read again, then the stream itself.
#[derive(Debug)]
pub(super) struct Prefixed<S> {
    stream: S,
    prefix: [u8; PREFIX_BYTES_MAX],
    /// How much of the prefix was replayed.
    at: usize,
    /// How much of the prefix there is.
    len: usize,
}

impl<S> Prefixed<S> {
    /// A stream of which nothing was read.
    pub(super) fn unread(stream: S) -> Self {
        Self {
            stream,
            prefix: [0; PREFIX_BYTES_MAX],
            at: 0,
            len: 0,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.at < self.len {
            let count = buf.remaining().min(self.len - self.at);
            buf.put_slice(&self.prefix[self.at..self.at + count]);
            self.at += count;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[test]
    fn first_bytes_tell_the_protocol() {
        for (bytes, protocol) in [
            (&b"PRI * HTTP/2.0\r\n"[..], Some(Protocol::Http2)),
            (b"PRI ", Some(Protocol::Http2)),
            (b"PRI", None),
            (b"P", None),
            (b"", None),
            (b"PO", Some(Protocol::Http1)),
            (b"PROPFIND", Some(Protocol::Http1)),
            (b"G", Some(Protocol::Http1)),
            (b"GET / HT", Some(Protocol::Http1)),
            (b"M-SEARCH", Some(Protocol::Http1)),
            (b"get / HT", Some(Protocol::Unknown)),
            (b" GET", Some(Protocol::Unknown)),
            // TLS on a port without it, SSH, and a frame of HTTP/2 without its preface.
            (b"\x16\x03\x01", Some(Protocol::Unknown)),
            (b"SSH-2.0-", Some(Protocol::Unknown)),
            (b"\0\0\0\x04", Some(Protocol::Unknown)),
        ] {
            assert_eq!(protocol_of(bytes), protocol, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn what_was_read_is_read_again_once_however_it_came() {
        let sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        for split in 0..sent.len() {
            let (mut far, near) = tokio::io::duplex(64);
            let sending = async {
                far.write_all(&sent[..split]).await.expect("room");
                // The other side has a turn between the two parts.
                tokio::task::yield_now().await;
                far.write_all(&sent[split..]).await.expect("room");
                far.shutdown().await.expect("open");
            };
            let reading = async {
                let (protocol, mut stream) = tell(near).await.expect("enough bytes");
                assert_eq!(protocol, Protocol::Http2);
                let mut seen = Vec::new();
                stream.read_to_end(&mut seen).await.expect("read");
                assert_eq!(seen, sent, "split at {split}");
            };
            tokio::join!(sending, reading);
        }
    }

    #[tokio::test]
    async fn a_stream_that_ends_too_soon_has_no_protocol() {
        let (mut far, near) = tokio::io::duplex(64);
        far.write_all(b"PR").await.expect("room");
        drop(far);
        let error = tell(near).await.expect_err("not enough");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
