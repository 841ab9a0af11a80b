//! From a file's bytes to a component that is checked, compiled, linked and has described itself.
//!
//! Called by `plugin` at load and by `pool` for every new instance. Every way in which a file can
//! be wrong ends in a `PluginError` that says what to do; nothing here takes the host down.
//! Compiling takes tens of milliseconds of CPU: `plugin` keeps it off the threads that serve.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use wasmtime::Store;

use super::cpu::Cpu;
use super::engine::GuestEngine;
use super::failure::boxed;
use super::instance::Instance;
use super::outline::Outline;
use super::state::GuestState;
use super::terms::Terms;
use crate::config::PluginConfig;
use crate::error::{CallError, PluginError};
use crate::imports::bindings::exports::switchboard::grpc::handler;
use crate::imports::bindings::switchboard::grpc::types;
use crate::imports::bindings::{Plugin, PluginPre};
use crate::imports::http;
use crate::imports::log::{GuestLog, Lines};

/// The ABI this host speaks: version of the package in `wit/`.
const ABI_VERSION: &str = "0.1.0";

/// The interface a plugin exports, without version.
const HANDLER: &str = "switchboard:grpc/handler@";

/// Most services in a plugin, and methods in a service: far above any real one, and small enough
/// that what the host keeps of a description that is nonsense stays small.
const SERVICES_MAX: usize = 1000;
const METHODS_MAX: usize = 1000;

/// Most methods in a plugin: as many as the metrics tell apart. Each costs the host some hundred bytes, and every
/// change of what is served a moment.
const METHODS_ALL_MAX: usize = 10_000;

/// Handles that the components inside a plugin may hold, all together. Count; each costs the host some 16 bytes,
/// and what they stand for is limited besides.
const HANDLES_MAX: usize = 100_000;

/// Longest name of a service or method, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// The four kinds of methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MethodKind {
    /// One message each way.
    Unary,
    /// Many in, one out.
    ClientStreaming,
    /// One in, many out.
    ServerStreaming,
    /// Many each way.
    BidiStreaming,
}

impl MethodKind {
    /// Whether the caller sends exactly one message.
    #[must_use]
    pub fn takes_one(self) -> bool {
        matches!(self, Self::Unary | Self::ServerStreaming)
    }

    /// Whether exactly one message is sent back.
    #[must_use]
    pub fn gives_one(self) -> bool {
        matches!(self, Self::Unary | Self::ClientStreaming)
    }
}

/// A method that a plugin offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// What the plugin is given when the method is called.
    pub id: u32,
    /// Name without service, as in `SayHello`.
    pub name: String,
    /// Which of the four kinds.
    pub kind: MethodKind,
    /// Whether a call may be made twice without harm.
    pub idempotent: bool,
}

/// A service that a plugin offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Fully qualified name, as in `helloworld.Greeter`.
    pub name: String,
    /// Its methods.
    pub methods: Vec<Method>,
}

/// What a plugin says of itself, checked: names are valid, names and ids do not repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its services, at least one.
    pub services: Vec<Service>,
    /// A serialized `google.protobuf.FileDescriptorSet`, if it carries one.
    pub file_descriptor_set: Option<Bytes>,
    /// Largest request message it wants, in bytes; none for the host's default.
    pub request_bytes_max: Option<usize>,
}

/// A plugin's code, ready to be instantiated.
pub(crate) struct Component {
    pub(super) engine: Arc<GuestEngine>,
    log: Arc<GuestLog>,
    terms: Arc<Terms>,
    /// Linear memory of all instances.
    held_bytes: Arc<AtomicUsize>,
    pre: PluginPre<GuestState>,
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Component")
            .field("name", self.name())
            .finish_non_exhaustive()
    }
}

/// What can be told of a component that compiles, without running it.
#[derive(Debug)]
pub(crate) struct Shape {
    /// Versions of our handler that it exports.
    pub(crate) abi: Vec<String>,
    /// Names of what it imports.
    pub(crate) imports: Vec<String>,
    /// Its machine code, in bytes.
    pub(crate) compiled_bytes: usize,
}

