//! Settings from where they were given, the nearest counting: flags, environment, file, defaults.
//!
//! Called by `cmd`. Invariants: every value is read, also one that another covers, so that a fault shows
//! before it matters; nothing is used while anything is wrong; each value that is no default knows who gave
//! it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::draft::{Configuration, CrossFault, Draft, PluginDraft};
use super::explain::{Fault, Faults, Names, Origin, Where};
use super::file::{self, FILE_BYTES_MAX, Held};
use super::flags::{Flags, Typed};
use super::value::{Kind, Value};
use super::{Flag, Setting, all, nearest};

/// Names the configuration file where no flag does.
pub(super) const CONFIG_VARIABLE: &str = "SWITCHBOARD_CONFIG";

/// Where settings are looked for.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    flags: Flags,
    /// The environment's variables that are settings.
    variables: Vec<(&'static Setting, OsString)>,
    /// The configuration file, if there is one.
    file: Option<PathBuf>,
}

/// Settings, read and right.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) configuration: Configuration,
    pub(crate) names: Names,
    pub(super) draft: Draft,
    pub(super) plugins: BTreeMap<String, PluginDraft>,
    /// The sections of single plugins, and where they are.
    pub(crate) sections: Vec<(String, Origin)>,
}

/// A value, and who gave it.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) at: Where,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

impl Sources {
    /// These flags, and the environment of this process.
    pub(crate) fn new(flags: Flags) -> Self {
        Self::of(flags, |name| std::env::var_os(name))
    }

    /// A file, and nothing else.
    #[cfg(test)]
    pub(super) fn of_file(path: &str) -> Self {
        let mut sources = Self::of(Flags::default(), |_| None);
        sources.file = Some(path.into());
        sources
    }

    pub(super) fn of(flags: Flags, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        // One that is empty is how some set-ups leave a variable out.
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let variables = all().filter_map(|setting| {
            let value = variable(&setting.variable()?)?;
            Some((setting, value))
        });
        Self {
            variables: variables.collect(),
            file: flags
                .config
                .clone()
                .or_else(|| variable(CONFIG_VARIABLE).map(PathBuf::from)),
            flags,
        }
    }

    /// Variables of the environment that are nearly those of settings, and what is to be said of each.
    pub(crate) fn misspelt_variables() -> Vec<Fault> {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let faults = names.filter_map(|name| {
            let near = nearest::variable(&name)?;
            let text = format!("there is no {name}; did you mean {near}?");
            Some(Fault::other(None, text))
        });
        faults.collect()
    }

    /// Whether there is a configuration file, as far as anybody has said.
    pub(crate) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// What the configuration file holds; none if there is no file to read.
    ///
    /// # Errors
    /// When it cannot be read, or is too large to be one.
    pub(crate) fn text(&self) -> Result<Option<String>> {
        let Some(path) = &self.file else {
            return Ok(None);
        };
        let what = || format!("cannot read the configuration file {}", path.display());
        let file = std::fs::File::open(path).with_context(what)?;
        let mut text = String::new();
        file.take(FILE_BYTES_MAX + 1)
            .read_to_string(&mut text)
            .with_context(what)?;
        if u64::try_from(text.len())? > FILE_BYTES_MAX {
            let limit = format!("it has more than {FILE_BYTES_MAX} bytes");
            return Err(anyhow::Error::msg(limit).context(what()));
        }
        Ok(Some(text))
    }

    /// Reads everything; `text` is what the configuration file holds.
    ///
    /// # Errors
    /// All faults at once; each says where it is.
    pub(crate) fn load(&self, text: Option<&str>) -> Result<Loaded, Faults> {
        let mut reading = Reading::default();
        if let (Some(path), Some(text)) = (&self.file, text) {
            reading.held = file::read(path, text);
        }
        for (setting, text) in &self.variables {
            reading.variable(setting, text);
        }
        for typed in &self.flags.typed {
            reading.flag(typed);
        }
        reading.finish()
    }
}

impl Loaded {
    /// What is not as it is by default, as `KEY=VALUE`.
    pub(crate) fn changed(&self) -> Vec<String> {
        let default = Draft::default();
        let common = all().filter_map(|setting| {
            let value = setting.value(&self.draft);
            (value != setting.value(&default))
                .then(|| format!("{}={}", setting.key, value.text(setting.kind)))
        });
        let own = self.plugins.iter().flat_map(|(name, plugin)| {
            all().filter_map(move |setting| {
                let value = setting.plugin_value(plugin)?;
                if value == setting.value(&self.draft) {
                    return None;
                }
                let plugin = Some(name.clone());
                let key = Where { setting, plugin }.key();
                Some(format!("{key}={}", value.text(setting.kind)))
            })
        });
        common.chain(own).collect()
    }
}

