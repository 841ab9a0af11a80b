//! Many bytes one way: what a stream in a tunnel cannot be faster than.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use super::{Peer, upgraded};

/// A WebSocket server that sends as much as it is asked for, and counts what it gets: the text
/// `COUNT SIZE` asks for so many binary messages of so many bytes, the text `total` for the number of
/// bytes that have come.
pub async fn flood() -> Peer {
    Peer::start(|socket| async {
        let Some(mut socket) = upgraded(socket).await else {
            return;
        };
        let mut total = 0;
        while let Some(Ok(message)) = socket.next().await {
            let sent = match message {
                Message::Binary(bytes) => {
                    total += bytes.len();
                    Ok(())
                }
                Message::Text(text) if text == "total" => {
                    socket.send(Message::text(total.to_string())).await
                }
                Message::Text(text) => {
                    let (count, size) = text.split_once(' ').expect("COUNT SIZE");
                    let count: usize = count.parse().expect("a count");
                    let block = Bytes::from(vec![7; size.parse().expect("a size")]);
                    let blocks =
                        std::iter::repeat_n(block, count).map(|block| Ok(Message::Binary(block)));
                    socket
                        .send_all(&mut futures_util::stream::iter(blocks))
                        .await
                }
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {
                    Ok(())
                }
            };
            if sent.is_err() {
                break;
            }
        }
    })
    .await
}
