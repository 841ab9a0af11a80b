//! The limits of single methods and services, from the command line to a configuration.
//!
//! Called by `cmd::serve`. A path given twice has its last size; request and response of a path are set apart.

use bytesize::ByteSize;
use switchboard_host::{ConfigError, MessageLimits, MessagesConfig};

use super::bytes;
use crate::args::Messages;

/// The limits that were typed.
pub(super) fn config(args: &Messages) -> Result<MessagesConfig, ConfigError> {
    let mut config = MessagesConfig::default();
    let mut set = |typed: &[(String, ByteSize)], field: fn(&mut MessageLimits, usize)| {
        for (path, size) in typed {
            let size = bytes(*size)?;
            field(config.of.entry(path.clone()).or_default(), size);
        }
        Ok(())
    };
    set(&args.method_request_max, |limits, size| {
        limits.request_bytes_max = Some(size);
    })?;
    set(&args.method_response_max, |limits, size| {
        limits.response_bytes_max = Some(size);
    })?;
    Ok(config)
}