impl Component {
    /// Compiles `bytes` and tells what they are, also if they are no plugin. Blocks for as long as compiling
    /// takes.
    pub(crate) fn inspect(
        engine: &Arc<GuestEngine>,
        name: Arc<str>,
        config: &PluginConfig,
        bytes: &[u8],
    ) -> (Option<Shape>, Result<Self, PluginError>) {
        let component = match Self::translate(engine, bytes) {
            Ok(component) => component,
            Err(error) => return (None, Err(error)),
        };
        let imports = component.component_type();
        let imports = imports
            .imports(&engine.engine)
            .map(|(name, _)| name.to_owned());
        let shape = Shape {
            abi: versions(engine, &component),
            imports: imports.collect(),
            compiled_bytes: component.serialize().map_or(0, |code| code.len()),
        };
        (Some(shape), Self::link(engine, name, config, &component))
    }

    /// Checks and compiles `bytes`. Blocks for as long as compiling takes.
    ///
    /// # Errors
    /// Every [`PluginError`] that can be told without running the plugin.
    pub(crate) fn compile(
        engine: &Arc<GuestEngine>,
        name: Arc<str>,
        config: &PluginConfig,
        bytes: &[u8],
    ) -> Result<Self, PluginError> {
        Self::link(engine, name, config, &Self::translate(engine, bytes)?)
    }

    fn translate(
        engine: &GuestEngine,
        bytes: &[u8],
    ) -> Result<wasmtime::component::Component, PluginError> {
        check_header(bytes)?;
        if let Some(fault) = Outline::of(bytes).fault(&engine.config) {
            return Err(PluginError::TooComplex(fault));
        }
        let begun = Instant::now();
        let component = wasmtime::component::Component::from_binary(&engine.engine, bytes)
            .map_err(|error| not_compiled(&error))?;
        engine.telemetry.plugins().compiled(begun.elapsed());
        Ok(component)
    }

    /// What [`Component::code`] gave: compiled before, by this host and for this engine.
    ///
    /// Whoever calls this vouches for that: the code is run as it is, and is limited by nothing if it is not
    /// what the compiler made. wasmtime finds out by itself only that it is for another engine or version.
    ///
    /// # Errors
    /// [`PluginError::Invalid`] for another engine's, and what linking finds.
    pub(crate) fn revive(
        engine: &Arc<GuestEngine>,
        name: Arc<str>,
        config: &PluginConfig,
        code: &[u8],
    ) -> Result<Self, PluginError> {
        #[expect(unsafe_code, reason = "the caller vouches for it")]
        // SAFETY: the caller vouches that wasmtime made these bytes and nobody changed them.
        let component =
            unsafe { wasmtime::component::Component::deserialize(&engine.engine, code) };
        let component = component.map_err(|error| PluginError::Invalid(boxed(&error)))?;
        Self::link(engine, name, config, &component)
    }

    /// Its machine code, for [`Component::revive`].
    ///
    /// # Errors
    /// [`PluginError::Invalid`] if wasmtime cannot write it down.
    pub(crate) fn code(&self) -> Result<Vec<u8>, PluginError> {
        let component = self.pre.instance_pre().component();
        let code = component.serialize();
        code.map_err(|error| PluginError::Invalid(boxed(&error)))
    }

    fn link(
        engine: &Arc<GuestEngine>,
        name: Arc<str>,
        config: &PluginConfig,
        component: &wasmtime::component::Component,
    ) -> Result<Self, PluginError> {
        check_version(engine, component)?;
        let linker = if config.grants.http.is_empty() {
            if let Some(import) = imports_http(engine, component) {
                return Err(PluginError::Ungranted {
                    import,
                    grant: "http",
                });
            }
            &engine.linker
        } else {
            &engine.linker_with_http
        };
        let linked = linker
            .instantiate_pre(component)
            .map_err(|error| PluginError::Imports(boxed(&error)))?;
        let pre = PluginPre::new(linked).map_err(|error| PluginError::Invalid(boxed(&error)))?;
        Ok(Self {
            engine: Arc::clone(engine),
            terms: Arc::new(Terms::new(&name, config)),
            log: Arc::new(GuestLog::new(name, config.limits.log)),
            held_bytes: Arc::default(),
            pre,
        })
    }

    /// The plugin's name.
    #[must_use]
    pub(crate) fn name(&self) -> &Arc<str> {
        self.log.plugin()
    }

    /// Linear memory that its instances hold together, in bytes.
    #[must_use]
    pub(crate) fn memory_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// What became of the lines that it wrote.
    #[must_use]
    pub(crate) fn log_lines(&self) -> Lines {
        self.log.lines()
    }

