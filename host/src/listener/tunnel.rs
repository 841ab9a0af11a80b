//! The tunnel: who may open one, and HTTP/2 in it.
//!
//! Called by `listener::router` for a request of the tunnel's path ([`Tunnels::admit`]) and, once that is
//! answered, by `listener` with the connection ([`Opening::serve`]); calls `grpc` with the bytes inside,
//! which knows no difference between a tunnel and a socket.
//!
//! Invariants: what can be refused is refused before the upgrade, the cheap questions first; a place is
//! taken before anybody is asked anything that takes time, and given back when the tunnel is gone; no
//! token is logged or sent back.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Request, Response, StatusCode, header};
use switchboard_tunnel::handshake::{self, HandshakeError, Offer, Token};
use switchboard_tunnel::{
    Close, CloseCode, Config, Ending, Role, SUBPROTOCOL, TunnelHandle, TunnelStream, random_key,
};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument;

use super::authorise::{Authoriser, Upgrade, Verdict, token_in};
use super::http1::Sender;
use super::lent::{Carrier, Lingering, lend};
use super::origin;
use super::places::{Full as NoPlace, Place, Places};
use super::proxies::Way;
use super::router::text;
use super::seldom::Seldom;
use crate::config::{ConnectionConfig, DrainClose, Network, TunnelConfig};
use crate::grpc::{Connections, Ended, Server};
use crate::peer::{Peer, TunnelPeer};
use crate::telemetry::{OpenTunnel, Telemetry};

/// When to come back after a 503, in seconds: some tunnel may have ended, or another host taken over.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// What the peer of a tunnel is told that was closed by itself.
const CLOSED_BY_OPERATOR: &str = "closed by the operator";

/// How long a peer may take, once the drain is over, to answer the frame that closes its tunnel. Half of what the host
/// waits for connections then; who is there answers within a round trip.
const CUT_CLOSE_TIME: Duration = Duration::from_millis(500);

/// The answer to a request for a tunnel that there is not to be.
type Refusal = Response<Bytes>;

/// What all tunnels of a host share.
pub(super) struct Tunnels {
    config: TunnelConfig,
    trusted_proxies: Vec<Network>,
    authoriser: Option<Arc<dyn Authoriser>>,
    places: Arc<Places>,
    /// Serves what is inside, within the limits of tunnels.
    server: Server,
    /// For each kind of refusal that strangers can cause at will.
    foreign: Seldom,
    full: Seldom,
    denied: Seldom,
    undecided: Seldom,
}

impl std::fmt::Debug for Tunnels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnels")
            .field("config", &self.config)
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

/// A tunnel that was admitted and not served yet. Holds its place.
pub(super) struct Opening {
    tunnels: Arc<Tunnels>,
    peer: Arc<TunnelPeer>,
    /// Whether the peer speaks our subprotocol.
    ours: bool,
    place: Place,
}

impl Tunnels {
    /// `server` is that of all other connections.
    pub(super) fn new(
        config: TunnelConfig,
        trusted_proxies: Vec<Network>,
        authoriser: Option<Arc<dyn Authoriser>>,
        server: &Server,
    ) -> Self {
        let connection = ConnectionConfig {
            calls_max: config.calls_max,
            idle_timeout: config.idle_timeout,
            // A tunnel may be opened long before it is used; `idle_timeout` counts from its beginning.
            first_request_timeout: None,
            // WebSocket pings do it, which a browser answers even while its page computes.
            keepalive_interval: Duration::MAX,
            ..ConnectionConfig::clone(&server.connection)
        };
        let places = Places::new(config.tunnels_max.get(), config.tunnels_per_peer_max.get());
        Self {
            trusted_proxies,
            authoriser,
            places: Arc::new(places),
            server: Server {
                connection: Arc::new(connection),
                ..server.clone()
            },
            config,
            foreign: Seldom::default(),
            full: Seldom::default(),
            denied: Seldom::default(),
            undecided: Seldom::default(),
        }
    }

