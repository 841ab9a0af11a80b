//! How bytes arrive: sockets are accepted here and handed to `grpc` as a byte stream and a peer.
//!
//! Called by `host`; calls `grpc::connection`. The ways in, each in its file: `tcp`, `tls` around it,
//! and through HTTP/1.1 (`first_bytes` tells it from HTTP/2, `http1` speaks it, `router` answers it) the
//! `tunnel`, with who may open one in `origin`, `proxies`, `places`, `authorise` and `tokens`. `gate` keeps
//! one address from taking all connections. Pages are
//! served out of `files`, over HTTP/1.1 and, through a trait of `grpc`, over HTTP/2. gRPC-Web asks `cors`
//! whose pages may call, and over HTTP/1.1 goes on through `bridge`.
//!
//! Invariants: an error in accepting backs off and goes on, only drain ends the loop; handshakes
//! run in the connection's own task with a timeout, never in the loop; at most `connections_max`
//! connections are open, whatever they speak, the next ones wait in the kernel's backlog.

mod authorise;
mod bridge;
mod cors;
mod files;
mod first_bytes;
mod gate;
mod http1;
mod in_streams;
mod lent;
mod origin;
mod places;
mod proxies;
mod router;
mod seldom;
mod tcp;
mod tls;
mod tokens;
mod tunnel;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::config::{Http1Config, TunnelConfig, WebConfig};
use crate::grpc::{Connections, Server};
use crate::peer::Peer;
use crate::task;
pub use authorise::{AuthoriseFuture, Authoriser, Upgrade, Verdict};
use bridge::Web;
use cors::Cors;
pub(crate) use files::Files;
use first_bytes::{Prefixed, Protocol};
use gate::Gate;
use in_streams::InStreams;
use router::Router;
use seldom::Seldom;
pub use tls::Tls;
pub use tokens::StaticTokens;
use tunnel::Tunnels;

/// First and longest pause after an error in accepting. Such errors (no file descriptors left)
/// last until some connection ends; hyper and tokio's own examples wait about as long.
const BACKOFF_MIN: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// What connections are served with.
#[derive(Clone, Debug)]
pub(crate) struct Doors {
    server: Server,
    tls: Option<Tls>,
    http1: Arc<Http1Config>,
    router: Arc<Router>,
}

impl Doors {
    /// For gRPC over HTTP/2, over TLS if it is given, and through a tunnel and by gRPC-Web if these are there.
    pub(crate) fn new(
        mut server: Server,
        tls: Option<Tls>,
        http1: Http1Config,
        (tunnel, web): (Option<TunnelConfig>, Option<WebConfig>),
        authoriser: Option<Arc<dyn Authoriser>>,
        files: Arc<Files>,
    ) -> Self {
        let cors = web.map(|config| {
            let proxies = http1.trusted_proxies.clone();
            Arc::new(Cors::new(config, proxies, tls.is_some()))
        });
        server.origins = cors.clone().map(|cors| cors as _);
        let tunnels = tunnel.map(|config| {
            let proxies = http1.trusted_proxies.clone();
            Arc::new(Tunnels::new(config, proxies, authoriser, &server))
        });
        Self {
            router: Arc::new(Router {
                tunnels,
                web: cors.map(|cors| Web::new(cors, &server)),
                files,
            }),
            server,
            tls,
            http1: Arc::new(http1),
        }
    }
}

impl Doors {
    /// The same, with tunnels that are opened over HTTP/2 among `tasks`.
    fn with_tunnels_in_streams(mut self, tasks: &TaskTracker, until: &Connections) -> Self {
        let tunnels = self.router.tunnels.clone();
        self.server.connects = tunnels.map(|tunnels| {
            let tls = self.tls.is_some();
            let (tasks, until) = (tasks.clone(), until.clone());
            Arc::new(InStreams::new(tunnels, tls, tasks, until)) as _
        });
        self
    }
}