    /// Asks the plugin what it offers, in an instance of its own that is dropped afterwards.
    ///
    /// # Errors
    /// [`PluginError::DescribeTrap`], [`PluginError::DescribeTimeout`] and
    /// [`PluginError::Description`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the instance.
    pub(crate) async fn describe(&self) -> Result<Description, PluginError> {
        let within = self.engine.config.describe_timeout;
        let described = async {
            let (mut store, plugin, _cpu) = self.start().await?;
            let handler = plugin.switchboard_grpc_handler();
            let described = handler.call_describe(&mut store);
            self.engine.pulse().during(described).await
        };
        match tokio::time::timeout(within, described).await {
            Ok(Ok(description)) => checked(description).map_err(PluginError::Description),
            Ok(Err(error)) if error.is::<wasmtime::PoolConcurrencyLimitError>() => {
                Err(PluginError::NoRoom)
            }
            Ok(Err(error)) if needs_more_memory(&error) => {
                Err(PluginError::MemoryMin(boxed(&error)))
            }
            Ok(Err(error)) => Err(PluginError::DescribeTrap(boxed(&error))),
            Err(_elapsed) => Err(PluginError::DescribeTimeout(within)),
        }
    }

    /// Makes an instance that has served no call.
    ///
    /// # Errors
    /// [`CallError::EngineFull`] and [`CallError::Instantiate`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the instance.
    pub(crate) async fn instantiate(&self) -> Result<Instance, CallError> {
        let (store, plugin, cpu) = self.start().await.map_err(|error| {
            if error.is::<wasmtime::PoolConcurrencyLimitError>() {
                CallError::EngineFull
            } else {
                CallError::Instantiate(boxed(&error))
            }
        })?;
        let pulse = Arc::clone(self.engine.pulse());
        Ok(Instance::new(store, plugin, pulse, cpu))
    }

    async fn start(&self) -> wasmtime::Result<(Store<GuestState>, Plugin, Option<Arc<Cpu>>)> {
        let limits = self.terms.limits(&self.engine.config, &self.held_bytes);
        let cpu = self.terms.cpu();
        let own = cpu.clone();
        let state = GuestState::new(Arc::clone(&self.log), Arc::clone(&self.terms), limits)?;
        let mut store = Store::new(&self.engine.engine, state);
        store.limiter(|state| &mut state.limits);
        // At every tick a guest that computes gives way to whoever else is ready.
        store.epoch_deadline_callback(move |mut store| {
            own.as_ref().map_or(Ok(()), |cpu| cpu.check())?;
            store.data_mut().tick();
            Ok(wasmtime::UpdateDeadline::Yield(1))
        });
        store.set_max_component_handles(HANDLES_MAX);
        store.set_epoch_deadline(1);
        let started = self.pre.instantiate_async(&mut store);
        let plugin = self.engine.pulse().during(started).await?;
        Ok((store, plugin, cpu))
    }
}

/// A plugin that wants too much memory is told from one that is broken. wasmtime has only words for it.
fn not_compiled(error: &wasmtime::Error) -> PluginError {
    if format!("{error:#}").contains("minimum byte size") {
        PluginError::MemoryMin(boxed(error))
    } else {
        PluginError::Invalid(boxed(error))
    }
}

/// Whether no instance could be made because its memory is larger from the start than the plugin's may be.
/// wasmtime has only words for it.
fn needs_more_memory(error: &wasmtime::Error) -> bool {
    format!("{error:#}").contains("exceeds memory limits")
}

/// Tells apart what is no WebAssembly, a core module, and a component, for a clear message.
/// Source: component-model/design/mvp/Binary.md, "version" and "layer".
fn check_header(bytes: &[u8]) -> Result<(), PluginError> {
    match bytes {
        [b'\0', b'a', b's', b'm', _, _, 1, 0, ..] => Ok(()),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(PluginError::CoreModule),
        [b'\0', b'a', b's', b'm', ..] => Err(PluginError::Invalid(
            "unknown version of the binary format".into(),
        )),
        _ => Err(PluginError::NotWasm),
    }
}

