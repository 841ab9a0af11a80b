//! Where the built guests are: `make guests` puts them under `target/`.

use std::path::{Path, PathBuf};

/// The root of the repository.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate lies in the repository")
}

/// The folder with one component for each folder in `guests/`.
#[must_use]
pub fn guests_folder() -> PathBuf {
    root().join("target/guests")
}

/// The component built from `guests/NAME`.
///
/// # Panics
/// If it was not built.
#[must_use]
pub fn guest(name: &str) -> PathBuf {
    built(guests_folder().join(format!("{name}.wasm")))
}

/// A variant of `guests/faulty`: see its README.
///
/// # Panics
/// If it was not built.
#[must_use]
pub fn faulty(variant: &str) -> PathBuf {
    built(root().join(format!("target/guests-faulty/faulty-{variant}.wasm")))
}

/// A variant of `guests/granted`: `http` asks for HTTP besides.
///
/// # Panics
/// If it was not built.
#[must_use]
pub fn granted(variant: &str) -> PathBuf {
    built(root().join(format!("target/guests-granted/granted-{variant}.wasm")))
}

fn built(path: PathBuf) -> PathBuf {
    assert!(
        path.exists(),
        "{} is not there: run `make guests` first",
        path.display()
    );
    path
}
