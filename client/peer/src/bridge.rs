//! A plain WebSocket-to-TCP bridge, as anybody would write it with a stock library.
//!
//! It knows no HTTP/2, no gRPC and no subprotocol: each binary message is written to the socket, and
//! each read becomes a message. Any gRPC server can stand behind it.

use std::io;
use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

/// How much one message carries. Bytes; odd, so that no frame of HTTP/2 fits by chance.
const MESSAGE_BYTES_MAX: usize = 7001;

/// A running bridge.
#[derive(Clone, Copy, Debug)]
pub struct Bridge {
    at: SocketAddr,
}

impl Bridge {
    /// Listens on a port of its own and connects each WebSocket to `upstream`.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let at = listener.local_addr()?;
        crate::run(async move {
            while let Ok((socket, _)) = listener.accept().await {
                crate::run(async move { drop(connect(socket, upstream).await) });
            }
        });
        Ok(Self { at })
    }

    /// Where WebSockets are opened.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}/", self.at)
    }
}

async fn connect(
    socket: TcpStream,
    upstream: SocketAddr,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    socket.set_nodelay(true)?;
    let socket = tokio_tungstenite::accept_async(socket).await?;
    let upstream = TcpStream::connect(upstream).await?;
    upstream.set_nodelay(true)?;
    let (mut to_socket, mut from_socket) = socket.split();
    let (mut from_upstream, mut to_upstream) = upstream.into_split();
    let up = async {
        while let Some(message) = from_socket.next().await {
            if let Message::Binary(bytes) = message? {
                to_upstream.write_all(&bytes).await?;
            }
        }
        to_upstream.shutdown().await?;
        Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    };
    let down = async {
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        loop {
            let count = from_upstream.read(&mut buffer).await?;
            if count == 0 {
                to_socket.close().await?;
                return Ok::<(), Box<dyn std::error::Error + Send + Sync>>(());
            }
            let message = Message::binary(buffer[..count].to_vec());
            to_socket.send(message).await?;
        }
    };
    // The end of one direction is the end of both: a WebSocket cannot be half closed.
    tokio::select! {
        ended = up => ended,
        ended = down => ended,
    }
}
