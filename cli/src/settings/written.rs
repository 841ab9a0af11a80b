//! Settings written as TOML: the sample with every default, and what is in force with where it came from.
//!
//! Called by `cmd::config`. Invariant, a test: the sample, read as a file, changes nothing.

use std::fmt::Write as _;

use super::draft::Draft;
use super::explain::Where;
use super::load::Loaded;
use super::value::{Kind, Value, quoted};
use super::{Change, Setting, all};

/// Longest line of a comment, in characters, as lines of documents are.
const LINE_CHARS_MAX: usize = 100;

const SAMPLE_HEAD: &str = "Every key with its default, for `switchboard serve -c FILE`. What is left out, or commented out, is as it \
     is by default. Paths are relative to this file. Sizes are like \"512KiB\" or \"16MiB\", a number is bytes; \
     times are like \"300ms\", \"5s\", \"2min\", \"1h\". A variable of the environment goes before a key here, and a \
     flag before both. Secrets stand in files of their own, which are named here.";

const SAMPLE_TAIL: &str = "What is set under [plugin] is for every plugin. One plugin has more, or less, in a section by its name, \
     which is its file's without .wasm:";

/// A sample file.
pub(crate) fn sample() -> String {
    let default = Draft::default();
    let mut text = String::new();
    comment(&mut text, SAMPLE_HEAD);
    for (table, settings) in groups() {
        text.push('\n');
        if !table.is_empty() {
            text.push_str(&format!("[{table}]\n"));
        }
        for setting in settings {
            comment(&mut text, &about(setting));
            let name = name(setting);
            match sample_value(setting, &default) {
                Ok(value) => line(&mut text, &format!("{name} = {value}")),
                Err(place) => line(&mut text, &format!("# {name} = {place}")),
            }
        }
    }
    text.push('\n');
    comment(&mut text, SAMPLE_TAIL);
    text.push_str("# [plugins.greeter.pool]\n# stores_max = 8\n");
    text
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// The default as TOML, or what could stand there.
fn sample_value(setting: &Setting, default: &Draft) -> Result<String, String> {
    let value = setting.value(default);
    match value.toml(setting.kind) {
        // It is relative to where the program is started, which a file cannot say.
        Some(value) if matches!(setting.kind, Kind::Paths) => Err(value),
        Some(value) => Ok(value),
        None if matches!(setting.kind, Kind::Count | Kind::CountOrNone) => Err("1".to_owned()),
        None if matches!(setting.kind, Kind::Size) => Err("\"64KiB\"".to_owned()),
        None => Err(quoted(setting.kind.place())),
    }
}

/// The last part of its key.
fn name(setting: &Setting) -> &'static str {
    setting
        .key
        .rsplit_once('.')
        .map_or(setting.key, |(_, name)| name)
}

/// The settings of each table of TOML, those of none first, as TOML wants them.
fn groups() -> Vec<(&'static str, Vec<&'static Setting>)> {
    let mut groups = vec![("", Vec::new())];
    for setting in all() {
        let table = setting.key.rsplit_once('.').map_or("", |(table, _)| table);
        match groups.iter_mut().find(|(known, _)| *known == table) {
            Some((_, settings)) => settings.push(setting),
            None => groups.push((table, vec![setting])),
        }
    }
    groups
}

/// What is to be known of a setting, as sentences.
pub(super) fn about(setting: &Setting) -> String {
    let mut text = setting.help.to_owned();
    if !setting.limit.is_empty() {
        let _ = write!(text, "; {}", setting.limit);
    }
    text.push('.');
    if let Kind::Choice(_, choices) = setting.kind {
        for (name, meaning) in choices {
            let _ = write!(text, " \"{name}\": {}.", lower(meaning));
        }
    }
    if let Some(default) = setting.default {
        let _ = write!(text, " Default: {default}.");
    }
    if let Some(flag) = setting.flag.name() {
        let _ = write!(text, " --{flag}.");
    }
    if setting.change == Change::Taken {
        text.push_str(" May change while the host serves.");
    }
    text
}

/// A sentence within another.
fn lower(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_ascii_lowercase());
    // What begins with a name in capitals keeps it.
    match (
        first,
        chars
            .as_str()
            .starts_with(|next: char| next.is_ascii_uppercase()),
    ) {
        (Some(first), false) => format!("{first}{}", chars.as_str()),
        _ => text.to_owned(),
    }
}

/// Adds a comment, in lines that fit.
fn comment(text: &mut String, words: &str) {
    let mut line = "#".to_owned();
    for word in words.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > LINE_CHARS_MAX {
            text.push_str(&line);
            text.push('\n');
            line = "#".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

impl Loaded {
    /// What is in force, as TOML, with who said so. Files of secrets are named, not read.
    pub(crate) fn shown(&self) -> String {
        let mut text = String::new();
        for (table, settings) in groups() {
            let settings = settings.iter();
            let lines = settings.filter_map(|setting| {
                self.shown_line(&Where::of(setting), &setting.value(&self.draft))
            });
            add_table(&mut text, table, &lines.collect::<Vec<_>>());
        }
        for (name, plugin) in &self.plugins {
            for (table, settings) in groups() {
                let settings = settings.iter();
                let lines = settings.filter_map(|setting| {
                    let value = setting.plugin_value(plugin)?;
                    let at = Where {
                        setting,
                        plugin: Some(name.clone()),
                    };
                    // What it does not say itself is shown where it is said.
                    self.names.origin(&at)?;
                    self.shown_line(&at, &value)
                });
                let lines: Vec<_> = lines.collect();
                if let Some(first) = settings_table(table, name).filter(|_| !lines.is_empty()) {
                    add_table(&mut text, &first, &lines);
                }
            }
        }
        text
    }

    fn shown_line(&self, at: &Where, value: &Value) -> Option<String> {
        let toml = value.toml(at.setting.kind)?;
        let name = name(at.setting);
        Some(match self.names.giver(at) {
            Some(giver) => format!("{name} = {toml} # {giver}"),
            None => format!("{name} = {toml}"),
        })
    }
}

/// The table of one plugin that stands for a table of all of them.
fn settings_table(table: &str, name: &str) -> Option<String> {
    let rest = table.strip_prefix("plugin")?;
    Some(format!("plugins.{}{rest}", super::explain::key_part(name)))
}

fn add_table(text: &mut String, table: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    if !text.is_empty() {
        text.push('\n');
    }
    if !table.is_empty() {
        text.push_str(&format!("[{table}]\n"));
    }
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
}
