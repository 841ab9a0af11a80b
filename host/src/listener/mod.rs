//! How bytes arrive: sockets are accepted here and handed to `grpc` as a byte stream and a peer.
//!
//! Called by `host`; calls `grpc::connection`. The ways in, each in its file: `sockets` of `tcp` and
//! `unix`, `tls` around the former (`certificate` says who a peer is), and through HTTP/1.1 (`first_bytes` tells it from HTTP/2, `http1` speaks it, `router` answers it) the
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
mod certificate;
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
mod sockets;
mod tcp;
mod tls;
mod tokens;
mod tunnel;
mod unix;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::config::{Http1Config, TunnelConfig, WebConfig};
use crate::grpc::{Connections, Pages, Server};
use crate::peer::Peer;
use crate::task;
pub use authorise::{AuthoriseFuture, Authoriser, Upgrade, Verdict};
use bridge::Web;
use cors::Cors;
pub(crate) use files::Files;
use first_bytes::{Prefixed, Protocol};
use gate::Gate;
use http1::Sender;
use in_streams::InStreams;
use router::Router;
use seldom::Seldom;
pub use sockets::Listeners;
use sockets::Socket;
pub use tls::Tls;
pub use tokens::StaticTokens;
use tunnel::Tunnels;
pub use unix::UnixListener;

