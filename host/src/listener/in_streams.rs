//! Tunnels in streams of HTTP/2: WebSockets opened by extended CONNECT (RFC 8441).
//!
//! Called by `grpc::connection` through a trait, because `grpc` knows no tunnel; calls `listener::tunnel`,
//! which asks the same questions as over HTTP/1.1. Each tunnel is a task of its own, counted for the drain:
//! it has the calls of another connection, which must not wait for the one it came by, nor hold it up.
//! When that one is gone the stream fails, and the tunnel and its calls end as over any broken socket.

use std::sync::Arc;

use bytes::Bytes;
use http::{StatusCode, header};
use switchboard_tunnel::handshake;
use tokio_util::task::TaskTracker;

use super::http1::Sender;
use super::router::text;
use super::tunnel::Tunnels;
use crate::grpc::{Connect, Connections, Connects};
use crate::peer::Peer;
use crate::task;

/// Opens tunnels in streams.
#[derive(Debug)]
pub(super) struct InStreams {
    tunnels: Arc<Tunnels>,
    /// Whether connections are encrypted.
    tls: bool,
    tasks: TaskTracker,
    until: Connections,
}

impl InStreams {
    pub(super) fn new(
        tunnels: Arc<Tunnels>,
        tls: bool,
        tasks: TaskTracker,
        until: Connections,
    ) -> Self {
        Self {
            tunnels,
            tls,
            tasks,
            until,
        }
    }
}

impl Connects for InStreams {
    fn connect(&self, connect: Connect, peer: &Peer) {
        let addr = match peer {
            Peer::Tcp(addr) => *addr,
            // Nobody offers it there, so whoever asks for it all the same breaks the rules.
            Peer::Tunnel(_) => return,
        };
        let sender = Sender {
            addr,
            tls: self.tls,
        };
        let (tunnels, until) = (Arc::clone(&self.tunnels), self.until.clone());
        let serving = serve(tunnels, connect, sender, until);
        task::spawn("tunnel", self.tasks.track_future(serving));
    }
}

/// Answers one request and serves the tunnel that it opens.
async fn serve(tunnels: Arc<Tunnels>, mut connect: Connect, sender: Sender, until: Connections) {
    if connect.protocol() != "websocket" {
        let line = "only a WebSocket can be opened here";
        let refusal = text(StatusCode::NOT_IMPLEMENTED, line);
        return connect.refuse(refusal, until).await;
    }
    let request = std::mem::take(&mut connect.request);
    if request.uri().path() != tunnels.path() {
        let line = format!(
            "there is no WebSocket here; the tunnel is at {}",
            tunnels.path()
        );
        let refusal = text(StatusCode::NOT_FOUND, &line);
        return connect.refuse(refusal, until).await;
    }
    let offer = handshake::check_connect(&request);
    let admitted = tokio::select! {
        admitted = tunnels.admit(&request, offer, sender, &until) => admitted,
        // Nobody waits for the answer any more: its place is another's, and so is whoever decides.
        () = connect.taken_back() => return,
        () = until.cut.cancelled() => return,
    };
    match admitted {
        Ok((response, opening)) => {
            if let Some(stream) = connect.accept(response) {
                opening.serve(Box::new(stream), Bytes::new(), until).await;
            }
        }
        Err(mut refusal) => {
            // Says what HTTP/1.1 would have to say, and HTTP/2 must not: RFC 9113, section 8.2.2.
            for name in [header::UPGRADE, header::CONNECTION] {
                refusal.headers_mut().remove(name);
            }
            connect.refuse(refusal, until).await;
        }
    }
}
