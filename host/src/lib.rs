//! Loads gRPC services from WebAssembly plugins and serves them.
//!
//! [`HostBuilder::build`] loads plugins, [`Host::serve`] serves them on a listener until it is told
//! to stop, and then drains. The way of a call through this crate is one direction:
//! `listener` -> `grpc` -> `pool` -> `guest` -> `imports`; `config`, `error`, `status` and `peer`
//! are leaves. `docs/architecture.md` is the map, `docs/request.md` the way of one call.
//!
//! ```no_run
//! use switchboard_host::{Drained, HostBuilder, HostConfig};
//! use tokio_util::sync::CancellationToken;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let host = HostBuilder::new(HostConfig::default()).build(&["plugins".into()]).await?;
//! for refused in host.refused() {
//!     eprintln!("{refused}");
//! }
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:50051").await?;
//! let stop = CancellationToken::new();
//! assert_eq!(host.serve(listener, None, stop).await, Drained::Clean);
//! # Ok(())
//! # }
//! ```

mod admin;
mod config;
mod error;
mod grpc;
mod guest;
mod host;
mod imports;
#[cfg(feature = "ladder")]
#[doc(hidden)]
pub mod ladder;
mod lane;
mod listener;
mod peer;
mod plugin;
mod pool;
mod status;
mod task;
mod telemetry;
mod trust;

pub use admin::Admin;
pub use config::{
    BufferConfig, CacheConfig, CallConfig, ClientCertificate, CompressionConfig, ConnectionConfig,
    Destination, DestinationError, DrainClose, Encoding, EncodingError, EngineConfig, FilesConfig,
    FolderGrant, GrantsConfig, HealthConfig, HostConfig, Http1Config, LaneConfig, LimitsConfig,
    LogLimits, MessageLimits, MessagesConfig, Mode, Network, NetworkError, Origin, OriginError,
    OriginRule, PingConfig, PluginConfig, PoolArgs, PoolConfig, QuarantineConfig, ReflectionConfig,
    SwapConfig, TlsConfig, TlsVersion, TunnelConfig, WatchConfig, WebConfig,
};
pub use error::{
    BoxError, BuildError, CallError, ConfigError, PluginError, Refused, ReloadError, Resource,
    TlsError, UnixSocketError, chain,
};
pub use grpc::{NativeFuture, NativeMethod, NativeService};
pub use guest::{Description, GuestState, HostService, Method, MethodKind, Service};
pub use host::{Drained, Handle, Host, HostBuilder, PluginInfo};
pub use imports::call::{
    CallState, CancelReason, Exchange, MetadataError, Outbound, Received, SendError, send,
};
pub use listener::{
    AuthoriseFuture, Authoriser, Listeners, StaticTokens, Tls, UnixListener, Upgrade, Verdict,
};
pub use plugin::{Digest, Inspection, inspect};
pub use pool::{Leased, PoolStats};
pub use status::{Code, Status};
pub use telemetry::{
    ConnectionInfo, METRICS, MetricInfo, MetricKind, MetricsFormat, Readiness, Telemetry,
    TraceConfig, TraceContext, Tracing, TunnelInfo,
};
/// The wasmtime that [`HostService`]s are written against.
pub use wasmtime;
