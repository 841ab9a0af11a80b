//! Finds plugin files and loads them, several at a time.
//!
//! Called by `host`. Compiling runs on threads of its own, `describe` on the long lane: neither
//! takes time from calls that are being served.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::PoolConfig;
use crate::error::{BuildError, CallError, PluginError, chain};
use crate::guest::{Component, Description, GuestEngine};
use crate::lane::Lanes;
use crate::pool::Pool;
use crate::task;

/// The ending of a plugin's file name.
const EXTENSION: &str = "wasm";

/// A plugin that is ready to be served.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Where it came from.
    pub path: PathBuf,
    /// What it offers.
    pub description: Description,
    /// Its instances.
    pub pool: Arc<Pool<Component>>,
}

/// The plugin files behind `paths`: a file is itself, a folder all files in it that end in
/// `.wasm`, sorted by name; hidden files are left out, since many tools write those and rename. A
/// file that is there twice is taken once.
///
/// # Errors
/// [`BuildError::Path`] for a path that does not exist or cannot be listed.
pub(crate) fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, BuildError> {
    let mut files = Vec::new();
    for path in paths {
        let fault = |source| BuildError::Path {
            path: path.clone(),
            source,
        };
        if !path.metadata().map_err(fault)?.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut inside = list(path).map_err(fault)?;
        inside.sort();
        files.append(&mut inside);
    }
    let mut seen = HashSet::new();
    files.retain(|path| {
        let new = seen.insert(place(path));
        if !new {
            tracing::info!(path = %path.display(), "a file that is given twice is loaded once");
        }
        new
    });
    Ok(files)
}

/// The file's name in its real folder. A link beside a file is another plugin: it has another name.
fn place(path: &Path) -> PathBuf {
    let real = || {
        let folder = path.parent()?;
        let here = folder.as_os_str().is_empty();
        let folder = if here { Path::new(".") } else { folder };
        Some(folder.canonicalize().ok()?.join(path.file_name()?))
    };
    real().unwrap_or_else(|| path.to_owned())
}

fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        // What cannot be looked at, such as a link to nowhere, is refused when it is read: left
        // out here, nobody would learn why a plugin is missing.
        let file = path.metadata().map_or(true, |metadata| metadata.is_file());
        if !hidden && path.extension().is_some_and(|ext| ext == EXTENSION) && file {
            files.push(path);
        }
    }
    Ok(files)
}

/// A plugin's name: its file's, without the ending.
#[must_use]
pub(crate) fn name(path: &Path) -> Arc<str> {
    path.file_stem()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into()
}

/// Loads one file: read, check, compile, describe, and instances made in advance.
///
/// # Errors
/// [`PluginError`].
///
/// # Cancel safety
/// Dropping the future drops what was loaded; a compilation under way runs to its end unseen.
pub(crate) async fn load(
    engine: &Arc<GuestEngine>,
    lanes: &Arc<Lanes>,
    config: PoolConfig,
    path: PathBuf,
) -> Result<Loaded, PluginError> {
    let component = {
        let (engine, path) = (Arc::clone(engine), path.clone());
        let compiling = tokio::task::spawn_blocking(move || compile(&engine, &path));
        compiling
            .await
            .map_err(|panic| PluginError::Invalid(panic.to_string().into()))??
    };
    let described = task::spawn_on(lanes.long(), async move {
        let description = component.describe().await?;
        let pool = Pool::new(component, config);
        if let Err(error) = pool.warm().await {
            if matches!(error, CallError::EngineFull) && pool.stats().idle == 0 {
                // What it described itself in went to another plugin, and calls would find no
                // room either.
                return Err(PluginError::NoRoom);
            }
            // It described itself, so it may well serve: calls find out.
            tracing::warn!(path = %path.display(), error = chain(&error), "no instance in advance");
        }
        Ok(Loaded {
            path,
            description,
            pool,
        })
    });
    described
        .await
        .map_err(|panic| PluginError::DescribeTrap(panic.to_string().into()))?
}

fn compile(engine: &Arc<GuestEngine>, path: &Path) -> Result<Component, PluginError> {
    let max = engine.file_bytes_max();
    let metadata = path.metadata().map_err(PluginError::Read)?;
    if !metadata.is_file() {
        // A pipe or device would be waited for, or read, for ever.
        return Err(PluginError::Read(io::Error::other("not a regular file")));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(PluginError::Read)?;
    // One byte more than allowed tells a file that grows while it is read.
    file.take(max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(PluginError::Read)?;
    let len = u64::try_from(bytes.len())
        .unwrap_or(u64::MAX)
        .max(metadata.len());
    if len > max {
        return Err(PluginError::TooLarge { len, max });
    }
    Component::compile(engine, name(path), &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_named_by_its_file() {
        assert_eq!(&*name(Path::new("plugins/greeter.wasm")), "greeter");
        assert_eq!(&*name(Path::new("greeter.v2.wasm")), "greeter.v2");
    }

    #[test]
    fn a_path_that_is_not_there_is_named() {
        let error = find(&["no/such/folder".into()]).expect_err("not there");
        assert!(error.to_string().contains("no/such/folder"), "{error}");
    }
}
