//! What a client hears that cannot have a tunnel: a gRPC status for each of its calls.
//!
//! Called by `forward` with a connection that has no tunnel. Speaks HTTP/2 itself, and only as much of it as
//! an answer needs: a GOAWAY alone would do without, but clients take one that came before any answer for
//! a server that moves house, connect again at once, and never show its words to anybody. Invariants: the
//! connection ends, at the latest after [`ANSWERED_WITHIN`]; nothing a client sends but heads is kept.

use std::fmt::Write as _;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use h2::server::Builder;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use switchboard_client::ConnectError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};

/// Time for a client to make its first call, before the connection is told to end all the same.
const CALLED_WITHIN: Duration = Duration::from_secs(5);

/// Time for all of it: the beginning of HTTP/2, calls, answers, and the client's own end.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// Calls at once. Count: the least that RFC 9113 recommends, section 6.5.2. The client keeps the others back,
/// and makes them on its next connection.
const CALLS_MAX: u32 = 100;

/// Largest head of a request, in bytes; what the host itself takes unless told otherwise.
const HEAD_BYTES_MAX: u32 = 64 * 1024;

/// Longest text of a status, in bytes before it is encoded: errors of a server have 200 characters.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Why there is no tunnel, as gRPC has it.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    code: i32,
    message: HeaderValue,
}

impl Refusal {
    /// `error` kept the way to `target` closed.
    pub(super) fn new(target: &str, error: &ConnectError) -> Self {
        let message = format!("no tunnel to {target}: {error}");
        Self {
            code: error.code().into(),
            message: encoded(&message),
        }
    }

    /// A response of headers only. Source: gRPC over HTTP/2, "Trailers-Only".
    fn response(&self) -> Response<()> {
        let mut response = Response::new(());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from(self.code));
        headers.insert("grpc-message", self.message.clone());
        response
    }

    /// Answers the calls of a connection, and ends it.
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection.
    pub(super) async fn tell<S>(&self, socket: S)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match timeout(ANSWERED_WITHIN, self.answer(socket)).await {
            Ok(Ok(calls)) => tracing::debug!(calls, "the client was told"),
            Ok(Err(error)) => tracing::debug!(%error, "the client was not told"),
            Err(_elapsed) => tracing::debug!("the client did not end its connection"),
        }
    }

    /// The same without a limit; how many calls were answered.
    async fn answer<S>(&self, socket: S) -> Result<u32, h2::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut builder = Builder::new();
        builder
            .max_concurrent_streams(CALLS_MAX)
            .max_header_list_size(HEAD_BYTES_MAX);
        let mut connection = builder.handshake::<_, Bytes>(socket).await?;
        let mut calls = 0;
        let mut called = pin!(sleep(CALLED_WITHIN));
        let mut waited = false;
        loop {
            tokio::select! {
                call = connection.accept() => match call {
                    None => return Ok(calls),
                    Some(call) => {
                        let (_request, mut respond) = call?;
                        respond.send_response(self.response(), true)?;
                        calls += 1;
                    }
                },
                () = called.as_mut(), if !waited => waited = true,
            }
            // What was sent before the client hears this is still answered. Its next call makes a new
            // connection, which may find the way open.
            connection.graceful_shutdown();
        }
    }
}

/// A text as the value of `grpc-message`. Source: gRPC over HTTP/2, "Status-Message": percent-encoded but
/// for printable ASCII.
fn encoded(text: &str) -> HeaderValue {
    let end = text.floor_char_boundary(MESSAGE_BYTES_MAX);
    let mut value = String::with_capacity(end + 16);
    for byte in text[..end].bytes() {
        match byte {
            b'%' | 0..b' ' | 0x7f.. => {
                write!(value, "%{byte:02X}").expect("a string takes everything");
            }
            _ => value.push(char::from(byte)),
        }
    }
    HeaderValue::try_from(value).expect("printable ASCII is a value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_printable_and_short() {
        assert_eq!(encoded("a b%\r\n\u{fc}"), "a b%25%0D%0A%C3%BC");
        let long = "x".repeat(MESSAGE_BYTES_MAX - 1) + "\u{fc}";
        assert_eq!(encoded(&long).len(), MESSAGE_BYTES_MAX - 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_calls_is_let_go() {
        let (near, far) = tokio::io::duplex(1024);
        let refusal = Refusal::new("ws://x", &ConnectError::Other("no".to_owned()));
        let (requests, connection) = h2::client::handshake(far).await.expect("HTTP/2");
        let told = async {
            refusal.tell(near).await;
        };
        let (ended, ()) = tokio::join!(connection, told);
        ended.expect("a clean end");
        drop(requests);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_let_go() {
        let (near, _far) = tokio::io::duplex(1024);
        let refusal = Refusal::new("ws://x", &ConnectError::Other("no".to_owned()));
        refusal.tell(near).await;
    }
}
