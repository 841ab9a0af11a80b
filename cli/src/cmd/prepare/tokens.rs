//! The tokens of tunnels, from the file that the settings name.
//!
//! Called by `cmd::prepare`. No error holds what the file holds.

use std::path::Path;

use anyhow::{Context, Result};
use switchboard_host::{ConfigError, StaticTokens};

use crate::settings::{Fault, Faults, Names};

/// The tokens in the file; none if none is named.
pub(in crate::cmd) fn read(path: Option<&Path>, names: &Names) -> Result<Option<StaticTokens>> {
    let Some(path) = path else {
        return Ok(None);
    };
    let name = format!("{} {}", names.of("tunnel.tokens"), path.display());
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {name}"))?;
    // The cause would hold a part of the file.
    let text = String::from_utf8(bytes).map_err(|_| Faults::one(format!("{name} is not text")))?;
    let tokens = StaticTokens::parse(&text).map_err(|ConfigError(faults)| {
        let named = faults.iter().map(|fault| format!("{name}: {fault}"));
        Faults::new(named.map(|text| Fault::other(None, text)).collect())
    })?;
    Ok(Some(tokens))
}
