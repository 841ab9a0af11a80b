//! What has changed from one state of the settings to another.
//!
//! Called by `cmd::serve` when the file, or the wish to read it again, has come. Knows what may change while the
//! host serves only as the table says it.

use std::collections::BTreeSet;
use std::fmt;

use super::draft::PluginDraft;
use super::explain::{Faults, Where};
use super::load::Loaded;
use super::value::Value;
use super::{Change, Setting, all};

/// A setting that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    /// Its path in the file.
    pub(crate) key: String,
    old: String,
    new: String,
    /// Whether it is taken while the host serves.
    pub(crate) taken: bool,
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &str| {
            if text.is_empty() {
                "nothing".to_owned()
            } else {
                text.to_owned()
            }
        };
        write!(
            f,
            "{}: {} -> {}",
            self.key,
            shown(&self.old),
            shown(&self.new)
        )
    }
}

impl Loaded {
    /// What is in `newer` and is not as it is here, in the order of the table.
    pub(crate) fn changes(&self, newer: &Self) -> Vec<Changed> {
        let common = all().filter_map(|setting| {
            let (old, new) = (setting.value(&self.draft), setting.value(&newer.draft));
            changed(&Where::of(setting), &old, &new)
        });
        let names: BTreeSet<_> = self.plugins.keys().chain(newer.plugins.keys()).collect();
        let own = names.into_iter().flat_map(|name| {
            let (old, new) = (self.plugin(name), newer.plugin(name));
            all().filter_map(move |setting| {
                let plugin = Some(name.clone());
                let (then, now) = (setting.plugin_value(old)?, setting.plugin_value(new)?);
                // One that changed for all plugins has been named.
                let for_all = setting.value(&self.draft) != setting.value(&newer.draft);
                let said = for_all && !newer.says(setting, name) && !self.says(setting, name);
                changed(&Where { setting, plugin }, &then, &now).filter(|_| !said)
            })
        });
        common.chain(own).collect()
    }

    /// These settings with what may be taken of `newer` while the host serves; the rest stays as it is.
    ///
    /// # Errors
    /// What of both does not go together, so that nothing can be taken before the next start.
    pub(crate) fn taking(&self, newer: &Self) -> Result<Self, Faults> {
        let mut draft = self.draft.clone();
        let kept = |setting: &&Setting| setting.change == Change::Restart;
        for setting in all().filter(|setting| !kept(setting)) {
            put(setting.put(&mut draft, setting.value(&newer.draft)))?;
        }
        let mut plugins = newer.plugins.clone();
        for (name, plugin) in &mut plugins {
            for setting in all().filter(kept) {
                if let Some(value) = setting.plugin_value(self.plugin(name)) {
                    put(setting.put_plugin(plugin, value))?;
                }
            }
        }
        let (configuration, found) = draft.finish(&plugins);
        let faults: Vec<_> = found.iter().map(|fault| newer.names.fault(fault)).collect();
        if !faults.is_empty() {
            return Err(Faults::new(faults));
        }
        Ok(Self {
            configuration,
            names: newer.names.clone(),
            draft,
            plugins,
            sections: newer.sections.clone(),
        })
    }

    fn plugin(&self, name: &str) -> &PluginDraft {
        self.plugins.get(name).unwrap_or(&self.draft.plugin)
    }

    /// Whether the plugin's own section has the setting.
    fn says(&self, setting: &'static Setting, name: &str) -> bool {
        let plugin = Some(name.to_owned());
        self.names.origin(&Where { setting, plugin }).is_some()
    }
}

/// A value that was in a field of the same type fits.
fn put(result: Result<(), String>) -> Result<(), Faults> {
    result.map_err(Faults::one)
}

fn changed(at: &Where, old: &Value, new: &Value) -> Option<Changed> {
    let kind = at.setting.kind;
    (old != new).then(|| Changed {
        key: at.key(),
        old: old.text(kind),
        new: new.text(kind),
        taken: at.setting.change == Change::Taken,
    })
}