    /// The path at which tunnels are opened.
    pub(super) fn path(&self) -> &str {
        &self.config.path
    }

    /// Decides about a request for a tunnel, and what it offers as far as that can be read; the answer to
    /// it in either case.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Cancel safety
    /// Dropping the future gives the place back.
    pub(super) async fn admit<B>(
        self: &Arc<Self>,
        request: &Request<B>,
        offer: Result<Offer, HandshakeError>,
        sender: Sender,
        until: &Connections,
    ) -> Result<(Response<()>, Opening), Refusal> {
        let offer = offer.map_err(|error| {
            self.refused("handshake");
            error.to_response().map(Bytes::from)
        })?;
        let headers = request.headers();
        let way = Way::new(
            &self.trusted_proxies,
            sender.addr(),
            sender.tls,
            request.uri(),
            headers,
        );
        let origin = origin::check(&self.config.origins, headers, way.own.as_ref())
            .map_err(|origin::Foreign(sent)| self.refuse_foreign(&sent, &way))?;
        if until.drain.is_cancelled() {
            return Err(self.draining());
        }
        let place = self
            .places
            .take(way.client.ip())
            .map_err(|full| self.refuse_full(full, way.client))?;
        let uri = request.uri();
        let asked = uri.path_and_query();
        let upgrade = Upgrade {
            path: asked.map_or("", |path| path.as_str()),
            origin: origin.as_deref(),
            peer: way.client,
            ..Upgrade::new("", headers)
        };
        let identity = self.authorise(upgrade, &offer).await?;
        // Asking may have taken a while.
        if until.drain.is_cancelled() {
            return Err(self.draining());
        }
        let Some(id) = random_key() else {
            self.refused("no_random");
            tracing::error!("the system has no random bytes, tunnels are refused");
            return Err(unavailable("the host cannot open tunnels now"));
        };
        let peer = TunnelPeer {
            addr: way.client,
            id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
            origin,
            identity,
            client: sender.peer.client().cloned(),
        };
        let response = handshake::response(&offer, offer.ours.then_some(SUBPROTOCOL));
        let opening = Opening {
            tunnels: Arc::clone(self),
            peer: Arc::new(peer),
            ours: offer.ours,
            place,
        };
        Ok((response, opening))
    }

    /// Asks the authoriser, if there is one; answers who the peer is.
    async fn authorise(
        &self,
        mut upgrade: Upgrade<'_>,
        offer: &Offer,
    ) -> Result<Option<String>, Refusal> {
        let Some(authoriser) = &self.authoriser else {
            return Ok(None);
        };
        let (peer, cookie) = (upgrade.peer, self.config.cookie.as_deref());
        let offered = offer.token.as_ref().map(Token::as_bytes);
        upgrade.token = offered.or_else(|| token_in(upgrade.headers, cookie));
        let asked = async { authoriser.authorise(&upgrade).await };
        let asked = AssertUnwindSafe(asked).catch_unwind();
        let why: &dyn std::fmt::Display = match &timeout(self.config.authorise_timeout, asked).await
        {
            Ok(Ok(Ok(Verdict::Allow { identity }))) => return Ok(identity.clone()),
            Ok(Ok(Ok(Verdict::Deny { reason }))) => {
                return Err(self.refuse_denied(reason, &upgrade));
            }
            Ok(Ok(Err(error))) => &error.to_string(),
            Ok(Err(_panic)) => &"it panicked",
            Err(_elapsed) => &"it took too long",
        };
        self.refused("undecided");
        if let Some(left_out) = self.undecided.now() {
            tracing::warn!(%peer, left_out, "the authoriser did not decide about a tunnel: {why}");
        }
        Err(unavailable(
            "nobody could decide about this tunnel, try again later",
        ))
    }

