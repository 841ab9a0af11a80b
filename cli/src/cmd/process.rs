//! What commands that run until a signal have in common: the log, the port, the ready line, signals.
//!
//! Called by the commands beside it. stdout gets the ready line and nothing else.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use switchboard_host::ConfigError;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use super::json_log::{JsonFields, JsonLine};
use crate::settings::{LogFormat, host_port_fault};

/// Lines of the log that may wait for stderr. Count; lines of guests have 8 KiB at most, so some 16 MiB.
/// The next ones are lost, and counted.
const LOG_LINES_MAX: usize = 2048;

/// What libraries may log unless `--log` names them: h2 warns of each frame that it finds odd, so a stranger
/// could fill the log with them.
const LIBRARIES: &str = "h2=error";

/// How often it is said that lines were lost.
const LOST_INTERVAL: Duration = Duration::from_secs(10);

/// Connections that the kernel holds for us until they are accepted. Count; Linux caps it at
/// `net.core.somaxconn`, 4096 by default.
const BACKLOG: u32 = 4096;

/// Listens on the address that `host_port` stands for; of several the first IPv4 one, since that is
/// what clients of `localhost` try in any case.
pub(super) async fn listen(host_port: &str) -> Result<TcpListener> {
    if let Some(fault) = host_port_fault(host_port) {
        return Err(ConfigError(vec![format!("--listen {fault}")]).into());
    }
    let addrs = tokio::net::lookup_host(host_port).await;
    let addrs = addrs.with_context(|| format!("cannot find the host of --listen {host_port}"))?;
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
pub(super) fn say_ready(what: &str, address: &str) -> Result<()> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "ready {what} {address}")
        .and_then(|()| stdout.flush())
        .context("printing the ready line")
}

/// SIGTERM, SIGINT and SIGHUP, each of which is to end the program unless it was taken out.
pub(super) struct Signals {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
    /// None if whoever started us wants it ignored, as nohup does.
    hangup: Option<tokio::signal::unix::Signal>,
}

impl Signals {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate()).context("listening for SIGTERM")?,
            int: signal(SignalKind::interrupt()).context("listening for SIGINT")?,
            hangup: (!ignores_hangup())
                .then(|| signal(SignalKind::hangup()))
                .transpose()
                .context("listening for SIGHUP")?,
        })
    }

    /// Takes SIGHUP out, for those to whom it means something else; none if it is to be ignored.
    pub(super) fn take_hangup(&mut self) -> Option<tokio::signal::unix::Signal> {
        self.hangup.take()
    }

    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
            Some(()) = async { self.hangup.as_mut()?.recv().await } => "SIGHUP",
        }
    }
}

/// Whether SIGHUP was ignored when we were started. Source: proc(5), `SigIgn`: SIGHUP is bit 0.
fn ignores_hangup() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        ignored
            .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
            .is_some_and(|bits| bits & 1 == 1)
    })
}

/// The log's writer; dropping it writes what is left, for a second at most.
pub(super) struct LogGuard(#[expect(dead_code, reason = "kept for its drop")] WorkerGuard);

/// Sends the log to stderr by a thread of its own. Whoever reads stderr too slowly, or not at all, loses
/// lines and holds nothing up: neither a call nor the end of the program.
///
/// # Errors
/// When the filter is not one; `name` is what the operator calls it.
pub(super) fn init_log(filter: &str, format: LogFormat, name: &str) -> Result<LogGuard> {
    let filter = log_filter(filter, name)?;
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LOG_LINES_MAX)
        .lossy(true)
        .thread_name("log")
        .finish(std::io::stderr());
    let lost = writer.error_counter();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // It would say on stderr that stderr is gone, and panic.
        .log_internal_errors(false)
        .with_writer(writer);
    if format == LogFormat::Json || format == LogFormat::Auto && !terminal {
        log.with_ansi(false)
            .event_format(JsonLine)
            .fmt_fields(JsonFields)
            .init();
    } else {
        log.with_ansi(super::say::in_colours()).init();
    }
    std::thread::Builder::new()
        .name("log-lost".to_owned())
        .spawn(move || tell_lost(&lost))
        .context("starting threads")?;
    Ok(LogGuard(guard))
}

/// The filter, read.
///
/// # Errors
/// When it is not one; `name` is what the operator calls it.
pub(super) fn log_filter(filter: &str, name: &str) -> Result<EnvFilter, ConfigError> {
    check_filter(filter).map_err(|fault| ConfigError(vec![format!("{name}: {fault}")]))?;
    EnvFilter::try_new(format!("{LIBRARIES},{filter}"))
        .map_err(|error| ConfigError(vec![format!("{name} {filter:?}: {error}")]))
}

/// Refuses words that are neither level nor target: taken for a target, a level with a slip of the pen
/// would silence the whole log.
fn check_filter(filter: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    const TARGETS: [&str; 8] = [
        "guest",
        "switchboard",
        "h2",
        "hyper",
        "rustls",
        "tokio",
        "wasmtime",
        "cranelift",
    ];
    let known = |word: &str| {
        word.is_empty()
            || word.contains(['=', '[', ':'])
            || LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word))
            || TARGETS.iter().any(|target| word.starts_with(target))
    };
    match filter.split(',').map(str::trim).find(|word| !known(word)) {
        None => Ok(()),
        Some(word) => Err(format!(
            "{word:?} is no level (off, error, warn, info, debug, trace), and no module with one, as in \
             info,guest=debug"
        )),
    }
}

/// Says in the log how many of its lines were lost, whenever there are more, until the program ends.
#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own that only sleeps"
)]
fn tell_lost(lost: &ErrorCounter) {
    let mut told = 0;
    loop {
        std::thread::sleep(LOST_INTERVAL);
        let lines = lost.dropped_lines();
        if lines > told {
            tracing::warn!(
                lines = lines - told,
                "lines of the log were lost: stderr is read too slowly"
            );
            told = lines;
        }
    }
}
