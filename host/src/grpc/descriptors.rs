//! One descriptor set: its files, and which of them declares what.
//!
//! Called by `grpc::reflection` for each plugin that carries one. Sets come from strangers, so nothing is
//! believed: they are read in place (`grpc::protobuf`), in one pass over what was carried; nesting, names and
//! files have limits; cycles and missing files among the imports are as good as any. What is served of a
//! file is the bytes that were carried.
//!
//! Source of the field numbers: google/protobuf/descriptor.proto. Knows no plugin and no call.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::protobuf::{Fields, Malformed, Value};

/// Most files in a set, and names in all of them, imports included: some ten times of the largest sets
/// that are published.
const FILES_MAX: usize = 10_000;
const NAMES_MAX: usize = 200_000;

/// Bytes of all full names of a set: names are short on the wire and long with their package before each.
const NAMES_BYTES_MAX: usize = 16 << 20;

/// How deep messages may lie in one another. protoc stops at 32.
const DEPTH_MAX: u32 = 32;

/// Why a set is not used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    /// Larger than allowed.
    #[error("it has {len} bytes, more than the limit of {max} bytes (--reflection-set-max)")]
    TooLarge { len: usize, max: usize },
    /// Not a `FileDescriptorSet`.
    #[error("it is no serialized google.protobuf.FileDescriptorSet")]
    Malformed,
    /// More than any sound one has.
    #[error("it has too many {0}")]
    TooMany(&'static str),
    /// A file is not itself.
    #[error("it has two different files named {0:?}")]
    TwoFiles(String),
}

impl From<Malformed> for Unusable {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// One file of a set.
#[derive(Debug)]
pub(super) struct File {
    /// No other file of this process has it.
    pub(super) id: u64,
    /// As others import it.
    pub(super) name: Box<str>,
    /// A serialized `google.protobuf.FileDescriptorProto`, as it was carried.
    pub(super) bytes: Bytes,
    imports: Vec<Box<str>>,
}

/// A set's files, and where things are.
#[derive(Debug, Default)]
pub(super) struct Set {
    files: Vec<Arc<File>>,
    by_name: HashMap<Box<str>, usize>,
    /// Full names of everything that is declared, to the file.
    symbols: HashMap<Box<str>, usize>,
    /// Messages that are extended, to the numbers, to the file.
    extensions: HashMap<Box<str>, BTreeMap<i32, usize>>,
    names: usize,
    names_bytes: usize,
}

impl Set {
    /// Reads a serialized `google.protobuf.FileDescriptorSet`.
    ///
    /// # Errors
    /// [`Unusable`].
    pub(super) fn read(bytes: &Bytes, max: usize) -> Result<Self, Unusable> {
        if bytes.len() > max {
            let len = bytes.len();
            return Err(Unusable::TooLarge { len, max });
        }
        let mut set = Self::default();
        for field in Fields::of(bytes) {
            if let (1, file) = field? {
                set.add(bytes.slice_ref(file.bytes()?))?;
            }
        }
        Ok(set)
    }

