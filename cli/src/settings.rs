//! Everything that can be set, in one table: key, flag, meaning, limit, and where it goes.
//!
//! Called by `args` (flags), `cmd` (everything else). From the table come the flags and their help, the
//! variables of the environment, the configuration file, its schema and sample, the tables in
//! `docs/operations.md`, and the names in messages. Invariants, each a test: keys and flags are there once;
//! every default is read from the types that have it, and is accepted where it is written.
//!
//! Who adds a setting adds an entry to one of the files in `table`, and a field in `draft` if the host's own
//! configuration has none.

mod address;
mod changes;
#[cfg(test)]
mod document;
mod draft;
mod explain;
mod field;
mod file;
mod flags;
mod load;
mod nearest;
mod schema;
mod table;
mod value;
mod written;

use draft::{Draft, PluginDraft};
use field::Field;
use value::{Kind, Value};

pub(crate) use address::{SYSTEMD, host_port_fault, unix_path};
pub(crate) use draft::{Configuration, DEFAULT_FOLDER, LogFormat};
pub(crate) use explain::{Fault, Faults, Names, Origin};
pub(crate) use flags::{FORMS, Flags, hidden};
pub(crate) use load::{Loaded, Sources};
pub(crate) use schema::schema;
pub(crate) use written::sample;

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its path in the file. What begins with `plugin.` can be set for single plugins too.
    pub key: &'static str,
    pub flag: Flag,
    pub kind: Kind,
    /// What it is, as a sentence without its full stop.
    pub help: &'static str,
    /// What happens at the limit, or what else is to be known; may be empty.
    pub limit: &'static str,
    /// What the host calls it in what it says, most specific first.
    pub fields: &'static [&'static str],
    /// How its default is written where no value says it.
    pub default: Option<&'static str>,
    pub change: Change,
    pub at: At,
}

/// How a setting is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flag {
    /// Not on the command line.
    None,
    /// Not as a flag, but by its place.
    Place,
    /// `--NAME VALUE`.
    Value(&'static str),
    /// `--NAME`, which switches it on.
    On(&'static str),
    /// `--NAME`, which switches it off, and what that means.
    Off(&'static str, &'static str),
}

/// What becomes of a change while the host serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is taken.
    Taken,
    /// It waits for the next start.
    Restart,
}

/// Where a setting goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At {
    Host(fn(&mut Draft) -> &mut dyn Field),
    Plugin(fn(&mut PluginDraft) -> &mut dyn Field),
}

/// Settings that are shown together.
#[derive(Debug)]
pub(crate) struct Section {
    /// What stands above their flags; empty for those that everybody needs.
    pub title: &'static str,
    pub settings: &'static [Setting],
}

impl Flag {
    /// Its name, without the dashes.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::None | Self::Place => None,
            Self::Value(name) | Self::On(name) | Self::Off(name, _) => Some(name),
        }
    }
}

impl Setting {
    /// Its variable of the environment.
    pub(crate) fn variable(&self) -> Option<String> {
        let name = match self.flag {
            Flag::Place => self.key,
            Flag::None => return None,
            Flag::Value(name) | Flag::On(name) | Flag::Off(name, _) => name,
        };
        Some(variable(name))
    }

    /// Its value in a draft.
    pub(crate) fn value(&self, draft: &Draft) -> Value {
        // The one way to a field is the one to change it; drafts are small.
        let mut draft = draft.clone();
        match self.at {
            At::Host(at) => at(&mut draft).show(),
            At::Plugin(at) => at(&mut draft.plugin).show(),
        }
    }

    /// Its value for one plugin; none if it is no plugin's.
    pub(crate) fn plugin_value(&self, draft: &PluginDraft) -> Option<Value> {
        let At::Plugin(at) = self.at else { return None };
        Some(at(&mut draft.clone()).show())
    }

    /// Puts a value into a draft.
    ///
    /// # Errors
    /// What is wrong with the value, as the end of a sentence.
    pub(crate) fn put(&self, draft: &mut Draft, value: Value) -> Result<(), String> {
        match self.at {
            At::Host(at) => at(draft).put(value),
            At::Plugin(at) => at(&mut draft.plugin).put(value),
        }
    }

    /// Puts a value into the draft of one plugin.
    ///
    /// # Errors
    /// What is wrong with the value, as the end of a sentence.
    pub(crate) fn put_plugin(&self, draft: &mut PluginDraft, value: Value) -> Result<(), String> {
        match self.at {
            At::Plugin(at) => at(draft).put(value),
            At::Host(_) => Err("is no plugin's".to_owned()),
        }
    }

    /// Its default, as people read it; empty if there is none.
    pub(crate) fn default_text(&self) -> String {
        self.default.map_or_else(
            || self.value(&Draft::default()).text(self.kind),
            str::to_owned,
        )
    }

    /// Whether it can be set for single plugins.
    pub(crate) fn of_plugins(&self) -> bool {
        matches!(self.at, At::Plugin(_))
    }
}

/// The variable for what the command line calls so.
pub(crate) fn variable(name: &str) -> String {
    format!("SWITCHBOARD_{}", name.replace('-', "_").to_uppercase())
}

/// All sections, in the order in which they are shown.
pub(crate) fn sections() -> &'static [Section] {
    table::SECTIONS
}

/// All settings, in the same order.
pub(crate) fn all() -> impl Iterator<Item = &'static Setting> {
    sections().iter().flat_map(|section| section.settings)
}

/// The setting of this key.
pub(crate) fn find(key: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.key == key)
}

#[cfg(test)]
mod tests;
