//! The channel that generated clients work on, and how it is built.
//!
//! The public face of the crate: it checks what it is given, and hands everything else to `hub` and
//! `call`. Invariants: a clone costs a counter; building connects to nothing and needs no runtime;
//! the last clone to go stops the channel, and calls under way may still finish.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::header::HeaderValue;
#[cfg(not(target_family = "wasm"))]
use http::header::{HeaderMap, HeaderName};
use http::uri::Authority;
use switchboard_tunnel::handshake::Token;
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

use crate::call::{self, Heading, ResponseBody};
use crate::config::Config;
#[cfg(not(target_family = "wasm"))]
use crate::config::Keepalive;
use crate::error::{CallError, CloseReason, ConfigError};
use crate::events::Events;
use crate::hub::Hub;
use crate::platform;
use crate::state::State;
use crate::states::States;
use crate::target::{self, Target};
use crate::transport::Connector;

/// A gRPC channel: generated clients of any service are made on it, `GreeterClient::new(channel)`.
///
/// It connects when the first call wants it to, and again when a connection is lost. A clone is the
/// same channel. Dropping the last clone ends it once the calls under way have ended.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use switchboard_client::Channel;
///
/// let channel = Channel::builder("ws://127.0.0.1:50051/tunnel")
///     .with_token("open sesame")
///     .configure(|config| config.wait_for_ready = true)
///     .build()?;
/// channel.connect().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Channel(Arc<Owned>);

struct Owned {
    hub: Arc<Hub>,
    heading: Arc<Heading>,
    token: TokenCell,
}

impl Channel {
    /// A channel to this target, with every setting at its default.
    ///
    /// # Errors
    /// [`ConfigError`], when the target is none that can be connected to.
    pub fn open(target: &str) -> Result<Self, ConfigError> {
        Self::builder(target).build()
    }

    /// A channel to be set up: `http://HOST:PORT`, `https://HOST`, `ws://HOST/tunnel` or
    /// `wss://HOST/tunnel`; in browsers also `/tunnel`, on the page's own server.
    #[must_use]
    pub fn builder(target: &str) -> Builder {
        Builder::new(target)
    }

    /// Connects without a call, if there is no connection yet.
    ///
    /// # Errors
    /// The status that a call would have had.
    ///
    /// # Cancel safety
    /// An attempt that was begun goes on.
    pub async fn connect(&self) -> Result<(), Status> {
        let hub = &self.0.hub;
        let ready = hub.ready(hub.config.wait_for_ready).await;
        ready.map_err(CallError::status)
    }

    /// Where the channel is now.
    #[must_use]
    pub fn state(&self) -> State {
        self.states().current()
    }

    /// Where the channel is, as it changes. States that pass quickly may be skipped;
    /// [`events`](Self::events) skips none.
    #[must_use]
    pub fn states(&self) -> States {
        States::new(self.0.hub.states())
    }

    /// What happens to the channel from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        self.0.hub.events.reader()
    }

    /// Holds all answers back until the guard is dropped. The server stops sending when HTTP/2's
    /// windows are full; the connection stays alive. Pauses nest. Deadlines go on.
    #[must_use = "answers are handed on again when the guard is dropped"]
    pub fn pause(&self) -> PauseGuard {
        self.0.hub.pause();
        PauseGuard(Arc::clone(&self.0.hub))
    }

    /// Takes no more calls, gives those under way `stop_timeout` to finish, and closes the
    /// connection. A channel that was stopped stays so.
    ///
    /// # Cancel safety
    /// The channel is stopped when this is first polled; a drop gives the calls under way all the time they want.
    pub async fn stop(&self) {
        let hub = &self.0.hub;
        hub.drain(&CloseReason::Stopped, true);
        let mut states = self.states();
        if states.current() != State::Stopped && platform::check_runtime().is_ok() {
            let due = hub.clock.now().saturating_add(hub.config.stop_timeout);
            let mut patience = hub.clock.sleep_until(due);
            let mut stopped = pin!(states.wait_for(|state| state == State::Stopped));
            let in_time = std::future::poll_fn(|cx| {
                if stopped.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(true);
                }
                Pin::new(&mut patience).poll(cx).map(|()| false)
            });
            if in_time.await {
                return;
            }
        }
        hub.cut(&CloseReason::Stopped);
        let mut states = self.states();
        states.wait_for(|state| state == State::Stopped).await;
    }

    /// Takes no more calls, and ends those under way with UNAVAILABLE.
    pub fn stop_now(&self) {
        self.0.hub.cut(&CloseReason::Stopped);
    }

    /// Makes the next calls on a connection of their own; those under way finish on the old one.
    /// With [`set_token`](Self::set_token), how a session goes on with another token.
    pub fn reconnect(&self) {
        self.0.hub.drain(&CloseReason::Replaced, false);
    }

    /// Uses another token from the next connection on; `None` for none. Of no effect without a tunnel.
    pub fn set_token(&self, token: Option<&str>) {
        set(&self.0.token, token);
    }
}

