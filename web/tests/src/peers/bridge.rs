//! A WebSocket's bytes to a TCP port and back, as generic bridges do it: one binary message for
//! whatever a read gives. It knows neither HTTP/2 nor our subprotocol.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use super::{Peer, upgraded};

/// A bridge to the TCP server at `server`.
pub async fn bridge(server: SocketAddr) -> Peer {
    Peer::start(move |socket| async move {
        let (Some(socket), Ok(server)) = (upgraded(socket).await, TcpStream::connect(server).await)
        else {
            return;
        };
        let (mut messages_out, mut messages_in) = socket.split();
        let (mut bytes_in, mut bytes_out) = server.into_split();
        let down = async {
            let mut bytes = vec![0; 16 << 10];
            while let Ok(count @ 1..) = bytes_in.read(&mut bytes).await {
                let message = Message::Binary(Bytes::copy_from_slice(&bytes[..count]));
                if messages_out.send(message).await.is_err() {
                    return;
                }
            }
            drop(messages_out.close().await);
        };
        let up = async {
            while let Some(Ok(message)) = messages_in.next().await {
                if let Message::Binary(bytes) = message
                    && bytes_out.write_all(&bytes).await.is_err()
                {
                    return;
                }
            }
            drop(bytes_out.shutdown().await);
        };
        tokio::join!(down, up);
    })
    .await
}