    /// The file of this name.
    pub(super) fn file(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The file that declares this.
    pub(super) fn declares(&self, symbol: &str) -> Option<usize> {
        self.symbols.get(symbol).copied()
    }

    /// The numbers by which a message is extended, each with the file that does it.
    pub(super) fn extensions(&self, message: &str) -> Option<&BTreeMap<i32, usize>> {
        self.extensions.get(message)
    }

    /// All files.
    pub(super) fn files_mut(&mut self) -> &mut [Arc<File>] {
        &mut self.files
    }

    /// All files.
    pub(super) fn files(&self) -> &[Arc<File>] {
        &self.files
    }

    /// Imports that the set does not have, with who imports them.
    pub(super) fn missing(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().flat_map(move |file| {
            let imports = file.imports.iter();
            let missing = imports.filter(|name| !self.by_name.contains_key(*name));
            missing.map(|import| (&**import, &*file.name))
        })
    }

    /// A file and everything that it imports, itself first, the nearest next, each once.
    pub(super) fn with_imports(&self, file: usize) -> impl Iterator<Item = &Arc<File>> {
        let mut seen = HashSet::from([file]);
        let mut next = VecDeque::from([file]);
        std::iter::from_fn(move || {
            let file = &self.files[next.pop_front()?];
            for import in &file.imports {
                if let Some(at) = self.file(import)
                    && seen.insert(at)
                {
                    next.push_back(at);
                }
            }
            Some(file)
        })
    }

    fn add(&mut self, bytes: Bytes) -> Result<(), Unusable> {
        // What a file declares may stand before its package.
        let (mut name, mut package, mut imports) = ("", "", Vec::new());
        for field in Fields::of(&bytes) {
            match field? {
                (1, value) => name = value.text()?,
                (2, value) => package = value.text()?,
                (3, value) => {
                    let import = value.text()?;
                    self.count(import)?;
                    imports.push(Box::from(import));
                }
                _ => {}
            }
        }
        if let Some(known) = self.file(name) {
            return if self.files[known].bytes == bytes {
                Ok(())
            } else {
                Err(Unusable::TwoFiles(name.chars().take(200).collect()))
            };
        }
        let at = self.files.len();
        if at >= FILES_MAX {
            return Err(Unusable::TooMany("files"));
        }
        self.count(name)?;
        self.by_name.insert(name.into(), at);
        let mut declarations = Declarations {
            set: self,
            file: at,
        };
        for field in Fields::of(&bytes) {
            match field? {
                (4, value) => declarations.message(package, value.bytes()?, 0)?,
                (5, value) => declarations.enumeration(package, value.bytes()?)?,
                (6, value) => declarations.service(package, value.bytes()?)?,
                (7, value) => declarations.extension(package, value.bytes()?)?,
                _ => {}
            }
        }
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let file = File {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            name: name.into(),
            imports,
            bytes: bytes.clone(),
        };
        self.files.push(Arc::new(file));
        Ok(())
    }

    fn count(&mut self, name: &str) -> Result<(), Unusable> {
        self.names += 1;
        self.names_bytes += name.len();
        if self.names > NAMES_MAX || self.names_bytes > NAMES_BYTES_MAX {
            return Err(Unusable::TooMany("names"));
        }
        Ok(())
    }
}

/// What one file declares, on its way into the index.
struct Declarations<'a> {
    set: &'a mut Set,
    file: usize,
}

impl Declarations<'_> {
    /// Notes a name. Of two of one name the first counts.
    fn declare(&mut self, scope: &str, name: &str) -> Result<String, Unusable> {
        let full = if scope.is_empty() {
            name.to_owned()
        } else {
            [scope, name].join(".")
        };
        self.set.count(&full)?;
        let file = self.file;
        self.set.symbols.entry(full.as_str().into()).or_insert(file);
        Ok(full)
    }

    /// Notes the name of something that declares nothing itself.
    fn leaf(&mut self, scope: &str, bytes: &[u8]) -> Result<(), Unusable> {
        let name = name_of(bytes)?;
        self.declare(scope, name).map(drop)
    }

    fn message(&mut self, scope: &str, bytes: &[u8], depth: u32) -> Result<(), Unusable> {
        if depth >= DEPTH_MAX {
            return Err(Unusable::TooMany("messages inside one another"));
        }
        let full = self.declare(scope, name_of(bytes)?)?;
        for field in Fields::of(bytes) {
            match field? {
                // Fields and oneofs.
                (2 | 8, value) => self.leaf(&full, value.bytes()?)?,
                (3, value) => self.message(&full, value.bytes()?, depth + 1)?,
                (4, value) => self.enumeration(&full, value.bytes()?)?,
                (6, value) => self.extension(&full, value.bytes()?)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn enumeration(&mut self, scope: &str, bytes: &[u8]) -> Result<(), Unusable> {
        self.leaf(scope, bytes)?;
        for field in Fields::of(bytes) {
            if let (2, value) = field? {
                // "Enum values use C++ scoping rules, meaning that enum values are siblings of their type".
                self.leaf(scope, value.bytes()?)?;
            }
        }
        Ok(())
    }

    fn service(&mut self, scope: &str, bytes: &[u8]) -> Result<(), Unusable> {
        let full = self.declare(scope, name_of(bytes)?)?;
        for field in Fields::of(bytes) {
            if let (2, method) = field? {
                self.leaf(&full, method.bytes()?)?;
            }
        }
        Ok(())
    }

    fn extension(&mut self, scope: &str, bytes: &[u8]) -> Result<(), Unusable> {
        self.leaf(scope, bytes)?;
        let (mut extended, mut number) = ("", 0);
        for field in Fields::of(bytes) {
            match field? {
                (2, value) => extended = value.text()?,
                (3, value) => number = value.int32()?,
                _ => {}
            }
        }
        let extended = extended.strip_prefix('.').unwrap_or(extended);
        self.set.count(extended)?;
        let file = self.file;
        let numbers = self.set.extensions.entry(extended.into()).or_default();
        numbers.entry(number).or_insert(file);
        Ok(())
    }
}

/// Field 1, which is the name in every kind of descriptor.
fn name_of(bytes: &[u8]) -> Result<&str, Malformed> {
    let mut name = "";
    for field in Fields::of(bytes) {
        if let (1, value @ Value::Bytes(_)) = field? {
            name = value.text()?;
        }
    }
    Ok(name)
}

#[cfg(test)]
mod tests;
