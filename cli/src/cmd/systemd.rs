//! What systemd hands over and wants to be told. Without systemd, nothing of it does anything.
//!
//! Called by `cmd::serve`. Source: systemd.service(5), `Type=notify-reload`; sd_notify(3); sd_watchdog_enabled(3); sd_listen_fds(3). The
//! environment is read once, at the start. Invariant: a service manager that does not listen stops nobody.

use std::os::fd::AsFd;

use anyhow::{Context, Result, bail};
use listenfd::ListenFd;
use rustix::net::{AddressFamily, SocketType, sockopt};
use sd_notify::NotifyState;
use switchboard_host::{Listeners, UnixListener};
use tokio::time::interval;

/// Calls are answered.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Tells systemd from now on, if it wants to know (`WatchdogSec=`), that the threads that serve get on with it, twice
/// in the time that it gives. A task like those that serve: when they are stuck, so is this.
#[expect(
    clippy::disallowed_methods,
    reason = "it ends with the runtime, and cannot panic"
)]
pub(super) fn keep_alive() {
    if let Some(within) = sd_notify::watchdog_enabled() {
        drop(tokio::spawn(async move {
            let mut beats = interval(within / 2);
            loop {
                beats.tick().await;
                tell(&[NotifyState::Watchdog]);
            }
        }));
    }
}

/// A reload begins; [`ready`] ends it.
pub(super) fn reloading() {
    let now = NotifyState::monotonic_usec_now();
    match now {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "systemd is not told of the reload"),
    }
}

/// The drain begins.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd cannot be told how the service is doing (NOTIFY_SOCKET)");
    }
}

/// The sockets that systemd hands over, and what each is called in the ready line.
///
/// # Errors
/// When there are none, or one that is no stream socket.
pub(super) fn sockets() -> Result<Vec<(Listeners, String)>> {
    let mut handed = ListenFd::from_env();
    if handed.len() == 0 {
        bail!(
            "systemd hands over no socket (LISTEN_FDS): start the service by its .socket unit, or listen on \
             an address"
        );
    }
    (0..handed.len())
        .map(|at| socket(&mut handed, at))
        .collect()
}

fn socket(handed: &mut ListenFd, at: usize) -> Result<(Listeners, String)> {
    let what = || format!("socket {} that systemd hands over", at + 1);
    if let Ok(Some(tcp)) = handed.take_tcp_listener(at) {
        tcp.set_nonblocking(true).with_context(what)?;
        let name = tcp.local_addr().with_context(what)?.to_string();
        let tcp = tokio::net::TcpListener::from_std(tcp).with_context(what)?;
        return Ok((tcp.into(), name));
    }
    let unix = handed.take_unix_listener(at).with_context(what)?;
    let unix = unix.with_context(|| format!("{} was taken already", what()))?;
    is_stream(&unix).with_context(what)?;
    let path = unix.local_addr().with_context(what)?;
    let path = path.as_pathname().map(|path| path.display().to_string());
    let name = format!("unix:{}", path.unwrap_or_else(|| "(abstract)".to_owned()));
    let unix = UnixListener::inherited(unix).with_context(what)?;
    Ok((unix.into(), name))
}

fn is_stream(socket: &impl AsFd) -> Result<()> {
    let kind = sockopt::socket_type(socket)?;
    let family = sockopt::socket_domain(socket)?;
    if kind != SocketType::STREAM || family != AddressFamily::UNIX {
        bail!("is neither a TCP nor a Unix stream socket: use ListenStream= in the .socket unit");
    }
    Ok(())
}
