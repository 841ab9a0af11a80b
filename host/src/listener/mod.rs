//! How bytes arrive: sockets are accepted here and handed to `grpc` as a byte stream and a peer.
//!
//! Called by `host`; calls `grpc::connection`. One file for each way in: `tcp`, and `tls` around it.
//!
//! Invariants: an error in accepting backs off and goes on, only drain ends the loop; handshakes
//! run in the connection's own task with a timeout, never in the loop; at most `connections_max`
//! connections are open, the next ones wait in the kernel's backlog.

mod tcp;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::grpc::{Connections, Server};
use crate::peer::Peer;
use crate::task;
pub use tls::Tls;

/// First and longest pause after an error in accepting. Such errors (no file descriptors left)
/// last until some connection ends; hyper and tokio's own examples wait about as long.
const BACKOFF_MIN: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Accepts connections until the drain begins; returns when all of them have ended.
///
/// # Cancel safety
/// Dropping the future stops accepting; connections that are open go on.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    server: Server,
    until: Connections,
) {
    let count = usize::try_from(server.connection.connections_max.get()).unwrap_or(usize::MAX);
    let places = Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
    let connections = TaskTracker::new();
    let start = |place, socket, addr| {
        tcp::tune(&socket);
        let (server, tls, until) = (server.clone(), tls.clone(), until.clone());
        task::spawn(
            "connection",
            connections.track_future(async move {
                let _place: OwnedSemaphorePermit = place;
                connection(socket, Peer::Tcp(addr), tls, server, until).await;
            }),
        );
    };
    let mut backoff = BACKOFF_MIN;
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            let place = place.expect("nobody closes the semaphore");
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = until.drain.cancelled() => break,
        };
        match accepted {
            Ok((socket, addr)) => {
                backoff = BACKOFF_MIN;
                start(place, socket, addr);
            }
            Err(error) if tcp::is_of_one_connection(&error) => {
                tracing::debug!(%error, "a connection was gone before it was accepted");
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections, trying again in {backoff:?}");
                drop(timeout(backoff, until.drain.cancelled()).await);
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
    // Whom the kernel has let in already is told as HTTP/2 has it. Then the port closes, although
    // calls still run: who comes now learns it at once and goes elsewhere, instead of waiting in a
    // backlog that nobody looks at.
    while let Ok(place) = Arc::clone(&places).try_acquire_owned()
        && let Some(Ok((socket, addr))) = listener.accept().now_or_never()
    {
        start(place, socket, addr);
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn connection(
    socket: tokio::net::TcpStream,
    peer: Peer,
    tls: Option<Tls>,
    server: Server,
    until: Connections,
) {
    let Some(tls) = tls else {
        let _why = server.serve(socket, peer, until).await;
        return;
    };
    let within = server.connection.handshake_timeout;
    match until.set_up(within, tls.accept(socket)).await {
        Some(Ok(stream)) => {
            let _why = server.serve(stream, peer, until).await;
        }
        Some(Err(error)) => tracing::debug!(%peer, %error, "TLS was not set up"),
        None => tracing::debug!(%peer, "TLS was not set up in time"),
    }
}
