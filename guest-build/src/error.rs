//! Why a `.proto` could not be turned into a service.
//!
//! Returned by [`crate::Builder::compile`] and printed by cargo when a build script's `main` ends
//! with it. Cargo prints the `Debug` form, so that form is the readable one here: what is wrong and
//! where, as `file:line:column` when the cause is in a `.proto`, with the whole chain of causes.
//! `Display` prints its own level only.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a `.proto` could not be turned into a service. Every variant is for the guest's author.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// One of the files to compile does not exist.
    #[error("no such file: {file}, nor in the include folders {includes:?}")]
    NotFound {
        /// The file as it was given.
        file: PathBuf,
        /// Where it was looked for.
        includes: Vec<PathBuf>,
    },
    /// A file is malformed, or refers to something that does not exist.
    ///
    /// The text begins with `file:line:column` whenever the compiler knows the place.
    #[error("{0}")]
    Proto(String),
    /// [`crate::Builder::leave_out`] was given a name that none of the files declares.
    #[error("leave_out({0:?}): no service or method of this name in the files given")]
    UnknownName(String),
    /// Two things of one package would get the same name in Rust.
    #[error("{package}: {first} and {second} would both be called `{name}` in Rust")]
    NameClash {
        /// The package, or the service, in which they meet.
        package: String,
        /// What came first, as the `.proto` calls it.
        first: String,
        /// What came second.
        second: String,
        /// The Rust name they share.
        name: String,
    },
    /// An option does not fit the files, such as a malformed or repeated `extern_path`.
    #[error("cannot generate code")]
    Generate(#[source] io::Error),
    /// Neither [`crate::Builder::out_dir`] nor cargo's `OUT_DIR` says where the code goes.
    #[error("no output folder: call this from a build script, or set out_dir")]
    NoOutDir,
    /// The generated code could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
