//! The admin listener: what a host says of itself, to whoever runs it.
//!
//! Started by `cli` or an embedder before the host is built, so that it answers while plugins are compiled, and
//! ended after it. It has a thread and a runtime of its own: however busy the threads that serve are, probes and
//! scrapes are answered, and however many of those there are, they take no time from calls. It is served by the
//! same `listener` and `grpc` as everything else, with limits of its own. Knows a host only through `Telemetry`.
//!
//! Whoever reaches it sees who is connected, and may close tunnels and take plugins out of service: it belongs on the
//! loopback address, or behind something that asks who comes.

mod pages;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::{
    BufferConfig, CallConfig, ConnectionConfig, Http1Config, LaneConfig, PluginConfig,
    ReflectionConfig,
};
use crate::error::BuildError;
use crate::grpc::{
    ADMIN, AdminService, Buffers, Connections, LiveRoutes, NativeService, REFLECTION, Reflection,
    ReflectionService, Routes, Server,
};
use crate::lane::Lanes;
use crate::listener::{self, Doors, Listeners};
use crate::telemetry::Telemetry;
use pages::AdminPages;

/// Connections at once. Count: a scraper, the probes and some people; the next ones wait in the kernel's backlog.
const CONNECTIONS_MAX: NonZeroU32 = NonZeroU32::new(256).expect("not zero");

/// Connections at once from one address. Count: whoever opens connections and says nothing must not keep probes out,
/// which come from elsewhere, or a supervisor would end a host that is well.
const PER_PEER_MAX: NonZeroU32 = NonZeroU32::new(32).expect("not zero");

/// Calls at once on a connection. Count: tools ask one by one.
const CALLS_MAX: NonZeroU32 = NonZeroU32::new(16).expect("not zero");

/// Time for a connection to be set up and to ask something. Probes take milliseconds; one that comes and says
/// nothing must not keep the others out for long.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time without a call after which a connection ends. Scrapers come every 15 s to 60 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// Bytes of requests and of replies that may wait. The text of ten thousand methods is some 20 MiB.
const BUFFER_BYTES_MAX: usize = 64 << 20;

/// How long what is being answered may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// An admin listener that runs; dropping it ends it, within a second.
#[derive(Debug)]
pub struct Admin {
    addr: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Serves what `telemetry` knows on `listener`: `/livez`, `/readyz` and `/metrics` over HTTP/1.1 and HTTP/2, and
    /// the gRPC service `switchboard.admin.v1.Admin` with reflection.
    ///
    /// # Errors
    /// [`BuildError::Thread`] when a thread does not start, or the listener cannot be used.
    pub fn start(
        listener: std::net::TcpListener,
        telemetry: &Telemetry,
    ) -> Result<Self, BuildError> {
        let addr = listener.local_addr().map_err(BuildError::Thread)?;
        listener.set_nonblocking(true).map_err(BuildError::Thread)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(BuildError::Thread)?;
        let stop = CancellationToken::new();
        let doors = doors(telemetry, &stop)?;
        let until = Connections {
            drain: stop.clone(),
            ..Connections::default()
        };
        let serving = async move {
            let listener = match TcpListener::from_std(listener) {
                Ok(listener) => Listeners::from(listener),
                Err(error) => return tracing::error!(%error, "the admin listener cannot serve"),
            };
            let stopped = until.drain.clone();
            let serving = listener::serve(listener, doors, until);
            let mut serving = std::pin::pin!(serving);
            tokio::select! {
                () = serving.as_mut() => {}
                () = stopped.cancelled() => drop(timeout(END_TIMEOUT, serving).await),
            }
        };
        let thread = std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || runtime.block_on(serving))
            .map_err(BuildError::Thread)?;
        if !addr.ip().is_loopback() {
            tracing::warn!(
                %addr,
                "the admin listener is not on a loopback address: whoever reaches it sees who is connected, and \
                 may close tunnels and take plugins out of service"
            );
        }
        Ok(Self {
            addr,
            stop,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic in it was printed where it happened.
            drop(thread.join());
        }
    }
}

/// What is behind the listener. It counts itself nowhere: what it is asked is not what the host serves.
fn doors(telemetry: &Telemetry, stop: &CancellationToken) -> Result<Doors, BuildError> {
    let call = CallConfig::default();
    let plugin = PluginConfig::default();
    let reflection = ReflectionConfig::default();
    let reflection = Reflection::new(&reflection, call.response_bytes_max, stop.clone());
    let admin = AdminService::new(telemetry.clone());
    let descriptors = admin.file_descriptor_set().map(bytes::Bytes::from_static);
    reflection.set(&ADMIN.into(), vec![ADMIN.to_owned()], descriptors.as_ref());
    let mut services: Vec<Arc<dyn NativeService>> = vec![Arc::new(admin)];
    for name in REFLECTION {
        let reflection = Arc::clone(&reflection);
        services.push(Arc::new(ReflectionService { name, reflection }));
    }
    let own = Telemetry::new();
    let mut routes = Routes::new(call.clone(), own.clone());
    for service in &services {
        routes.add_built_in(service, &plugin);
    }
    let lanes = Lanes::start(&LaneConfig {
        workers: Some(NonZeroU32::MIN),
        ..LaneConfig::default()
    })?;
    let buffers = BufferConfig {
        unread_bytes_max: BUFFER_BYTES_MAX,
        unsent_bytes_max: BUFFER_BYTES_MAX,
        ..BufferConfig::default()
    };
    let pages = Arc::new(AdminPages::new(telemetry.clone()));
    let live = LiveRoutes::default();
    live.store(routes);
    let server = Server {
        buffers: Buffers::new(&buffers),
        routes: Arc::new(live),
        connection: Arc::new(connection()),
        lanes: Arc::new(lanes),
        pages: Arc::clone(&pages) as _,
        connects: None,
        origins: None,
        telemetry: own,
    };
    let http1 = Http1Config::default();
    Ok(Doors::new(server, None, http1, (None, None), None, pages))
}

fn connection() -> ConnectionConfig {
    ConnectionConfig {
        connections_max: CONNECTIONS_MAX,
        connections_per_peer_max: Some(PER_PEER_MAX),
        calls_max: CALLS_MAX,
        handshake_timeout: HANDSHAKE_TIMEOUT,
        first_request_timeout: Some(HANDSHAKE_TIMEOUT),
        idle_timeout: Some(IDLE_TIMEOUT),
        ..ConnectionConfig::default()
    }
}
