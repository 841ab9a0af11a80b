//! What is served, and every change of it: plugins come, are replaced and go while calls run.
//!
//! Called by `host` at start, by `host::follow` when files change, and by whoever has a `Handle`. Loading takes
//! its time outside; here a change is one step: a new route table is made beside the one in force, and takes
//! its place only if everything in it is right. Calls that run keep what they found.
//!
//! Invariants: a change that is refused changes nothing; changes that load files come one after the other, and each
//! reads what it puts in force after the one before it has ended; a service always belongs to one plugin; what was
//! replaced is dropped when its last call has ended, and its calls are cancelled at `drain_timeout`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::served::{Served, Stage};
use crate::config::{CallConfig, HostConfig, PluginConfig, SwapConfig};
use crate::error::{BuildError, ConfigError, PluginError, Refused};
use crate::grpc::{
    Buffers, HEALTH, Health, HealthService, LiveRoutes, NativeService, REFLECTION, Reflection,
    ReflectionService, Routes,
};
use crate::guest::GuestEngine;
use crate::lane::Lanes;
use crate::plugin::{self, Cache, Content, Loaded};
use crate::pool::{Pool, PoolStats};
use crate::task;

/// Everything that is served.
pub(super) struct Catalogue {
    engine: Arc<GuestEngine>,
    lanes: Arc<Lanes>,
    cache: Option<Arc<Cache>>,
    routes: Arc<LiveRoutes>,
    buffers: Buffers,
    health: Option<Arc<Health>>,
    reflection: Option<Arc<Reflection>>,
    state: Mutex<State>,
    /// Held from before files are read until what was loaded from them is in force.
    turn: tokio::sync::Mutex<()>,
    /// How often what is served has changed.
    changes: AtomicU64,
    /// Cancelled when serving has ended: what runs beside it ends.
    ended: CancellationToken,
}

pub(super) struct State {
    pub(super) config: Settings,
    natives: Vec<Native>,
    pub(super) served: Vec<Arc<Served>>,
    refused: Vec<Arc<Refused>>,
    /// Plugins that were taken out of service, by their names, and where they came from.
    held: BTreeMap<Arc<str>, PathBuf>,
    /// Whether pools are kept up: not before somebody may call.
    serving: bool,
}

/// What can change while the host serves.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) call: CallConfig,
    pub(super) swap: SwapConfig,
    /// Of plugins that have none of their own.
    pub(super) plugin: PluginConfig,
    pub(super) plugins: HashMap<String, PluginConfig>,
}

impl Settings {
    pub(super) fn new(config: &HostConfig, plugins: HashMap<String, PluginConfig>) -> Self {
        Self {
            call: config.call.clone(),
            swap: config.swap.clone(),
            plugin: config.plugin.clone(),
            plugins,
        }
    }

    /// What the plugin of this name gets.
    pub(super) fn of(&self, name: &str) -> &PluginConfig {
        self.plugins.get(name).unwrap_or(&self.plugin)
    }
}

#[derive(Clone)]
struct Native {
    service: Arc<dyn NativeService>,
    built_in: bool,
}

/// What becomes of a plugin that was taken out of service when its file is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// It stays out.
    Stays,
    /// Somebody wants it back.
    Ends,
}

/// A file and what is to be done about it.
pub(super) type Outcome = (PathBuf, Result<(), PluginError>);

impl std::fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state();
        f.debug_struct("Catalogue")
            .field("served", &state.served)
            .field("refused", &state.refused)
            .finish_non_exhaustive()
    }
}

