//! What is wrong with settings, in the words of whoever gave them.
//!
//! The host knows fields; its operator typed a flag, set a variable or wrote a key into a file. Used by
//! `load`, and by commands for faults that only they can find. Invariant: a fault names a setting as it was
//! given, and one that was not given by its flag, or by its key where there is no flag.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::draft::CrossFault;
use super::{Setting, all};

/// Who gave a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    File { path: Arc<Path>, line: usize },
    Variable,
    Flag,
}

/// A setting, of the host or of one plugin.
#[derive(Clone, Debug)]
pub(crate) struct Where {
    pub(crate) setting: &'static Setting,
    pub(crate) plugin: Option<String>,
}

impl Where {
    pub(super) fn of(setting: &'static Setting) -> Self {
        let plugin = None;
        Self { setting, plugin }
    }

    /// Its path in the file.
    pub(crate) fn key(&self) -> String {
        match (&self.plugin, self.setting.key.strip_prefix("plugin.")) {
            (Some(name), Some(rest)) => format!("plugins.{}.{rest}", key_part(name)),
            _ => self.setting.key.to_owned(),
        }
    }

    /// How whoever gave it calls it.
    fn name(&self, origin: Option<&Origin>) -> String {
        let flag = || {
            let flag = self.setting.flag.name().map(|name| format!("--{name}"));
            flag.unwrap_or_else(|| self.key())
        };
        match origin {
            Some(Origin::File { .. }) => self.key(),
            Some(Origin::Variable) => self.setting.variable().unwrap_or_else(|| self.key()),
            Some(Origin::Flag) => flag(),
            None if self.plugin.is_some() => self.key(),
            None => flag(),
        }
    }
}

/// A part of a key as TOML has it: bare where it can be. Source: TOML 1.0, "Keys".
pub(super) fn key_part(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !name.is_empty() && name.bytes().all(bare) {
        name.to_owned()
    } else {
        super::value::quoted(name)
    }
}

/// Who gave which setting.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    of: BTreeMap<(Option<String>, &'static str), Origin>,
}

impl Names {
    pub(super) fn given(&mut self, at: Where, origin: Origin) {
        self.of.insert((at.plugin, at.setting.key), origin);
    }

    /// Who gave the setting; none if it is as it is by default.
    pub(crate) fn origin(&self, at: &Where) -> Option<&Origin> {
        self.of.get(&(at.plugin.clone(), at.setting.key))
    }

    /// Who gave the setting, as the operator knows it; none if it is as it is by default.
    pub(super) fn giver(&self, at: &Where) -> Option<String> {
        Some(match self.origin(at)? {
            Origin::File { path, line } => format!("{}:{line}", path.display()),
            origin @ (Origin::Variable | Origin::Flag) => at.name(Some(origin)),
        })
    }

    /// The setting of this key, as it was given.
    pub(crate) fn of(&self, key: &str) -> String {
        super::find(key).map_or_else(
            || key.to_owned(),
            |setting| {
                let at = Where::of(setting);
                at.name(self.origin(&at))
            },
        )
    }

    /// The settings that a text of the host's is about, in its order.
    pub(super) fn mentioned(&self, text: &str) -> Vec<&'static Setting> {
        let parts = parts(text).into_iter();
        parts.flat_map(|part| part.settings).collect()
    }

    /// A fault of the host's, where it was made.
    pub(super) fn fault(&self, fault: &CrossFault) -> Fault {
        let at = |setting: &'static Setting| {
            let own = Where {
                setting,
                plugin: fault.plugin.clone().filter(|_| setting.of_plugins()),
            };
            // What a plugin's section does not say is as the section of all has it.
            if self.origin(&own).is_some() {
                own
            } else {
                Where::of(setting)
            }
        };
        let of_file = |setting: &&'static Setting| {
            matches!(self.origin(&at(setting)), Some(Origin::File { .. }))
        };
        // Whoever writes a file thinks in keys.
        let in_file = self.mentioned(&fault.text).iter().any(of_file);
        let mut text = String::new();
        let mut origin = None;
        for part in parts(&fault.text) {
            let places = part.settings.iter().rev().map(|setting| at(setting));
            // Of several that the host calls so, one that was given is meant.
            let place = places.max_by_key(|place| self.origin(place).is_some());
            let Some(place) = place else {
                text.push_str(part.text);
                continue;
            };
            let given = self.origin(&place);
            if in_file && given.is_none() {
                text.push_str(&place.key());
            } else {
                text.push_str(&place.name(given));
            }
            origin = origin.or_else(|| given.cloned());
        }
        Fault {
            about: self
                .mentioned(&fault.text)
                .iter()
                .map(|one| one.key)
                .collect(),
            origin,
            text,
        }
    }

    /// Words of the host's in those of the operator.
    pub(crate) fn explain(&self, text: &str) -> String {
        let plugin = None;
        let text = text.to_owned();
        self.fault(&CrossFault { plugin, text }).text
    }
}

