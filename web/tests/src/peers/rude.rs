//! WebSocket servers that break the rules, ours or the protocol's, in one way each.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::{Peer, upgraded};

/// What the server does once the WebSocket is open and a first message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rudeness {
    /// Sends a text message.
    Text,
    /// Sends binary messages that are not HTTP/2.
    Garbage,
    /// Sends a message that an HTTP/1.1 server would send.
    WebPage,
    /// Begins a message and ends the connection within it.
    HalfFrame,
    /// Sends a frame that the WebSocket protocol does not allow: masked, with reserved bits.
    BadFrame,
    /// Closes the WebSocket in order, with a code and a reason.
    Close(u16, &'static str),
    /// Ends the TCP connection without a word.
    HangUp,
}

/// A server that accepts WebSockets and is rude to each.
pub async fn rude(how: Rudeness) -> Peer {
    Peer::start(move |socket| async move {
        let Some(mut socket) = upgraded(socket).await else {
            return;
        };
        // So that the browser has seen the WebSocket open, whatever comes then.
        if let Some(Ok(_)) = socket.next().await {
            be(how, &mut socket).await;
        }
        // Until the browser ends it, too: not every rudeness is a hanging up.
        while !matches!(how, Rudeness::HalfFrame | Rudeness::HangUp)
            && let Some(Ok(_)) = socket.next().await
        {}
    })
    .await
}

async fn be(how: Rudeness, socket: &mut WebSocketStream<TcpStream>) {
    let message = match how {
        Rudeness::Text => Message::text("hello"),
        Rudeness::Garbage => Message::binary(Bytes::from(vec![0xff; 4096])),
        Rudeness::WebPage => {
            Message::binary("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        }
        Rudeness::Close(code, reason) => Message::Close(Some(CloseFrame {
            code: code.into(),
            reason: reason.into(),
        })),
        // A binary message of 100 bytes, of which 3 come.
        Rudeness::HalfFrame => return raw(socket, &[0x82, 100, 1, 2, 3]).await,
        Rudeness::BadFrame => return raw(socket, &[0xf2, 0x81, 1, 2, 3, 4, 5]).await,
        Rudeness::HangUp => return,
    };
    // A browser that has left is told nothing.
    drop(socket.send(message).await);
}

/// Sends bytes past the library, which keeps the rules.
async fn raw(socket: &mut WebSocketStream<TcpStream>, bytes: &[u8]) {
    drop(socket.get_mut().write_all(bytes).await);
}
