//! Fields of configurations that values go into and come from, by their type.
//!
//! Used by the table, whose entries point at fields. Invariant: what [`Field::show`] gives, [`Field::put`]
//! takes, and the field is as it was. What a type cannot hold is refused here; what makes no sense together is
//! `switchboard-host`'s to find.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use switchboard_host::{
    ClientCertificate, Destination, DrainClose, Encoding, FilesConfig, Mode, Network, OriginRule,
    TlsVersion,
};

use super::draft::LogFormat;
use super::value::Value;

/// A field of a configuration.
pub(crate) trait Field {
    /// What it holds.
    fn show(&self) -> Value;

    /// Takes a value.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that begins with the setting's name; the field is as
    /// it was.
    fn put(&mut self, value: Value) -> Result<(), String>;
}

/// A value of a kind that the table does not allow for the field. The table is ours, so this is never said;
/// tests put a value of its kind into every field.
fn misfit(value: &Value) -> Result<(), String> {
    Err(format!("cannot be {value:?}"))
}

impl Field for bool {
    fn show(&self) -> Value {
        Value::Bool(*self)
    }

    fn put(&mut self, value: Value) -> Result<(), String> {
        let Value::Bool(yes) = value else {
            return misfit(&value);
        };
        *self = yes;
        Ok(())
    }
}

/// Puts a number where it fits.
fn number<T: TryFrom<u64>>(field: &mut T, value: &Value) -> Result<(), String> {
    let Value::Number(given) = *value else {
        return misfit(value);
    };
    *field = T::try_from(given).map_err(|_| format!("cannot be as much as {given}"))?;
    Ok(())
}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl Field for $type {
            fn show(&self) -> Value {
                u64::try_from(*self).map_or(Value::Number(u64::MAX), Value::Number)
            }

            fn put(&mut self, value: Value) -> Result<(), String> {
                number(self, &value)
            }
        }
    )*};
}

numbers!(u32 u64 usize);

impl Field for NonZeroU32 {
    fn show(&self) -> Value {
        Value::Number(self.get().into())
    }

    fn put(&mut self, value: Value) -> Result<(), String> {
        let mut count = 0_u32;
        number(&mut count, &value)?;
        *self = Self::new(count).ok_or("must be 1 or more")?;
        Ok(())
    }
}

impl Field for Duration {
    fn show(&self) -> Value {
        Value::Time(*self)
    }

    fn put(&mut self, value: Value) -> Result<(), String> {
        let Value::Time(time) = value else {
            return misfit(&value);
        };
        *self = time;
        Ok(())
    }
}

impl Field for String {
    fn show(&self) -> Value {
        Value::Text(self.clone())
    }

    fn put(&mut self, value: Value) -> Result<(), String> {
        let Value::Text(text) = value else {
            return misfit(&value);
        };
        *self = text;
        Ok(())
    }
}

impl Field for PathBuf {
    fn show(&self) -> Value {
        Value::Path(self.clone())
    }

    fn put(&mut self, value: Value) -> Result<(), String> {
        let Value::Path(path) = value else {
            return misfit(&value);
        };
        *self = path;
        Ok(())
    }
}

/// What may be absent. `Default` is a place to put a value into before it is known to fit.
macro_rules! options {
    ($($type:ty = $empty:expr;)*) => {$(
        impl Field for Option<$type> {
            fn show(&self) -> Value {
                self.as_ref().map_or(Value::None, Field::show)
            }

            fn put(&mut self, value: Value) -> Result<(), String> {
                if value == Value::None {
                    *self = None;
                    return Ok(());
                }
                let mut inner = $empty;
                Field::put(&mut inner, value)?;
                *self = Some(inner);
                Ok(())
            }
        }
    )*};
}

options! {
    u32 = 0_u32;
    usize = 0_usize;
    NonZeroU32 = NonZeroU32::MIN;
    Duration = Duration::ZERO;
    String = String::new();
    PathBuf = PathBuf::new();
}

impl Field for Vec<PathBuf> {
    fn show(&self) -> Value {
        Value::Paths(self.clone())
    }

    fn put(&mut self, value: Value) -> Result<(), String> {
        let Value::Paths(paths) = value else {
            return misfit(&value);
        };
        *self = paths;
        Ok(())
    }
}