/// What has been read so far.
#[derive(Debug, Default)]
struct Reading {
    held: Held,
}

impl Reading {
    fn add(&mut self, at: Where, origin: Origin, value: Result<Value, String>) {
        match value {
            Ok(value) => self.held.given.push(Given { at, value, origin }),
            Err(text) => self.held.faults.push(Fault::at(at, origin, text)),
        }
    }

    fn variable(&mut self, setting: &'static Setting, text: &OsString) {
        let elements = match text.to_str() {
            Some(text) if setting.kind.adds_up() => {
                let elements = text.split(',').map(|element| element.trim().into());
                elements.collect()
            }
            _ => vec![text.clone()],
        };
        let value = read(setting.kind, &elements).map(|value| match (setting.flag, value) {
            (Flag::Off(..), Value::Bool(yes)) => Value::Bool(!yes),
            (_, value) => value,
        });
        self.add(Where::of(setting), Origin::Variable, value);
    }

    fn flag(&mut self, typed: &Typed) {
        let value = match typed.setting.flag {
            Flag::On(_) => Ok(Value::Bool(true)),
            Flag::Off(..) => Ok(Value::Bool(false)),
            Flag::None | Flag::Place | Flag::Value(_) => read(typed.setting.kind, &typed.values),
        };
        self.add(Where::of(typed.setting), Origin::Flag, value);
    }

    fn finish(mut self) -> Result<Loaded, Faults> {
        let (mut draft, mut names) = (Draft::default(), Names::default());
        let mut plugins: BTreeMap<String, PluginDraft> = BTreeMap::new();
        // What is for all plugins first, or a plugin's own section would not have it.
        let (own, common): (Vec<_>, Vec<_>) = std::mem::take(&mut self.held.given)
            .into_iter()
            .partition(|given| given.at.plugin.is_some());
        for given in common.into_iter().chain(own) {
            let put = match &given.at.plugin {
                None => given.at.setting.put(&mut draft, given.value),
                Some(name) => {
                    let plugin = plugins.entry(name.clone());
                    let plugin = plugin.or_insert_with(|| draft.plugin.clone());
                    given.at.setting.put_plugin(plugin, given.value)
                }
            };
            match put {
                Ok(()) => names.given(given.at, given.origin),
                Err(text) => self
                    .held
                    .faults
                    .push(Fault::at(given.at, given.origin, text)),
            }
        }
        for (name, _) in &self.held.plugins {
            let plugin = plugins.entry(name.clone());
            plugin.or_insert_with(|| draft.plugin.clone());
        }
        let (configuration, found) = draft.finish(&plugins);
        self.add_cross(&names, found);
        if self.held.faults.is_empty() {
            Ok(Loaded {
                configuration,
                names,
                draft,
                plugins,
                sections: self.held.plugins,
            })
        } else {
            Err(Faults::new(self.held.faults))
        }
    }

    /// Adds what does not go together. A value that is wrong by itself is not there to be compared.
    fn add_cross(&mut self, names: &Names, found: Vec<CrossFault>) {
        let wrong = self.held.faults.len();
        for fault in found {
            let mut alone = self.held.faults[..wrong].iter();
            let about = names.mentioned(&fault.text);
            if !alone.any(|wrong| about.iter().any(|setting| wrong.is_about(setting))) {
                self.held.faults.push(names.fault(&fault));
            }
        }
    }
}

/// The value of all elements together.
fn read(kind: Kind, elements: &[OsString]) -> Result<Value, String> {
    let mut whole = None;
    for element in elements {
        let value = kind.read(element)?;
        match (&mut whole, value) {
            (Some(Value::List(list)), Value::List(more)) => list.extend(more),
            (Some(Value::Paths(paths)), Value::Paths(more)) => paths.extend(more),
            (Some(Value::Map(map)), Value::Map(more)) => map.extend(more),
            (whole, value) => *whole = Some(value),
        }
    }
    whole.ok_or_else(|| "needs a value".to_owned())
}