/// First and longest pause after an error in accepting. Such errors (no file descriptors left)
/// last until some connection ends; hyper and tokio's own examples wait about as long.
const BACKOFF_MIN: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// What the log's lines about connections in general are filed under, so that they can be had alone.
const LOG_TARGET: &str = "switchboard_host::connections";

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
        files: Arc<dyn Pages>,
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
pub(crate) async fn serve(mut listeners: Listeners, doors: Doors, until: Connections) {
    let count = doors.server.connection.connections_max.get();
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let places = Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
    let connections = TaskTracker::new();
    let gate = Gate::new(
        doors.server.connection.connections_per_peer_max,
        doors.http1.trusted_proxies.clone(),
    );
    let doors = doors.with_tunnels_in_streams(&connections, &until);
    let start = |place, socket: Socket| {
        let open = doors.server.telemetry.accepted();
        let Some(counted) = gate.admit(socket.ip()) else {
            return doors.refused("peer_full");
        };
        let (doors, until) = (doors.clone(), until.clone());
        task::spawn(
            "connection",
            connections.track_future(async move {
                let _place: (OwnedSemaphorePermit, _, _) = (place, counted, open);
                doors.connection(socket, until).await;
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
            (place, listeners.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = until.drain.cancelled() => break,
        };
        match accepted {
            Ok(socket) => {
                backoff = BACKOFF_MIN;
                start(place, socket);
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
    listeners.hide();
    while let Ok(place) = Arc::clone(&places).try_acquire_owned()
        && let Some(Ok(socket)) = listeners.accept().now_or_never()
    {
        start(place, socket);
    }
    drop(listeners);
    connections.close();
    connections.wait().await;
}

/// Whose connection it is, for the line about its end; nothing where nobody wants that.
struct Told(Option<(Peer, Instant)>);

impl Told {
    fn new(peer: &Peer) -> Self {
        let wanted = tracing::enabled!(target: LOG_TARGET, tracing::Level::DEBUG);
        Self(wanted.then(|| (peer.clone(), Instant::now())))
    }

    fn ended(self, protocol: &str, why: &str) {
        if let Some((peer, begun)) = self.0 {
            let lasted = begun.elapsed();
            tracing::debug!(target: LOG_TARGET, %peer, protocol, why, ?lasted, "connection ended");
        }
    }
}

impl Doors {
    /// One connection, from its first byte to its last.
    async fn connection(self, socket: Socket, until: Connections) {
        tracing::debug!(target: LOG_TARGET, peer = %socket, "connection accepted");
        match (socket, self.tls.clone()) {
            (Socket::Unix(socket), _) => {
                // Who may connect is the file's business, and nobody listens in between.
                let sender = Sender {
                    peer: Peer::Unix,
                    tls: false,
                };
                self.unknown(socket, sender, until).await;
            }
            (Socket::Tcp(socket, addr), None) => {
                tcp::tune(&socket);
                let sender = Sender {
                    peer: Peer::Tcp(addr),
                    tls: false,
                };
                self.unknown(socket, sender, until).await;
            }
            // In a box, as HTTP/1.1 below: what the state of TLS takes is not to be reserved for each
            // connection without it.
            (Socket::Tcp(socket, addr), Some(tls)) => {
                tcp::tune(&socket);
                Box::pin(self.encrypted(tls, socket, addr, until)).await;
            }
        }
    }

    /// A connection over TLS, which may have agreed what it speaks.
    async fn encrypted(self, tls: Tls, socket: TcpStream, addr: SocketAddr, until: Connections) {
        let within = self.server.connection.handshake_timeout;
        let stream = match until.set_up(within, tls.accept(socket)).await {
            Some(Ok(stream)) => stream,
            Some(Err(error)) => {
                self.refused("tls");
                return tls.failed(addr, &error);
            }
            None => {
                self.refused("timeout");
                return tracing::debug!(peer = %addr, "TLS was not set up in time");
            }
        };
        // At level info, so that whatever is logged of a call on it says whose it is.
        let (peer, span) = match tls::client(&stream).map(Arc::new) {
            None => (Peer::Tcp(addr), tracing::Span::none()),
            Some(client) => {
                let span = tracing::info_span!("client", %client, peer = %addr);
                (Peer::Certified { addr, client }, span)
            }
        };
        let sender = Sender { peer, tls: true };
        let serving = async {
            match tls::agreed(&stream) {
                Some(protocol) => {
                    let stream = Prefixed::unread(stream);
                    self.serve(protocol, stream, sender, until).await;
                }
                None => self.unknown(stream, sender, until).await,
            }
        };
        serving.instrument(span).await;
    }

    /// A connection whose first bytes tell what it speaks.
    async fn unknown<S>(self, stream: S, sender: Sender, until: Connections)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let within = self.server.connection.handshake_timeout;
        let peer = &sender.peer;
        match until.set_up(within, first_bytes::tell(stream)).await {
            Some(Ok((protocol, stream))) => self.serve(protocol, stream, sender, until).await,
            Some(Err(error)) => {
                self.refused("gone");
                tracing::debug!(%peer, %error, "the connection ended before its first request");
            }
            None => {
                self.refused("timeout");
                tracing::debug!(%peer, "nothing was asked in time");
            }
        }
    }

    /// Counts a connection that is closed before it asked anything.
    fn refused(&self, cause: &'static str) {
        self.server.telemetry.connections().refused(cause);
    }

    /// A connection that speaks this.
    async fn serve<S>(
        self,
        protocol: Protocol,
        stream: Prefixed<S>,
        sender: Sender,
        until: Connections,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match protocol {
            // In a box, so that connections of which nobody knows yet what they speak, and handshakes of
            // TLS, are not as large as this: those are what thousands of strangers leave open.
            Protocol::Http2 => {
                let peer = Told::new(&sender.peer);
                let ended = Box::pin(self.server.serve(stream, sender.peer, until)).await;
                peer.ended("HTTP/2", ended.reason());
            }
            // In a box: the connections that are many and matter are not to be as large as this.
            Protocol::Http1 => {
                let peer = Told::new(&sender.peer);
                Box::pin(self.http1(stream, sender, until)).await;
                peer.ended("HTTP/1.1", "over");
            }
            Protocol::Unknown => {
                self.refused("unknown_protocol");
                tracing::debug!(peer = %sender.peer, "neither HTTP/2 nor HTTP/1.1");
            }
        }
    }

    /// A connection that speaks HTTP/1.1, and perhaps becomes a tunnel.
    async fn http1<S>(self, stream: S, sender: Sender, until: Connections)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let upgraded = http1::serve(stream, sender, &self.http1, &self.router, &until).await;
        if let Some(upgraded) = upgraded {
            let stream = Box::new(upgraded.stream);
            let opening = upgraded.opening;
            // In a box: connections that never become a tunnel are not to be as large as this.
            Box::pin(opening.serve(stream, upgraded.already_read, until)).await;
        }
    }
}