/// Accepts connections until the drain begins; returns when all of them have ended.
///
/// # Cancel safety
/// Dropping the future stops accepting; connections that are open go on.
pub(crate) async fn serve(listener: TcpListener, doors: Doors, until: Connections) {
    tcp::keep_alive(&listener);
    let count = doors.server.connection.connections_max.get();
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let places = Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
    let connections = TaskTracker::new();
    let gate = Gate::new(
        doors.server.connection.connections_per_peer_max,
        doors.http1.trusted_proxies.clone(),
    );
    let doors = doors.with_tunnels_in_streams(&connections, &until);
    let start = |place, socket, addr: SocketAddr| {
        let Some(counted) = gate.admit(addr.ip()) else {
            return;
        };
        tcp::tune(&socket);
        let (doors, until) = (doors.clone(), until.clone());
        task::spawn(
            "connection",
            connections.track_future(async move {
                let _place: (OwnedSemaphorePermit, _) = (place, counted);
                doors.connection(socket, addr, until).await;
            }),
        );
    };
    let full = Seldom::default();
    let mut backoff = BACKOFF_MIN;
    loop {
        let accepted = async {
            if places.available_permits() == 0 && full.now().is_some() {
                tracing::warn!(
                    connections_max = count,
                    "as many connections are open as may be, the next ones wait"
                );
            }
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

impl Doors {
    /// One connection, from its first byte to its last.
    async fn connection(self, socket: TcpStream, addr: SocketAddr, until: Connections) {
        match self.tls.clone() {
            None => self.unknown(socket, addr, until).await,
            // In a box, as HTTP/1.1 below: what the state of TLS takes is not to be reserved for each
            // connection without it.
            Some(tls) => Box::pin(self.encrypted(tls, socket, addr, until)).await,
        }
    }

    /// A connection over TLS, which may have agreed what it speaks.
    async fn encrypted(self, tls: Tls, socket: TcpStream, addr: SocketAddr, until: Connections) {
        let within = self.server.connection.handshake_timeout;
        let stream = match until.set_up(within, tls.accept(socket)).await {
            Some(Ok(stream)) => stream,
            Some(Err(error)) => {
                return tracing::debug!(peer = %addr, %error, "TLS was not set up");
            }
            None => return tracing::debug!(peer = %addr, "TLS was not set up in time"),
        };
        match tls::agreed(&stream) {
            Some(protocol) => {
                let stream = Prefixed::unread(stream);
                self.serve(protocol, stream, addr, until).await;
            }
            None => self.unknown(stream, addr, until).await,
        }
    }

    /// A connection whose first bytes tell what it speaks.
    async fn unknown<S>(self, stream: S, addr: SocketAddr, until: Connections)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let within = self.server.connection.handshake_timeout;
        match until.set_up(within, first_bytes::tell(stream)).await {
            Some(Ok((protocol, stream))) => self.serve(protocol, stream, addr, until).await,
            Some(Err(error)) => {
                tracing::debug!(peer = %addr, %error, "the connection ended before its first request");
            }
            None => tracing::debug!(peer = %addr, "nothing was asked in time"),
        }
    }

    /// A connection that speaks this.
    async fn serve<S>(
        self,
        protocol: Protocol,
        stream: Prefixed<S>,
        addr: SocketAddr,
        until: Connections,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match protocol {
            // In a box, so that connections of which nobody knows yet what they speak, and handshakes of
            // TLS, are not as large as this: those are what thousands of strangers leave open.
            Protocol::Http2 => {
                let _why = Box::pin(self.server.serve(stream, Peer::Tcp(addr), until)).await;
            }
            // In a box: the connections that are many and matter are not to be as large as this.
            Protocol::Http1 => Box::pin(self.http1(stream, addr, until)).await,
            Protocol::Unknown => tracing::debug!(peer = %addr, "neither HTTP/2 nor HTTP/1.1"),
        }
    }

    /// A connection that speaks HTTP/1.1, and perhaps becomes a tunnel.
    async fn http1<S>(self, stream: S, addr: SocketAddr, until: Connections)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let tls = self.tls.is_some();
        let sender = http1::Sender { addr, tls };
        let upgraded = http1::serve(stream, sender, &self.http1, &self.router, &until).await;
        if let Some(upgraded) = upgraded {
            let stream = Box::new(upgraded.stream);
            let opening = upgraded.opening;
            // In a box: connections that never become a tunnel are not to be as large as this.
            Box::pin(opening.serve(stream, upgraded.already_read, until)).await;
        }
    }
}
