//! What one plugin is given, for all its instances: its grants and its limits.
//!
//! Made by `guest::component` when the plugin is loaded; read when an instance is made. Invariant: without
//! grants, WASI gives a plugin clocks, random numbers, and the log for what it prints.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};

use super::cpu::Cpu;
use super::state::Limits;
use crate::config::{EngineConfig, GrantsConfig, LimitsConfig, PluginConfig};
use crate::imports::http::{Http, Outgoing};
use crate::imports::log::{Caller, GuestLog, Stdio};
use crate::imports::network::Reach;

/// Most resources (streams, pollables, ...) that one instance may hold. Count; a leak then ends in
/// an error for the guest that leaks, long before it costs the host a megabyte.
const RESOURCES_MAX: usize = 10_000;

/// Random bytes that a guest gets at once. They are made while everything else on the thread waits;
/// wasmtime's default of 64 MiB would hold it for a tenth of a second.
const RANDOM_BYTES_MAX: u64 = 64 * 1024;

/// What a plugin is given.
#[derive(Debug)]
pub(super) struct Terms {
    grants: GrantsConfig,
    limits: LimitsConfig,
    pub(super) reach: Arc<Reach>,
    /// None without a grant.
    outgoing: Option<Arc<Outgoing>>,
}

impl Terms {
    pub(super) fn new(plugin: &Arc<str>, config: &PluginConfig) -> Self {
        let grants = &config.grants;
        let reach = Arc::new(Reach::new(Arc::clone(plugin), grants));
        let http = (!grants.http.is_empty()).then(|| Outgoing::new(Arc::clone(&reach), grants));
        Self {
            grants: config.grants.clone(),
            limits: config.limits.clone(),
            reach,
            outgoing: http.map(Arc::new),
        }
    }

    /// What an instance may grow to, in an engine with these limits; what it has is added to `held_bytes`.
    pub(super) fn limits(&self, engine: &EngineConfig, held_bytes: &Arc<AtomicUsize>) -> Limits {
        let own = &self.limits;
        Limits::new(
            own.memory_bytes_max.unwrap_or(engine.memory_bytes_max),
            own.table_elements_max.unwrap_or(engine.table_elements_max),
            Arc::clone(held_bytes),
        )
    }

    /// What counts the CPU time of an instance's calls, if there is a limit.
    pub(super) fn cpu(&self) -> Option<Arc<Cpu>> {
        let most = self.limits.cpu_time_max?;
        Some(Arc::new(Cpu::new(most)))
    }

    /// Resources that an instance may hold.
    pub(super) fn resources_max(&self) -> usize {
        if self.grants.gives_handles() {
            self.grants.handles_max
        } else {
            RESOURCES_MAX
        }
    }

    /// HTTP for an instance, if it is granted.
    pub(super) fn http(&self) -> Option<Http> {
        let outgoing = self.outgoing.as_ref()?;
        Some(Http::new(Arc::clone(outgoing)))
    }

    /// Whether WASI has to be made with the instance, because that can fail.
    pub(super) fn has_folders(&self) -> bool {
        !self.grants.folders.is_empty()
    }

    /// WASI for an instance, but for folders.
    pub(super) fn wasi(&self, log: &Arc<GuestLog>, caller: &Caller) -> WasiCtxBuilder {
        let mut wasi = WasiCtx::builder();
        wasi.stdout(Stdio::stdout(Arc::clone(log), caller.clone()))
            .stderr(Stdio::stderr(Arc::clone(log), caller.clone()))
            .max_random_size(RANDOM_BYTES_MAX)
            .allow_tcp(self.reach.has_tcp())
            .allow_udp(self.reach.has_udp())
            // `imports::network` answers instead.
            .allow_ip_name_lookup(false);
        if self.reach.has_tcp() || self.reach.has_udp() {
            let reach = Arc::clone(&self.reach);
            wasi.socket_addr_check(move |address, used| reach.check(address, used));
        }
        for (name, value) in &self.grants.env {
            wasi.env(name, value);
        }
        if !self.grants.args.is_empty() {
            wasi.arg(log.plugin()).args(&self.grants.args);
        }
        wasi
    }

    /// Opens the folders; nothing outside of them is reached through what is opened here.
    ///
    /// # Errors
    /// When one is not there any more.
    pub(super) fn open_folders(&self, wasi: &mut WasiCtxBuilder) -> wasmtime::Result<()> {
        for folder in &self.grants.folders {
            let may = if folder.writable {
                FsPerms::ReadWrite
            } else {
                FsPerms::ReadOnly
            };
            let opened = wasi.preopened_dir(&folder.host, &folder.guest, may);
            opened.map_err(|error| {
                let shown = folder.host.display();
                error.context(format!("the folder {shown} that it is granted"))
            })?;
        }
        Ok(())
    }
}