/// Each element read, or what is wrong with all that are none.
fn elements<T: FromStr<Err: std::fmt::Display>>(value: &Value) -> Result<Vec<T>, String> {
    let Value::List(list) = value else {
        return misfit(value).map(|()| Vec::new());
    };
    let (mut read, mut wrong) = (Vec::new(), Vec::new());
    for text in list {
        match text.parse() {
            Ok(element) => read.push(element),
            Err(error) => wrong.push(format!("{text:?}: {error}")),
        }
    }
    if wrong.is_empty() {
        Ok(read)
    } else {
        Err(format!("cannot have {}", wrong.join("; nor ")))
    }
}

macro_rules! lists {
    ($($type:ty)*) => {$(
        impl Field for Vec<$type> {
            fn show(&self) -> Value {
                Value::List(self.iter().map(ToString::to_string).collect())
            }

            fn put(&mut self, value: Value) -> Result<(), String> {
                *self = elements(&value)?;
                Ok(())
            }
        }
    )*};
}

lists!(String Encoding Network OriginRule Destination);

impl Field for BTreeSet<String> {
    fn show(&self) -> Value {
        Value::List(self.iter().cloned().collect())
    }

    fn put(&mut self, value: Value) -> Result<(), String> {
        *self = elements(&value)?.into_iter().collect();
        Ok(())
    }
}

/// Sizes of single methods, folders by the path under which they are seen, variables of an environment. Of a name
/// given twice the last counts.
impl<T: Field + Default> Field for BTreeMap<String, T> {
    fn show(&self) -> Value {
        let entries = self.iter();
        Value::Map(
            entries
                .map(|(name, entry)| (name.clone(), entry.show()))
                .collect(),
        )
    }

    fn put(&mut self, value: Value) -> Result<(), String> {
        let Value::Map(map) = value else {
            return misfit(&value);
        };
        let mut entries = Self::new();
        for (name, value) in map {
            let mut entry = T::default();
            entry.put(value)?;
            entries.insert(name, entry);
        }
        *self = entries;
        Ok(())
    }
}

impl Field for Vec<FilesConfig> {
    fn show(&self) -> Value {
        let folders = self.iter();
        let folders = folders.map(|one| (one.path.clone(), Value::Path(one.folder.clone())));
        Value::Map(folders.collect())
    }

    fn put(&mut self, value: Value) -> Result<(), String> {
        let Value::Map(map) = value else {
            return misfit(&value);
        };
        let mut folders = Self::new();
        for (path, value) in map {
            let mut folder = PathBuf::new();
            folder.put(value)?;
            folders.push(FilesConfig::new(path, folder));
        }
        *self = folders;
        Ok(())
    }
}

/// Types with a name for each of their values, and what the name means.
macro_rules! choices {
    ($($type:ty as $names:ident { $($name:literal = $value:path, $meaning:literal;)* })*) => {$(
        pub(crate) const $names: &[(&str, &str)] = &[$(($name, $meaning)),*];

        impl Field for $type {
            fn show(&self) -> Value {
                let name = match self {
                    $($value => $name,)*
                };
                Value::Text(name.to_owned())
            }

            fn put(&mut self, value: Value) -> Result<(), String> {
                let Value::Text(text) = &value else {
                    return misfit(&value);
                };
                *self = match text.as_str() {
                    $($name => $value,)*
                    _ => return misfit(&value),
                };
                Ok(())
            }
        }
    )*};
}

choices! {
    Mode as MODES {
        "reuse" = Mode::Reuse, "An instance serves one call after the other";
        "fresh" = Mode::Fresh, "Every call gets an instance that has served none before";
    }
    TlsVersion as TLS_VERSIONS {
        "1.2" = TlsVersion::V1_2, "TLS 1.2 and 1.3";
        "1.3" = TlsVersion::V1_3, "TLS 1.3 only";
    }
    ClientCertificate as CLIENT_CERTIFICATES {
        "required" = ClientCertificate::Required, "A client without a certificate is refused";
        "optional" = ClientCertificate::Optional,
            "A client without a certificate is served, and plugins see no identity";
    }
    DrainClose as DRAIN_CLOSES {
        "going-away" = DrainClose::GoingAway, "Close code 1001";
        "restart" = DrainClose::Restart, "Close code 1012";
    }
    LogFormat as LOG_FORMATS {
        "human" = LogFormat::Human, "Lines for people, in colours on a terminal";
        "json" = LogFormat::Json, "One object of JSON on each line";
        "auto" = LogFormat::Auto, "Human on a terminal, else json";
    }
}