/// The plugin must export our handler, in a version that this host speaks: the same major one,
/// and below 1.0 the same minor one, as semantic versioning has it.
fn check_version(
    engine: &GuestEngine,
    component: &wasmtime::component::Component,
) -> Result<(), PluginError> {
    let found = versions(engine, component);
    if found.iter().any(|version| speaks(version)) {
        return Ok(());
    }
    match found.into_iter().next() {
        Some(found) => Err(PluginError::AbiVersion {
            found,
            supported: ABI_VERSION,
        }),
        None => Err(PluginError::NotAPlugin {
            wanted: format!("{HANDLER}{ABI_VERSION}"),
        }),
    }
}

/// The first interface of HTTP that a component imports.
fn imports_http(
    engine: &GuestEngine,
    component: &wasmtime::component::Component,
) -> Option<String> {
    let imports = component.component_type();
    let mut imports = imports.imports(&engine.engine);
    let http = imports.find(|(name, _)| name.starts_with(http::INTERFACES));
    http.map(|(name, _)| name.to_owned())
}

/// The versions of our handler that a component exports.
fn versions(engine: &GuestEngine, component: &wasmtime::component::Component) -> Vec<String> {
    let exports = component.component_type();
    let exports = exports.exports(&engine.engine);
    let versions = exports.filter_map(|(name, _)| name.strip_prefix(HANDLER).map(str::to_owned));
    versions.collect()
}

fn speaks(version: &str) -> bool {
    let minor = |version: &str| -> Option<(u32, u32)> {
        let mut parts = version.split(['.', '-', '+']).map(|part| part.parse().ok());
        Some((parts.next()??, parts.next()??))
    };
    minor(version).is_some() && minor(version) == minor(ABI_VERSION)
}

/// Checks what a plugin says of itself.
fn checked(description: types::Description) -> Result<Description, String> {
    let types::Description {
        services,
        file_descriptor_set,
        max_request_message,
    } = description;
    if services.is_empty() {
        return Err("it offers no service".to_owned());
    }
    if services.len() > SERVICES_MAX {
        return Err(format!(
            "{} services, more than {SERVICES_MAX}",
            services.len()
        ));
    }
    let methods: usize = services.iter().map(|service| service.methods.len()).sum();
    if methods > METHODS_ALL_MAX {
        return Err(format!("{methods} methods, more than {METHODS_ALL_MAX}"));
    }
    let mut names = HashSet::new();
    let mut ids = HashSet::new();
    let services = services
        .into_iter()
        .map(|service| {
            check_name("service", &service.name, true)?;
            if !names.insert(service.name.clone()) {
                return Err(format!("it offers the service {} twice", service.name));
            }
            checked_service(service, &mut ids)
        })
        .collect::<Result<_, _>>()?;
    Ok(Description {
        services,
        file_descriptor_set: file_descriptor_set.map(Bytes::from),
        request_bytes_max: usize::try_from(max_request_message)
            .ok()
            .filter(|max| *max > 0),
    })
}

fn checked_service(service: types::Service, ids: &mut HashSet<u32>) -> Result<Service, String> {
    let types::Service { name, methods } = service;
    if methods.len() > METHODS_MAX {
        return Err(format!(
            "service {name} has {} methods, more than {METHODS_MAX}",
            methods.len()
        ));
    }
    let mut method_names = HashSet::new();
    let methods = methods
        .into_iter()
        .map(|method| {
            check_name("method", &method.name, false)?;
            if !method_names.insert(method.name.clone()) {
                return Err(format!(
                    "service {name} has the method {} twice",
                    method.name
                ));
            }
            if !ids.insert(method.id) {
                return Err(format!(
                    "method {name}/{} has id {} of another method",
                    method.name, method.id
                ));
            }
            Ok(Method {
                id: method.id,
                name: method.name,
                kind: match method.kind {
                    types::MethodKind::Unary => MethodKind::Unary,
                    types::MethodKind::ClientStreaming => MethodKind::ClientStreaming,
                    types::MethodKind::ServerStreaming => MethodKind::ServerStreaming,
                    types::MethodKind::BidiStreaming => MethodKind::BidiStreaming,
                },
                idempotent: method.idempotent,
            })
        })
        .collect::<Result<_, String>>()?;
    Ok(Service { name, methods })
}

