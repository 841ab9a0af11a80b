//! Bytes between a local connection and its tunnel, until either has ended.
//!
//! Called by `forward` with both; calls nobody. Invariants: neither end is kept long after the other is gone;
//! a tunnel whose local connection broke is closed with a close frame, not torn.
//!
//! Knows no HTTP/2: a client's half that is closed closes the tunnel, because a WebSocket has no halves.

use std::io;
use std::time::Duration;

use switchboard_client::tunnel::{CloseCode, Ending, Tunnel};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Bytes copied at once each way: one message of the tunnel.
const COPY_BYTES: usize = 64 * 1024;

/// Time for a client to read what came before its tunnel's end, and to end its connection too.
const LAST_BYTES_WITHIN: Duration = Duration::from_secs(5);

/// Time for the server to answer the frame that closes a tunnel; as long as the tunnel itself waits.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

/// Carries bytes both ways to the end of the connection.
///
/// # Cancel safety
/// Dropping the future drops both ends.
pub(super) async fn carry(mut near: TcpStream, mut tunnel: Tunnel) {
    let handle = tunnel.stream.handle();
    let ended = async {
        handle.closed().await;
    };
    let carried = between(&mut near, &mut tunnel.stream, ended).await;
    if carried.is_err() {
        // If it was the tunnel that broke, there is nobody to tell, and this ends at once.
        let closed = timeout(CLOSED_WITHIN, tunnel.stream.shutdown()).await;
        tracing::debug!(?closed, "the tunnel is closed");
    }
    // A client that goes on writing to a tunnel that the server has closed breaks nothing.
    match (carried, handle.ending()) {
        (_, Some(Ending::ClosedByPeer(close))) if close.code != CloseCode::NORMAL => {
            tracing::info!("the server closed a tunnel: {close}");
        }
        (Ok(Some((up, down))), _) => tracing::debug!(up, down, "the connection ended"),
        (Ok(None), _) => tracing::debug!("the tunnel ended, and the client did not"),
        (Err(error), _) => tracing::info!(%error, "a tunnel or its connection broke"),
    }
}

/// Copies both ways until both ends have ended, or `far_ended` is ready and the near one had its time; how
/// many bytes went to the far end, and how many came from it.
///
/// # Errors
/// When reading or writing fails on either side.
async fn between<N, F>(
    near: &mut N,
    far: &mut F,
    far_ended: impl Future<Output = ()>,
) -> io::Result<Option<(u64, u64)>>
where
    N: AsyncRead + AsyncWrite + Unpin,
    F: AsyncRead + AsyncWrite + Unpin,
{
    let over = async {
        far_ended.await;
        sleep(LAST_BYTES_WITHIN).await;
    };
    tokio::select! {
        copied = copy_bidirectional_with_sizes(near, far, COPY_BYTES, COPY_BYTES) => copied.map(Some),
        () = over => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stays_is_left_when_its_tunnel_has_ended() {
        let (mut near, mut client) = tokio::io::duplex(64);
        let (mut far, mut server) = tokio::io::duplex(64);
        server.write_all(b"last").await.expect("room");
        drop(server);
        let carried = between(&mut near, &mut far, ready(())).await;
        assert_eq!(carried.expect("no error"), None);
        let mut read = [0; 4];
        client
            .read_exact(&mut read)
            .await
            .expect("what came before");
        assert_eq!(client.read(&mut read).await.expect("a clean end"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_an_end_goes_on() {
        let (mut near, mut client) = tokio::io::duplex(64);
        let (mut far, mut server) = tokio::io::duplex(64);
        let used = async {
            for _ in 0..3 {
                tokio::time::advance(LAST_BYTES_WITHIN * 2).await;
                client.write_all(b"up").await.expect("room");
                server.write_all(b"down").await.expect("room");
                let (mut up, mut down) = ([0; 2], [0; 4]);
                server.read_exact(&mut up).await.expect("what came up");
                client.read_exact(&mut down).await.expect("what came down");
            }
            drop((client, server));
        };
        let (carried, ()) = tokio::join!(between(&mut near, &mut far, pending()), used);
        assert_eq!(carried.expect("no error"), Some((6, 12)));
    }
}
