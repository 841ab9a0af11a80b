//! Looks after plugins for the admin service: what a `Handle` does, in words that the service may pass on.
//!
//! Made by `Host::serve`, for as long as it serves. Changes run on the runtime that serves, whoever asks: what they
//! start, such as the wait for the last call of a version, must not end with the admin listener.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::runtime;

use super::Handle;
use crate::error::ReloadError;
use crate::plugin;
use crate::task;
use crate::telemetry::{Changing, Keeper, NotChanged, PluginReport, PoolReport, Standing};

/// A handle, and where changes run.
#[derive(Debug)]
pub(super) struct HostKeeper {
    handle: Handle,
    runtime: runtime::Handle,
}

impl HostKeeper {
    /// Of the host behind `handle`, which serves on the current runtime.
    pub(super) fn new(handle: Handle) -> Arc<Self> {
        let runtime = runtime::Handle::current();
        Arc::new(Self { handle, runtime })
    }
}

fn not_changed(error: &ReloadError) -> NotChanged {
    let words = error.to_string();
    match error {
        ReloadError::UnknownPlugin(_) => NotChanged::Unknown(words),
        ReloadError::Config(_) | ReloadError::Refused(_) => NotChanged::Refused(words),
    }
}

impl Keeper for HostKeeper {
    fn plugins(&self) -> Vec<PluginReport> {
        let refused = self.handle.refused();
        let mut served = BTreeSet::new();
        let mut reports = Vec::new();
        for plugin in self.handle.plugins() {
            let fault = refused.iter().find(|refused| refused.path == plugin.path);
            let (stats, services) = (plugin.stats, &plugin.description.services);
            served.insert(plugin.path.clone());
            reports.push(PluginReport {
                name: plugin.name.to_string(),
                path: plugin.path.display().to_string(),
                digest: plugin.digest.to_string(),
                services: services
                    .iter()
                    .map(|service| service.name.clone())
                    .collect(),
                standing: if stats.quarantined {
                    Standing::Quarantined
                } else {
                    Standing::Serving
                },
                fault: fault.map(ToString::to_string).unwrap_or_default(),
                pool: PoolReport {
                    leased_unary: stats.leased.unary,
                    leased_streams: stats.leased.streams,
                    idle: stats.idle,
                    waiting: stats.waiting,
                    made: stats.made,
                    refused: stats.refused,
                    faults: stats.faults,
                    quarantines: stats.quarantines,
                },
            });
        }
        reports.extend(self.handle.held().into_iter().map(|(name, path)| {
            served.insert(path.clone());
            PluginReport {
                name: name.to_string(),
                path: path.display().to_string(),
                digest: String::new(),
                services: Vec::new(),
                standing: Standing::Drained,
                fault: String::new(),
                pool: PoolReport::default(),
            }
        }));
        let gone = refused
            .iter()
            .filter(|refused| !served.contains(&refused.path));
        reports.extend(gone.map(|refused| PluginReport {
            name: plugin::name(&refused.path).to_string(),
            path: refused.path.display().to_string(),
            digest: String::new(),
            services: Vec::new(),
            standing: Standing::Refused,
            fault: refused.to_string(),
            pool: PoolReport::default(),
        }));
        reports
    }

    fn reload(&self, name: String) -> Changing {
        let handle = self.handle.clone();
        let reloading = async move { handle.reload_plugin(&name).await };
        let reloading = task::spawn_on(&self.runtime, reloading);
        Box::pin(async move {
            match reloading.await {
                Ok(reloaded) => reloaded.map_err(|error| not_changed(&error)),
                Err(error) => Err(NotChanged::Refused(error.to_string())),
            }
        })
    }

    fn drain(&self, name: &str) -> Result<(), NotChanged> {
        // It may have to wait for calls, and does that in a task.
        let _entered = self.runtime.enter();
        let removed = self.handle.remove_plugin(name);
        removed.map_err(|error| not_changed(&error))
    }
}