    /// Counts a request for a tunnel that is refused.
    fn refused(&self, cause: &'static str) {
        let connections = self.server.telemetry.connections();
        connections.tunnel_refused(cause);
    }

    fn draining(&self) -> Refusal {
        self.refused("draining");
        unavailable("the host is shutting down, try again")
    }

    fn refuse_foreign(&self, sent: &str, way: &Way) -> Refusal {
        self.refused("origin");
        if let Some(left_out) = self.foreign.now() {
            let (peer, own) = (way.client, way.own.as_ref().map(ToString::to_string));
            tracing::info!(%peer, origin = sent, own, left_out, "a page of a foreign origin was refused a tunnel");
        }
        let line =
            "pages of this origin may not open a tunnel here; whoever runs this host may allow it";
        text(StatusCode::FORBIDDEN, line)
    }

    fn refuse_full(&self, full: NoPlace, peer: SocketAddr) -> Refusal {
        self.refused(match full {
            NoPlace::All => "full",
            NoPlace::Peer => "peer_full",
        });
        let (line, hint) = match full {
            NoPlace::All => ("there are too many tunnels here", ""),
            NoPlace::Peer => (
                "there are too many tunnels from your address",
                "; if it is a proxy's, trust it",
            ),
        };
        if let Some(left_out) = self.full.now() {
            tracing::info!(%peer, left_out, "a tunnel was refused: {line}{hint}");
        }
        unavailable(&format!("{line}, try again later"))
    }

    fn refuse_denied(&self, reason: &str, upgrade: &Upgrade<'_>) -> Refusal {
        self.refused("denied");
        if let Some(left_out) = self.denied.now() {
            let (peer, origin) = (upgrade.peer, upgrade.origin);
            tracing::info!(%peer, origin, reason, left_out, "a tunnel was denied");
        }
        let mut response = text(StatusCode::UNAUTHORIZED, reason);
        // "The server generating a 401 response MUST send a WWW-Authenticate header field": RFC 9110,
        // section 11.6.1. The scheme: RFC 6750.
        let bearer = HeaderValue::from_static("Bearer realm=\"tunnel\"");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, bearer);
        response
    }

    /// What the peer of a tunnel is told at its end.
    fn close_of(&self, ended: Ended) -> Close {
        match ended {
            Ended::Peer => Close::new(CloseCode::NORMAL, ""),
            Ended::NotSetUp => Close::new(CloseCode::PROTOCOL, "HTTP/2 was not set up"),
            Ended::Failed => Close::new(CloseCode::PROTOCOL, "HTTP/2 failed"),
            Ended::Idle => Close::new(CloseCode::GOING_AWAY, "there was no call for long"),
            Ended::Aged => Close::new(CloseCode::GOING_AWAY, "the tunnel has reached its age"),
            Ended::Drained => {
                let code = match self.config.drain_close {
                    DrainClose::GoingAway => CloseCode::GOING_AWAY,
                    DrainClose::Restart => CloseCode::RESTART,
                };
                Close::new(code, "the host is shutting down")
            }
        }
    }
}

impl Opening {
    /// Serves the tunnel to its end; `stream` is the connection after the upgrade was answered.
    ///
    /// # Cancel safety
    /// Dropping the future drops the tunnel and all its calls.
    pub(super) async fn serve(self, stream: Carrier, already_read: Bytes, until: Connections) {
        // For what is logged of the connection inside, all at level debug. Lines of calls name the tunnel
        // themselves: a span that every poll enters would cost the calls that log nothing.
        let peer = &self.peer;
        let (id, origin) = (&*peer.id, peer.origin.as_deref());
        let span = tracing::debug_span!("tunnel", id, peer = %peer.addr, origin);
        self.run(stream, already_read, until).instrument(span).await;
    }