impl Catalogue {
    /// Serves what the host says of itself, and nothing else yet; `drain` begins the drain of those services.
    pub(super) fn new(
        config: &HostConfig,
        plugins: HashMap<String, PluginConfig>,
        (engine, lanes, cache): (Arc<GuestEngine>, Arc<Lanes>, Option<Arc<Cache>>),
        drain: &CancellationToken,
    ) -> Self {
        let health = config.health.as_ref();
        let reflection = config.reflection.as_ref();
        let response_bytes_max = config.call.response_bytes_max;
        let state = State {
            config: Settings::new(config, plugins),
            natives: Vec::new(),
            served: Vec::new(),
            refused: Vec::new(),
            held: BTreeMap::new(),
            serving: false,
        };
        let catalogue = Self {
            engine,
            lanes,
            cache,
            routes: Arc::default(),
            buffers: Buffers::new(&config.buffer),
            health: health.map(|config| Health::new(config, drain.clone())),
            reflection: reflection
                .map(|config| Reflection::new(config, response_bytes_max, drain.clone())),
            state: Mutex::new(state),
            turn: tokio::sync::Mutex::default(),
            changes: AtomicU64::new(0),
            ended: CancellationToken::new(),
        };
        let telemetry = catalogue.engine.telemetry().clone();
        catalogue
            .routes
            .store(Routes::new(config.call.clone(), telemetry));
        catalogue.add_built_in();
        catalogue
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn routes(&self) -> &Arc<LiveRoutes> {
        &self.routes
    }

    pub(super) fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    pub(super) fn health(&self) -> Option<&Arc<Health>> {
        self.health.as_ref()
    }

    pub(super) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    fn add_built_in(&self) {
        let mut services: Vec<Arc<dyn NativeService>> = Vec::new();
        if let Some(health) = &self.health {
            services.push(Arc::new(HealthService(Arc::clone(health))));
        }
        if let Some(reflection) = &self.reflection {
            for name in REFLECTION {
                let reflection = Arc::clone(reflection);
                services.push(Arc::new(ReflectionService { name, reflection }));
            }
        }
        let mut state = self.state();
        for service in services {
            let native = Native {
                service,
                built_in: true,
            };
            self.enter(&mut state, native);
        }
    }

    /// Adds a service of the embedder.
    ///
    /// # Errors
    /// When one of its name is there.
    pub(super) fn add_native(&self, service: &Arc<dyn NativeService>) -> Result<(), BuildError> {
        let name = service.name();
        let routes = self.routes.load();
        let fault = if routes.is_built_in(name) {
            format!("the host serves {name} itself; switch its own off to add another")
        } else if routes.clash(std::iter::once(name), None).is_some() {
            format!("two native services are named {name}")
        } else {
            let native = Native {
                service: Arc::clone(service),
                built_in: false,
            };
            self.enter(&mut self.state(), native);
            return Ok(());
        };
        Err(ConfigError(vec![fault]).into())
    }

    fn enter(&self, state: &mut State, native: Native) {
        let mut routes = Routes::clone(&self.routes.load());
        native.add_to(&mut routes, &state.config.plugin);
        self.put_in_force(routes);
        let service = &native.service;
        // No plugin's name, which is a file's, begins so.
        let (name, owner) = (service.name(), format!("/{}", service.name()).into());
        if let Some(health) = &self.health {
            health.set(&owner, [name], None);
        }
        if let Some(reflection) = &self.reflection {
            let descriptors = service.file_descriptor_set().map(Bytes::from_static);
            reflection.set(&owner, vec![name.to_owned()], descriptors.as_ref());
        }
        state.natives.push(native);
    }

    fn put_in_force(&self, routes: Routes) {
        self.buffers.fit(routes.request_bytes_max());
        self.routes.store(routes);
    }

    /// Waits until nobody else loads files to put them in force. Without, what was read first could take the place
    /// of what was read last: an older file, or one that is gone, or grants that were taken back.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in line.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// What a plugin gets.
    pub(super) fn config_of(&self, name: &str) -> PluginConfig {
        self.state().config.of(name).clone()
    }

    /// Reads a file, and loads it unless it is what is served under its name already: then none.
    ///
    /// # Errors
    /// [`PluginError`].
    ///
    /// # Cancel safety
    /// Dropping the future drops what was loaded.
    pub(super) async fn load_changed(
        &self,
        path: &Path,
        config: &PluginConfig,
    ) -> Result<Option<Loaded>, PluginError> {
        let content = plugin::read(&self.engine, path.to_owned()).await?;
        if self.is_served(&content, config) {
            tracing::debug!(path = %path.display(), "the file is as it was");
            return Ok(None);
        }
        self.load_content(config, content).await.map(Some)
    }

    /// Reads and loads a file, also if it is what is served already.
    ///
    /// # Errors
    /// [`PluginError`].
    ///
    /// # Cancel safety
    /// Dropping the future drops what was loaded.
    pub(super) async fn load(
        &self,
        path: &Path,
        config: &PluginConfig,
    ) -> Result<Loaded, PluginError> {
        let content = plugin::read(&self.engine, path.to_owned()).await?;
        self.load_content(config, content).await
    }

    async fn load_content(
        &self,
        config: &PluginConfig,
        content: Content,
    ) -> Result<Loaded, PluginError> {
        let (engine, lanes, cache) = (&self.engine, &self.lanes, self.cache.as_ref());
        plugin::load(engine, lanes, cache, config, content).await
    }

    fn is_served(&self, content: &Content, config: &PluginConfig) -> bool {
        self.state().served.iter().any(|served| {
            served.path == content.path
                && served.digest == content.digest
                && served.config == *config
        })
    }

    /// Takes plugins out and in, all at one moment. One that is refused changes nothing for the others, and one that
    /// was taken out of service stays out unless `held` says otherwise.
    pub(super) fn change(
        self: &Arc<Self>,
        gone: &[PathBuf],
        loaded: Vec<(Loaded, PluginConfig)>,
        held: Held,
    ) -> Vec<Outcome> {
        let mut state = self.state();
        let mut stage = Stage::new(&state.served, &self.routes.load());
        for path in gone {
            stage.remove(path);
        }
        let incompatible = state.config.swap.incompatible;
        let mut outcomes = Vec::new();
        for (loaded, config) in loaded {
            let (name, path) = (plugin::name(&loaded.path), loaded.path.clone());
            if held == Held::Stays && state.held.contains_key(&name) {
                outcomes.push((path, Ok(())));
                continue;
            }
            let put = stage.put(loaded, config, incompatible);
            if put.is_ok() {
                state.held.remove(&name);
            }
            outcomes.push((path, put));
        }
        self.commit(&mut state, stage);
        for (path, outcome) in &outcomes {
            if outcome.is_ok() {
                state.refused.retain(|refused| refused.path != *path);
            }
        }
        state
            .refused
            .retain(|refused| !gone.contains(&refused.path));
        outcomes
    }

    /// Takes other settings, and plugins that were loaded with them, all or nothing.
    ///
    /// # Errors
    /// The plugin that does not fit.
    pub(super) fn change_settings(
        self: &Arc<Self>,
        config: Settings,
        loaded: Vec<(Loaded, PluginConfig)>,
    ) -> Result<(), Refused> {
        let mut state = self.state();
        let before = self.routes.load();
        let telemetry = self.engine.telemetry().clone();
        let mut routes = Routes::new(config.call.clone(), telemetry);
        for native in &state.natives {
            native.add_to(&mut routes, &config.plugin);
        }
        let mut stage = Stage::anew(routes, &before);
        for served in &state.served {
            stage.keep(served, config.of(served.name()));
        }
        for (loaded, own) in loaded {
            let path = loaded.path.clone();
            if state.held.contains_key(&plugin::name(&path)) {
                continue;
            }
            let put = stage.put(loaded, own, config.swap.incompatible);
            put.map_err(|error| Refused { path, error })?;
        }
        state.config = config;
        self.commit(&mut state, stage);
        Ok(())
    }

    /// Puts what was staged in force, tells those who answer for the host, and lets go of what was replaced.
    fn commit(self: &Arc<Self>, state: &mut State, stage: Stage) {
        let Stage {
            routes,
            served,
            new,
            old,
            removed,
            changed,
            ..
        } = stage;
        if !changed {
            return;
        }
        if let Some(health) = &self.health {
            for name in &removed {
                health.set(name, [], None);
            }
        }
        self.put_in_force(routes);
        self.changes.fetch_add(1, Ordering::Relaxed);
        state.served = served;
        if state.serving {
            self.count(&removed, &new, &old);
        }
        for name in &removed {
            tracing::info!(plugin = &**name, "plugin removed");
            if let Some(reflection) = &self.reflection {
                reflection.set(name, Vec::new(), None);
            }
        }
        for served in &new {
            self.tell_of(served);
            let before = old.iter().find(|old| old.name() == served.name());
            served.say_loaded(before.map(|before| before.digest));
            if state.serving {
                self.keep_up(served);
            }
        }
        for served in old {
            served.pool().replace();
            if state.serving {
                self.see_off(&served, state.config.swap.drain_timeout);
            }
        }
    }

    fn count(&self, removed: &[Arc<str>], new: &[Arc<Served>], old: &[Arc<Served>]) {
        let plugins = self.engine.telemetry().plugins();
        removed.iter().for_each(|_| plugins.changed("removed"));
        for served in new {
            let swapped = old.iter().any(|old| old.name() == served.name());
            plugins.changed(if swapped { "swapped" } else { "added" });
        }
    }

    fn tell_of(&self, served: &Served) {
        let (name, description) = (served.name(), &served.description);
        let services = description.services.iter().map(|service| &service.name);
        if let Some(health) = &self.health {
            let services = services.clone().map(String::as_str);
            health.set(name, services, Some(&served.pool().serving()));
        }
        if let Some(reflection) = &self.reflection {
            let descriptors = description.file_descriptor_set.as_ref();
            reflection.set(name, services.cloned().collect(), descriptors);
        }
    }

    fn keep_up(&self, served: &Served) {
        let upkeep = Pool::upkeep(Arc::downgrade(served.pool()));
        let upkeep = self.ended.clone().run_until_cancelled_owned(upkeep);
        drop(task::spawn_on(self.lanes.long(), upkeep));
    }

    /// Waits for the end of a version that was replaced, and brings it about when its time is up.
    fn see_off(&self, served: &Served, timeout: Duration) {
        let (name, digest) = (Arc::clone(served.name()), served.digest);
        let ending = served.ending.clone();
        let seen_off = async move {
            tokio::select! {
                () = ending.gone.cancelled() => {}
                () = sleep(timeout) => {
                    tracing::warn!(
                        plugin = &*name, %digest, ?timeout,
                        "calls still run on a version that was replaced: they are cancelled"
                    );
                    ending.cut.cancel();
                    ending.gone.cancelled().await;
                }
            }
            tracing::info!(plugin = &*name, %digest, "the last call of a version that was replaced or removed has ended");
        };
        let seen_off = self.ended.clone().run_until_cancelled_owned(seen_off);
        drop(task::spawn("swap", seen_off));
    }

    /// Calls may come from now on.
    pub(super) fn begin(&self) {
        let mut state = self.state();
        state.serving = true;
        for served in &state.served {
            self.keep_up(served);
        }
    }

    /// Notes that a file is not served, and says so.
    pub(super) fn refuse(&self, path: PathBuf, error: PluginError) {
        let mut state = self.state();
        let kept = state.served.iter().any(|served| served.path == path);
        let refused = Arc::new(Refused { path, error });
        let plugins = self.engine.telemetry().plugins();
        plugins.refused();
        if state.serving {
            plugins.changed("refused");
        }
        if kept {
            tracing::error!("plugin refused, the version before it goes on: {refused}");
        } else {
            tracing::error!("plugin refused: {refused}");
        }
        state.refused.retain(|known| known.path != refused.path);
        state.refused.push(refused);
    }

    /// Forgets that a file was refused: it is what is served again.
    pub(super) fn accept(&self, path: &Path) {
        self.state().refused.retain(|known| known.path != path);
    }

    pub(super) fn refused(&self) -> Vec<Arc<Refused>> {
        self.state().refused.clone()
    }

    /// Takes the plugin of this name out of service until somebody wants it back; false if there is none.
    pub(super) fn hold(self: &Arc<Self>, name: &str) -> bool {
        let mut state = self.state();
        let served = state.served.iter().find(|of| &**of.name() == name);
        let Some((name, path)) = served.map(|of| (Arc::clone(of.name()), of.path.clone())) else {
            return state.held.contains_key(name);
        };
        let mut stage = Stage::new(&state.served, &self.routes.load());
        stage.remove(&path);
        self.commit(&mut state, stage);
        state.refused.retain(|refused| refused.path != path);
        state.held.insert(name, path);
        true
    }

    /// The plugins that were taken out of service, by their names, and where they came from.
    pub(super) fn held(&self) -> Vec<(Arc<str>, PathBuf)> {
        let state = self.state();
        let held = state.held.iter();
        held.map(|(name, path)| (Arc::clone(name), path.clone()))
            .collect()
    }

    /// Whether the plugin of this name was taken out of service.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.state().held.contains_key(name)
    }

