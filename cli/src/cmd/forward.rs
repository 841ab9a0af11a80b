//! `switchboard forward`: a local TCP port whose connections go through WebSocket tunnels.
//!
//! Called by `main`. One tunnel for each connection, and bytes both ways: whatever HTTP/2 the local
//! client speaks, the far server hears. A tunnel that is not there yet is sought for as long as the
//! connection may wait; one that will never be is told to the client as HTTP/2 has it, with the reason,
//! and to the log. Invariants: at most `connections_max` connections; a token is in no log.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use switchboard_client::ConnectError;
use switchboard_client::tunnel::{self, Tunnel, TunnelTarget};
use switchboard_host::ConfigError;
use tokio::io::{AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::process::{Signals, init_log, listen, say_ready};
use crate::args::Forward;

/// Connections were cut at the end.
const EXIT_CUT: u8 = 2;

/// Bytes copied at once each way: one message of the tunnel.
const COPY_BYTES: usize = 64 * 1024;

/// First and longest pause between attempts, unless the server asks for another: a connection waits
/// for 20 s, so there is time for some ten attempts, and an ingress that restarts is found within 2 s.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Pause after an error in accepting, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Largest file that can be a token, in bytes: what fits a header field of common servers.
const TOKEN_BYTES_MAX: u64 = 8 * 1024;

/// Longest reason that a client is told, in bytes.
const REASON_BYTES_MAX: usize = 400;

/// What every connection needs.
struct Forwarding {
    target: TunnelTarget,
    connect_timeout: Duration,
    /// No more connections.
    stop: CancellationToken,
    /// No more time.
    cut: CancellationToken,
}

/// Runs the command.
pub(crate) fn run(args: Forward) -> Result<ExitCode> {
    let target = target(&args)?;
    let _log = init_log(&args.log)?;
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
    tokio::select! {
        tried = try_once(&target, args.connect_timeout) => tried?,
        name = signals.next() => {
            tracing::info!(signal = name, "stopped before anything was forwarded");
            return Ok(ExitCode::SUCCESS);
        }
    }
    let forwarding = Arc::new(Forwarding {
        target,
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
async fn try_once(target: &TunnelTarget, within: Duration) -> Result<()> {
    match tunnel::connect(target, within).await {
        Ok(mut tunnel) => {
            tracing::info!(target = %target.target(), "the server opens tunnels");
            // A clean close, so that the server's log has no lost connection.
            if let Err(error) = tunnel.stream.shutdown().await {
                tracing::debug!(%error, "the first tunnel did not close cleanly");
            }
            Ok(())
        }
        Err(error) if error.try_again() => {
            tracing::warn!(target = %target.target(), "no tunnel yet, trying again when a client connects: {error}");
            Ok(())
        }
        Err(error) => bail!("{}: {error}", target.target()),
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
async fn connection(forwarding: &Forwarding, mut socket: TcpStream) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was not set");
    }
    let mut tunnel = tokio::select! {
        tunnel = seek(forwarding) => match tunnel {
            Ok(tunnel) => tunnel,
            Err(error) => return refuse(socket, &error).await,
        },
        // A client that does not wait any longer wants no tunnel.
        () = gone(&socket) => return,
        () = forwarding.stop.cancelled() => return,
    };
    let copied =
        copy_bidirectional_with_sizes(&mut socket, &mut tunnel.stream, COPY_BYTES, COPY_BYTES);
    match copied.await {
        Ok((up, down)) => tracing::debug!(up, down, "the connection ended"),
        Err(error) => tracing::info!(%error, "a tunnel or its connection broke"),
    }
}

/// A tunnel, sought again and again while that makes sense.
async fn seek(forwarding: &Forwarding) -> Result<Tunnel, ConnectError> {
    let begun = Instant::now();
    let left = || forwarding.connect_timeout.saturating_sub(begun.elapsed());
    let mut pause = PAUSE_MIN;
    let mut failed = false;
    loop {
        let error = match tunnel::connect(&forwarding.target, left()).await {
            Ok(tunnel) => {
                if failed {
                    tracing::info!("the tunnel is there again");
                }
                return Ok(tunnel);
            }
            Err(error) => error,
        };
        let wait = error.retry_after().unwrap_or(pause);
        if !error.try_again() || wait >= left() {
            tracing::error!(target = %forwarding.target.target(), "no tunnel: {error}");
            return Err(error);
        }
        tracing::warn!(target = %forwarding.target.target(), "no tunnel yet, again in {wait:?}: {error}");
        failed = true;
        sleep(wait).await;
        pause = (pause * 2).min(PAUSE_MAX);
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

/// Tells an HTTP/2 client why there is no connection, in the one frame that has room for words, and
/// that nothing it began was processed, so that it may try again or go elsewhere.
async fn refuse(mut socket: TcpStream, error: &ConnectError) {
    let written = socket.write_all(&refusal(&error.to_string())).await;
    if let Err(error) = written.and(socket.shutdown().await) {
        tracing::debug!(%error, "the client was gone before it was told");
    }
}

/// A server's connection preface (SETTINGS without settings) and GOAWAY. Source: RFC 9113, sections
/// 3.4 and 6.8.
fn refusal(reason: &str) -> Vec<u8> {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GOAWAY: u8 = 7;
    /// For proxies: the connection behind could not be made, or broke.
    const CONNECT_ERROR: u32 = 0xa;
    let reason = &reason.as_bytes()[..reason.len().min(REASON_BYTES_MAX)];
    let len = u32::try_from(8 + reason.len()).expect("a reason is short");
    let mut frames = SETTINGS.to_vec();
    frames.extend_from_slice(&len.to_be_bytes()[1..]);
    frames.extend_from_slice(&[GOAWAY, 0, 0, 0, 0, 0]);
    // The last stream that was processed: none.
    frames.extend_from_slice(&0_u32.to_be_bytes());
    frames.extend_from_slice(&CONNECT_ERROR.to_be_bytes());
    frames.extend_from_slice(reason);
    frames
}

fn target(args: &Forward) -> Result<TunnelTarget> {
    let usage = |error: &dyn std::fmt::Display| ConfigError(vec![error.to_string()]);
    let mut builder = TunnelTarget::builder(&args.url);
    for (name, value) in &args.header {
        builder = builder
            .with_header(name, value)
            .map_err(|error| usage(&error))?;
    }
    if let Some(path) = &args.token {
        builder = builder.with_token(&token(path)?);
    }
    if let Some(path) = &args.ca {
        let pem = std::fs::read(path);
        builder =
            builder.with_ca_pem(pem.with_context(|| format!("cannot read {}", path.display()))?);
    }
    Ok(builder.build().map_err(|error| usage(&error))?)
}

/// The first line of a file.
fn token(path: &Path) -> Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text))
        .with_context(|| format!("cannot read the token in {}", path.display()))?;
    match text.lines().next().map(str::trim) {
        Some(token) if !token.is_empty() => Ok(token.to_owned()),
        _ => bail!("no token on the first line of {}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_settings_and_goaway_with_the_reason() {
        let frames = refusal("no");
        assert_eq!(frames[..9], [0, 0, 0, 4, 0, 0, 0, 0, 0]);
        assert_eq!(frames[9..18], [0, 0, 10, 7, 0, 0, 0, 0, 0]);
        assert_eq!(frames[18..], [0, 0, 0, 0, 0, 0, 0, 10, b'n', b'o']);
        assert_eq!(
            refusal(&"x".repeat(1000)).len(),
            9 + 9 + 8 + REASON_BYTES_MAX
        );
    }
}
