//! The configuration file: TOML in, values and faults out, each with its line.
//!
//! Called by `load`. Invariants: every key is one of the table's, or a fault that names the nearest; a fault
//! does not end the reading; relative paths are relative to the file, wherever the program was started.
//! Source: TOML 1.0.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::explain::{Fault, Origin, Where};
use super::load::Given;
use super::value::{Item, Kind, PART, Value};
use super::{Setting, address, all, find, nearest};

/// Largest file that is read, in bytes: fifty times the sample, with room for a section for each of a thousand
/// plugins.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 20;

/// Under which single plugins have their sections.
const PLUGINS: &str = "plugins";

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) given: Vec<Given>,
    pub(super) faults: Vec<Fault>,
    /// Plugins with a section, also with an empty one.
    pub(super) plugins: Vec<(String, Origin)>,
}

/// Reads the text of the file at `path`.
pub(super) fn read(path: &Path, text: &str) -> Held {
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let mut reader = Reader {
        path: path.into(),
        folder: std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()),
        text,
        broken: Vec::new(),
        held: Held::default(),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let origin = reader.origin(&error.span().unwrap_or_default());
        let said = error.message().trim().replace('\n', ", ");
        let fault = Fault::other(Some(origin.clone()), format!("no TOML: {said}"));
        reader.held.faults.push(fault);
        reader.broken.push(origin);
    }
    // Of a line that cannot be read the first word counts: what follows is about the parser, not the file.
    let mut broken = Vec::new();
    reader
        .held
        .faults
        .retain(|fault| fault.is_first_of(&mut broken));
    reader.table("", None, table.get_ref());
    reader.held
}

struct Reader<'a> {
    path: Arc<Path>,
    /// Lines that are no TOML.
    broken: Vec<Origin>,
    /// Where relative paths begin.
    folder: PathBuf,
    text: &'a str,
    held: Held,
}

/// What is wrong with a value, and where in the text.
type Wrong = (Range<usize>, String);

