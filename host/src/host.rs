//! A host: build it (engine, plugins, routes), serve with it, drain it.
//!
//! Called by `cli` and embedders. Start: engine and ticker, long lane, plugins, routes, listeners.
//! Stop, in order: stop accepting and send GOAWAY; wait for running calls, at most
//! `drain_timeout`; cancel what is left; wait for those to end.

mod end;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tokio_util::sync::CancellationToken;

use crate::config::{FilesConfig, HostConfig, PluginConfig};
use crate::error::{BuildError, PluginError, Refused};
use crate::grpc::{
    Buffers, Connections, HEALTH, Health, HealthService, NativeService, REFLECTION, Reflection,
    ReflectionService, Routes, Server,
};
use crate::guest::{Description, GuestEngine, HostService};
use crate::lane::Lanes;
use crate::listener::{self, Authoriser, Doors, Files, Listeners, Tls};
use crate::plugin::{self, Loaded};
use crate::pool::{Pool, PoolStats};
use crate::task;
use end::End;

/// Plugins that are compiled at a time: one for each core of a small machine, so that a folder of
/// many loads quickly and memory stays bounded.
const COMPILE_AT_ONCE: usize = 2;

/// Puts a host together.
#[derive(Default)]
pub struct HostBuilder {
    config: HostConfig,
    plugins: HashMap<String, PluginConfig>,
    host_services: Vec<Arc<dyn HostService>>,
    native: Vec<Arc<dyn NativeService>>,
    authoriser: Option<Arc<dyn Authoriser>>,
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
        } = self;
        config.check()?;
        let pages = read_files(config.files.clone()).await?;
        let files = plugin::find(paths)?;
        let engine = Arc::new(GuestEngine::start(config.engine.clone(), &host_services)?);
        let lanes = Arc::new(Lanes::start(&config.lane)?);
        let mut host = Host {
            routes: Routes::default(),
            plugins: Vec::new(),
            refused: Vec::new(),
            lanes,
            engine,
            config,
            authoriser,
            pages,
            drain: CancellationToken::new(),
            health: None,
            reflection: None,
        };
        host.add_built_in();
        for service in &native {
            host.add_native(service)?;
        }
        let of = |path: &PathBuf| {
            let name = plugin::name(path);
            plugins.get(&*name).unwrap_or(&host.config.plugin).clone()
        };
        // In the order of the files whatever compiles first: who owns a service that two offer
        // must not depend on chance.
        let loading = files.into_iter().map(|path| {
            let config = of(&path);
            let loading =
                plugin::load(&host.engine, &host.lanes, config.pool.clone(), path.clone());
            async move { (path, config, loading.await) }
        });
        let loaded: Vec<_> = stream::iter(loading.collect::<Vec<_>>())
            .buffered(COMPILE_AT_ONCE)
            .collect()
            .await;
        for (path, config, outcome) in loaded {
            let added = outcome.and_then(|loaded| host.add(loaded, config));
            if let Err(error) = added {
                let refused = Refused { path, error };
                tracing::error!("plugin refused: {refused}");
                host.refused.push(refused);
            }
        }
        host.say_what_is_not_served(plugins.values());
        Ok(host)
    }
}

/// One plugin that is being served.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PluginInfo {
    /// Its name: its file's, without the ending.
    pub name: Arc<str>,
    /// Where it came from.
    pub path: PathBuf,
    /// What it offers.
    pub description: Description,
    /// How its pool is doing.
    pub stats: PoolStats,
}

