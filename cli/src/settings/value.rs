//! What a value can be, what a text means, and how a value is written.
//!
//! Used by everything beside it. A leaf: knows no setting. Invariant: what [`Value::text`] writes for a kind,
//! [`Kind::read`] reads back as the same value; a TOML value is read by `file`, in the same words.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;

/// A value, whatever it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Not set: no limit, or whatever follows from other settings.
    None,
    Bool(bool),
    /// A count, bytes, or permissions.
    Number(u64),
    Time(Duration),
    Text(String),
    Path(PathBuf),
    List(Vec<String>),
    Paths(Vec<PathBuf>),
    Map(Vec<(String, Self)>),
}

/// What values a setting takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Bool,
    Count,
    /// A count, or `none`.
    CountOrNone,
    Size,
    Time,
    /// A time, or `never`.
    TimeOrNever,
    /// Permissions of a file, octal.
    Mode,
    /// What its place is called in help, and the names it may have, each with its meaning.
    Choice(&'static str, &'static [(&'static str, &'static str)]),
    /// Text, and what its place is called in help.
    Text(&'static str),
    File,
    List(Item),
    Paths,
    /// Paths of URLs, and folders.
    Folders,
    /// Paths of methods, and sizes.
    Sizes,
    /// Names and values, which may be secrets: no value is ever shown.
    Variables,
}

/// What a list is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Address,
    Argument,
    Destination,
    Encoding,
    Method,
    Network,
    Origin,
}

/// What the place of a share is called, which TOML may write as a number.
pub(crate) const PART: &str = "PART";

/// What stands for a value that nobody is to see.
const HIDDEN: &str = "***";

/// How times are written, for whoever wrote one otherwise.
const TIMES: &str = "write it like 300ms, 5s, 2min, 1h";
const SIZES: &str = "write it like 512KiB, 16MiB";

impl Kind {
    /// What a text means; of a list, that of one element.
    pub(crate) fn read(self, text: &OsStr) -> Result<Value, String> {
        if let Self::File | Self::Paths = self {
            let path = PathBuf::from(text);
            return match (path.as_os_str().is_empty(), self) {
                (true, _) => Err("write a path".to_owned()),
                (false, Self::File) => Ok(Value::Path(path)),
                (false, _) => Ok(Value::Paths(vec![path])),
            };
        }
        let Some(text) = text.to_str() else {
            return Err(format!("{text:?} is not text"));
        };
        self.read_text(text)
    }

    /// The same, of what is text for sure.
    pub(crate) fn read_text(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Bool => match text {
                "true" | "yes" | "on" | "1" => Ok(Value::Bool(true)),
                "false" | "no" | "off" | "0" => Ok(Value::Bool(false)),
                _ => Err(format!("{text:?} is neither true nor false")),
            },
            Self::CountOrNone if text == "none" => Ok(Value::None),
            Self::Count | Self::CountOrNone => text
                .parse()
                .map(Value::Number)
                .map_err(|_| format!("{text:?} is no count: write digits{}", self.or_word())),
            Self::Size => size(text),
            Self::TimeOrNever if text == "never" => Ok(Value::None),
            Self::Time | Self::TimeOrNever => humantime::parse_duration(text)
                .map(Value::Time)
                .map_err(|_| format!("{text:?} is no time: {TIMES}{}", self.or_word())),
            Self::Mode => u64::from_str_radix(text, 8)
                .ok()
                .filter(|mode| *mode <= 0o777 && !text.starts_with('+'))
                .map(Value::Number)
                .ok_or_else(|| format!("{text:?}: write permissions as octal digits, as in 660")),
            Self::Choice(_, choices) => {
                let known = choices.iter().any(|(name, _)| *name == text);
                known
                    .then(|| Value::Text(text.to_owned()))
                    .ok_or_else(|| format!("{text:?} is none of {}", names(choices)))
            }
            Self::Text(_) => Ok(Value::Text(text.to_owned())),
            Self::File | Self::Paths => self.read(OsStr::new(text)),
            Self::List(Item::Encoding) if text == "none" => Ok(Value::List(Vec::new())),
            Self::List(Item::Encoding) => {
                let names = text.split(',').map(|name| name.trim().to_owned());
                Ok(Value::List(names.collect()))
            }
            Self::List(_) => Ok(Value::List(vec![text.to_owned()])),
            Self::Folders => text
                .split_once('=')
                .filter(|(_, folder)| !folder.is_empty())
                .map(|(path, folder)| {
                    Value::Map(vec![(path.to_owned(), Value::Path(folder.into()))])
                })
                .ok_or_else(|| {
                    format!("{text:?}: write PATH=FOLDER, as in /demo/=target/web/demo")
                }),
            Self::Variables => text
                .split_once('=')
                .map(|(name, value)| {
                    Value::Map(vec![(name.to_owned(), Value::Text(value.to_owned()))])
                })
                .ok_or_else(|| "must be written as NAME=VALUE".to_owned()),
            Self::Sizes => {
                let (path, bytes) = text.rsplit_once('=').ok_or_else(|| {
                    format!("{text:?}: write PATH=SIZE, as in /package.Service/Method=16MiB")
                })?;
                Ok(Value::Map(vec![(path.to_owned(), size(bytes)?)]))
            }
        }
    }

    /// The word for no value, where there is one.
    pub(crate) fn word(self) -> Option<&'static str> {
        match self {
            Self::CountOrNone => Some("none"),
            Self::TimeOrNever => Some("never"),
            Self::Bool
            | Self::Count
            | Self::Size
            | Self::Time
            | Self::Mode
            | Self::Choice(..)
            | Self::Text(_)
            | Self::File
            | Self::List(_)
            | Self::Paths
            | Self::Folders
            | Self::Sizes
            | Self::Variables => None,
        }
    }

    fn or_word(self) -> String {
        self.word()
            .map_or_else(String::new, |word| format!(", or {word}"))
    }

    /// Whether it may be given several times, each adding to the value.
    pub(crate) fn adds_up(self) -> bool {
        matches!(
            self,
            Self::List(_) | Self::Paths | Self::Folders | Self::Sizes | Self::Variables
        ) && !matches!(self, Self::List(Item::Encoding))
    }

    /// What its place is called in help.
    pub(crate) fn place(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Count | Self::CountOrNone => "COUNT",
            Self::Size => "SIZE",
            Self::Time | Self::TimeOrNever => "TIME",
            Self::Mode => "MODE",
            Self::Choice(place, _) | Self::Text(place) => place,
            Self::File => "FILE",
            Self::List(Item::Address) => "ADDRESS",
            Self::List(Item::Argument) => "TEXT",
            Self::List(Item::Destination) => "HOST:PORT",
            Self::List(Item::Encoding) => "LIST",
            Self::List(Item::Network) => "RANGE",
            Self::List(Item::Origin) => "ORIGIN",
            Self::List(Item::Method) | Self::Paths => "PATH",
            Self::Folders => "PATH=FOLDER",
            Self::Sizes => "PATH=SIZE",
            Self::Variables => "NAME=VALUE",
        }
    }
}

