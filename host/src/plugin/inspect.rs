//! What is in a plugin file, without serving it.
//!
//! Called by `cli`. The file is loaded as it would be for serving, in an engine of its own, and asked to describe
//! itself in the same limits; whatever is wrong with it is part of the answer, beside what could be found out.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::find::name;
use super::load::{Digest, read};
use crate::config::{EngineConfig, PluginConfig};
use crate::error::{BuildError, PluginError};
use crate::guest::{Component, Description, GuestEngine};
use crate::telemetry::Telemetry;

/// What was found out about a plugin file.
#[derive(Debug)]
#[non_exhaustive]
pub struct Inspection {
    /// SHA-256 of the file; none if it cannot be read.
    pub digest: Option<Digest>,
    /// Its size, in bytes.
    pub file_bytes: usize,
    /// Versions of the ABI that it speaks; none if it is no plugin.
    pub abi: Vec<String>,
    /// The interfaces that it imports, as `wasi:filesystem/types@0.2.6`: what it asks the host for. Toolchains
    /// import more than a plugin uses.
    pub imports: Vec<String>,
    /// Its machine code, in bytes; none if it does not compile.
    pub compiled_bytes: Option<usize>,
    /// What compiling took.
    pub compile_time: Option<Duration>,
    /// What it offers, or why it would be refused.
    pub description: Result<Description, PluginError>,
}

/// Looks into the file at `path`. Compiles it, on a thread that may be blocked, and calls its `describe` within the
/// limits of `config`.
///
/// # Errors
/// [`BuildError`] if there is no engine to do so with; what is wrong with the file is in the answer.
///
/// # Cancel safety
/// Dropping the future leaves a compilation under way to its end, unseen.
pub async fn inspect(config: &EngineConfig, path: &Path) -> Result<Inspection, BuildError> {
    let mut config = config.clone();
    // Nothing but `describe` runs: address space for one is enough.
    config.instances_max = std::num::NonZeroU32::MIN;
    let engine = Arc::new(GuestEngine::start(config, &[], Telemetry::new())?);
    let mut found = Inspection {
        digest: None,
        file_bytes: 0,
        abi: Vec::new(),
        imports: Vec::new(),
        compiled_bytes: None,
        compile_time: None,
        description: Err(PluginError::NotWasm),
    };
    found.description = match read(&engine, path.to_owned()).await {
        Ok(content) => {
            found.digest = Some(content.digest);
            let bytes = content.into_bytes();
            found.file_bytes = bytes.len();
            look_into(&engine, path, bytes, &mut found).await
        }
        Err(error) => Err(error),
    };
    Ok(found)
}

async fn look_into(
    engine: &Arc<GuestEngine>,
    path: &Path,
    bytes: Vec<u8>,
    found: &mut Inspection,
) -> Result<Description, PluginError> {
    let (own, name) = (Arc::clone(engine), name(path));
    let compiling = engine.compiler().run(move || {
        let begun = Instant::now();
        let (shape, component) = Component::inspect(&own, name, &PluginConfig::default(), &bytes);
        (shape, component, begun.elapsed())
    });
    let (shape, component, took) = compiling.await?;
    if let Some(shape) = shape {
        found.abi = shape.abi;
        found.imports = shape.imports;
        found.compiled_bytes = Some(shape.compiled_bytes);
        found.compile_time = Some(took);
    }
    component?.describe().await
}
