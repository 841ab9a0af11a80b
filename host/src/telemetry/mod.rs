//! What a host says of itself: numbers, whether it is ready, who is connected.
//!
//! A leaf: every layer may tell it something, and it names none of them. One [`Telemetry`] belongs to one host;
//! whoever runs it (`cli`, an embedder) makes it, gives it to the host and to the admin listener, and reads it.
//! Invariants: telling costs a call tens of nanoseconds and never a lock (`metrics`); reading never waits for a
//! call; nothing in here grows with what peers send.

mod clock;
mod connections;
mod keeper;
mod labelled;
mod metrics;
mod plugins;
mod readiness;
mod trace;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub(crate) use clock::{Turn, ended, latest, turn};
pub use connections::{ConnectionInfo, TunnelInfo};
pub(crate) use connections::{Connections, OpenConnection, OpenTunnel};
use keeper::Kept;
pub(crate) use keeper::{Changing, Keeper, NotChanged, PluginReport, PoolReport, Standing};
use labelled::Labelled;
use metrics::Methods;
pub(crate) use metrics::{Collect, Counter, GrpcType, Histogram, MethodMetrics, Metric, Samples};
pub use metrics::{METRICS, MetricInfo, MetricKind, MetricsFormat};
pub(crate) use plugins::{Plugins, PoolNumbers, Pooled};
pub use readiness::Readiness;
use readiness::State;
pub(crate) use trace::{CallSpan, SpanOf, Tracer, passed_on};
pub use trace::{TraceConfig, TraceContext, Tracing};

use crate::error::{BuildError, ConfigError};

/// Words for why a call failed, as `CallError::cause` says them. Checked against docs/errors.md by a test.
const CAUSES: &[&str] = &[
    "unknown_method",
    "unknown_encoding",
    "bad_frame",
    "corrupt",
    "cardinality",
    "too_large",
    "metadata_too_large",
    "deadline",
    "cancelled",
    "pool_full",
    "engine_full",
    "unread",
    "unsent",
    "draining",
    "connection_aged",
    "replaced",
    "quarantined",
    "memory",
    "tables",
    "stack",
    "cpu",
    "handles",
    "trap",
    "contract",
    "bug",
];

/// What one host says of itself. Cheap to clone: all clones are one.
#[derive(Clone, Default)]
pub struct Telemetry(Arc<Shared>);

struct Shared {
    methods: Methods,
    failures: Labelled,
    plugins: Plugins,
    connections: Connections,
    tls_reloads: Labelled,
    state: State,
    collectors: Mutex<Vec<Arc<dyn Collect>>>,
    keeper: Kept,
    /// Without it nothing is traced.
    tracer: OnceLock<Arc<Tracer>>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            methods: Methods::default(),
            failures: Labelled::new(CAUSES),
            plugins: Plugins::default(),
            connections: Connections::default(),
            tls_reloads: Labelled::new(&["taken", "refused"]),
            state: State::default(),
            collectors: Mutex::default(),
            keeper: Kept::default(),
            tracer: OnceLock::new(),
        }
    }
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry")
            .field("readiness", &self.readiness())
            .finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Of a host that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All metrics, as a scraper reads them. Takes some microseconds for each plugin and method.
    #[must_use]
    pub fn metrics(&self, format: MetricsFormat) -> String {
        let shared = &*self.0;
        let mut collectors = self.lock().clone();
        collectors.push(Arc::new(Own(self.clone())));
        metrics::render(format, &shared.methods, &collectors)
    }

    /// Traces calls from now on and sends their spans to a collector, as long as what this returns lives.
    ///
    /// # Errors
    /// [`BuildError::Config`] when the configuration is wrong, or calls are traced already;
    /// [`BuildError::Thread`].
    pub fn trace(&self, config: &TraceConfig) -> Result<Tracing, BuildError> {
        let (tracer, tracing) = trace::start(config, self)?;
        match self.0.tracer.set(tracer) {
            Ok(()) => Ok(tracing),
            Err(_second) => {
                let fault = "calls are traced already".to_owned();
                Err(ConfigError(vec![fault]).into())
            }
        }
    }

    /// What decides which calls are traced; none if none are.
    pub(crate) fn tracer(&self) -> Option<&Arc<Tracer>> {
        self.0.tracer.get()
    }

    /// Whether the host serves, and if not, why.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.0.state.get()
    }

    /// From now on the host is in this state.
    pub(crate) fn set_readiness(&self, readiness: Readiness) {
        self.0.state.set(readiness);
    }

    /// The numbers of a method that is served.
    pub(crate) fn method(&self, service: &str, method: &str, kind: GrpcType) -> Arc<MethodMetrics> {
        self.0.methods.of(service, method, kind)
    }

    /// For calls of methods that are not served.
    pub(crate) fn other_methods(&self) -> &MethodMetrics {
        self.0.methods.other()
    }

    /// A call failed in the host.
    pub(crate) fn failed(&self, cause: &'static str) {
        self.0.failures.add(cause);
    }

    /// Plugins and their pools.
    pub(crate) fn plugins(&self) -> &Plugins {
        &self.0.plugins
    }

    /// Connections and tunnels.
    pub(crate) fn connections(&self) -> &Connections {
        &self.0.connections
    }

    /// The files of TLS had changed, and were taken or not.
    pub(crate) fn tls_reloaded(&self, outcome: &'static str) {
        self.0.tls_reloads.add(outcome);
    }

    /// Asks `collector` at each scrape from now on.
    pub(crate) fn collect(&self, collector: impl Collect + 'static) {
        self.lock().push(Arc::new(collector));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<dyn Collect>>> {
        self.0
            .collectors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is counted in here.
struct Own(Telemetry);

impl Collect for Own {
    fn collect(&self, out: &mut Samples) {
        let shared = &*self.0.0;
        shared.failures.write(Metric::Failures, out);
        shared.plugins.write(out);
        shared.connections.write(out);
        shared.tls_reloads.write(Metric::TlsReloads, out);
        out.count(
            Metric::Ready,
            &[],
            u64::from(self.0.readiness() == Readiness::Ready),
        );
        out.count(Metric::Build, &[env!("CARGO_PKG_VERSION")], 1);
    }
}
