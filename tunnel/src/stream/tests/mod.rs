//! The stream over connections that stall, fill up, fail and end wherever they can.

mod closing;
mod conn;
mod reading;
mod transfer;
mod waking;
mod writing;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

use super::TunnelStream;
use crate::codec::tests::wire;
use crate::{Config, Role, TunnelError};
use conn::Conn;

const ROLES: [Role; 2] = [Role::Client, Role::Server];
const SECOND: Duration = Duration::from_secs(1);

/// A stream without pings over a connection of the test's.
fn open(role: Role) -> (TunnelStream<Conn>, Conn) {
    let config = Config {
        ping_interval: None,
        ..Config::default()
    };
    open_with(role, &config)
}

fn open_with(role: Role, config: &Config) -> (TunnelStream<Conn>, Conn) {
    let conn = Conn::new();
    let stream = TunnelStream::new(conn.clone(), role, Bytes::new(), config);
    (stream, conn)
}

/// One poll of a read of up to `room` bytes, by a task that nobody wakes.
fn poll_read(stream: &mut TunnelStream<Conn>, room: usize) -> Poll<io::Result<Vec<u8>>> {
    let mut bytes = vec![0; room];
    let mut buf = ReadBuf::new(&mut bytes);
    let mut cx = Context::from_waker(Waker::noop());
    match Pin::new(stream).poll_read(&mut cx, &mut buf) {
        Poll::Pending => {
            assert!(buf.filled().is_empty(), "bytes got lost");
            Poll::Pending
        }
        Poll::Ready(Ok(())) => Poll::Ready(Ok(buf.filled().to_vec())),
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
    }
}

/// The bytes that one poll gives.
fn read(stream: &mut TunnelStream<Conn>) -> Vec<u8> {
    let result = poll_read(stream, 100_000);
    let Poll::Ready(Ok(bytes)) = result else {
        panic!("no bytes but {result:?}");
    };
    bytes
}

/// Our error inside an `io::Error`.
fn inner(error: &io::Error) -> &TunnelError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    inner.unwrap_or_else(|| panic!("no TunnelError in {error:?}"))
}

fn failure(result: Poll<io::Result<Vec<u8>>>) -> (io::ErrorKind, TunnelError) {
    let Poll::Ready(Err(error)) = result else {
        panic!("no failure but {result:?}");
    };
    (error.kind(), inner(&error).clone())
}