    async fn run(self, stream: Carrier, already_read: Bytes, until: Connections) {
        let Self {
            tunnels,
            peer,
            ours,
            place,
        } = self;
        let config = &tunnels.config;
        let limits = Config {
            frame_bytes_max: config.frame_bytes_max,
            ping_interval: Some(config.ping_interval),
            ping_timeout: config.dead_after.saturating_sub(config.ping_interval),
            close_timeout: config.close_timeout,
            ..Config::default()
        };
        let begun = Instant::now();
        tracing::debug!(identity = peer.identity, ours, "tunnel opened");
        let (stream, limits) = (Lingering::new(stream), limits.for_peer(ours));
        let stream = TunnelStream::new(stream, Role::Server, already_read, &limits);
        let handle = stream.handle();
        let (lent, back) = lend(stream);
        let server = tunnels.server.clone();
        let (open, alone) = count(&server.telemetry, &peer, &handle, &until);
        let serving = server.serve(lent, Peer::Tunnel(peer), alone);
        let ended = tokio::select! {
            ended = serving => ended,
            () = open.entry().cut.cancelled() => Ended::Drained,
        };
        let ended = match ended {
            // It would have been, if there had been time.
            Ended::NotSetUp if until.drain.is_cancelled() => Ended::Drained,
            ended @ (Ended::NotSetUp
            | Ended::Peer
            | Ended::Failed
            | Ended::Idle
            | Ended::Aged
            | Ended::Drained) => ended,
        };
        if let Some(mut stream) = back.take() {
            let alone = open.entry().drain.is_cancelled() && !until.drain.is_cancelled();
            handle.close(if alone && ended == Ended::Drained {
                Close::new(CloseCode::GOING_AWAY, CLOSED_BY_OPERATOR)
            } else {
                tunnels.close_of(ended)
            });
            // Once for the frame that answers ours, once for the end of the connection.
            let closing = timeout(config.close_timeout * 2, stream.shutdown());
            tokio::select! {
                // In this order: also when there is no time left, the frame is written. What a socket holds that is
                // closed before its peer has read it may be lost: the statuses of the calls that were cut, and why.
                biased;
                // How the tunnel ended is logged below.
                _closed = closing => {}
                () = async { until.cut.cancelled().await; sleep(CUT_CLOSE_TIME).await } => {}
            }
        }
        let activity = handle.activity();
        tracing::debug!(
            lasted = ?begun.elapsed(),
            received_bytes = activity.received_bytes,
            sent_bytes = activity.sent_bytes,
            "tunnel closed: {}",
            said(handle.ending().as_ref())
        );
        open.closed(code_of(handle.ending().as_ref()));
        drop(place);
    }
}

/// Counts a tunnel, and lets it be drained by itself, as all are with the host.
fn count(
    telemetry: &Telemetry,
    peer: &Arc<TunnelPeer>,
    handle: &TunnelHandle,
    until: &Connections,
) -> (OpenTunnel, Connections) {
    let (drain, handle) = (until.drain.child_token(), handle.clone());
    let open = telemetry.tunnel_opened(peer, drain.clone(), move || {
        let activity = handle.activity();
        (activity.received_bytes, activity.sent_bytes)
    });
    let alone = Connections {
        drain,
        ..until.clone()
    };
    (open, alone)
}

/// The code that a tunnel was closed with; none if it broke.
fn code_of(ending: Option<&Ending>) -> Option<u16> {
    match ending {
        Some(Ending::ClosedByPeer(close) | Ending::ClosedByUs(close)) => Some(close.code.get()),
        Some(Ending::Failed(_)) | None => None,
    }
}

/// How a tunnel ended, in words.
fn said(ending: Option<&Ending>) -> String {
    match ending {
        Some(Ending::ClosedByPeer(close)) => format!("by the peer with {close}"),
        Some(Ending::ClosedByUs(close)) => format!("by the host with {close}"),
        Some(Ending::Failed(error)) => error.to_string(),
        None => "without a word".to_owned(),
    }
}

fn unavailable(line: &str) -> Refusal {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, line);
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, RETRY_AFTER);
    response
}
