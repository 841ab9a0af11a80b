//! One plugin as it is served, and a change of what is served while it is being put together.
//!
//! Called by `host::catalogue`. Invariant: a stage is a copy; nothing that is in force changes until it is
//! committed as a whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::catalogue::switch;
use crate::config::PluginConfig;
use crate::error::PluginError;
use crate::grpc::{Ending, Routes, Version};
use crate::guest::{Component, Description};
use crate::plugin::{self, Digest, Loaded};
use crate::pool::Pool;

/// A plugin that is served.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) path: PathBuf,
    pub(super) digest: Digest,
    pub(super) description: Description,
    /// What it was loaded with.
    pub(super) config: PluginConfig,
    version: Arc<Version>,
    pub(super) ending: Ending,
}

impl Served {
    pub(super) fn name(&self) -> &Arc<str> {
        self.version.source().name()
    }

    pub(super) fn pool(&self) -> &Arc<Pool<Component>> {
        &self.version
    }

    /// One line for each plugin that comes, also in the place of an older version of itself.
    pub(super) fn say_loaded(&self, before: Option<Digest>) {
        let services: Vec<_> = self
            .description
            .services
            .iter()
            .map(|service| &*service.name)
            .collect();
        let services = services.join(" ");
        let (plugin, path, digest) = (&**self.name(), self.path.display(), self.digest);
        match before {
            None => tracing::info!(plugin, %path, %digest, services, "plugin loaded"),
            // With other settings, or because somebody asked for it.
            Some(before) if before == digest => {
                tracing::info!(plugin, %path, %digest, services, "plugin loaded anew");
            }
            Some(before) => {
                tracing::info!(plugin, %path, %digest, %before, services, "plugin swapped");
            }
        }
    }

    fn add_to(&self, routes: &mut Routes, before: &Routes) {
        routes.add_plugin(&self.version, &self.description, &self.config, before);
    }
}

/// What will be served.
pub(super) struct Stage {
    pub(super) routes: Routes,
    /// What is in force.
    before: Routes,
    pub(super) served: Vec<Arc<Served>>,
    /// Those of `served` that came.
    pub(super) new: Vec<Arc<Served>>,
    /// Those that are not in `served` any more.
    pub(super) old: Vec<Arc<Served>>,
    /// Names that nothing has any more.
    pub(super) removed: Vec<Arc<str>>,
    pub(super) changed: bool,
}

impl Stage {
    /// Everything as it is.
    pub(super) fn new(served: &[Arc<Served>], routes: &Routes) -> Self {
        Self {
            served: served.to_vec(),
            changed: false,
            ..Self::anew(routes.clone(), routes)
        }
    }

    /// Nothing but what `routes` have.
    pub(super) fn anew(routes: Routes, before: &Routes) -> Self {
        Self {
            routes,
            before: before.clone(),
            served: Vec::new(),
            new: Vec::new(),
            old: Vec::new(),
            removed: Vec::new(),
            changed: true,
        }
    }

    /// Keeps a plugin, with what its configuration says of its methods and messages; its pool stays as it is.
    pub(super) fn keep(&mut self, served: &Arc<Served>, config: &PluginConfig) {
        let served = if served.config == *config {
            Arc::clone(served)
        } else {
            Arc::new(Served {
                path: served.path.clone(),
                digest: served.digest,
                description: served.description.clone(),
                config: config.clone(),
                version: Arc::clone(&served.version),
                ending: served.ending.clone(),
            })
        };
        served.add_to(&mut self.routes, &self.before);
        self.served.push(served);
    }

    /// Takes out what came from this file.
    pub(super) fn remove(&mut self, path: &Path) {
        let at = self.served.iter().position(|served| served.path == path);
        let Some(at) = at else {
            return;
        };
        let served = self.served.remove(at);
        self.routes.remove(served.name());
        self.removed.push(Arc::clone(served.name()));
        self.old.push(served);
        self.changed = true;
    }

    /// Puts a plugin in, instead of what came from the same file.
    ///
    /// # Errors
    /// [`PluginError`]; then nothing has changed.
    pub(super) fn put(
        &mut self,
        loaded: Loaded,
        config: PluginConfig,
        incompatible: bool,
    ) -> Result<(), PluginError> {
        let name = Arc::clone(loaded.pool.source().name());
        let place = self.served.iter().position(|other| *other.name() == name);
        let before = place.map(|at| Arc::clone(&self.served[at]));
        if let Some(other) = &before
            && other.path != loaded.path
        {
            return Err(PluginError::SameName(other.path.clone()));
        }
        if let Some(before) = before.as_ref().filter(|_| !incompatible) {
            let changes = plugin::changes(&before.description, &loaded.description);
            if !changes.is_empty() {
                return Err(PluginError::Incompatible(changes));
            }
        }
        let services = loaded.description.services.iter();
        let services = services.map(|service| service.name.as_str());
        if let Some((service, owner)) = self.routes.clash(services, Some(&name)) {
            return Err(if self.routes.is_built_in(&service) {
                let flag = switch(&service);
                PluginError::BuiltIn { service, flag }
            } else {
                PluginError::Clash { service, owner }
            });
        }
        let (version, ending) = Version::new(loaded.pool);
        let served = Arc::new(Served {
            path: loaded.path,
            digest: loaded.digest,
            description: loaded.description,
            config,
            version,
            ending,
        });
        self.routes.remove(&name);
        served.add_to(&mut self.routes, &self.before);
        self.removed.retain(|removed| *removed != name);
        match place {
            Some(at) => self
                .old
                .push(std::mem::replace(&mut self.served[at], Arc::clone(&served))),
            None => self.served.push(Arc::clone(&served)),
        }
        self.new.push(served);
        self.changed = true;
        Ok(())
    }
}
