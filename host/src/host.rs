//! A host: build it (engine, plugins, routes), serve with it, drain it.
//!
//! Called by `cli` and embedders. Start: engine and ticker, long lane, plugins, routes, listeners. Meanwhile
//! `follow` sees to plugin files that change, and a `Handle` to other changes; both go through `catalogue`.
//! Stop, in order: stop accepting and send GOAWAY; wait for running calls, at most
//! `drain_timeout`; cancel what is left; wait for those to end.

mod catalogue;
mod end;
mod follow;
mod handle;
mod keeper;
mod served;
mod watch;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::config::{CacheConfig, FilesConfig, HostConfig, PluginConfig};
use crate::error::{BuildError, Refused};
#[cfg(feature = "ladder")]
use crate::grpc::LiveRoutes;
use crate::grpc::{Connections, NativeService, Server};
use crate::guest::{GuestEngine, HostService};
use crate::lane::Lanes;
use crate::listener::{self, Authoriser, Doors, Files, Listeners, Tls};
use crate::plugin::{Cache, Roots};
use crate::task;
use crate::telemetry::{Readiness, Telemetry};
use catalogue::Catalogue;
use end::End;
use follow::Follow;
pub use handle::{Handle, PluginInfo};
use keeper::HostKeeper;
use watch::Watch;

/// Puts a host together.
#[derive(Default)]
pub struct HostBuilder {
    config: HostConfig,
    plugins: HashMap<String, PluginConfig>,
    host_services: Vec<Arc<dyn HostService>>,
    native: Vec<Arc<dyn NativeService>>,
    authoriser: Option<Arc<dyn Authoriser>>,
    telemetry: Telemetry,
}

impl std::fmt::Debug for HostBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostBuilder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl HostBuilder {
    /// With this configuration.
    #[must_use]
    pub fn new(config: HostConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// Gives the plugin of this name (its file's, without `.wasm`) a configuration of its own.
    #[must_use]
    pub fn plugin(mut self, name: impl Into<String>, config: PluginConfig) -> Self {
        self.plugins.insert(name.into(), config);
        self
    }

    /// Lets plugins import one more service of the embedder's.
    #[must_use]
    pub fn host_service(mut self, service: impl HostService) -> Self {
        self.host_services.push(Arc::new(service));
        self
    }

    /// Serves a native service beside the plugins.
    #[must_use]
    pub fn native(mut self, service: impl NativeService) -> Self {
        self.native.push(Arc::new(service));
        self
    }

    /// Lets `authoriser` decide who may open a tunnel. It guards the tunnel only: gRPC over plain
    /// HTTP/2 on the same port is not asked.
    #[must_use]
    pub fn authoriser(mut self, authoriser: impl Authoriser) -> Self {
        self.authoriser = Some(Arc::new(authoriser));
        self
    }

    /// Counts in `telemetry`, and says there whether it serves. Without it nobody is told.
    #[must_use]
    pub fn telemetry(mut self, telemetry: Telemetry) -> Self {
        self.telemetry = telemetry;
        self
    }

    /// Starts the engine and loads every plugin behind `paths`. A plugin that is refused is in
    /// [`Host::refused`]; the others are served.
    ///
    /// # Errors
    /// [`BuildError`] when the engine or a thread does not start, a path is not there, files to serve
    /// cannot be read, or two native services have one name.
    ///
    /// # Cancel safety
    /// Dropping the future drops what was loaded.
    pub async fn build(self, paths: &[PathBuf]) -> Result<Host, BuildError> {
        let Self {
            config,
            plugins,
            host_services,
            native,
            authoriser,
            telemetry,
        } = self;
        config.check_with(&plugins)?;
        let pages = read_files(config.files.clone()).await?;
        let roots = Arc::new(Roots::open(paths)?);
        let engine = Arc::new(GuestEngine::start(
            config.engine.clone(),
            &host_services,
            telemetry,
        )?);
        let lanes = Arc::new(Lanes::start(&config.lane)?);
        let cache = match config.cache.clone() {
            Some(config) => Some(open_cache(config, Arc::clone(&engine)).await?),
            None => None,
        };
        let drain = CancellationToken::new();
        let parts = (Arc::clone(&engine), Arc::clone(&lanes), cache);
        let catalogue = Arc::new(Catalogue::new(&config, plugins, parts, &drain));
        for service in &native {
            catalogue.add_native(service)?;
        }
        let watch = follow::start(&catalogue, &roots, config.watch.as_ref()).await;
        catalogue.say_what_is_not_served();
        Ok(Host {
            catalogue,
            roots,
            watch,
            bell: Arc::default(),
            lanes,
            engine,
            config,
            authoriser,
            pages,
            drain,
        })
    }
}

/// Plugins, loaded and ready to be served.
pub struct Host {
    catalogue: Arc<Catalogue>,
    roots: Arc<Roots>,
    /// What is known of the files.
    watch: Watch,
    bell: Arc<Notify>,
    lanes: Arc<Lanes>,
    engine: Arc<GuestEngine>,
    config: HostConfig,
    authoriser: Option<Arc<dyn Authoriser>>,
    pages: Arc<Files>,
    /// Begins the drain of the host's own services.
    drain: CancellationToken,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("catalogue", &self.catalogue)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every call ended by itself.
    Clean,
    /// `drain_timeout` passed, and calls that still ran were cancelled.
    Cut,
}

impl Host {
    /// The plugins that are served.
    #[must_use]
    pub fn plugins(&self) -> Vec<PluginInfo> {
        self.handle().plugins()
    }

