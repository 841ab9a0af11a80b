//! What a plugin reaches over HTTP: `wasi:http/outgoing-handler`, for those that are granted it.
//!
//! Linked by `guest::engine` only into plugins with a grant. WASI's types are `wasmtime-wasi-http`'s; whether a
//! request may go is decided here, and `send` sends it. Invariants: a name is resolved by the host, and only
//! where it is granted; what is connected to is an address that was checked; all requests of a plugin share
//! its places, which their responses' bodies hold until they are read or dropped.

mod body;
mod send;
mod trust;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::uri::Scheme;
use http::{Request, Response, Uri};
use tokio::sync::Semaphore;
use wasmtime::component::Linker;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpHooks, WasiHttpView,
};

use self::send::Times;
use self::trust::Trust;
use super::network::Reach;
use crate::config::{Destination, GrantsConfig};

/// Bytes of a request's body that are taken from a plugin at once, and wait to be sent. wasmtime's default of
/// 1 MiB would hold that much for each request.
const CHUNK_BYTES: usize = 64 << 10;

/// The prefix of the interfaces' names.
pub(crate) const INTERFACES: &str = "wasi:http/";

/// What all instances of a plugin share of it.
#[derive(Debug)]
pub(crate) struct Outgoing {
    reach: Arc<Reach>,
    /// One for each request that may be under way.
    places: Arc<Semaphore>,
    timeout: Duration,
    trust: Trust,
}

impl Outgoing {
    /// As granted.
    #[must_use]
    pub(crate) fn new(reach: Arc<Reach>, grants: &GrantsConfig) -> Self {
        Self {
            reach,
            places: Arc::new(Semaphore::new(grants.http_requests_max)),
            timeout: grants.http_timeout,
            trust: Trust::new(grants.http_ca.clone()),
        }
    }

    /// Sends a request to where it says, if that is granted.
    async fn send(
        &self,
        mut request: Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<(Response<WasiBody>, Connection), Error> {
        let target = self.target(request.uri()).await?;
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_none| Error::ConnectionLimitReached)?;
        let times = Times::new(self.timeout, options);
        let stream = send::connect(&target.addresses, times).await?;
        // The path alone: the rest is for proxies.
        let path = request.uri().path_and_query();
        let path = path.map_or("/", |path| path.as_str()).to_owned();
        *request.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
        let sent = if target.secure {
            let config = self.trust.config().await?;
            let stream = send::secure(stream, config, &target.host, times).await?;
            send::exchange(stream, request, times, place).await?
        } else {
            send::exchange(stream, request, times, place).await?
        };
        Ok(sent)
    }

    /// Where a request goes.
    async fn target(&self, uri: &Uri) -> Result<Target, Error> {
        let secure = uri.scheme() == Some(&Scheme::HTTPS);
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or(Error::HttpRequestUriInvalid)?;
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host).to_owned();
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => self.of_address(address, port),
            Err(_) => self.of_name(&host, port).await?,
        };
        if addresses.is_empty() {
            self.reach.deny("http", &format_args!("{host}:{port}"));
            return Err(Error::HttpRequestDenied);
        }
        let addresses = addresses.into_iter().map(|address| (address, port).into());
        Ok(Target {
            addresses: addresses.collect(),
            host,
            secure,
        })
    }

    fn rules(&self, port: u16) -> impl Iterator<Item = &Destination> {
        self.reach
            .http
            .iter()
            .filter(move |rule| rule.has_port(port))
    }

    fn of_address(&self, address: IpAddr, port: u16) -> Vec<IpAddr> {
        let mut rules = self.rules(port).filter(|rule| rule.name().is_none());
        let granted = rules.any(|rule| rule.reaches(address));
        granted.then_some(address).into_iter().collect()
    }

    /// The addresses of a granted name that it may lead to; none for a name that is not granted.
    async fn of_name(&self, name: &str, port: u16) -> Result<Vec<IpAddr>, Error> {
        let Some(rule) = self.rules(port).find(|rule| rule.is_named(name)) else {
            return Ok(Vec::new());
        };
        let found = self.reach.names.addresses(name).await;
        let found = found.map_err(|_unresolved| Error::DnsError {
            rcode: Some("no address".to_owned()),
            info_code: None,
        })?;
        let granted: Vec<_> = found.into_iter().filter(|ip| rule.reaches(*ip)).collect();
        if granted.is_empty() {
            self.reach.deny(
                "http",
                &format_args!("{name}:{port}, whose address is the host's own"),
            );
            return Err(Error::DestinationIpProhibited);
        }
        Ok(granted)
    }
}

/// Where a request goes, checked.
struct Target {
    addresses: Vec<SocketAddr>,
    /// For its certificate.
    host: String,
    secure: bool,
}

/// What drives a connection until its response is read.
type Connection = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// What an instance has of it.
pub(crate) struct Http {
    ctx: WasiHttpCtx,
    hooks: Hooks,
}

struct Hooks(Arc<Outgoing>);

impl Http {
    /// For an instance of the plugin that shares `outgoing`.
    #[must_use]
    pub(crate) fn new(outgoing: Arc<Outgoing>) -> Self {
        Self {
            ctx: WasiHttpCtx::new(),
            hooks: Hooks(outgoing),
        }
    }

    /// What WASI's types are kept with, and what decides for them.
    pub(crate) fn parts(&mut self) -> (&mut WasiHttpCtx, &mut dyn WasiHttpHooks) {
        (&mut self.ctx, &mut self.hooks)
    }
}

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _unread: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Connection), Error>> + Send> {
        let outgoing = Arc::clone(&self.0);
        Box::new(async move { outgoing.send(request, options.unwrap_or_default()).await })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES
    }
}

/// Adds the interfaces.
///
/// # Errors
/// When the linker does not take them.
pub(crate) fn link<T: WasiHttpView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)
}