/// The names of choices, for people.
pub(crate) fn names(choices: &[(&str, &str)]) -> String {
    let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

/// A size in bytes.
pub(crate) fn size(text: &str) -> Result<Value, String> {
    text.parse::<ByteSize>()
        .map(|size| Value::Number(size.as_u64()))
        .map_err(|_| format!("{text:?} is no size: {SIZES}"))
}

impl Value {
    /// The value as a flag would take it; elements with commas between.
    pub(crate) fn text(&self, kind: Kind) -> String {
        match self {
            Self::None => kind.word().unwrap_or_default().to_owned(),
            Self::Bool(yes) => yes.to_string(),
            Self::Number(number) => match kind {
                Kind::Size | Kind::Sizes => size_text(*number),
                Kind::Mode => format!("{number:o}"),
                Kind::Bool
                | Kind::Count
                | Kind::CountOrNone
                | Kind::Time
                | Kind::TimeOrNever
                | Kind::Choice(..)
                | Kind::Text(_)
                | Kind::File
                | Kind::List(_)
                | Kind::Paths
                | Kind::Folders
                | Kind::Variables => number.to_string(),
            },
            Self::Time(time) => time_text(*time),
            Self::Text(_) if matches!(kind, Kind::Variables) => HIDDEN.to_owned(),
            Self::Text(text) => text.clone(),
            Self::Path(path) => path.display().to_string(),
            Self::List(list) if list.is_empty() && matches!(kind, Kind::List(Item::Encoding)) => {
                "none".to_owned()
            }
            Self::List(list) => list.join(","),
            Self::Paths(list) => {
                let paths = list.iter().map(|path| path.display().to_string());
                paths.collect::<Vec<_>>().join(",")
            }
            Self::Map(map) => {
                let pairs = map.iter();
                let pairs = pairs.map(|(path, value)| format!("{path}={}", value.text(kind)));
                pairs.collect::<Vec<_>>().join(",")
            }
        }
    }

    /// The value as TOML; none if there is nothing to write.
    pub(crate) fn toml(&self, kind: Kind) -> Option<String> {
        let array = |items: Vec<String>| format!("[{}]", items.join(", "));
        Some(match self {
            Self::None => quoted(kind.word()?),
            Self::Bool(_) => self.text(kind),
            Self::Number(number) if matches!(kind, Kind::Count | Kind::CountOrNone) => {
                number.to_string()
            }
            Self::Number(_) | Self::Time(_) | Self::Text(_) | Self::Path(_) => {
                quoted(&self.text(kind))
            }
            Self::List(list) => array(list.iter().map(|item| quoted(item)).collect()),
            Self::Paths(list) => {
                let paths = list.iter().map(|path| quoted(&path.display().to_string()));
                array(paths.collect())
            }
            Self::Map(map) => {
                let pairs = map.iter().map(|(path, value)| {
                    let value = quoted(&value.text(kind));
                    format!("{} = {value}", quoted(path))
                });
                let pairs: Vec<_> = pairs.collect();
                match pairs.as_slice() {
                    [] => "{}".to_owned(),
                    pairs => format!("{{ {} }}", pairs.join(", ")),
                }
            }
        })
    }
}

/// A basic string of TOML. Source: TOML 1.0, "String".
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            char if char.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(char)));
            }
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

