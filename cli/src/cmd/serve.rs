//! `switchboard serve`: load, listen, say so, serve until a signal, drain; take new settings meanwhile.
//!
//! Called by `main`. Reads what only the command knows (files, signals, threads) and hands the
//! rest to `switchboard-host`. The order is fixed: wrong settings cost nothing, the port is
//! taken before plugins are compiled, and `ready` is printed when calls are answered.

mod listen;
mod reload;

use std::process::ExitCode;

use anyhow::Result;
use switchboard_host::{Drained, StaticTokens, Tls};
use tokio_util::sync::CancellationToken;

use super::observe::Observed;
use super::process::{Signals, init_log, say_ready};
use super::{explain, observe, open_files, prepare, systemd};
use crate::args::Serve;
use crate::settings::{Loaded, Sources};
use reload::Reload;

/// Calls were cut short at the end of the drain, or a second signal did not wait for it.
const EXIT_CUT: u8 = 2;

/// What runs, for the log.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs the command.
pub(crate) fn run(args: Serve) -> Result<ExitCode> {
    let sources = Sources::new(args.flags);
    let text = sources.text()?;
    let loaded = sources.load(text.as_deref())?;
    let (configuration, names) = (&loaded.configuration, &loaded.names);
    let _log = init_log(
        &configuration.log,
        configuration.log_format,
        &names.of("telemetry.log"),
    )?;
    let tls = prepare::tls(&loaded)?;
    let tokens = prepare::tokens(&loaded)?;
    let observed = observe::begin(&loaded)?;
    let runtime = prepare::runtime(&loaded, "serve")?;
    let reload = Reload::new(sources, loaded.clone(), text);
    let ended = runtime.block_on(serve(&loaded, &observed, reload, tls, tokens));
    // Threads that still wait for a file or a guest must not hold the end up.
    runtime.shutdown_background();
    ended
}

async fn serve(
    loaded: &Loaded,
    observed: &Observed,
    reload: Reload,
    tls: Option<Tls>,
    tokens: Option<StaticTokens>,
) -> Result<ExitCode> {
    let configuration = &loaded.configuration;
    let taken = listen::take(configuration).await?;
    if tls.is_some() && !taken.tcp {
        tracing::warn!(
            "{} has nothing to do: Unix sockets are served without TLS",
            loaded.names.of("tls.cert")
        );
    }
    say_settings(loaded);
    open_files::provide(u64::from(
        configuration.host.connection.connections_max.get(),
    ));
    let mut signals = Signals::new()?;
    let hangup = signals.take_hangup();
    let builder = prepare::builder(loaded, tokens).telemetry(observed.telemetry.clone());
    let host = tokio::select! {
        host = builder.build(&configuration.paths) => {
            host.map_err(|error| explain::build(error, loaded))?
        }
        name = signals.next() => {
            tracing::info!(signal = name, "stopped before anything was served");
            return Ok(ExitCode::SUCCESS);
        }
    };
    if host.services().is_empty() {
        let refused = host.refused().len();
        let nothing = explain::nothing_to_serve(configuration, refused);
        if refused > 0 || !explain::plugins_may_come(configuration) {
            anyhow::bail!(nothing);
        }
        tracing::warn!("{nothing}; waiting for one to be put there");
    }
    explain::warn_of_sections(loaded, &host.handle());
    let stop = CancellationToken::new();
    let mut following = std::pin::pin!(reload.follow(host.handle(), hangup));
    let serving = host.serve(taken.listeners, tls, stop.clone());
    let mut serving = std::pin::pin!(serving);
    for name in &taken.names {
        say_ready("grpc", name)?;
    }
    let addresses = taken.names.join(" ");
    tracing::info!(version = VERSION, addresses, "serving");
    systemd::ready();
    systemd::keep_alive();
    tokio::select! {
        drained = serving.as_mut() => return Ok(code(drained)),
        name = signals.next() => tracing::info!(signal = name, "stopping"),
        never = following.as_mut() => match never {},
    }
    systemd::stopping();
    stop.cancel();
    tokio::select! {
        drained = serving => Ok(code(drained)),
        name = signals.next() => {
            tracing::warn!(signal = name, "a second signal: ending at once");
            Ok(ExitCode::from(EXIT_CUT))
        }
    }
}

/// Says which version runs with which settings, and what looks like a setting and is none.
fn say_settings(loaded: &Loaded) {
    match loaded.changed().join(" ").as_str() {
        "" => tracing::info!(version = VERSION, "configuration: all defaults"),
        changed => tracing::info!(
            version = VERSION,
            "configuration: {changed}, all else by default"
        ),
    }
    for fault in Sources::misspelt_variables() {
        tracing::warn!("{fault}");
    }
}

fn code(drained: Drained) -> ExitCode {
    match drained {
        Drained::Clean => ExitCode::SUCCESS,
        Drained::Cut => ExitCode::from(EXIT_CUT),
    }
}
