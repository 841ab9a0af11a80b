//! The wasmtime engine as it was measured to be best, and the linker.
//!
//! Made once by `host`.
//!
//! - Component-model async is not even compiled in: with it a unary call costs 1.2 us instead of
//!   0.4 us, although nothing is async.
//! - Pooling allocator with `pagemap_scan` and resident memory: a fresh instance for a call costs
//!   7.5 us of CPU, on one or two threads; with wasmtime's defaults 23 to 72 us.
//! - Epoch interruption makes a guest that computes yield; it costs nothing that can be measured.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use wasmtime::component::Linker;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::compiler::Compiler;
use super::state::{GuestState, HasCall, HasLog};
use super::ticker::{Pulse, Ticker};
use crate::config::EngineConfig;
use crate::error::{BoxError, BuildError};
use crate::imports::bindings::switchboard::grpc;
use crate::imports::{http, network};
use crate::telemetry::Telemetry;

/// Bytes of a memory, a table and a stack that stay mapped when an instance is dropped. Source:
/// fresh instance and call 20 us with 256 KiB, 7.5 us with 4 MiB and `pagemap_scan`.
const MEMORY_KEEP_RESIDENT_BYTES: usize = 4 << 20;
const TABLE_KEEP_RESIDENT_BYTES: usize = 1 << 20;
const STACK_KEEP_RESIDENT_BYTES: usize = 64 << 10;

/// Core instances and tables that a component needs: one of its own, and the two that
/// `wasm-component-ld` adds; one to spare.
const CORE_PER_COMPONENT: u32 = 4;

/// What a guest's stack needs above `stack_bytes_max`, so that host functions have room too.
const STACK_FOR_HOST_BYTES: usize = 1536 << 10;

/// A host service for embedders: something more that plugins may import.
pub trait HostService: Send + Sync + 'static {
    /// Adds its functions to the linker. The state gives the current call and a place for
    /// what the service keeps.
    ///
    /// # Errors
    /// When a name is taken.
    fn link(&self, linker: &mut Linker<GuestState>) -> wasmtime::Result<()>;
}

/// The engine that all plugins of a host share.
pub(crate) struct GuestEngine {
    pub(super) engine: Engine,
    pub(super) linker: Linker<GuestState>,
    /// The same and HTTP, for plugins that are granted it.
    pub(super) linker_with_http: Linker<GuestState>,
    pub(super) config: EngineConfig,
    pub(super) telemetry: Telemetry,
    compiler: Compiler,
    ticker: Ticker,
}

impl fmt::Debug for GuestEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestEngine")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl GuestEngine {
    /// Starts the engine and its ticker.
    ///
    /// # Errors
    /// [`BuildError::Engine`] when the machine does not give the address space that the limits
    /// need, or a host service clashes with another; [`BuildError::Thread`].
    pub(crate) fn start(
        config: EngineConfig,
        services: &[Arc<dyn HostService>],
        telemetry: Telemetry,
    ) -> Result<Self, BuildError> {
        let engine = Engine::new(&wasmtime_config(&config)).map_err(engine_error)?;
        if !PoolingAllocationConfig::is_pagemap_scan_available() {
            tracing::warn!(
                "this kernel has no PAGEMAP_SCAN (Linux 6.7 and newer have): \
                 fresh instances cost three to six times as much"
            );
        }
        let linker = linker(&engine, services).map_err(engine_error)?;
        let mut linker_with_http = linker.clone();
        http::link(&mut linker_with_http).map_err(engine_error)?;
        let ticking = engine.clone();
        let ticker = Ticker::start(config.tick, move || ticking.increment_epoch())?;
        Ok(Self {
            engine,
            linker,
            linker_with_http,
            compiler: Compiler::new(config.compile_timeout),
            config,
            telemetry,
            ticker,
        })
    }

    /// Where the host counts.
    #[must_use]
    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// What code is compiled for: everything that decides whether compiled code can be run, and this host's
    /// version.
    #[must_use]
    pub(crate) fn compiles_for(&self) -> [u8; 32] {
        let mut all = Sha256(ring::digest::Context::new(&ring::digest::SHA256));
        all.write(env!("CARGO_PKG_VERSION").as_bytes());
        self.engine.precompile_compatibility_hash().hash(&mut all);
        let mut digest = [0; 32];
        digest.copy_from_slice(all.0.finish().as_ref());
        digest
    }

    /// Within which every guest runs.
    #[must_use]
    pub(super) fn pulse(&self) -> &Arc<Pulse> {
        self.ticker.pulse()
    }

    /// Where plugins are compiled.
    #[must_use]
    pub(crate) fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    /// Largest plugin file, in bytes.
    #[must_use]
    pub(crate) fn file_bytes_max(&self) -> u64 {
        self.config.file_bytes_max
    }
}

/// Hashes into more bits than the standard library's, which is all that [`Hasher`] may give.
struct Sha256(ring::digest::Context);

impl Hasher for Sha256 {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finish();
        digest
            .as_ref()
            .iter()
            .take(8)
            .fold(0, |all, byte| all << 8 | u64::from(*byte))
    }
}

fn engine_error(error: wasmtime::Error) -> BuildError {
    BuildError::Engine(BoxError::from(format!("{error:#}")))
}

fn wasmtime_config(limits: &EngineConfig) -> Config {
    let count = limits.instances_max.get();
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(count)
        .total_core_instances(count.saturating_mul(CORE_PER_COMPONENT))
        .total_memories(count)
        .total_tables(count.saturating_mul(CORE_PER_COMPONENT))
        .total_stacks(count)
        .max_core_instances_per_component(CORE_PER_COMPONENT * 8)
        .max_memory_size(limits.memory_bytes_max)
        .table_elements(limits.table_elements_max)
        .linear_memory_keep_resident(MEMORY_KEEP_RESIDENT_BYTES)
        .table_keep_resident(TABLE_KEEP_RESIDENT_BYTES)
        .async_stack_keep_resident(STACK_KEEP_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(limits.stack_bytes_max)
        .async_stack_size(limits.stack_bytes_max + STACK_FOR_HOST_BYTES)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(20))
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    #[cfg(feature = "ladder")]
    if limits.on_demand {
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    }
    config
}

fn linker(
    engine: &Engine,
    services: &[Arc<dyn HostService>],
) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    network::link(&mut linker)?;
    grpc::call::add_to_linker::<_, HasCall>(&mut linker, GuestState::call_view)?;
    grpc::trace::add_to_linker::<_, HasCall>(&mut linker, GuestState::call_view)?;
    grpc::log::add_to_linker::<_, HasLog>(&mut linker, GuestState::log_view)?;
    for service in services {
        service.link(&mut linker)?;
    }
    Ok(linker)
}
