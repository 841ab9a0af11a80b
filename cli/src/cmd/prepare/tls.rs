//! TLS from the files that the settings name.
//!
//! Called by `cmd::prepare`. The host reads the files and says what is wrong with them; here its words become
//! those of whoever named the files.

use anyhow::Result;
use switchboard_host::{Tls, TlsConfig, TlsError};

use crate::settings::{Faults, Names};

/// TLS from the files; none if none are named.
pub(in crate::cmd) fn open(config: Option<&TlsConfig>, names: &Names) -> Result<Option<Tls>> {
    let Some(config) = config else {
        return Ok(None);
    };
    let opened = Tls::open(config.clone());
    Ok(Some(opened.map_err(|error| explained(error, names))?))
}

/// The error in the operator's words. What a file holds is as if it had been typed.
fn explained(error: TlsError, names: &Names) -> anyhow::Error {
    let text = names.explain(&error.to_string());
    if let TlsError::Read { source, .. } = error {
        return anyhow::Error::new(source).context(text);
    }
    Faults::one(text).into()
}
