//! `switchboard serve`: load, listen, say so, serve until a signal, drain.
//!
//! Called by `main`. Reads what only the command line knows (files, signals, threads) and hands the
//! rest to `switchboard-host`. The order is fixed: a bad command line costs nothing, the port is
//! taken before plugins are compiled, and `ready` is printed when calls are answered.

mod connection;
mod explain;
mod health;
mod listen;
mod messages;
mod quarantine;
mod tls;
mod tunnel;

use std::process::ExitCode;

use anyhow::{Context, Result};
use switchboard_host::{
    ConfigError, Drained, FilesConfig, HostBuilder, HostConfig, Mode, PoolArgs, PoolConfig,
    StaticTokens, Tls, WebConfig,
};
use tokio_util::sync::CancellationToken;

use super::open_files;
use super::process::{Signals, init_log, say_ready};
use crate::args::{self, Serve};

/// Calls were cut short at the end of the drain, or a second signal did not wait for it.
const EXIT_CUT: u8 = 2;

/// Runs the command.
pub(crate) fn run(args: Box<Serve>) -> Result<ExitCode> {
    let config = config(&args)?;
    let _log = init_log(&args.log)?;
    let tls = tls::open(&args.tls)?;
    let tokens = tunnel::tokens(&args.tunnel)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = args.workers {
        runtime.worker_threads(usize::try_from(workers.get())?);
    }
    let runtime = runtime
        .enable_all()
        .thread_name("serve")
        .build()
        .context("starting threads")?;
    let ended = runtime.block_on(serve(&args, config, tls, tokens));
    // Threads that still wait for a file or a guest must not hold the end up.
    runtime.shutdown_background();
    ended
}

async fn serve(
    args: &Serve,
    config: HostConfig,
    tls: Option<Tls>,
    tokens: Option<StaticTokens>,
) -> Result<ExitCode> {
    let taken = listen::take(&args.listen).await?;
    if tls.is_some() && !taken.tcp {
        tracing::warn!("--tls-cert has nothing to do: Unix sockets are served without TLS");
    }
    match explain::changes(&config).as_str() {
        "" => tracing::info!("configuration: all defaults"),
        changes => tracing::info!("configuration: {changes}, all else by default"),
    }
    open_files::provide(u64::from(config.connection.connections_max.get()));
    let mut signals = Signals::new()?;
    let mut builder = HostBuilder::new(config.clone());
    if let Some(tokens) = tokens {
        builder = builder.authoriser(tokens);
    }
    let host = tokio::select! {
        host = builder.build(&args.paths) => {
            host.map_err(|error| explain::build(error, args, &config))?
        }
        name = signals.next() => {
            tracing::info!(signal = name, "stopped before anything was served");
            return Ok(ExitCode::SUCCESS);
        }
    };
    if host.services().is_empty() {
        anyhow::bail!(explain::nothing_to_serve(args, host.refused().len()));
    }
    let stop = CancellationToken::new();
    let serving = host.serve(taken.listeners, tls, stop.clone());
    let mut serving = std::pin::pin!(serving);
    for name in &taken.names {
        say_ready("grpc", name)?;
    }
    tokio::select! {
        drained = serving.as_mut() => return Ok(code(drained)),
        name = signals.next() => tracing::info!(signal = name, "stopping"),
    }
    stop.cancel();
    tokio::select! {
        drained = serving => Ok(code(drained)),
        name = signals.next() => {
            tracing::warn!(signal = name, "a second signal: ending at once");
            Ok(ExitCode::from(EXIT_CUT))
        }
    }
}

fn code(drained: Drained) -> ExitCode {
    match drained {
        Drained::Clean => ExitCode::SUCCESS,
        Drained::Cut => ExitCode::from(EXIT_CUT),
    }
}

/// The typed command line as a checked configuration.
fn config(args: &Serve) -> Result<HostConfig> {
    let pool = &args.pool;
    let limits = &args.limits;
    let mut config = HostConfig::default();
    let pool_config = PoolConfig::try_from(PoolArgs {
        mode: Some(match pool.mode {
            args::Mode::Reuse => Mode::Reuse,
            args::Mode::Fresh => Mode::Fresh,
        }),
        stores_max: pool.stores_max,
        streams_max: pool.streams_max,
        priority_stores: pool.priority_stores,
        waiting_max: pool.waiting_max,
        wait_max: pool.wait_max,
        warm_min: pool.warm_min,
        calls_max: pool.calls_max,
        age_max: pool.age_max,
        memory_retire_bytes: pool.memory_retire.map(bytes).transpose()?,
        quarantine: Some(quarantine::config(&args.quarantine)),
    });
    config.plugin.priority_methods = pool.priority_method.iter().cloned().collect();
    config.plugin.long_methods = pool.long_method.iter().cloned().collect();
    config.plugin.compression = args.compression.config();
    set(&mut config.engine.instances_max, limits.instances_max);
    config.plugin.messages = messages::config(&args.messages)?;
    config.call.timeout_max = limits.timeout_max;
    for (value, typed) in [
        (&mut config.engine.memory_bytes_max, limits.memory_max),
        (&mut config.call.request_bytes_max, limits.request_max),
        (&mut config.call.response_bytes_max, limits.response_max),
        (&mut config.call.metadata_bytes_max, limits.metadata_max),
        (&mut config.buffer.unread_bytes_max, limits.unread_max),
        (&mut config.buffer.unsent_bytes_max, limits.unsent_max),
        (
            &mut config.buffer.connection_unsent_bytes_max,
            limits.connection_unsent_max,
        ),
    ] {
        set(value, typed.map(bytes).transpose()?);
    }
    set(
        &mut config.connection.connections_max,
        limits.connections_max,
    );
    set(
        &mut config.connection.calls_max,
        limits.connection_calls_max,
    );
    set(&mut config.drain_timeout, limits.drain_timeout);
    connection::apply(&args.connections, &mut config)?;
    health::config(&args.health, &mut config)?;
    config.lane.workers = args.workers;
    config.tunnel = tunnel::config(&args.tunnel);
    config.web = web(&args.web);
    (config.http1.trusted_proxies).clone_from(&args.tunnel.trusted_proxy);
    let files = args.files.iter();
    let files = files.map(|(path, folder)| FilesConfig::new(path, folder));
    config.files = files.collect();
    checked(config, pool_config)
}

/// What the flags say of gRPC-Web; none if there is to be none.
fn web(args: &args::Web) -> Option<WebConfig> {
    let mut config = WebConfig {
        credentials: args.web_credentials,
        ..WebConfig::default()
    };
    if !args.web_origin.is_empty() {
        config.origins.clone_from(&args.web_origin);
    }
    (!args.web_off).then_some(config)
}

/// The configuration with its pool, unless either is wrong; all faults are said at once.
fn checked(mut config: HostConfig, pool: Result<PoolConfig, ConfigError>) -> Result<HostConfig> {
    let mut faults = Vec::new();
    match pool {
        Ok(pool) => config.plugin.pool = pool,
        Err(ConfigError(found)) => faults.extend(found),
    }
    if let Err(ConfigError(found)) = config.check() {
        faults.extend(found);
    }
    if faults.is_empty() {
        Ok(config)
    } else {
        Err(explain::faults(ConfigError(faults)).into())
    }
}

fn set<T>(value: &mut T, typed: Option<T>) {
    if let Some(typed) = typed {
        *value = typed;
    }
}

fn bytes(size: bytesize::ByteSize) -> Result<usize, ConfigError> {
    usize::try_from(size.as_u64()).map_err(|_| ConfigError(vec![format!("{size} is too much")]))
}