    /// How often what is served has changed.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Where the plugin of this name comes from, also if it was taken out of service.
    pub(super) fn path_of(&self, name: &str) -> Option<PathBuf> {
        let state = self.state();
        let mut served = state.served.iter();
        let served = served.find(|of| &**of.name() == name);
        let path = served.map(|of| &of.path).or_else(|| state.held.get(name));
        path.cloned()
    }

    /// The plugin of this name.
    pub(super) fn find(&self, name: &str) -> Option<Arc<Served>> {
        let state = self.state();
        let mut served = state.served.iter();
        served.find(|served| &**served.name() == name).cloned()
    }

    pub(super) fn stats(&self, name: &str) -> Option<PoolStats> {
        self.find(name).map(|served| served.pool().stats())
    }

    /// A method that is named with an error in its name would be set apart from nothing, silently.
    pub(super) fn say_what_is_not_served(&self) {
        for path in self.not_served() {
            tracing::warn!(path, "a method that the configuration names is not served");
        }
    }

    /// Methods, and services as `/package.Service/*`, that the configuration names and nobody serves.
    pub(super) fn not_served(&self) -> Vec<String> {
        let state = self.state();
        let routes = self.routes.load();
        let configs = state.config.plugins.values();
        let configs = configs.chain(std::iter::once(&state.config.plugin));
        // Once each: what is set for all plugins is in the configuration of every one that has its own.
        let named: BTreeSet<&String> = configs
            .flat_map(|of| {
                let methods = of.priority_methods.iter().chain(&of.long_methods);
                methods.chain(of.messages.of.keys())
            })
            .collect();
        let served = |path: &str| {
            let service = path
                .strip_prefix('/')
                .and_then(|path| path.strip_suffix("/*"));
            match service {
                Some(service) => routes.clash(std::iter::once(service), None).is_some(),
                None => routes.find(path).is_some(),
            }
        };
        let missing = named.into_iter().filter(|path| !served(path));
        missing.cloned().collect()
    }
}

impl Native {
    fn add_to(&self, routes: &mut Routes, config: &PluginConfig) {
        if self.built_in {
            routes.add_built_in(&self.service, config);
        } else {
            routes.add_native(&self.service, config);
        }
    }
}

/// What switches off a service of the host's own.
pub(super) fn switch(service: &str) -> &'static str {
    if service == HEALTH {
        "--health-off"
    } else {
        "--reflection-off"
    }
}