impl Service<http::Request<Body>> for Channel {
    type Response = http::Response<ResponseBody>;
    type Error = Status;
    type Future = ResponseFuture;

    /// Always ready: a call waits for what it needs, and fails with a status of its own.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> ResponseFuture {
        let owned = Arc::clone(&self.0);
        // The channel lives as long as any call waits for its answer.
        ResponseFuture(Box::pin(async move {
            let (hub, heading) = (Arc::clone(&owned.hub), Arc::clone(&owned.heading));
            let answered = call::make(hub, heading, request).await;
            drop(owned);
            answered
        }))
    }
}

/// The head of an answer, to come. Dropping it cancels the call.
pub struct ResponseFuture(Pin<Box<dyn Future<Output = Answered> + Send>>);

type Answered = Result<http::Response<ResponseBody>, Status>;

impl Future for ResponseFuture {
    type Output = Answered;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.hub.drain(&CloseReason::Dropped, true);
    }
}

/// Holds answers back as long as it lives. See [`Channel::pause`].
#[derive(Debug)]
pub struct PauseGuard(Arc<Hub>);

impl Drop for PauseGuard {
    fn drop(&mut self) {
        self.0.resume();
    }
}

/// What a channel is built from. See [`Channel::builder`].
pub struct Builder {
    target: String,
    config: Config,
    pub(crate) tunnel: TunnelOptions,
    #[cfg(not(target_family = "wasm"))]
    pub(crate) tls: TlsOptions,
    connector: Connectors,
}

/// How a WebSocket is asked for.
#[derive(Clone, Debug)]
pub(crate) struct TunnelOptions {
    pub(crate) token: TokenCell,
    pub(crate) offer: bool,
    #[cfg(not(target_family = "wasm"))]
    pub(crate) headers: HeaderMap,
    /// When the WebSocket is pinged; a browser's is not ours to ping.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) ping: Option<Keepalive>,
}

impl TunnelOptions {
    pub(crate) fn set_token(&mut self, token: Option<&str>) {
        set(&self.token, token);
    }
}

impl Default for TunnelOptions {
    fn default() -> Self {
        Self {
            token: TokenCell::default(),
            offer: true,
            #[cfg(not(target_family = "wasm"))]
            headers: HeaderMap::new(),
            #[cfg(not(target_family = "wasm"))]
            ping: Some(Keepalive::default()),
        }
    }
}

/// The token of the next upgrade.
pub(crate) type TokenCell = Arc<Mutex<Option<Token>>>;

fn set(cell: &TokenCell, token: Option<&str>) {
    *cell.lock().unwrap_or_else(PoisonError::into_inner) = token.map(Token::new);
}

/// Whom to trust, and who we are.
#[cfg(not(target_family = "wasm"))]
#[derive(Clone, Default)]
pub(crate) struct TlsOptions {
    pub(crate) ca_pem: Option<Vec<u8>>,
    pub(crate) identity_pem: Option<(Vec<u8>, Vec<u8>)>,
}

#[cfg(not(target_family = "wasm"))]
impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsOptions")
            .field("own_ca", &self.ca_pem.is_some())
            .field("identity", &self.identity_pem.is_some())
            .finish()
    }
}

/// Our own transports, or the caller's.
enum Connectors {
    OfTarget,
    Own(Box<dyn Connector>),
}

impl fmt::Debug for Connectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OfTarget => "OfTarget",
            Self::Own(_) => "Own",
        })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Builder");
        shown
            .field("target", &target::shown(&self.target))
            .field("config", &self.config)
            .field("tunnel", &self.tunnel)
            .field("connector", &self.connector);
        #[cfg(not(target_family = "wasm"))]
        shown.field("tls", &self.tls);
        shown.finish()
    }
}

impl Builder {
    fn new(target: &str) -> Self {
        Self {
            target: platform::absolute(target),
            config: Config::default(),
            tunnel: TunnelOptions::default(),
            #[cfg(not(target_family = "wasm"))]
            tls: TlsOptions::default(),
            connector: Connectors::OfTarget,
        }
    }

