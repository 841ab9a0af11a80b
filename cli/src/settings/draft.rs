//! A configuration while it is being put together, and what becomes of it.
//!
//! The table's entries point into [`Draft`] and [`PluginDraft`]; `load` fills them and calls
//! [`Draft::finish`]. Invariant: nothing is missing here because it is switched off: a section keeps its
//! values beside its switch, so that the order in which they are set does not matter.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use switchboard_host::{
    CacheConfig, ClientCertificate, ConfigError, FolderGrant, HealthConfig, HostConfig,
    MessageLimits, PluginConfig, PoolArgs, PoolConfig, QuarantineConfig, ReflectionConfig,
    TlsConfig, TlsVersion, TraceConfig, TunnelConfig, WatchConfig, WebConfig,
};

/// What is served if nothing is named.
pub(crate) const DEFAULT_FOLDER: &str = "plugins";

/// Everything that can be set, by default as it is by default.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// But for what is beside it here.
    pub host: HostConfig,
    /// What every plugin gets.
    pub plugin: PluginDraft,
    pub tunnel: TunnelConfig,
    pub tunnel_enabled: bool,
    pub web: WebConfig,
    pub web_enabled: bool,
    pub health: HealthConfig,
    pub health_enabled: bool,
    pub reflection: ReflectionConfig,
    pub reflection_enabled: bool,
    pub watch: WatchConfig,
    pub watch_enabled: bool,
    /// The folder of compiled plugins; none: they are kept nowhere.
    pub cache_folder: Option<PathBuf>,
    pub cache_bytes_max: u64,
    pub tls: TlsDraft,
    pub paths: Vec<PathBuf>,
    pub addresses: Vec<String>,
    pub unix_mode: u32,
    pub tokens: Option<PathBuf>,
    pub log: String,
    pub log_format: LogFormat,
    /// Of the admin listener; or [`NONE`].
    pub admin: String,
    /// Of the collector; or [`NONE`].
    pub otlp_endpoint: String,
    pub otlp_headers: Option<PathBuf>,
    pub otlp_ca: Option<PathBuf>,
    /// A number, as it is written.
    pub trace_sample: String,
    pub workers: Option<NonZeroU32>,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Human,
    /// For machines.
    Json,
    /// For whoever seems to read it.
    Auto,
}

/// Stands for an address that there is not to be.
const NONE: &str = "none";

/// What can be set for one plugin.
#[derive(Clone, Debug)]
pub(crate) struct PluginDraft {
    /// But for what is beside it here.
    pub config: PluginConfig,
    pub quarantine: QuarantineConfig,
    pub quarantine_enabled: bool,
    /// By default it follows from the mode.
    pub warm_min: Option<u32>,
    pub method_request_max: BTreeMap<String, usize>,
    pub method_response_max: BTreeMap<String, usize>,
    /// Granted folders by the plugin's paths: for reading, and for writing too.
    pub folders_read: BTreeMap<String, PathBuf>,
    pub folders_write: BTreeMap<String, PathBuf>,
}

/// TLS, whose files may not be named yet.
#[derive(Clone, Debug)]
pub(crate) struct TlsDraft {
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub client_ca: Option<PathBuf>,
    pub version_min: TlsVersion,
    pub client_certificate: ClientCertificate,
    pub reload_interval: Duration,
}

/// What a command goes by.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    pub host: HostConfig,
    /// Of plugins that have a section of their own.
    pub plugins: HashMap<String, PluginConfig>,
    pub tls: Option<TlsConfig>,
    pub paths: Vec<PathBuf>,
    pub addresses: Vec<String>,
    pub unix_mode: u32,
    /// The file of the tunnel's tokens.
    pub tokens: Option<PathBuf>,
    pub log: String,
    pub log_format: LogFormat,
    /// Where the admin listener is; none if there is to be none.
    pub admin: Option<String>,
    /// Which calls are traced; none if none are.
    pub traces: Option<TraceConfig>,
    /// The file of headers for the collector.
    pub otlp_headers: Option<PathBuf>,
}

/// A fault of values that each are right by themselves, in the host's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CrossFault {
    /// The plugin whose section it is about.
    pub plugin: Option<String>,
    pub text: String,
}

impl Default for Draft {
    fn default() -> Self {
        let host = HostConfig::default();
        Self {
            plugin: PluginDraft::default(),
            tunnel_enabled: host.tunnel.is_some(),
            tunnel: host.tunnel.clone().unwrap_or_default(),
            web_enabled: host.web.is_some(),
            web: host.web.clone().unwrap_or_default(),
            health_enabled: host.health.is_some(),
            health: host.health.unwrap_or_default(),
            reflection_enabled: host.reflection.is_some(),
            reflection: host.reflection.unwrap_or_default(),
            watch_enabled: host.watch.is_some(),
            watch: host.watch.clone().unwrap_or_default(),
            cache_folder: host.cache.clone().map(|cache| cache.folder),
            cache_bytes_max: CacheConfig::new("").bytes_max,
            tls: TlsDraft::default(),
            paths: vec![DEFAULT_FOLDER.into()],
            addresses: vec!["127.0.0.1:50051".to_owned()],
            // The host's own user.
            unix_mode: 0o600,
            tokens: None,
            log: "info".to_owned(),
            log_format: LogFormat::Human,
            admin: NONE.to_owned(),
            otlp_endpoint: NONE.to_owned(),
            otlp_headers: None,
            otlp_ca: None,
            trace_sample: TraceConfig::new("").sample.to_string(),
            workers: host.lane.workers,
            host,
        }
    }
}

