//! Byte streams inside the process, for tests: a connector and the listener it connects to.
//!
//! Works on every platform. Invariants: at most [`BACKLOG_MAX`] connections wait to be accepted,
//! then the attempt does; when the listener is gone, attempts fail like refused connections.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::{BoxFuture, Connected, Connector, Transport};
use crate::error::ConnectError;

/// Connections that wait to be accepted. Count.
const BACKLOG_MAX: usize = 16;

/// Bytes on their way in each direction. A socket's buffer has about as many.
const BUFFER_BYTES: usize = 64 * 1024;

/// Connects to the [`MemoryListener`] that was made with it.
#[derive(Clone, Debug)]
pub struct MemoryConnector(mpsc::Sender<DuplexStream>);

/// The server's end: a stream of connections, as servers take them.
#[derive(Debug)]
pub struct MemoryListener(mpsc::Receiver<DuplexStream>);

/// A connector and its listener.
#[must_use]
pub fn memory() -> (MemoryConnector, MemoryListener) {
    let (connector, listener) = mpsc::channel(BACKLOG_MAX);
    (MemoryConnector(connector), MemoryListener(listener))
}

impl Connector for MemoryConnector {
    fn connect(&self) -> BoxFuture<Result<Connected, ConnectError>> {
        let listener = self.0.clone();
        Box::pin(async move {
            let (near, far) = tokio::io::duplex(BUFFER_BYTES);
            let accepted = listener.send(far).await;
            accepted.map_err(|_| ConnectError::Unreachable {
                address: "memory".to_owned(),
                text: "the listener is gone".to_owned(),
            })?;
            Ok(Connected::new(near, Transport::Memory))
        })
    }
}

impl Stream for MemoryListener {
    type Item = io::Result<DuplexStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|stream| stream.map(Ok))
    }
}
