//! What commands that run until a signal have in common: the log, the port, the ready line, signals.
//!
//! Called by the commands beside it. stdout gets the ready line and nothing else.

use std::io::Write;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use switchboard_host::ConfigError;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Connections that the kernel holds for us until they are accepted. Count; Linux caps it at
/// `net.core.somaxconn`, 4096 by default.
const BACKLOG: u32 = 4096;

/// Listens on the address that `host_port` stands for; of several the first IPv4 one, since that is
/// what clients of `localhost` try in any case.
pub(super) async fn listen(host_port: &str) -> Result<TcpListener> {
    let addrs = tokio::net::lookup_host(host_port).await.map_err(|error| {
        ConfigError(vec![format!(
            "--listen {host_port:?} is no HOST:PORT: {error}"
        )])
    })?;
    let mut addrs: Vec<_> = addrs.collect();
    addrs.sort_by_key(|addr| !addr.is_ipv4());
    let addr = addrs
        .first()
        .with_context(|| format!("{host_port} has no address"))?;
    let open = || {
        let socket = if addr.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        socket.set_reuseaddr(true)?;
        socket.bind(*addr)?;
        socket.listen(BACKLOG)
    };
    open().with_context(|| format!("cannot listen on {addr}"))
}

/// What scripts wait for.
pub(super) fn say_ready(what: &str, addr: SocketAddr) -> Result<()> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "ready {what} {addr}")
        .and_then(|()| stdout.flush())
        .context("printing the ready line")
}

/// SIGTERM and SIGINT.
pub(super) struct Signals {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate()).context("listening for SIGTERM")?,
            int: signal(SignalKind::interrupt()).context("listening for SIGINT")?,
        })
    }

    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

pub(super) fn init_log(filter: &str) -> Result<()> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| ConfigError(vec![format!("--log {filter:?}: {error}")]))?;
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(terminal)
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}