impl Reader<'_> {
    fn origin(&self, span: &Range<usize>) -> Origin {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let path = Arc::clone(&self.path);
        Origin::File { path, line }
    }

    fn fault(&mut self, span: &Range<usize>, text: String) {
        let origin = self.origin(span);
        if !self.broken.contains(&origin) {
            self.held.faults.push(Fault::other(Some(origin), text));
        }
    }

    /// Everything in a table whose path is `prefix`, which is empty or ends with a dot. In the section of one
    /// plugin paths are those of the section for all of them.
    fn table(&mut self, prefix: &str, plugin: Option<&str>, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = format!("{prefix}{}", name.get_ref());
            if let Some(setting) = find(&key) {
                self.setting(setting, plugin, value.span(), value.get_ref());
            } else if key == PLUGINS && plugin.is_none() {
                self.plugins(value.span(), value.get_ref());
            } else if all().any(|one| one.key.starts_with(&format!("{key}."))) {
                match value.get_ref().as_table() {
                    Some(inner) => self.table(&format!("{key}."), plugin, inner),
                    None => {
                        let shown = shown(&key, plugin);
                        let text = format!("{shown} is a section: write [{shown}]");
                        self.fault(&name.span(), text);
                    }
                }
            } else {
                let text = unknown(&key, plugin);
                self.fault(&name.span(), text);
            }
        }
    }

    fn plugins(&mut self, span: Range<usize>, value: &DeValue<'_>) {
        let Some(table) = value.as_table() else {
            self.fault(
                &span,
                format!("{PLUGINS} has a section for each plugin: write [plugins.NAME]"),
            );
            return;
        };
        for (name, value) in table {
            let origin = self.origin(&name.span());
            let plugin = name.get_ref().to_string();
            match value.get_ref().as_table() {
                Some(inner) => {
                    self.held.plugins.push((plugin.clone(), origin));
                    self.table("plugin.", Some(&plugin), inner);
                }
                None => {
                    let text = format!("{PLUGINS}.{plugin} is a section: write [plugins.NAME]");
                    self.fault(&name.span(), text);
                }
            }
        }
    }

    fn setting(
        &mut self,
        setting: &'static Setting,
        plugin: Option<&str>,
        span: Range<usize>,
        value: &DeValue<'_>,
    ) {
        let plugin = plugin.map(str::to_owned);
        let at = Where { setting, plugin };
        match self.value(setting.kind, span.clone(), value) {
            Ok(value) => {
                let origin = self.origin(&span);
                self.held.given.push(Given { at, value, origin });
            }
            Err((span, text)) => {
                let origin = self.origin(&span);
                if !self.broken.contains(&origin) {
                    self.held.faults.push(Fault::at(at, origin, text));
                }
            }
        }
    }

    /// What a value of TOML means for a kind.
    fn value(&self, kind: Kind, span: Range<usize>, value: &DeValue<'_>) -> Result<Value, Wrong> {
        let wrong = |text: String| Err((span.clone(), text));
        let wanted = |what: &str| wrong(format!("must be {what}, not {}", kind_of(value)));
        match kind {
            Kind::Bool => match value.as_bool() {
                Some(yes) => Ok(Value::Bool(yes)),
                None => wanted("true or false"),
            },
            Kind::Count | Kind::CountOrNone => match (value.as_integer(), value.as_str()) {
                (Some(_), _) => integer(value).map_err(|text| (span, text)),
                (None, Some(text)) if kind.word() == Some(text) => Ok(Value::None),
                _ => wanted(&kind.word().map_or_else(
                    || "a number without quotes".to_owned(),
                    |word| format!("a number without quotes, or {word:?}"),
                )),
            },
            Kind::Size if value.is_integer() => integer(value).map_err(|text| (span, text)),
            Kind::Size => self.text(kind, span, value, "a size in quotes, like \"16MiB\""),
            Kind::Time => self.text(kind, span, value, "a time in quotes, like \"5s\""),
            Kind::TimeOrNever => self.text(
                kind,
                span,
                value,
                "a time in quotes, like \"5s\", or \"never\"",
            ),
            Kind::Mode => self.text(kind, span, value, "octal digits in quotes, like \"660\""),
            Kind::Text(PART) if !value.is_str() => match (value.as_integer(), value.as_float()) {
                (Some(number), _) => Ok(Value::Text(number.as_str().to_owned())),
                (_, Some(number)) => Ok(Value::Text(number.as_str().to_owned())),
                (None, None) => wanted("a number like 0.01"),
            },
            Kind::Choice(..) | Kind::Text(_) => self.text(kind, span, value, "text in quotes"),
            Kind::File => self.text(kind, span, value, "a path in quotes"),
            Kind::Paths | Kind::List(_) => self.list(kind, span, value),
            Kind::Folders => {
                let what = "a table like { \"/demo/\" = \"folder\" }";
                self.map(Kind::File, what, span, value)
            }
            Kind::Variables => {
                let what = "a table like { \"NAME\" = \"value\" }";
                self.map(Kind::Text("VALUE"), what, span, value)
            }
            Kind::Sizes => {
                let what = "a table like { \"/package.Service/Method\" = \"16MiB\" }";
                self.map(Kind::Size, what, span, value)
            }
        }
    }

    fn text(
        &self,
        kind: Kind,
        span: Range<usize>,
        value: &DeValue<'_>,
        what: &str,
    ) -> Result<Value, Wrong> {
        let Some(text) = value.as_str() else {
            return Err((span, format!("must be {what}, not {}", kind_of(value))));
        };
        let value = kind.read_text(text).map_err(|text| (span, text))?;
        Ok(if let Value::Path(path) = value {
            Value::Path(self.folder.join(path))
        } else {
            value
        })
    }

    fn list(&self, kind: Kind, span: Range<usize>, value: &DeValue<'_>) -> Result<Value, Wrong> {
        let Some(array) = value.as_array() else {
            return Err((
                span,
                format!("must be a list like [\"...\"], not {}", kind_of(value)),
            ));
        };
        let (mut texts, mut paths) = (Vec::new(), Vec::new());
        for element in array {
            let span = element.span();
            let Some(text) = element.get_ref().as_str() else {
                let found = kind_of(element.get_ref());
                return Err((
                    span,
                    format!("must have only text in its list, not {found}"),
                ));
            };
            // But for arguments, nothing to write is nothing to have.
            if text.is_empty() && !matches!(kind, Kind::List(Item::Argument)) {
                return Err((span, "must have no empty text in its list".to_owned()));
            }
            let socket = address::unix_path(text).filter(|path| path.is_relative());
            match (kind, socket) {
                (Kind::Paths, _) => paths.push(self.folder.join(text)),
                (Kind::List(Item::Address), Some(path)) if !path.as_os_str().is_empty() => {
                    texts.push(format!("unix:{}", self.folder.join(path).display()));
                }
                _ => texts.push(text.to_owned()),
            }
        }
        Ok(if matches!(kind, Kind::Paths) {
            Value::Paths(paths)
        } else {
            Value::List(texts)
        })
    }

    fn map(
        &self,
        of: Kind,
        what: &str,
        span: Range<usize>,
        value: &DeValue<'_>,
    ) -> Result<Value, Wrong> {
        let Some(table) = value.as_table() else {
            return Err((span, format!("must be {what}, not {}", kind_of(value))));
        };
        let pairs = table.iter().map(|(path, value)| {
            let name = path.get_ref().to_string();
            Ok((name, self.value(of, value.span(), value.get_ref())?))
        });
        pairs.collect::<Result<_, _>>().map(Value::Map)
    }
}

/// A count.
fn integer(value: &DeValue<'_>) -> Result<Value, String> {
    let integer = value.as_integer();
    let read = integer.and_then(|one| u64::from_str_radix(one.as_str(), one.radix()).ok());
    read.map(Value::Number)
        .ok_or_else(|| "must be 0 or more, and not beyond all measure".to_owned())
}

/// What a value is, for somebody who wrote another one.
fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text in quotes",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A path of the table as the file has it.
fn shown(key: &str, plugin: Option<&str>) -> String {
    match (plugin, key.strip_prefix("plugin.")) {
        (Some(name), Some(rest)) => format!("{PLUGINS}.{name}.{rest}"),
        _ => key.to_owned(),
    }
}

/// What is said of a key that is none.
fn unknown(key: &str, plugin: Option<&str>) -> String {
    let near = nearest::key(key, plugin.is_some());
    let near = near.map(|near| shown(&near, plugin));
    let shown = shown(key, plugin);
    match near {
        Some(near) => format!("there is no {shown}; did you mean {near}?"),
        None => format!("there is no {shown}; `switchboard config sample` shows every key"),
    }
}