impl Default for PluginDraft {
    fn default() -> Self {
        let config = PluginConfig::default();
        Self {
            quarantine_enabled: config.pool.quarantine.is_some(),
            quarantine: config.pool.quarantine.unwrap_or_default(),
            warm_min: None,
            method_request_max: BTreeMap::new(),
            method_response_max: BTreeMap::new(),
            folders_read: BTreeMap::new(),
            folders_write: BTreeMap::new(),
            config,
        }
    }
}

impl Default for TlsDraft {
    fn default() -> Self {
        let default = TlsConfig::new("", "");
        Self {
            certificate: None,
            key: None,
            client_ca: default.client_ca,
            version_min: default.version_min,
            client_certificate: default.client_certificate,
            reload_interval: default.reload_interval,
        }
    }
}

impl Draft {
    /// The configuration, and every fault of values that do not go together.
    ///
    /// `plugins` are the drafts of plugins with a section of their own. With faults the configuration is good
    /// for nothing but to be looked at.
    pub(crate) fn finish(
        &self,
        plugins: &BTreeMap<String, PluginDraft>,
    ) -> (Configuration, Vec<CrossFault>) {
        let mut faults = Faults::default();
        let mut host = self.host.clone();
        host.plugin = faults.take(None, self.plugin.finish());
        host.lane.workers = self.workers;
        host.tunnel = self.tunnel_enabled.then(|| self.tunnel.clone());
        host.web = self.web_enabled.then(|| self.web.clone());
        host.health = self.health_enabled.then_some(self.health);
        host.reflection = self.reflection_enabled.then_some(self.reflection);
        host.watch = self.watch_enabled.then(|| self.watch.clone());
        host.cache = self.cache_folder.as_ref().map(|folder| CacheConfig {
            folder: folder.clone(),
            bytes_max: self.cache_bytes_max,
        });
        if let Err(ConfigError(found)) = host.check() {
            faults.add(None, found);
        }
        faults.add(None, self.contradictions());
        let mut own = HashMap::new();
        for (name, draft) in plugins {
            let config = faults.take(Some(name), draft.finish());
            if let Err(ConfigError(found)) = config.check(&host.engine) {
                faults.add(Some(name), found);
            }
            own.insert(name.clone(), config);
        }
        let configuration = Configuration {
            host,
            plugins: own,
            tls: self.tls.finish(),
            paths: self.paths.clone(),
            addresses: self.addresses.clone(),
            unix_mode: self.unix_mode,
            tokens: self.tokens.clone().filter(|_| self.tunnel_enabled),
            log: self.log.clone(),
            log_format: self.log_format,
            admin: (self.admin != NONE).then(|| self.admin.clone()),
            traces: self.traces(),
            otlp_headers: self.otlp_headers.clone(),
        };
        if let Some(Err(ConfigError(found))) = configuration.traces.as_ref().map(TraceConfig::check)
        {
            faults.add(None, found);
        }
        (configuration, faults.0)
    }

    fn traces(&self) -> Option<TraceConfig> {
        let mut config = TraceConfig::new(&self.otlp_endpoint);
        // What is no number is a fault, and then nothing is made of this.
        config.sample = self.trace_sample.parse().unwrap_or_default();
        config.ca.clone_from(&self.otlp_ca);
        (self.otlp_endpoint != NONE).then_some(config)
    }

