//! From a file to a plugin that is ready to be served: read, check, compile, describe, warm.
//!
//! Called by `host` at start and when a file changed. Reading and compiling run on threads of their own,
//! `describe` on the long lane: neither takes time from calls that are being served.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::time::Instant;

use super::cache::Cache;
use super::find::{Print, name};
use crate::config::PluginConfig;
use crate::error::{CallError, PluginError, chain};
use crate::guest::{Component, Description, GuestEngine};
use crate::lane::Lanes;
use crate::pool::Pool;
use crate::task;

/// SHA-256 of a plugin's file.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of these bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        let mut own = [0; 32];
        own.copy_from_slice(digest.as_ref());
        Self(own)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Digest {
    /// In hexadecimal, with the name of the algorithm, as container registries write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A plugin file, read.
pub(crate) struct Content {
    /// Where it came from.
    pub path: PathBuf,
    /// What is in it.
    pub digest: Digest,
    bytes: Vec<u8>,
}

impl Content {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("path", &self.path)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// A plugin that is ready to be served.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Where it came from.
    pub path: PathBuf,
    /// What was in the file.
    pub digest: Digest,
    /// What it offers.
    pub description: Description,
    /// Its instances.
    pub pool: Arc<Pool<Component>>,
}

/// Reads one file, of at most as many bytes as the engine allows.
///
/// # Errors
/// [`PluginError::Read`], [`PluginError::TooLarge`], and [`PluginError::Changed`] for one that somebody
/// writes at the moment.
///
/// # Cancel safety
/// Dropping the future leaves the reading to its end, unseen.
pub(crate) async fn read(engine: &GuestEngine, path: PathBuf) -> Result<Content, PluginError> {
    let max = engine.file_bytes_max();
    let reading = tokio::task::spawn_blocking(move || {
        let bytes = content(&path, max)?;
        let digest = Digest::of(&bytes);
        Ok(Content {
            path,
            digest,
            bytes,
        })
    });
    let read = reading.await;
    read.map_err(|panic| PluginError::Read(io::Error::other(panic)))?
}

fn content(path: &Path, max: u64) -> Result<Vec<u8>, PluginError> {
    let metadata = path.metadata().map_err(PluginError::Read)?;
    if !metadata.is_file() {
        // A pipe or device would be waited for, or read, for ever.
        return Err(PluginError::Read(io::Error::other("not a regular file")));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(PluginError::Read)?;
    let before = Print::of(&file.metadata().map_err(PluginError::Read)?);
    // One byte more than allowed tells a file that grows while it is read.
    (&file)
        .take(max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(PluginError::Read)?;
    let len = u64::try_from(bytes.len())
        .unwrap_or(u64::MAX)
        .max(metadata.len());
    if len > max {
        return Err(PluginError::TooLarge { len, max });
    }
    if Print::of(&file.metadata().map_err(PluginError::Read)?) != before {
        return Err(PluginError::Changed);
    }
    Ok(bytes)
}

/// Loads what was read: check, compile, describe, and instances made in advance.
///
/// # Errors
/// [`PluginError`].
///
/// # Cancel safety
/// Dropping the future drops what was loaded; a compilation under way runs to its end unseen.
pub(crate) async fn load(
    engine: &Arc<GuestEngine>,
    lanes: &Arc<Lanes>,
    cache: Option<&Arc<Cache>>,
    config: &PluginConfig,
    content: Content,
) -> Result<Loaded, PluginError> {
    let Content {
        path,
        digest,
        bytes,
    } = content;
    let component = {
        let (engine, name) = (Arc::clone(engine), name(&path));
        let (own, cache, config) = (Arc::clone(&engine), cache.cloned(), config.clone());
        // What was compiled before waits for nobody.
        match find(&own, cache.as_ref(), &name, &config, digest).await {
            Some(component) => component,
            None => {
                let compile =
                    move || compile(&own, cache.as_deref(), &name, &config, (digest, &bytes));
                engine.compiler().run(compile).await??
            }
        }
    };
    let config = config.pool.clone();
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
            digest,
            description,
            pool,
        })
    });
    described
        .await
        .map_err(|panic| PluginError::DescribeTrap(panic.to_string().into()))?
}

/// What was compiled before, if it is kept.
async fn find(
    engine: &Arc<GuestEngine>,
    cache: Option<&Arc<Cache>>,
    name: &Arc<str>,
    config: &PluginConfig,
    digest: Digest,
) -> Option<Component> {
    let cache = Arc::clone(cache?);
    let (engine, name, config) = (Arc::clone(engine), Arc::clone(name), config.clone());
    let looking = tokio::task::spawn_blocking(move || {
        let begun = Instant::now();
        let code = cache.get(&digest)?;
        // The cache vouches that this host has compiled it, for this engine.
        match Component::revive(&engine, Arc::clone(&name), &config, &code) {
            Ok(component) => {
                tracing::debug!(plugin = &*name, took = ?begun.elapsed(), "found compiled");
                Some(component)
            }
            Err(error) => {
                tracing::warn!(plugin = &*name, error = chain(&error), "compiled anew");
                None
            }
        }
    });
    // A panic is said by whoever compiles it next.
    looking.await.ok().flatten()
}

/// Compiles, and keeps what that gave.
fn compile(
    engine: &Arc<GuestEngine>,
    cache: Option<&Cache>,
    name: &Arc<str>,
    config: &PluginConfig,
    (digest, bytes): (Digest, &[u8]),
) -> Result<Component, PluginError> {
    let begun = Instant::now();
    let component = Component::compile(engine, Arc::clone(name), config, bytes)?;
    tracing::debug!(plugin = &**name, took = ?begun.elapsed(), "compiled");
    if let Some(cache) = cache {
        match component.code() {
            Ok(code) => cache.put(&digest, &code),
            Err(error) => {
                tracing::warn!(plugin = &**name, error = chain(&error), "not kept compiled");
            }
        }
    }
    Ok(component)
}
