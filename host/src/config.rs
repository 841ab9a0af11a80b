//! What an operator may set: `*Args` as typed, `*Config` checked.
//!
//! A leaf. Every value has its unit in its name or type, a default with its source, and what
//! happens at the limit. What does not make sense is reported all at once: by `PoolConfig::try_from`
//! and by [`HostConfig::check`], which `HostBuilder::build` calls. Reading flags, files and the environment is `cli`'s business.
//! What belongs to connections, HTTP/1.1, the tunnel and gRPC-Web is in the files below.

mod buffers;
mod cache;
mod compression;
mod connection;
mod destination;
mod files;
mod grants;
mod health;
mod http1;
mod limits;
mod messages;
mod network;
mod origin;
mod pings;
mod quarantine;
mod swap;
mod tls;
mod tunnel;
mod web;

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::time::Duration;

use crate::error::ConfigError;
pub use buffers::BufferConfig;
pub use cache::CacheConfig;
pub use compression::{CompressionConfig, Encoding, EncodingError};
pub use connection::ConnectionConfig;
pub use destination::{Destination, DestinationError};
pub use files::FilesConfig;
pub use grants::{FolderGrant, GrantsConfig};
pub use health::{HealthConfig, ReflectionConfig};
pub use http1::Http1Config;
pub use limits::{LimitsConfig, LogLimits};
pub(crate) use messages::MessageMax;
pub use messages::{MessageLimits, MessagesConfig};
pub use network::{Network, NetworkError};
pub use origin::{Origin, OriginError, OriginRule};
pub use pings::PingConfig;
pub use quarantine::QuarantineConfig;
pub use swap::{SwapConfig, WatchConfig};
pub use tls::{ClientCertificate, TlsConfig, TlsVersion};
pub use tunnel::{DrainClose, TunnelConfig};
pub use web::WebConfig;

/// How the instances of a plugin are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// An instance serves one call after the other. The default.
    #[default]
    Reuse,
    /// Every call gets an instance that has served none before. Costs 7 to 10 us of CPU a call.
    Fresh,
}

/// Limits of one plugin's pool, as typed. `None` takes the default.
#[derive(Clone, Debug, Default)]
pub struct PoolArgs {
    /// See [`PoolConfig::mode`].
    pub mode: Option<Mode>,
    /// See [`PoolConfig::stores_max`].
    pub stores_max: Option<u32>,
    /// See [`PoolConfig::streams_max`].
    pub streams_max: Option<u32>,
    /// See [`PoolConfig::priority_stores`].
    pub priority_stores: Option<u32>,
    /// See [`PoolConfig::waiting_max`].
    pub waiting_max: Option<u32>,
    /// See [`PoolConfig::wait_max`].
    pub wait_max: Option<Duration>,
    /// See [`PoolConfig::warm_min`].
    pub warm_min: Option<u32>,
    /// See [`PoolConfig::calls_max`].
    pub calls_max: Option<u64>,
    /// See [`PoolConfig::age_max`].
    pub age_max: Option<Duration>,
    /// See [`PoolConfig::memory_retire_bytes`].
    pub memory_retire_bytes: Option<usize>,
    /// See [`PoolConfig::quarantine`]; the inner `None` is "never".
    pub quarantine: Option<Option<QuarantineConfig>>,
}

