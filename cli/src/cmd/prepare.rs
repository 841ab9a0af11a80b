//! What stands between settings and a host, for the commands that need one: files, threads, the builder.
//!
//! Called by `cmd::serve` and `cmd::check`, which so come to the same result. Reads files that settings name;
//! opens no port.

pub(super) mod headers;
mod tls;
mod tokens;

use anyhow::{Context, Result};
use switchboard_host::{HostBuilder, StaticTokens, Tls};
use tokio::runtime::Runtime;

use crate::settings::Loaded;

/// TLS from its files; none if none are named.
pub(super) fn tls(loaded: &Loaded) -> Result<Option<Tls>> {
    tls::open(loaded.configuration.tls.as_ref(), &loaded.names)
}

/// The tunnel's tokens from their file; none if none is named.
pub(super) fn tokens(loaded: &Loaded) -> Result<Option<StaticTokens>> {
    tokens::read(loaded.configuration.tokens.as_deref(), &loaded.names)
}

/// The threads that connections and short calls run on.
pub(super) fn runtime(loaded: &Loaded, name: &str) -> Result<Runtime> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = loaded.configuration.host.lane.workers {
        runtime.worker_threads(usize::try_from(workers.get())?);
    }
    runtime
        .enable_all()
        .thread_name(name)
        .build()
        .context("starting threads")
}

/// A host that is told everything but its plugins.
pub(super) fn builder(loaded: &Loaded, tokens: Option<StaticTokens>) -> HostBuilder {
    let configuration = &loaded.configuration;
    let mut builder = HostBuilder::new(configuration.host.clone());
    for (name, config) in &configuration.plugins {
        builder = builder.plugin(name, config.clone());
    }
    if let Some(tokens) = tokens {
        builder = builder.authoriser(tokens);
    }
    builder
}
