//! HTTP/2 that takes every call and never answers, nor looks at deadlines.

use super::Peer;

/// An HTTP/2 server over TCP that keeps every request and answers none; put a
/// [`bridge`](super::bridge()) before it.
pub async fn mute() -> Peer {
    Peer::start(|socket| async {
        let Ok(mut connection) = h2::server::handshake(socket).await else {
            return;
        };
        let mut kept = Vec::new();
        while let Some(Ok(call)) = connection.accept().await {
            kept.push(call);
        }
    })
    .await
}