/// Limits of one plugin's pool, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Whether instances are used again. Default: [`Mode::Reuse`].
    pub mode: Mode,
    /// Unary calls at once, each in an instance of its own. Count; default 64: enough to keep
    /// both cores of a small machine busy with calls of 1 ms at 60 000 a second. At the limit a
    /// call waits in line. Memory: at most `memory_bytes_max` for each.
    pub stores_max: NonZeroU32,
    /// Streaming calls at once, counted apart from `stores_max` so that streams cannot starve
    /// unary calls. Count; default 64. At the limit a call waits in line. 0 allows none.
    pub streams_max: u32,
    /// Of `stores_max`, how many only priority methods may use. Count; default 0.
    pub priority_stores: u32,
    /// Calls that may wait for an instance, in each lane: unary and streaming, with priority and
    /// without. Count; default 1024. At the limit a call is refused with `RESOURCE_EXHAUSTED` at once.
    pub waiting_max: u32,
    /// Longest wait for an instance; a caller's deadline that is sooner wins. Default 1 s. At the
    /// limit the call is refused with `RESOURCE_EXHAUSTED`.
    pub wait_max: Duration,
    /// Instances kept ready. Count; default 1, with mode `fresh` 0. They are made at load and after one is discarded.
    pub warm_min: u32,
    /// Calls after which an instance is retired. Count; default 1 000 000.
    pub calls_max: u64,
    /// Age at which an instance is retired, looked at when it is returned and, while it is idle,
    /// four times within that age. Default 1 h.
    pub age_max: Duration,
    /// Linear memory above which an instance is retired after its call, in bytes. Default 16 MiB
    /// (what the Go original recycled at).
    pub memory_retire_bytes: usize,
    /// When a plugin that keeps failing is left alone. None: never, all its calls are tried.
    pub quarantine: Option<QuarantineConfig>,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Reuse,
            stores_max: NonZeroU32::new(64).expect("64 is not zero"),
            streams_max: 64,
            priority_stores: 0,
            waiting_max: 1024,
            wait_max: Duration::from_secs(1),
            warm_min: 1,
            calls_max: 1_000_000,
            age_max: Duration::from_secs(3600),
            memory_retire_bytes: 16 << 20,
            quarantine: Some(QuarantineConfig::default()),
        }
    }
}

impl TryFrom<PoolArgs> for PoolConfig {
    type Error = ConfigError;

    fn try_from(args: PoolArgs) -> Result<Self, ConfigError> {
        let default = Self::default();
        let mut faults = Vec::new();
        let stores_max = match args.stores_max.map(NonZeroU32::new) {
            None => default.stores_max,
            Some(Some(count)) => count,
            Some(None) => {
                faults.push("stores_max must be 1 or more".to_owned());
                default.stores_max
            }
        };
        let mode = args.mode.unwrap_or(default.mode);
        // An instance made in advance for one call costs as much as one made for the call, and a
        // thread change besides.
        let warm_min = if mode == Mode::Fresh {
            0
        } else {
            default.warm_min
        };
        let config = Self {
            mode,
            stores_max,
            streams_max: args.streams_max.unwrap_or(default.streams_max),
            priority_stores: args.priority_stores.unwrap_or(default.priority_stores),
            waiting_max: args.waiting_max.unwrap_or(default.waiting_max),
            wait_max: args.wait_max.unwrap_or(default.wait_max),
            warm_min: args.warm_min.unwrap_or(warm_min),
            calls_max: args.calls_max.unwrap_or(default.calls_max),
            age_max: args.age_max.unwrap_or(default.age_max),
            memory_retire_bytes: args
                .memory_retire_bytes
                .unwrap_or(default.memory_retire_bytes),
            quarantine: args.quarantine.unwrap_or(default.quarantine),
        };
        if config.priority_stores >= config.stores_max.get() {
            faults.push(format!(
                "priority_stores must be below stores_max ({}), or other calls never run",
                config.stores_max
            ));
        }
        if config.warm_min > config.stores_max.get() {
            faults.push(format!(
                "warm_min must be at most stores_max ({})",
                config.stores_max
            ));
        }
        faults.extend(config.quarantine.iter().flat_map(QuarantineConfig::faults));
        if config.calls_max == 0 {
            faults.push("calls_max must be 1 or more".to_owned());
        }
        if config.age_max.is_zero() {
            faults.push("age_max must be above zero".to_owned());
        }
        if faults.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError(faults))
        }
    }
}

/// What the host grants and allows one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginConfig {
    /// Its pool.
    pub pool: PoolConfig,
    /// Paths (`/package.Service/Method`) whose unary calls may use the pool's `priority_stores`
    /// and go first in its line.
    pub priority_methods: BTreeSet<String>,
    /// Paths whose calls run on the long lane from the start, instead of being moved there after
    /// they were measured.
    pub long_methods: BTreeSet<String>,
    /// Compression of its responses.
    pub compression: CompressionConfig,
    /// Largest messages, where they differ from those of all calls.
    pub messages: MessagesConfig,
    /// What it may do beside computing. Default: nothing.
    pub grants: GrantsConfig,
    /// How much it may use, where that differs from what all plugins may.
    pub limits: LimitsConfig,
}

