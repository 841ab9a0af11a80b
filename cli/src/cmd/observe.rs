//! What a host says of itself, as `serve` sets it up: the admin listener, and traces.
//!
//! Called by `cmd::serve` before anything else that takes time, so that probes are answered while plugins are compiled.
//! Both end after the host, in the order of the fields: what is left of the traces leaves, and probes learn until
//! the last moment that the host stops.

use anyhow::{Context, Result};
use switchboard_host::{Admin, ConfigError, Telemetry, TraceConfig, Tracing};

use super::prepare::headers;
use super::process::say_ready;
use crate::settings::{Fault, Faults, Loaded};

/// What says something of a host, as long as this lives.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) telemetry: Telemetry,
    _tracing: Option<Tracing>,
    _admin: Option<Admin>,
}

/// Where spans go, which, and with which keys; none if nothing is traced.
///
/// # Errors
/// When the headers cannot be read, or are none.
pub(super) fn traces(loaded: &Loaded) -> Result<Option<TraceConfig>> {
    let Some(mut config) = loaded.configuration.traces.clone() else {
        return Ok(None);
    };
    let file = loaded.configuration.otlp_headers.as_deref();
    let names = &loaded.names;
    config.headers = headers::read(file, std::env::var_os(headers::VARIABLE), names)?;
    config.check().map_err(|ConfigError(found)| {
        let explained = found.iter().map(|fault| names.explain(fault));
        Faults::new(explained.map(|text| Fault::other(None, text)).collect())
    })?;
    Ok(Some(config))
}

/// Begins to say something.
///
/// # Errors
/// When the address is taken, or a thread does not start.
pub(super) fn begin(loaded: &Loaded) -> Result<Observed> {
    let telemetry = Telemetry::new();
    let tracing = traces(loaded)?.map(|config| telemetry.trace(&config));
    let admin = loaded.configuration.admin.as_deref().map(|address| {
        let name = loaded.names.of("admin.listen");
        let listener = std::net::TcpListener::bind(address)
            .with_context(|| format!("cannot listen on {address}, which {name} names"))?;
        let admin = Admin::start(listener, &telemetry)?;
        say_ready("admin", &admin.local_addr().to_string())?;
        anyhow::Ok(admin)
    });
    Ok(Observed {
        _tracing: tracing.transpose()?,
        _admin: admin.transpose()?,
        telemetry,
    })
}
