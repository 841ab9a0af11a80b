//! What may be asked of a host, and changed in it, while it serves.
//!
//! Given out by `Host::handle`, to the command line and to services of the host itself. Every change is all or
//! nothing, and calls that run go on.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use tokio::sync::Notify;

use super::catalogue::{Catalogue, Held, Settings};
use super::served::Served;
use crate::config::{HostConfig, PluginConfig};
use crate::error::{Refused, ReloadError};
use crate::guest::{COMPILE_AT_ONCE, Description};
use crate::plugin::{Digest, Loaded};
use crate::pool::PoolStats;

/// One plugin that is being served.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PluginInfo {
    /// Its name: its file's, without the ending.
    pub name: Arc<str>,
    /// Where it came from.
    pub path: PathBuf,
    /// SHA-256 of its file.
    pub digest: Digest,
    /// What it offers.
    pub description: Description,
    /// How its pool is doing.
    pub stats: PoolStats,
}

impl PluginInfo {
    fn of(served: &Served) -> Self {
        Self {
            name: Arc::clone(served.name()),
            path: served.path.clone(),
            digest: served.digest,
            description: served.description.clone(),
            stats: served.pool().stats(),
        }
    }
}

/// A host that serves, as those see it who look after it. Cheap to clone; does not keep the host alive once
/// serving has ended, only what it knows of it.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) catalogue: Arc<Catalogue>,
    /// Rung when the plugin files are to be looked at.
    pub(super) bell: Arc<Notify>,
}

impl Handle {
    /// The plugins that are served.
    #[must_use]
    pub fn plugins(&self) -> Vec<PluginInfo> {
        let state = self.catalogue.state();
        state.served.iter().map(|of| PluginInfo::of(of)).collect()
    }

    /// The plugin files that are not served, and why. Where a version was refused, the one before it goes on.
    #[must_use]
    pub fn refused(&self) -> Vec<Arc<Refused>> {
        self.catalogue.refused()
    }

    /// The plugins that [`Handle::remove_plugin`] took out of service, by their names, and their files.
    #[must_use]
    pub fn held(&self) -> Vec<(Arc<str>, PathBuf)> {
        self.catalogue.held()
    }

    /// Methods, and services as `/package.Service/*`, that the configuration names and nobody serves: what is set for
    /// them has no effect.
    #[must_use]
    pub fn methods_not_served(&self) -> Vec<String> {
        self.catalogue.not_served()
    }

    /// How the pool of the plugin of this name is doing, of the version that is served.
    #[must_use]
    pub fn stats(&self, name: &str) -> Option<PoolStats> {
        self.catalogue.stats(name)
    }

    /// Has the plugin files looked at now, and what changed loaded once it has settled, also if they are not
    /// watched.
    pub fn look_again(&self) {
        self.bell.notify_one();
    }

    /// Loads the plugin of this name anew from its file and puts it in the place of what is served, also if the
    /// file is as it was: its instances are new then, and a quarantine is over. One that was taken out of service
    /// is in again.
    ///
    /// # Errors
    /// [`ReloadError::UnknownPlugin`], and [`ReloadError::Refused`]: then what was served goes on.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn reload_plugin(&self, name: &str) -> Result<(), ReloadError> {
        let _turn = self.catalogue.turn().await;
        let unknown = || ReloadError::UnknownPlugin(name.to_owned());
        let path = self.catalogue.path_of(name).ok_or_else(unknown)?;
        let config = self.catalogue.config_of(name);
        let loaded = self.catalogue.load(&path, &config).await;
        let put = loaded.and_then(|loaded| {
            let loaded = vec![(loaded, config)];
            let outcomes = self.catalogue.change(&[], loaded, Held::Ends);
            outcomes.into_iter().try_for_each(|(_, outcome)| outcome)
        });
        put.map_err(|error| ReloadError::Refused(vec![Refused { path, error }]))
    }

    /// Takes the plugin of this name out of service until [`Handle::reload_plugin`] or another start, whatever
    /// becomes of its file. Calls that run on it go on.
    ///
    /// # Errors
    /// [`ReloadError::UnknownPlugin`].
    pub fn remove_plugin(&self, name: &str) -> Result<(), ReloadError> {
        if !self.catalogue.hold(name) {
            return Err(ReloadError::UnknownPlugin(name.to_owned()));
        }
        // Somebody may have waited for what it offered.
        self.look_again();
        Ok(())
    }

    /// Takes another configuration, all of it or nothing: limits of calls, what plugins get, and how they are
    /// swapped. What else is in `config` counts at the next start. Plugins whose pools or grants change are loaded
    /// anew, and their names returned.
    ///
    /// # Errors
    /// [`ReloadError`]; then nothing has changed.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn reload(
        &self,
        config: &HostConfig,
        plugins: HashMap<String, PluginConfig>,
    ) -> Result<Vec<Arc<str>>, ReloadError> {
        config.check_with(&plugins)?;
        let _turn = self.catalogue.turn().await;
        let settings = Settings::new(config, plugins);
        let served = self.catalogue.state().served.clone();
        let other = served.iter().filter(|served| {
            served
                .config
                .needs_new_instances(settings.of(served.name()))
        });
        let loading = other.map(|served| {
            let (path, own) = (served.path.clone(), settings.of(served.name()).clone());
            async {
                let loaded = self.catalogue.load(&path, &own).await;
                (path, own, loaded)
            }
        });
        let outcomes: Vec<_> = stream::iter(loading.collect::<Vec<_>>())
            .buffered(COMPILE_AT_ONCE)
            .collect()
            .await;
        let mut loaded: Vec<(Loaded, PluginConfig)> = Vec::new();
        let mut refused = Vec::new();
        for (path, own, outcome) in outcomes {
            match outcome {
                Ok(one) => loaded.push((one, own)),
                Err(error) => refused.push(Refused { path, error }),
            }
        }
        if !refused.is_empty() {
            return Err(ReloadError::Refused(refused));
        }
        let names = loaded
            .iter()
            .map(|(one, _)| Arc::clone(one.pool.source().name()));
        let names = names.collect();
        let changed = self.catalogue.change_settings(settings, loaded);
        changed.map_err(|refused| ReloadError::Refused(vec![refused]))?;
        // Who was refused for what it had may do with what it has now.
        self.look_again();
        Ok(names)
    }
}