impl PluginConfig {
    /// Whether a plugin that was loaded with the one must be loaded anew to have the other: instances have their
    /// part of it for life.
    pub(crate) fn needs_new_instances(&self, other: &Self) -> bool {
        // How long a call may take, the route knows.
        let limits = LimitsConfig {
            timeout_max: other.limits.timeout_max,
            ..self.limits.clone()
        };
        self.pool != other.pool || self.grants != other.grants || limits != other.limits
    }

    /// Checks what the types leave open, and what this engine has room for. [`HostConfig::check`] does so for what
    /// every plugin gets.
    ///
    /// # Errors
    /// [`ConfigError`] with all faults at once.
    pub fn check(&self, engine: &EngineConfig) -> Result<(), ConfigError> {
        let faults: Vec<_> = self.faults(engine).collect();
        if faults.is_empty() {
            Ok(())
        } else {
            Err(ConfigError(faults))
        }
    }

    /// A fault for each value that makes no sense.
    fn faults(&self, engine: &EngineConfig) -> impl Iterator<Item = String> {
        self.wrong_methods()
            .chain(self.compression.faults())
            .chain(self.messages.faults())
            .chain(self.grants.faults())
            .chain(self.limits.faults(engine))
    }

    /// A fault for each path that can be no method's.
    fn wrong_methods(&self) -> impl Iterator<Item = String> {
        let of_messages = self.messages.of.keys().collect();
        let is_method = |path: &str| {
            let parts = path.strip_prefix('/').and_then(|rest| rest.split_once('/'));
            parts.is_some_and(|(service, method)| {
                !service.is_empty() && !method.is_empty() && !method.contains('/')
            })
        };
        let named: [(_, Vec<&String>); 3] = [
            ("priority_methods", self.priority_methods.iter().collect()),
            ("long_methods", self.long_methods.iter().collect()),
            ("messages", of_messages),
        ];
        named.into_iter().flat_map(move |(field, paths)| {
            let wrong = paths.into_iter().filter(move |path| !is_method(path));
            wrong.map(move |path| {
                format!("{field}: {path:?} is no method, write /package.Service/Method")
            })
        })
    }
}

/// Limits of the WebAssembly engine, over all plugins.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Instances alive at once over all plugins. Count; default 1000. At the limit a call that
    /// needs a new one is refused with `RESOURCE_EXHAUSTED`. Reserves about 4 GiB of address
    /// space for each, and keeps at most 4 MiB resident for each that was ever used.
    pub instances_max: NonZeroU32,
    /// Linear memory of one instance, in bytes. Default 64 MiB. A guest that asks for more is
    /// told there is none.
    pub memory_bytes_max: usize,
    /// Elements in all tables of one instance. Count; default 20 000.
    pub table_elements_max: usize,
    /// Stack of a guest, in bytes. Default 512 KiB (wasmtime's). Deeper recursion is a trap.
    pub stack_bytes_max: usize,
    /// How often a guest that computes lets others run. Default 1 ms: with it a spinning
    /// neighbour costs a short call 0.3 ms at the 99th percentile, with 10 ms up to 70 ms.
    pub tick: Duration,
    /// Largest plugin file, in bytes. Default 64 MiB.
    pub file_bytes_max: u64,
    /// Functions of one plugin, all its modules together. Count; default 100 000, which take 0.7 GiB to compile. A
    /// file with more is refused.
    pub functions_max: usize,
    /// Largest function of a plugin, in bytes. Default 1 MiB; interpreters have loops of 300 KiB. Compiling one
    /// takes up to 0.5 GiB, and time that can grow with its square. A file with a larger one is refused.
    pub function_bytes_max: usize,
    /// Longest time to compile a plugin. Default 60 s: large ones take some seconds. At the limit the file is
    /// refused; the compilation runs on, at the lowest priority, because it cannot be ended.
    pub compile_timeout: Duration,
    /// Longest time `describe` may take. Default 5 s: it takes microseconds, but on a busy machine it may wait for its turn.
    pub describe_timeout: Duration,
    /// Whether instances get their memory from the kernel one by one, as wasmtime has it without a pool of them.
    /// Default false. For a rung of the ladder, to say what the pool is worth; no API.
    #[cfg(feature = "ladder")]
    #[doc(hidden)]
    pub on_demand: bool,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            instances_max: NonZeroU32::new(1000).expect("1000 is not zero"),
            memory_bytes_max: 64 << 20,
            table_elements_max: 20_000,
            stack_bytes_max: 512 << 10,
            tick: Duration::from_millis(1),
            file_bytes_max: 64 << 20,
            functions_max: 100_000,
            function_bytes_max: 1 << 20,
            compile_timeout: Duration::from_secs(60),
            describe_timeout: Duration::from_secs(5),
            #[cfg(feature = "ladder")]
            on_demand: false,
        }
    }
}