/// Names as protobuf has them: identifiers, for a service joined by dots.
/// Source: protobuf language specification, `ident` and `fullIdent`.
fn check_name(what: &str, name: &str, dots: bool) -> Result<(), String> {
    let identifier = |part: &str| {
        let mut chars = part.chars();
        chars
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && chars.all(|next| next.is_ascii_alphanumeric() || next == '_')
    };
    let valid = name.len() <= NAME_BYTES_MAX
        && if dots {
            name.split('.').all(identifier)
        } else {
            identifier(name)
        };
    if valid {
        Ok(())
    } else {
        let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
        Err(format!("{shown:?} is not a valid {what} name"))
    }
}

/// The guest's own status, as the rest of the host knows it.
impl From<handler::Status> for crate::status::Status {
    fn from(status: handler::Status) -> Self {
        Self {
            code: crate::status::Code::of_guest_error(status.code),
            message: status.message,
            details: status.details,
            trailers: status.trailers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(id: u32, name: &str) -> types::Method {
        types::Method {
            id,
            name: name.to_owned(),
            kind: types::MethodKind::Unary,
            idempotent: false,
        }
    }

    fn describe(services: Vec<(&str, Vec<types::Method>)>) -> Result<Description, String> {
        checked(types::Description {
            services: services
                .into_iter()
                .map(|(name, methods)| types::Service {
                    name: name.to_owned(),
                    methods,
                })
                .collect(),
            file_descriptor_set: None,
            max_request_message: 0,
        })
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let cases = [
            (describe(vec![]), "no service"),
            (
                describe(vec![("a.B", vec![]), ("a.B", vec![])]),
                "a.B twice",
            ),
            (
                describe(vec![("a.B", vec![method(1, "C"), method(1, "D")])]),
                "a.B/D has id 1",
            ),
            (
                describe(vec![
                    ("a.B", vec![method(1, "C")]),
                    ("a.C", vec![method(1, "C")]),
                ]),
                "id 1",
            ),
            (
                describe(vec![("a.B", vec![method(1, "C"), method(2, "C")])]),
                "method C twice",
            ),
            (describe(vec![("", vec![])]), "not a valid service name"),
            (describe(vec![("a..B", vec![])]), "not a valid service name"),
            (describe(vec![("a/B", vec![])]), "not a valid service name"),
            (
                describe(vec![("a.B", vec![method(1, "a.b")])]),
                "not a valid method name",
            ),
            (
                describe(vec![("a.B", vec![method(1, "1b")])]),
                "not a valid method name",
            ),
        ];
        for (outcome, expected) in cases {
            let error = outcome.expect_err(expected);
            assert!(
                error.contains(expected),
                "{error:?} should say {expected:?}"
            );
        }
    }

    #[test]
    fn more_methods_than_a_plugin_may_have_are_refused() {
        let names: Vec<_> = (0..=10).map(|number| format!("a.S{number}")).collect();
        let described = |services: usize| {
            let mut id = 0;
            let mut methods = || {
                let of = (0..1000).map(|number| {
                    id += 1;
                    method(id, &format!("M{number}"))
                });
                of.collect()
            };
            let services = names.iter().take(services);
            describe(services.map(|name| (&**name, methods())).collect())
        };
        assert_eq!(described(10).map(|of| of.services.len()), Ok(10));
        let error = described(11).expect_err("too many");
        assert_eq!(error, "11000 methods, more than 10000");
    }

    #[test]
    fn an_abi_version_is_spoken_when_nothing_of_it_can_have_changed() {
        for (version, spoken) in [
            ("0.1.0", true),
            ("0.1.7", true),
            ("0.2.0", false),
            ("1.0.0", false),
            ("", false),
            ("x", false),
        ] {
            assert_eq!(speaks(version), spoken, "{version:?}");
        }
    }

    #[test]
    fn files_that_are_no_components_are_told_apart() {
        assert!(matches!(check_header(b""), Err(PluginError::NotWasm)));
        assert!(matches!(
            check_header(b"\x7fELF..."),
            Err(PluginError::NotWasm)
        ));
        assert!(matches!(
            check_header(b"\0asm\x01\0\0\0"),
            Err(PluginError::CoreModule)
        ));
        assert!(matches!(
            check_header(b"\0asm\x02\0\0\0"),
            Err(PluginError::Invalid(_))
        ));
        assert!(check_header(b"\0asm\x0d\0\x01\0").is_ok());
    }
}