/// A part of a text: what the host calls a setting, or what is between.
struct Part<'a> {
    text: &'a str,
    /// Those that are called so; none for what is between.
    settings: Vec<&'static Setting>,
}

/// Takes a text apart at the names of settings: the longest that fits, and whole words only.
fn parts(text: &str) -> Vec<Part<'_>> {
    let mut found = Vec::new();
    let mut add = |text, settings| found.push(Part { text, settings });
    let (mut begun, mut at) = (0, 0);
    while let Some(char) = text[at..].chars().next() {
        let starts_word = !text[..at].ends_with(is_word);
        let named = starts_word.then(|| name_at(&text[at..])).flatten();
        let Some((settings, len)) = named else {
            at += char.len_utf8();
            continue;
        };
        if begun < at {
            add(&text[begun..at], Vec::new());
        }
        add(&text[at..at + len], settings);
        at += len;
        begun = at;
    }
    if begun < text.len() {
        add(&text[begun..], Vec::new());
    }
    found
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// The settings that the text begins with the name of, and how long that is.
fn name_at(text: &str) -> Option<(Vec<&'static Setting>, usize)> {
    let names = all().flat_map(|setting| {
        let fields = setting.fields.iter().map(|field| (*field).to_owned());
        let key = format!("`{}`", setting.key);
        fields.chain([key]).map(move |name| (setting, name))
    });
    let begins = names.filter(|(_, name)| {
        let rest = text.strip_prefix(name.as_str());
        rest.is_some_and(|rest| !name.ends_with(is_word) || !rest.starts_with(is_word))
    });
    let begins: Vec<_> = begins.collect();
    let longest = begins.iter().map(|(_, name)| name.len()).max()?;
    let settings = begins.iter().filter(|(_, name)| name.len() == longest);
    Some((settings.map(|(setting, _)| *setting).collect(), longest))
}

/// Something that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Keys of the settings that it is about.
    about: Vec<&'static str>,
    origin: Option<Origin>,
    text: String,
}

impl Fault {
    /// A fault of one value.
    pub(super) fn at(at: Where, origin: Origin, text: String) -> Self {
        let name = at.name(Some(&origin));
        // What begins with the value goes on after a colon, what is the end of a sentence does not.
        let between = if text.starts_with('"') { ": " } else { " " };
        Self {
            about: vec![at.setting.key],
            origin: Some(origin),
            text: format!("{name}{between}{text}"),
        }
    }

    /// A fault that only its finder can describe.
    pub(crate) fn other(origin: Option<Origin>, text: impl Into<String>) -> Self {
        Self {
            about: Vec::new(),
            origin,
            text: text.into(),
        }
    }

    /// Whether no fault of the same place is among `seen`, to which it is added.
    pub(super) fn is_first_of(&self, seen: &mut Vec<Option<Origin>>) -> bool {
        let first = !seen.contains(&self.origin);
        if first {
            seen.push(self.origin.clone());
        }
        first
    }

    pub(super) fn is_about(&self, setting: &Setting) -> bool {
        self.about.contains(&setting.key)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Origin::File { path, line }) = &self.origin {
            write!(f, "{}:{line}: ", path.display())?;
        }
        f.write_str(&self.text)
    }
}

/// Everything that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

impl Faults {
    /// Those in the file by their lines, then the others.
    pub(crate) fn new(mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(|fault| match &fault.origin {
            Some(Origin::File { line, .. }) => *line,
            Some(Origin::Variable | Origin::Flag) | None => usize::MAX,
        });
        Self(faults)
    }

    /// One fault.
    pub(crate) fn one(text: impl Into<String>) -> Self {
        Self(vec![Fault::other(None, text)])
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(faults) = self;
        if let [fault] = faults.as_slice() {
            return fault.fmt(f);
        }
        write!(f, "{} settings are wrong", faults.len())?;
        faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl std::error::Error for Faults {}
