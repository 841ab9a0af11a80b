//! `switchboard forward`: a local TCP port whose connections go through WebSocket tunnels.
//!
//! Called by `main`. One tunnel for each connection, and bytes both ways: whatever HTTP/2 the local
//! client speaks, the far server hears. `way` finds a tunnel, or the reason why there is none; `refusal` tells
//! that to the client as gRPC has it; `carry` moves the bytes. Invariants: at most `connections_max`
//! connections; a token is in no log.

mod carry;
mod refusal;
mod way;

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use switchboard_client::ConfigError as ClientConfigError;
use switchboard_client::tunnel::TunnelTarget;
use switchboard_host::ConfigError;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::carry::carry;
use self::refusal::Refusal;
use self::way::Way;
use super::process::{Signals, init_log, listen, say_ready};
use crate::args::Forward;
use crate::settings::LogFormat;

/// Connections were cut at the end.
const EXIT_CUT: u8 = 2;

/// Pause after an error in accepting, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Largest file that can be a token, in bytes: what fits a header field of common servers.
const TOKEN_BYTES_MAX: u64 = 8 * 1024;

/// What every connection needs.
struct Forwarding {
    way: Way,
    connect_timeout: Duration,
    /// No more connections.
    stop: CancellationToken,
    /// No more time.
    cut: CancellationToken,
}

/// Runs the command.
pub(crate) fn run(args: Box<Forward>) -> Result<ExitCode> {
    let target = target(&args)?;
    let _log = init_log(&args.log, LogFormat::Human, "--log")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("forward")
        .build()
        .context("starting threads")?;
    let ended = runtime.block_on(forward(&args, target));
    runtime.shutdown_background();
    ended
}

async fn forward(args: &Forward, target: TunnelTarget) -> Result<ExitCode> {
    let listener = listen(&args.listen).await?;
    let addr = listener.local_addr().context("asking for the address")?;
    let mut signals = Signals::new()?;
    let way = Way::new(target);
    tokio::select! {
        tried = try_once(&way, args.connect_timeout) => tried?,
        name = signals.next() => {
            tracing::info!(signal = name, "stopped before anything was forwarded");
            return Ok(ExitCode::SUCCESS);
        }
    }
    let forwarding = Arc::new(Forwarding {
        way,
        connect_timeout: args.connect_timeout,
        stop: CancellationToken::new(),
        cut: CancellationToken::new(),
    });
    let connections = TaskTracker::new();
    let places = usize::try_from(args.connections_max.get())?;
    let accepting = accept(listener, places, &forwarding, &connections);
    say_ready("forward", &addr.to_string())?;
    tokio::select! {
        () = accepting => {}
        name = signals.next() => tracing::info!(signal = name, "stopping"),
    }
    forwarding.stop.cancel();
    connections.close();
    let ended = tokio::select! {
        ended = timeout(args.drain_timeout, connections.wait()) => ended.is_ok(),
        _ = signals.next() => false,
    };
    if ended {
        return Ok(ExitCode::SUCCESS);
    }
    tracing::warn!(
        connections = connections.len(),
        "connections were open and are cut"
    );
    forwarding.cut.cancel();
    Ok(ExitCode::from(EXIT_CUT))
}

/// Opens a tunnel and closes it again, so that a wrong address, token or certificate is known before
/// anybody connects. A server that is only away may come back.
///
/// # Errors
/// When no other attempt would end otherwise.
async fn try_once(way: &Way, within: Duration) -> Result<()> {
    match way.first(within).await {
        Ok(mut tunnel) => {
            tracing::info!(target = %way.target(), "the server opens tunnels");
            // A clean close, so that the server's log has no lost connection.
            if let Err(error) = tunnel.stream.shutdown().await {
                tracing::debug!(%error, "the first tunnel did not close cleanly");
            }
            Ok(())
        }
        Err(error) if error.try_again() => Ok(()),
        Err(error) => bail!("{}: {error}", way.target()),
    }
}

/// Accepts connections for ever.
async fn accept(
    listener: TcpListener,
    places: usize,
    forwarding: &Arc<Forwarding>,
    connections: &TaskTracker,
) {
    let places = Arc::new(Semaphore::new(places));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let place = place.expect("nobody closes the semaphore");
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections, trying again");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let forwarding = Arc::clone(forwarding);
        connections.spawn(async move {
            let _place = place;
            tracing::debug!(%peer, "connected");
            let cut = forwarding.cut.clone();
            tokio::select! {
                () = connection(&forwarding, socket) => tracing::debug!(%peer, "ended"),
                () = cut.cancelled() => {}
            }
        });
    }
}

/// One connection, from its first byte to its last.
async fn connection(forwarding: &Forwarding, socket: TcpStream) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was not set");
    }
    let tunnel = tokio::select! {
        tunnel = forwarding.way.tunnel(forwarding.connect_timeout) => tunnel,
        // A client that does not wait any longer wants no tunnel.
        () = gone(&socket) => return,
        () = forwarding.stop.cancelled() => return,
    };
    match tunnel {
        Ok(tunnel) => carry(socket, tunnel).await,
        Err(error) => {
            let refusal = Refusal::new(&forwarding.way.target(), &error);
            tokio::select! {
                () = refusal.tell(socket) => {}
                // Nothing was begun that could be lost.
                () = forwarding.stop.cancelled() => {}
            }
        }
    }
}

/// Ends when the client has closed its side.
async fn gone(socket: &TcpStream) {
    let mut byte = [0];
    // Until there is something to read there is nothing to know; what is there stays for the tunnel.
    if matches!(socket.peek(&mut byte).await, Ok(1..)) {
        // It has sent its first frames and waits. Its end would not make the socket readable anew;
        // seeking has a limit of its own.
        std::future::pending::<()>().await;
    }
}

fn target(args: &Forward) -> Result<TunnelTarget> {
    let usage = |error: &dyn std::fmt::Display| ConfigError(vec![error.to_string()]);
    let mut builder = TunnelTarget::builder(&args.url);
    for (name, value) in &args.header {
        builder = builder
            .with_header(name, value)
            .map_err(|error| usage(&error))?;
    }
    let answered = args.dead_after.saturating_sub(args.ping);
    if args.ping.is_zero() || answered.is_zero() {
        let rule = "--dead-after must be above --ping, and --ping above zero";
        return Err(usage(&rule).into());
    }
    builder = builder.with_ping(args.ping, answered);
    if let Some(path) = &args.token {
        builder = builder.with_token(&token(path)?);
    }
    if let Some(path) = &args.ca {
        let pem = std::fs::read(path);
        builder =
            builder.with_ca_pem(pem.with_context(|| format!("cannot read {}", path.display()))?);
    }
    Ok(builder.build().map_err(|error| {
        // The only certificates here; the channel does not know in which file they are.
        if let (ClientConfigError::Certificate { text, .. }, Some(path)) = (&error, &args.ca) {
            return usage(&format_args!(
                "--ca {} cannot be read: {text}",
                path.display()
            ));
        }
        usage(&error)
    })?)
}

/// The first line of a file.
pub(super) fn token(path: &Path) -> Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text))
        .with_context(|| format!("cannot read the token in {}", path.display()))?;
    match text.lines().next().map(str::trim) {
        Some(token) if !token.is_empty() => Ok(token.to_owned()),
        _ => bail!("no token on the first line of {}", path.display()),
    }
}