/// Plugins, loaded and ready to be served.
pub struct Host {
    routes: Routes,
    plugins: Vec<Loaded>,
    refused: Vec<Refused>,
    lanes: Arc<Lanes>,
    engine: Arc<GuestEngine>,
    config: HostConfig,
    authoriser: Option<Arc<dyn Authoriser>>,
    pages: Arc<Files>,
    /// Begins the drain of the host's own services.
    drain: CancellationToken,
    health: Option<Arc<Health>>,
    reflection: Option<Arc<Reflection>>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("plugins", &self.plugins)
            .field("refused", &self.refused)
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
        self.plugins
            .iter()
            .map(|plugin| PluginInfo {
                name: Arc::clone(plugin.pool.source().name()),
                path: plugin.path.clone(),
                description: plugin.description.clone(),
                stats: plugin.pool.stats(),
            })
            .collect()
    }

    /// How the pool of the plugin of this name is doing; can be asked while the host serves.
    #[must_use]
    pub fn stats(&self, name: &str) -> Option<impl Fn() -> PoolStats + Send + Sync + 'static> {
        let plugin = self
            .plugins
            .iter()
            .find(|plugin| &**plugin.pool.source().name() == name)?;
        let pool = Arc::clone(&plugin.pool);
        Some(move || pool.stats())
    }

    /// The plugins that are not served, and why.
    #[must_use]
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// Takes the refusals out of the host, to keep them while it serves.
    pub fn take_refused(&mut self) -> Vec<Refused> {
        std::mem::take(&mut self.refused)
    }

    /// Names of all services but the host's own, sorted, with the plugin that offers each.
    #[must_use]
    pub fn services(&self) -> Vec<(&str, &str)> {
        self.routes.services()
    }

    /// Serves on `listeners` until `stop` is cancelled, then drains. TLS is for those over TCP; when it
    /// was made of files, new ones are taken as they come.
    ///
    /// # Cancel safety
    /// Dropping the future stops accepting; connections that are open go on until the runtime ends.
    pub async fn serve(
        self,
        listeners: impl Into<Listeners>,
        tls: Option<Tls>,
        stop: CancellationToken,
    ) -> Drained {
        let Self {
            routes,
            plugins,
            lanes,
            engine,
            config,
            authoriser,
            pages,
            drain,
            health,
            reflection: _,
            refused: _,
        } = self;
        let mut upkeep: Vec<_> = plugins
            .iter()
            .map(|plugin| task::spawn_on(lanes.long(), Pool::upkeep(Arc::downgrade(&plugin.pool))))
            .collect();
        upkeep.extend(
            tls.clone()
                .map(|tls| task::spawn("tls files", tls.keep_up())),
        );
        let buffers = Buffers::new(&config.buffer, routes.request_bytes_max());
        let server = Server {
            routes: Arc::new(routes),
            call: Arc::new(config.call),
            connection: Arc::new(config.connection),
            buffers,
            lanes: Arc::clone(&lanes),
            pages: Arc::clone(&pages) as _,
            connects: None,
        };
        let notice = config.drain_notice;
        let until = Connections {
            // Without a notice nothing lies between being told and draining.
            drain: if notice.is_zero() { &stop } else { &drain }.clone(),
            ..Connections::default()
        };
        let doors = Doors::new(server, tls, config.http1, config.tunnel, authoriser, pages);
        let serving = std::pin::pin!(listener::serve(listeners.into(), doors, until.clone()));
        let end = End {
            notice,
            timeout: config.drain_timeout,
            health,
            drain,
            until,
        };
        let drained = end.of(serving, stop).await;
        upkeep.iter().for_each(tokio::task::JoinHandle::abort);
        // The engine's ticker stops last: until here a guest that computes must give way.
        drop((plugins, engine));
        drained
    }

    /// Adds what the host says of itself.
    fn add_built_in(&mut self) {
        let mut services: Vec<Arc<dyn NativeService>> = Vec::new();
        if let Some(config) = &self.config.health {
            let health = Health::new(config, self.drain.clone());
            services.push(Arc::new(HealthService(Arc::clone(&health))));
            self.health = Some(health);
        }
        if let Some(config) = &self.config.reflection {
            let response_bytes_max = self.config.call.response_bytes_max;
            let reflection = Reflection::new(config, response_bytes_max, self.drain.clone());
            for name in REFLECTION {
                let reflection = Arc::clone(&reflection);
                services.push(Arc::new(ReflectionService { name, reflection }));
            }
            self.reflection = Some(reflection);
        }
        for service in services {
            let config = &self.config;
            self.routes
                .add_built_in(&service, &config.plugin, &config.call);
            self.tell_of_native(&*service);
        }
    }

    fn tell_of_native(&self, service: &dyn NativeService) {
        // No plugin's name, which is a file's, begins so.
        let (name, owner) = (service.name(), format!("/{}", service.name()).into());
        if let Some(health) = &self.health {
            health.set(&owner, [name], None);
        }
        if let Some(reflection) = &self.reflection {
            let descriptors = service.file_descriptor_set().map(Bytes::from_static);
            reflection.set(&owner, vec![name.to_owned()], descriptors.as_ref());
        }
    }

    /// Tells those who answer for the host of what a plugin offers.
    fn tell_of_plugin(&self, plugin: &mut Loaded) {
        let name = plugin.pool.source().name();
        let description = &mut plugin.description;
        let services = description.services.iter().map(|service| &service.name);
        if let Some(health) = &self.health {
            let services = services.clone().map(String::as_str);
            health.set(name, services, Some(&plugin.pool.serving()));
        }
        if let Some(reflection) = &self.reflection {
            let services = services.cloned().collect();
            let descriptors = description.file_descriptor_set.as_ref();
            if !reflection.set(name, services, descriptors) {
                // It may be large, and nobody needs it.
                description.file_descriptor_set = None;
            }
        }
    }

    /// A method that is named with an error in its name would be set apart from nothing, silently.
    fn say_what_is_not_served<'a>(&'a self, plugins: impl Iterator<Item = &'a PluginConfig>) {
        let configs = plugins.chain(std::iter::once(&self.config.plugin));
        let named = configs.flat_map(|of| {
            let methods = of.priority_methods.iter().chain(&of.long_methods);
            methods.chain(of.messages.of.keys())
        });
        for path in named {
            let service = path
                .strip_prefix('/')
                .and_then(|path| path.strip_suffix("/*"));
            let served = match service {
                Some(service) => self.routes.clash(std::iter::once(service)).is_some(),
                None => self.routes.find(path).is_some(),
            };
            if !served {
                tracing::warn!(path, "a method that the configuration names is not served");
            }
        }
    }

    fn add_native(&mut self, service: &Arc<dyn NativeService>) -> Result<(), BuildError> {
        if self.routes.is_built_in(service.name()) {
            let name = service.name();
            let fault = format!("the host serves {name} itself; switch its own off to add another");
            return Err(crate::error::ConfigError(vec![fault]).into());
        }
        if self.routes.clash(std::iter::once(service.name())).is_some() {
            let fault = format!("two native services are named {}", service.name());
            return Err(crate::error::ConfigError(vec![fault]).into());
        }
        let config = &self.config;
        self.routes
            .add_native(service, &config.plugin, &config.call);
        self.tell_of_native(&**service);
        Ok(())
    }

    fn add(&mut self, mut loaded: Loaded, config: PluginConfig) -> Result<(), PluginError> {
        let name = loaded.pool.source().name();
        if let Some(other) = self
            .plugins
            .iter()
            .find(|other| other.pool.source().name() == name)
        {
            return Err(PluginError::SameName(other.path.clone()));
        }
        let services = loaded
            .description
            .services
            .iter()
            .map(|service| service.name.as_str());
        if let Some((service, owner)) = self.routes.clash(services) {
            return Err(if self.routes.is_built_in(&service) {
                let flag = switch(&service);
                PluginError::BuiltIn { service, flag }
            } else {
                PluginError::Clash { service, owner }
            });
        }
        self.routes.add_plugin(
            &loaded.pool,
            &loaded.description,
            &config,
            &self.config.call,
        );
        let services: Vec<_> = loaded
            .description
            .services
            .iter()
            .map(|service| &service.name)
            .collect();
        tracing::info!(plugin = &**name, path = %loaded.path.display(), ?services, "plugin loaded");
        self.tell_of_plugin(&mut loaded);
        self.plugins.push(loaded);
        Ok(())
    }
}

/// What switches off a service of the host's own.
fn switch(service: &str) -> &'static str {
    if service == HEALTH {
        "--health-off"
    } else {
        "--reflection-off"
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