    /// The plugin files that are not served, and why.
    #[must_use]
    pub fn refused(&self) -> Vec<Arc<Refused>> {
        self.catalogue.refused()
    }

    /// The route table, for the rungs of the ladder.
    #[cfg(feature = "ladder")]
    pub(crate) fn routes(&self) -> &Arc<LiveRoutes> {
        self.catalogue.routes()
    }

    /// Names of all services but the host's own, sorted, with the plugin that offers each.
    #[must_use]
    pub fn services(&self) -> Vec<(String, String)> {
        let routes = self.catalogue.routes().load();
        let services = routes.services().into_iter();
        let owned = services.map(|(service, owner)| (service.to_owned(), owner.to_owned()));
        owned.collect()
    }

    /// For looking after it while it serves.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle {
            catalogue: Arc::clone(&self.catalogue),
            bell: Arc::clone(&self.bell),
        }
    }

    /// Serves on `listeners` until `stop` is cancelled, then drains. TLS is for those over TCP; when it
    /// was made of files, new ones are taken as they come. So are plugin files, unless they are not watched.
    ///
    /// # Cancel safety
    /// Dropping the future stops accepting; connections that are open go on until the runtime ends.
    pub async fn serve(
        self,
        listeners: impl Into<Listeners>,
        tls: Option<Tls>,
        stop: CancellationToken,
    ) -> Drained {
        let keeper = HostKeeper::new(self.handle());
        let Self {
            catalogue,
            roots,
            watch,
            bell,
            lanes,
            engine,
            config,
            authoriser,
            pages,
            drain,
        } = self;
        let telemetry = engine.telemetry().clone();
        telemetry.collect(catalogue.buffers().clone());
        telemetry.keep(&keeper);
        catalogue.begin();
        let follow = Follow {
            catalogue: Arc::clone(&catalogue),
            roots,
            watch,
            config: config.watch,
            bell,
        };
        let mut beside = vec![task::spawn("plugin files", follow.run())];
        beside.extend(
            tls.clone()
                .map(|tls| task::spawn("tls files", tls.keep_up(telemetry.clone()))),
        );
        let server = Server {
            routes: Arc::clone(catalogue.routes()),
            connection: Arc::new(config.connection),
            buffers: catalogue.buffers().clone(),
            lanes,
            pages: Arc::clone(&pages) as _,
            connects: None,
            origins: None,
            telemetry: telemetry.clone(),
        };
        let notice = config.drain_notice;
        let until = Connections {
            // Without a notice nothing lies between being told and draining.
            drain: if notice.is_zero() { &stop } else { &drain }.clone(),
            ..Connections::default()
        };
        let ways = (config.tunnel, config.web);
        let doors = Doors::new(server, tls, config.http1, ways, authoriser, pages);
        let serving = std::pin::pin!(listener::serve(listeners.into(), doors, until.clone()));
        let end = End {
            notice,
            timeout: config.drain_timeout,
            health: catalogue.health().cloned(),
            drain,
            until,
            telemetry: telemetry.clone(),
        };
        telemetry.set_readiness(Readiness::Ready);
        let drained = end.of(serving, stop).await;
        beside.iter().for_each(tokio::task::JoinHandle::abort);
        catalogue.ended().cancel();
        // The engine's ticker stops last: until here a guest that computes must give way.
        drop((keeper, catalogue, engine));
        drained
    }
}

/// Reads the files to serve, beside the threads that serve.
async fn read_files(configs: Vec<FilesConfig>) -> Result<Arc<Files>, BuildError> {
    let read = tokio::task::spawn_blocking(move || Files::read(&configs));
    let read = read
        .await
        .map_err(|panic| BuildError::Thread(std::io::Error::other(panic)))?;
    Ok(Arc::new(read?))
}

/// Opens the folder of compiled plugins, beside the threads that serve.
async fn open_cache(
    config: CacheConfig,
    engine: Arc<GuestEngine>,
) -> Result<Arc<Cache>, BuildError> {
    let opened = tokio::task::spawn_blocking(move || Cache::open(&config, &engine));
    let opened = opened
        .await
        .map_err(|panic| BuildError::Thread(std::io::Error::other(panic)))?;
    opened.map(Arc::new)
}
