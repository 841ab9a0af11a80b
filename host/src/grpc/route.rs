//! From `/package.Service/Method` to who serves it. Built from what plugins describe.
//!
//! Called by `grpc::call` for every request and by `host` when what is served changes: a table that is in
//! force never changes, another takes its place (`grpc::live`). Invariant: a service belongs to
//! one backend; a second one that offers it is refused as a whole, and the table stays as it was.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::unsent::Expected;
use super::version::Version;
use crate::config::{CallConfig, CompressionConfig, MessageMax, PluginConfig};
use crate::guest::{Description, MethodKind};
use crate::imports::call::Exchange;
use crate::lane::Meter;
use crate::pool::{Kind, Priority, Want};
use crate::status::Status;
use crate::telemetry::{GrpcType, MethodMetrics, Telemetry};

/// A future that a native handler returns.
pub type NativeFuture<T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send>>;

/// A service written in Rust and compiled into the embedder, beside the plugins.
pub trait NativeService: Send + Sync + 'static {
    /// Fully qualified name, as in `helloworld.Greeter`.
    fn name(&self) -> &str;

    /// Its methods; a method is called by its place in this list.
    fn methods(&self) -> Vec<NativeMethod>;

    /// A serialized `google.protobuf.FileDescriptorSet` that describes it, for reflection.
    fn file_descriptor_set(&self) -> Option<&'static [u8]> {
        None
    }

    /// Largest request message, in bytes, where that is less than every call's limit.
    fn request_bytes_max(&self) -> Option<usize> {
        None
    }

    /// Serves a unary call.
    fn unary(&self, method: usize, call: Arc<dyn Exchange>, request: Bytes) -> NativeFuture<Bytes>;

    /// Serves a streaming call; messages pass through the exchange.
    fn stream(&self, method: usize, call: Arc<dyn Exchange>) -> NativeFuture<()>;
}

/// A method of a [`NativeService`].
#[derive(Clone, Debug)]
pub struct NativeMethod {
    /// Name without service.
    pub name: &'static str,
    /// Which of the four kinds.
    pub kind: MethodKind,
}

/// Who serves a method.
#[derive(Clone)]
pub(crate) enum Backend {
    /// A plugin, through the pool of one of its versions.
    Plugin(Arc<Version>),
    /// A service of the embedder.
    Native(Arc<dyn NativeService>),
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plugin(_) => f.write_str("Plugin"),
            Self::Native(service) => write!(f, "Native({})", service.name()),
        }
    }
}

/// A method, and all that a call of it needs.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// `/package.Service/Method`.
    pub path: Box<str>,
    /// Name of who offers it, for logs.
    pub owner: Arc<str>,
    /// What the backend knows the method by.
    pub id: u32,
    /// Which of the four kinds.
    pub kind: MethodKind,
    /// Who serves it.
    pub backend: Backend,
    /// What kind of instance a call wants.
    pub want: Want,
    /// Largest messages.
    pub max: MessageMax,
    /// Longest time that a call may take, if it is not that of all calls.
    pub timeout_max: Option<Duration>,
    /// How responses are compressed.
    pub compression: Arc<CompressionConfig>,
    /// How long its calls hold a thread.
    pub meter: Arc<Meter>,
    /// How much it replies, if it is unary.
    pub expected: Expected,
    /// Where its calls are counted.
    pub metrics: Arc<MethodMetrics>,
}

/// Who offers a service.
#[derive(Clone, Debug)]
struct Owner {
    name: Arc<str>,
    /// Whether it is a plugin; a native service may be named like one.
    plugin: bool,
}

/// All methods that a host serves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes {
    /// Limits of every call.
    call: Arc<CallConfig>,
    endpoints: HashMap<Box<str>, Arc<Endpoint>>,
    /// Service to who offers it.
    owners: HashMap<String, Owner>,
    /// Services of the host itself.
    built_in: HashSet<String>,
    /// Where calls are counted.
    telemetry: Telemetry,
}

impl Routes {
    /// Without methods; their calls will be counted in `telemetry`.
    #[must_use]
    pub(crate) fn new(call: CallConfig, telemetry: Telemetry) -> Self {
        Self {
            call: Arc::new(call),
            telemetry,
            ..Self::default()
        }
    }

    /// Limits of every call.
    #[must_use]
    pub(crate) fn call(&self) -> &Arc<CallConfig> {
        &self.call
    }