    /// Changes settings.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Sends a token with the WebSocket's upgrade, as the subprotocol `bearer.` and its base64url,
    /// the only way that works in browsers too. It is in no log and no `Debug` output. Calls carry
    /// tokens of their own as metadata, through an ordinary interceptor.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.tunnel.set_token(Some(token));
        self
    }

    /// Whether our subprotocol is offered in the upgrade; default yes. A browser takes no WebSocket
    /// whose server ignores the offer, so this has to be off for servers and bridges that know none.
    /// A token is offered as a subprotocol too.
    #[must_use]
    pub fn with_subprotocol(mut self, offer: bool) -> Self {
        self.tunnel.offer = offer;
        self
    }

    /// Adds a header to the WebSocket's upgrade: an `origin`, a `cookie`. Native only: browsers set
    /// their own, and let nobody add any.
    ///
    /// # Errors
    /// [`ConfigError::Header`] for one that cannot be sent, or that the upgrade needs for itself.
    #[cfg(not(target_family = "wasm"))]
    pub fn with_header(mut self, name: &str, value: &str) -> Result<Self, ConfigError> {
        let (name, value) = upgrade_header(name, value)?;
        self.tunnel.headers.append(name, value);
        Ok(self)
    }

    /// Trusts the certificates in this PEM text instead of the system's. Native only.
    #[cfg(not(target_family = "wasm"))]
    #[must_use]
    pub fn with_ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.ca_pem = Some(pem.into());
        self
    }

    /// Shows this certificate, with its private key, to servers that ask for one. PEM. Native only.
    #[cfg(not(target_family = "wasm"))]
    #[must_use]
    pub fn with_identity_pem(
        mut self,
        certificates: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.tls.identity_pem = Some((certificates.into(), key.into()));
        self
    }

    /// Connects by the caller's own means; the target then only names the server in calls.
    #[must_use]
    pub fn with_connector(mut self, connector: impl Connector) -> Self {
        self.connector = Connectors::Own(Box::new(connector));
        self
    }

    /// The channel. It connects when the first call wants it to.
    ///
    /// # Errors
    /// [`ConfigError`] for what does not hold together.
    pub fn build(mut self) -> Result<Channel, ConfigError> {
        let target: Target = self.target.parse()?;
        let config = std::mem::take(&mut self.config).checked()?;
        #[cfg(not(target_family = "wasm"))]
        {
            self.tunnel.ping = config.keepalive;
        }
        let authority = match &config.authority {
            Some(text) => {
                let wrong = |_| ConfigError::Authority(text.clone());
                text.parse::<Authority>().map_err(wrong)?
            }
            None => target.authority().clone(),
        };
        let user_agent = user_agent(config.user_agent.as_deref())?;
        let connector = match std::mem::replace(&mut self.connector, Connectors::OfTarget) {
            Connectors::Own(connector) => connector,
            Connectors::OfTarget => {
                let token = self.tunnel.token.lock();
                if token.is_ok_and(|token| token.is_some()) && !target.scheme().is_tunnel() {
                    return Err(ConfigError::TokenWithoutTunnel);
                }
                platform::connector(&target, &self)?
            }
        };
        let heading = Heading::new(target.scheme().is_tls(), authority, user_agent);
        Ok(Channel(Arc::new(Owned {
            hub: Hub::new(config, connector),
            heading: Arc::new(heading),
            token: self.tunnel.token,
        })))
    }
}

fn user_agent(prefix: Option<&str>) -> Result<HeaderValue, ConfigError> {
    const OURS: &str = concat!("switchboard-client/", env!("CARGO_PKG_VERSION"));
    match prefix {
        None => Ok(HeaderValue::from_static(OURS)),
        Some(prefix) => {
            HeaderValue::try_from(format!("{prefix} {OURS}")).map_err(|_| ConfigError::Range {
                key: "user_agent",
                rule: "text that a header can hold",
            })
        }
    }
}

/// A header that may be added to an upgrade.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn upgrade_header(
    name: &str,
    value: &str,
) -> Result<(HeaderName, HeaderValue), ConfigError> {
    let wrong = || ConfigError::Header(name.to_owned());
    let parsed = HeaderName::try_from(name).map_err(|_| wrong())?;
    let reserved = [
        "host",
        "upgrade",
        "connection",
        "content-length",
        "transfer-encoding",
    ];
    if reserved.contains(&parsed.as_str()) || parsed.as_str().starts_with("sec-websocket-") {
        return Err(wrong());
    }
    let mut value = HeaderValue::try_from(value).map_err(|_| wrong())?;
    // A cookie is as good as a token.
    value.set_sensitive(true);
    Ok((parsed, value))
}
