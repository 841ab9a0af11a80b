//! Messages back as they came.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use super::{Peer, upgraded};

/// A WebSocket server that sends every message back: what a tunnel cannot be faster than.
pub async fn echo() -> Peer {
    Peer::start(|socket| async {
        let Some(mut socket) = upgraded(socket).await else {
            return;
        };
        while let Some(Ok(message)) = socket.next().await {
            if matches!(message, Message::Binary(_) | Message::Text(_))
                && socket.send(message).await.is_err()
            {
                break;
            }
        }
    })
    .await
}