/// Largest message that a plugin can be allowed to hand over, in bytes: wasmtime lets 128 MiB pass
/// from a guest at once, message and metadata together, and traps above it.
const RESPONSE_BYTES_MAX: u64 = 127 << 20;

/// Limits of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallConfig {
    /// Largest request message, in bytes. Default 4 MiB, as other gRPC servers have it. Larger:
    /// `RESOURCE_EXHAUSTED`, before the plugin is entered.
    pub request_bytes_max: usize,
    /// Largest response message, in bytes, 127 MiB at most. Default 4 MiB. Larger:
    /// `RESOURCE_EXHAUSTED`, or `too-large` for a plugin that streams.
    pub response_bytes_max: usize,
    /// Metadata of a call in each direction, in bytes as HTTP/2 counts them (name, value and 32).
    /// Default 16 KiB. Larger: `RESOURCE_EXHAUSTED`.
    pub metadata_bytes_max: usize,
    /// Longest time a call may take; a caller's deadline that is sooner wins. Default: none.
    pub timeout_max: Option<Duration>,
    /// Time a plugin has to notice that its call is over before its instance is dropped. Default
    /// 5 ms: an instance that was cancelled is dropped anyway, so this only buys a clean end.
    pub cancel_grace: Duration,
}

impl Default for CallConfig {
    fn default() -> Self {
        Self {
            request_bytes_max: 4 << 20,
            response_bytes_max: 4 << 20,
            metadata_bytes_max: 16 << 10,
            timeout_max: None,
            cancel_grace: Duration::from_millis(5),
        }
    }
}

/// Most threads of a lane. Count: four for each core of the largest machines, and less than a service
/// manager lets one program have.
const WORKERS_MAX: u32 = 1024;

/// Who runs a call; see `lane`.
#[derive(Clone, Debug)]
pub struct LaneConfig {
    /// Threads for long calls, 1024 at most. Default: the cores of the machine. Those for connections and short
    /// calls are the runtime's on which the host serves.
    pub workers: Option<NonZeroU32>,
    /// CPU time above which a method counts as long. Default 100 us: moving calls of 20 us to
    /// another thread costs more than it gains, moving calls of 100 us pays.
    pub long_after: Duration,
    /// Niceness of the threads for long calls, 0 to 19. Default 10.
    pub long_niceness: u8,
}

impl Default for LaneConfig {
    fn default() -> Self {
        Self {
            workers: None,
            long_after: Duration::from_micros(100),
            long_niceness: 10,
        }
    }
}