/// Bytes in the largest unit that divides them.
fn size_text(bytes: u64) -> String {
    for (unit, name) in [
        (1 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ] {
        if bytes > 0 && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    format!("{bytes}B")
}

/// A time in the largest unit that divides it.
fn time_text(time: Duration) -> String {
    let nanos = time.as_nanos();
    for (unit, name) in [
        (3600 * 1_000_000_000, "h"),
        (60 * 1_000_000_000, "min"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
    ] {
        if nanos > 0 && nanos.is_multiple_of(unit) {
            return format!("{}{name}", nanos / unit);
        }
    }
    if nanos == 0 {
        "0s".to_owned()
    } else {
        format!("{nanos}ns")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        const CHOICES: Kind = Kind::Choice("NAME", &[("a", ""), ("b", "")]);
        let text = |text: &str| Value::Text(text.to_owned());
        for (kind, written, value) in [
            (Kind::Bool, "true", Value::Bool(true)),
            (Kind::Count, "64", Value::Number(64)),
            (Kind::CountOrNone, "none", Value::None),
            (Kind::Size, "4MiB", Value::Number(4 << 20)),
            (Kind::Size, "1025B", Value::Number(1025)),
            (Kind::Size, "0B", Value::Number(0)),
            (Kind::Time, "90s", Value::Time(Duration::from_secs(90))),
            (Kind::Time, "2h", Value::Time(Duration::from_secs(7200))),
            (Kind::Time, "300us", Value::Time(Duration::from_micros(300))),
            (Kind::Time, "0s", Value::Time(Duration::ZERO)),
            (Kind::Time, "7ns", Value::Time(Duration::from_nanos(7))),
            (Kind::TimeOrNever, "never", Value::None),
            (Kind::Mode, "640", Value::Number(0o640)),
            (CHOICES, "b", text("b")),
            (Kind::Text("NAME"), "x", text("x")),
            (Kind::File, "a/b", Value::Path("a/b".into())),
            (Kind::Paths, "a", Value::Paths(vec!["a".into()])),
            (Kind::List(Item::Encoding), "none", Value::List(vec![])),
            (
                Kind::List(Item::Encoding),
                "zstd,gzip",
                Value::List(vec!["zstd".to_owned(), "gzip".to_owned()]),
            ),
            (
                Kind::Folders,
                "/demo/=a=b",
                Value::Map(vec![("/demo/".to_owned(), Value::Path("a=b".into()))]),
            ),
            (
                Kind::Sizes,
                "/a.B/C=2MiB",
                Value::Map(vec![("/a.B/C".to_owned(), Value::Number(2 << 20))]),
            ),
        ] {
            assert_eq!(
                kind.read(OsStr::new(written)),
                Ok(value.clone()),
                "{written}"
            );
            assert_eq!(value.text(kind), written);
        }
    }

    #[test]
    fn what_means_nothing_is_refused_with_what_to_write() {
        const CHOICES: Kind = Kind::Choice("NAME", &[("reuse", ""), ("fresh", "")]);
        for (kind, text, said) in [
            (Kind::Bool, "maybe", "true nor false"),
            (Kind::Count, "-1", "digits"),
            (Kind::CountOrNone, "many", "or none"),
            (Kind::Size, "much", "16MiB"),
            (Kind::Time, "5", "2min"),
            (Kind::Time, "never", "2min"),
            (Kind::TimeOrNever, "soon", "or never"),
            (Kind::Mode, "1777", "octal"),
            (Kind::Mode, "rw", "octal"),
            (Kind::Mode, "+660", "octal"),
            (CHOICES, "sometimes", "reuse, fresh"),
            (Kind::File, "", "a path"),
            (Kind::Folders, "/demo/=", "PATH=FOLDER"),
            (Kind::Folders, "/demo/", "PATH=FOLDER"),
            (Kind::Sizes, "/a.B/C", "PATH=SIZE"),
            (Kind::Sizes, "/a.B/C=much", "16MiB"),
        ] {
            let fault = kind.read(OsStr::new(text)).expect_err(text);
            assert!(fault.contains(said), "{text}: {fault}");
        }
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let value = Kind::Variables.read_text("TOKEN=secret").expect("both");
        assert_eq!(value.text(Kind::Variables), "TOKEN=***");
        let toml = value.toml(Kind::Variables);
        assert_eq!(toml.as_deref(), Some("{ \"TOKEN\" = \"***\" }"));
        let fault = Kind::Variables.read_text("secret").expect_err("no name");
        assert!(!fault.contains("secret"), "{fault}");
    }

    #[test]
    fn strings_of_toml_have_their_escapes() {
        assert_eq!(quoted("a\"b\\c\n"), r#""a\"b\\c\u000A""#);
    }
}