    /// What is set and has nothing to do, or is missing. Names between backticks are keys.
    fn contradictions(&self) -> Vec<String> {
        let default = Self::default();
        let (tls, plain) = (&self.tls, &default.tls);
        let mut found = Vec::new();
        match (&tls.certificate, &tls.key) {
            (Some(_), None) => found.push("`tls.cert` needs `tls.key`"),
            (None, Some(_)) => found.push("`tls.key` needs `tls.cert`"),
            (Some(_), Some(_)) => {}
            (None, None) => {
                let idle = [
                    (
                        tls.version_min != plain.version_min,
                        "`tls.min` needs `tls.cert`",
                    ),
                    (tls.client_ca.is_some(), "`tls.client_ca` needs `tls.cert`"),
                    (
                        tls.reload_interval != plain.reload_interval,
                        "`tls.reload_interval` needs `tls.cert`",
                    ),
                ];
                found.extend(idle.iter().filter(|(idle, _)| *idle).map(|(_, text)| *text));
            }
        }
        if tls.client_ca.is_none() && tls.client_certificate != plain.client_certificate {
            found.push("`tls.client` needs `tls.client_ca`");
        }
        if self.tunnel.cookie.is_some() && self.tokens.is_none() && self.tunnel_enabled {
            found.push("`tunnel.cookie` needs `tunnel.tokens`");
        }
        if self.web.credentials && self.web.origins == default.web.origins && self.web_enabled {
            found.push("`web.credentials` needs other `web.origins` than this host's own pages");
        }
        let sample = &self.trace_sample;
        if *sample != default.trace_sample && self.otlp_endpoint == NONE {
            found.push("`telemetry.trace_sample` needs `telemetry.otlp_endpoint`");
        }
        if self.otlp_headers.is_some() && self.otlp_endpoint == NONE {
            found.push("`telemetry.otlp_headers` needs `telemetry.otlp_endpoint`");
        }
        if self.otlp_ca.is_some() && self.otlp_endpoint == NONE {
            found.push("`telemetry.otlp_ca` needs `telemetry.otlp_endpoint`");
        }
        let number = sample.parse::<f64>().is_ok_and(f64::is_finite);
        let sample = (!number).then(|| {
            format!("`telemetry.trace_sample` {sample:?} is no number: write it like 0.01")
        });
        let admin = Some(&self.admin).filter(|admin| *admin != NONE);
        let admin = admin.and_then(|admin| super::host_port_fault(admin));
        let admin = admin.map(|fault| format!("`admin.listen` {fault}"));
        let mut same = self.addresses.iter();
        let same = same.find(|address| super::address::clash(address, &self.admin));
        let same = same.map(|address| {
            let admin = &self.admin;
            format!("`admin.listen` {admin} takes the port of `listeners.addresses` {address}")
        });
        let addresses = super::address::faults(&self.addresses).into_iter();
        let addresses = addresses.map(|fault| format!("`listeners.addresses` {fault}"));
        let found = found.into_iter().map(str::to_owned);
        let found = found.chain(addresses).chain(admin);
        found.chain(same).chain(sample).collect()
    }
}

impl PluginDraft {
    /// The plugin's configuration; the pool may have faults.
    fn finish(&self) -> (PluginConfig, Result<PoolConfig, ConfigError>) {
        let pool = &self.config.pool;
        let args = PoolArgs {
            mode: Some(pool.mode),
            stores_max: Some(pool.stores_max.get()),
            streams_max: Some(pool.streams_max),
            priority_stores: Some(pool.priority_stores),
            waiting_max: Some(pool.waiting_max),
            wait_max: Some(pool.wait_max),
            warm_min: self.warm_min,
            calls_max: Some(pool.calls_max),
            age_max: Some(pool.age_max),
            memory_retire_bytes: Some(pool.memory_retire_bytes),
            quarantine: Some(self.quarantine_enabled.then_some(self.quarantine)),
        };
        let mut config = self.config.clone();
        let of = &mut config.messages.of;
        for (path, bytes) in &self.method_request_max {
            limits(of, path).request_bytes_max = Some(*bytes);
        }
        for (path, bytes) in &self.method_response_max {
            limits(of, path).response_bytes_max = Some(*bytes);
        }
        let read = self.folders_read.iter();
        let read = read.map(|(path, folder)| FolderGrant::read_only(folder, path));
        let write = self.folders_write.iter();
        let write = write.map(|(path, folder)| FolderGrant::read_write(folder, path));
        config.grants.folders = read.chain(write).collect();
        (config, PoolConfig::try_from(args))
    }
}

fn limits<'a>(of: &'a mut BTreeMap<String, MessageLimits>, path: &str) -> &'a mut MessageLimits {
    of.entry(path.to_owned()).or_default()
}

impl TlsDraft {
    /// TLS, if its files are named.
    fn finish(&self) -> Option<TlsConfig> {
        let mut config = TlsConfig::new(self.certificate.as_ref()?, self.key.as_ref()?);
        config.version_min = self.version_min;
        config.client_ca.clone_from(&self.client_ca);
        config.client_certificate = self.client_certificate;
        config.reload_interval = self.reload_interval;
        Some(config)
    }
}

#[derive(Default)]
struct Faults(Vec<CrossFault>);

impl Faults {
    fn add(&mut self, plugin: Option<&String>, texts: Vec<String>) {
        for text in texts {
            let plugin = plugin.cloned();
            let fault = CrossFault { plugin, text };
            if !self.0.contains(&fault) {
                self.0.push(fault);
            }
        }
    }

    /// The plugin's configuration with its pool, if that has no faults.
    fn take(
        &mut self,
        plugin: Option<&String>,
        (mut config, pool): (PluginConfig, Result<PoolConfig, ConfigError>),
    ) -> PluginConfig {
        match pool {
            Ok(pool) => config.pool = pool,
            Err(ConfigError(found)) => self.add(plugin, found),
        }
        config
    }
}