/// Everything a host needs to know.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// The WebAssembly engine.
    pub engine: EngineConfig,
    /// What every plugin gets.
    pub plugin: PluginConfig,
    /// Limits of calls.
    pub call: CallConfig,
    /// Limits of connections.
    pub connection: ConnectionConfig,
    /// Limits of what waits in the host, over all connections.
    pub buffer: BufferConfig,
    /// Limits of connections that speak HTTP/1.1.
    pub http1: Http1Config,
    /// The tunnel. None: there is none, and the port serves gRPC only.
    pub tunnel: Option<TunnelConfig>,
    /// gRPC-Web. None: there is none, and its calls are answered with 415.
    pub web: Option<WebConfig>,
    /// Folders that are served to browsers. Default: none.
    pub files: Vec<FilesConfig>,
    /// Who runs a call.
    pub lane: LaneConfig,
    /// `grpc.health.v1.Health`. None: it is not served, and a plugin may.
    pub health: Option<HealthConfig>,
    /// `grpc.reflection.v1` and `v1alpha`. None: nobody is told what the services and their messages are.
    pub reflection: Option<ReflectionConfig>,
    /// Where compiled plugins are kept. None: nowhere, and they are compiled at each start.
    pub cache: Option<CacheConfig>,
    /// What happens to a version of a plugin when another takes its place.
    pub swap: SwapConfig,
    /// How plugin files are looked at for changes. None: they are not, and stay as they were at the start.
    pub watch: Option<WatchConfig>,
    /// How long the host goes on after it was told to stop and says that it is not serving, before it
    /// drains: balancers that ask for health now and then must see it before connections are refused.
    /// Default 0: without it those who watch are told all the same.
    pub drain_notice: Duration,
    /// How long running calls may take to end once the host stops. Default 30 s, as Kubernetes
    /// waits. At the limit they are cancelled.
    pub drain_timeout: Duration,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            engine: EngineConfig::default(),
            plugin: PluginConfig::default(),
            call: CallConfig::default(),
            connection: ConnectionConfig::default(),
            buffer: BufferConfig::default(),
            http1: Http1Config::default(),
            tunnel: Some(TunnelConfig::default()),
            web: Some(WebConfig::default()),
            files: Vec::new(),
            lane: LaneConfig::default(),
            health: Some(HealthConfig::default()),
            reflection: Some(ReflectionConfig::default()),
            cache: None,
            swap: SwapConfig::default(),
            watch: Some(WatchConfig::default()),
            drain_notice: Duration::ZERO,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl HostConfig {
    /// Checks what the types leave open.
    ///
    /// # Errors
    /// [`ConfigError`] with all faults at once.
    pub fn check(&self) -> Result<(), ConfigError> {
        let engine = &self.engine;
        let mut faults = self.sizes_out_of_range();
        if let Some(workers) = self.lane.workers.filter(|count| count.get() > WORKERS_MAX) {
            faults.push(format!("workers must be 1 to {WORKERS_MAX}, not {workers}"));
        }
        faults.extend(above_zero(&[
            ("tick", engine.tick),
            ("compile_timeout", engine.compile_timeout),
            (
                "timeout_max",
                self.call.timeout_max.unwrap_or(Duration::MAX),
            ),
        ]));
        faults.extend(self.plugin.faults(engine));
        faults.extend(self.cached(&self.plugin));
        faults.extend(self.connection.faults(&self.call));
        faults.extend(self.buffer.faults());
        faults.extend(self.http1.faults());
        faults.extend(self.swap.faults());
        faults.extend(self.watch.iter().flat_map(WatchConfig::faults));
        if let Some(tunnel) = &self.tunnel {
            faults.extend(tunnel.faults(&self.http1));
        }
        faults.extend(self.web.as_ref().and_then(WebConfig::faults));
        faults.extend(FilesConfig::faults(&self.files, self.tunnel.as_ref()));
        if faults.is_empty() {
            Ok(())
        } else {
            Err(ConfigError(faults))
        }
    }

    /// Checks it together with what single plugins get.
    ///
    /// # Errors
    /// [`ConfigError`] with all faults at once.
    pub(crate) fn check_with(
        &self,
        plugins: &HashMap<String, PluginConfig>,
    ) -> Result<(), ConfigError> {
        let checked = self.check();
        let mut faults = checked
            .err()
            .map_or_else(Vec::new, |ConfigError(faults)| faults);
        let mut plugins: Vec<_> = plugins.iter().collect();
        plugins.sort_by_key(|(name, _)| *name);
        for (name, config) in plugins {
            let own = config.faults(&self.engine).chain(self.cached(config));
            faults.extend(own.map(|fault| format!("plugin {name}: {fault}")));
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(ConfigError(faults))
        }
    }

    /// A fault for each grant that reaches what the host trusts.
    fn cached(&self, plugin: &PluginConfig) -> Vec<String> {
        let cache = self.cache.as_ref();
        cache.map_or_else(Vec::new, |cache| cache.faults(&plugin.grants))
    }

    /// A fault for each size that nothing works with.
    fn sizes_out_of_range(&self) -> Vec<String> {
        // HTTP/2 counts windows in 31 bits (RFC 9113, section 6.9.1); a header block beyond 1 MiB
        // would pass what the `http` crate can hold.
        let window = 1..=(1 << 31) - 1;
        let (call, connection, engine) = (&self.call, &self.connection, &self.engine);
        let size = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        let ranges = [
            (
                "request_bytes_max",
                size(call.request_bytes_max),
                1..=u64::from(u32::MAX),
            ),
            (
                "response_bytes_max",
                size(call.response_bytes_max),
                1..=RESPONSE_BYTES_MAX,
            ),
            (
                "metadata_bytes_max",
                size(call.metadata_bytes_max),
                256..=512 << 10,
            ),
            (
                "stream_window_bytes",
                connection.stream_window_bytes.into(),
                window.clone(),
            ),
            (
                "connection_window_bytes",
                connection.connection_window_bytes.into(),
                window.clone(),
            ),
            (
                "send_buffer_bytes",
                size(connection.send_buffer_bytes),
                window,
            ),
            (
                "memory_bytes_max",
                size(engine.memory_bytes_max),
                64 << 10..=4 << 30,
            ),
            (
                "stack_bytes_max",
                size(engine.stack_bytes_max),
                16 << 10..=64 << 20,
            ),
        ];
        ranges
            .into_iter()
            .filter(|(_, value, range)| !range.contains(value))
            .map(|(name, value, range)| {
                format!(
                    "{name} must be {} to {} bytes, not {value}",
                    range.start(),
                    range.end()
                )
            })
            .collect()
    }
}