    /// The method behind a path.
    #[must_use]
    pub(crate) fn find(&self, path: &str) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(path)
    }

    /// The largest request message of all methods, in bytes.
    #[must_use]
    pub(crate) fn request_bytes_max(&self) -> usize {
        let each = self.endpoints.values();
        each.map(|endpoint| endpoint.max.request_bytes)
            .max()
            .unwrap_or(0)
    }

    /// Names of all services but the host's own, sorted, with who offers them.
    #[must_use]
    pub(crate) fn services(&self) -> Vec<(&str, &str)> {
        let mut services: Vec<_> = self
            .owners
            .iter()
            .filter(|(service, _)| !self.is_built_in(service))
            .map(|(service, owner)| (service.as_str(), &*owner.name))
            .collect();
        services.sort_unstable();
        services
    }

    /// Who offers one of `services` already, with the service's name. What the plugin `except` offers does
    /// not count.
    #[must_use]
    pub(crate) fn clash<'a>(
        &self,
        services: impl Iterator<Item = &'a str>,
        except: Option<&str>,
    ) -> Option<(String, String)> {
        services
            .filter_map(|service| self.owners.get_key_value(service))
            .filter(|(_, owner)| !(owner.plugin && except == Some(&owner.name)))
            .map(|(service, owner)| (service.clone(), owner.name.to_string()))
            .next()
    }

    /// Whether the host itself offers the service.
    #[must_use]
    pub(crate) fn is_built_in(&self, service: &str) -> bool {
        self.built_in.contains(service)
    }

    /// Adds a service of the host itself, before any other.
    pub(crate) fn add_built_in(&mut self, service: &Arc<dyn NativeService>, config: &PluginConfig) {
        self.built_in.insert(service.name().to_owned());
        self.add_native(service, config);
    }

    /// Removes what this plugin offers.
    pub(crate) fn remove(&mut self, plugin: &str) {
        self.owners
            .retain(|_, owner| !(owner.plugin && *owner.name == *plugin));
        self.endpoints.retain(|_, endpoint| {
            let of_plugin = matches!(endpoint.backend, Backend::Plugin(_));
            !(of_plugin && *endpoint.owner == *plugin)
        });
    }

    /// Adds what a version of a plugin describes. Check [`Routes::clash`] first. What was measured of its
    /// methods in the table `before` stays known.
    pub(crate) fn add_plugin(
        &mut self,
        version: &Arc<Version>,
        description: &Description,
        config: &PluginConfig,
        before: &Self,
    ) {
        let owner = version.source().name();
        self.telemetry.plugins().watch(&***version);
        let limits = Arc::clone(&self.call);
        let compression = Arc::new(config.compression.clone());
        for service in &description.services {
            let of = Owner {
                name: Arc::clone(owner),
                plugin: true,
            };
            self.owners.insert(service.name.clone(), of);
            for method in &service.methods {
                let path = format!("/{}/{}", service.name, method.name);
                let mut max = config.messages.max(&service.name, &method.name, &limits);
                // What a plugin says of itself may only lower the operator's limit.
                let own = description.request_bytes_max.unwrap_or(usize::MAX);
                max.request_bytes = max.request_bytes.min(own);
                let kind = grpc_type(method.kind);
                self.add(Endpoint {
                    metrics: self.telemetry.method(&service.name, &method.name, kind),
                    owner: Arc::clone(owner),
                    id: method.id,
                    kind: method.kind,
                    backend: Backend::Plugin(Arc::clone(version)),
                    want: Want {
                        kind: match method.kind {
                            MethodKind::Unary => Kind::Unary,
                            MethodKind::ClientStreaming
                            | MethodKind::ServerStreaming
                            | MethodKind::BidiStreaming => Kind::Stream,
                        },
                        priority: if config.priority_methods.contains(&path) {
                            Priority::High
                        } else {
                            Priority::Normal
                        },
                    },
                    max,
                    timeout_max: config.limits.timeout_max,
                    compression: Arc::clone(&compression),
                    expected: Expected::default(),
                    meter: before.meter(&path, config.long_methods.contains(&path)),
                    path: path.into(),
                });
            }
        }
    }

    /// Adds a service of the embedder. Check [`Routes::clash`] first.
    pub(crate) fn add_native(&mut self, service: &Arc<dyn NativeService>, config: &PluginConfig) {
        let limits = Arc::clone(&self.call);
        let owner: Arc<str> = service.name().into();
        let wanted = service.request_bytes_max().unwrap_or(usize::MAX);
        let of = Owner {
            name: Arc::clone(&owner),
            plugin: false,
        };
        self.owners.insert(service.name().to_owned(), of);
        let compression = Arc::new(config.compression.clone());
        for (id, method) in (0..).zip(service.methods()) {
            let mut max = config.messages.max(service.name(), method.name, &limits);
            max.request_bytes = max.request_bytes.min(wanted);
            let kind = grpc_type(method.kind);
            self.add(Endpoint {
                metrics: self.telemetry.method(service.name(), method.name, kind),
                path: format!("/{}/{}", service.name(), method.name).into(),
                owner: Arc::clone(&owner),
                id,
                kind: method.kind,
                backend: Backend::Native(Arc::clone(service)),
                want: Want {
                    kind: Kind::Unary,
                    priority: Priority::Normal,
                },
                max,
                timeout_max: None,
                compression: Arc::clone(&compression),
                meter: Arc::new(Meter::new(false)),
                expected: Expected::default(),
            });
        }
    }

    /// What is known of how long calls of a method hold a thread.
    fn meter(&self, path: &str, long: bool) -> Arc<Meter> {
        let known = self.find(path).map(|endpoint| &endpoint.meter);
        match known.filter(|meter| meter.is_fixed() == long) {
            Some(meter) => Arc::clone(meter),
            None => Arc::new(Meter::new(long)),
        }
    }

    fn add(&mut self, endpoint: Endpoint) {
        self.endpoints
            .insert(endpoint.path.clone(), Arc::new(endpoint));
    }
}

/// A kind of method as metrics name it.
fn grpc_type(kind: MethodKind) -> GrpcType {
    match kind {
        MethodKind::Unary => GrpcType::Unary,
        MethodKind::ClientStreaming => GrpcType::ClientStream,
        MethodKind::ServerStreaming => GrpcType::ServerStream,
        MethodKind::BidiStreaming => GrpcType::BidiStream,
    }
}