/// A fault for each time that is zero.
fn above_zero(times: &[(&str, Duration)]) -> Vec<String> {
    times
        .iter()
        .filter(|(_, time)| time.is_zero())
        .map(|(name, _)| format!("{name} must be above zero"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_said_at_once() {
        let args = PoolArgs {
            stores_max: Some(0),
            calls_max: Some(0),
            priority_stores: Some(64),
            ..PoolArgs::default()
        };
        let ConfigError(faults) = PoolConfig::try_from(args).expect_err("three faults");
        assert_eq!(faults.len(), 3, "{faults:?}");
    }

    #[test]
    fn the_defaults_pass_the_check_and_nonsense_does_not() {
        let mut config = HostConfig::default();
        assert_eq!(config.check(), Ok(()));
        config.call.request_bytes_max = 0;
        config.connection.stream_window_bytes = u32::MAX;
        config.engine.tick = Duration::ZERO;
        let ConfigError(faults) = config.check().expect_err("three faults");
        assert_eq!(faults.len(), 3, "{faults:?}");
    }

    #[test]
    fn a_method_is_a_path_of_two_parts_and_a_longest_time_takes_some() {
        let mut config = HostConfig::default();
        let methods = ["/a.B/C", "a.B/C", "/a.B", "/a.B/", "/a.B/C/D", "Burn"];
        config.plugin.long_methods = methods.map(str::to_owned).into();
        config.call.timeout_max = Some(Duration::ZERO);
        let ConfigError(faults) = config.check().expect_err("six faults");
        assert_eq!(faults.len(), 6, "{faults:?}");
    }

    #[test]
    fn nothing_typed_is_the_default() {
        let config = PoolConfig::try_from(PoolArgs::default()).expect("defaults are valid");
        assert_eq!(config.stores_max.get(), 64);
        assert_eq!(config.warm_min, 1);
    }
}
