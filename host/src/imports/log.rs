//! Host side of `wit/log.wit`, and where a guest's stdout and stderr end up: our log.
//!
//! Called by the guest; calls `tracing`. Every line carries the plugin's name, and whose call wrote it
//! (`caller`). Lines are cut at [`LINE_BYTES_MAX`], and what could make one line look like several is
//! escaped. A plugin that logs more than its share (`budget`) loses lines, and the log says how many.
//!
//! Knows nothing else of calls, and asks who calls only for a line that is written.

mod budget;
mod caller;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use self::budget::Budget;
pub(crate) use self::caller::Caller;
use super::bindings::switchboard::grpc::log as wit;
use super::call::Exchange;
use crate::config::LogLimits;
use crate::error::escaped;
use crate::peer;
use crate::telemetry::Counter;

/// Longest line taken from a guest, in bytes; the rest is cut and the line says so.
pub(crate) const LINE_BYTES_MAX: usize = 8 * 1024;

/// Which of a guest's ways to write a line came from.
#[derive(Clone, Copy, Debug)]
enum Way {
    Log(wit::Level),
    Stdout,
    Stderr,
}

/// A plugin's way to our log, which all its instances share.
#[derive(Debug)]
pub(crate) struct GuestLog {
    plugin: Arc<str>,
    budget: Mutex<Budget>,
    since: Instant,
    written: Counter,
    left_out: Counter,
}

/// How many lines of a plugin were written, and how many were left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lines {
    pub written: u64,
    pub left_out: u64,
}

impl GuestLog {
    /// For the plugin of this name, which may write so much.
    #[must_use]
    pub(crate) fn new(plugin: Arc<str>, limits: LogLimits) -> Self {
        Self {
            plugin,
            budget: Mutex::new(Budget::new(limits)),
            since: Instant::now(),
            written: Counter::default(),
            left_out: Counter::default(),
        }
    }

    /// What became of its lines so far.
    #[must_use]
    pub(crate) fn lines(&self) -> Lines {
        Lines {
            written: self.written.get(),
            left_out: self.left_out.get(),
        }
    }

    /// Name of the plugin.
    #[must_use]
    pub(crate) fn plugin(&self) -> &Arc<str> {
        &self.plugin
    }

    /// Writes one line, if it fits into the plugin's share.
    fn write(&self, way: Way, text: &[u8], caller: Option<&dyn Exchange>) {
        let cut = text.len() > LINE_BYTES_MAX;
        let text = &text[..text.len().min(LINE_BYTES_MAX)];
        macro_rules! line {
            ($level:ident, $enabled:ident, $stream:literal) => {
                // What nobody wants to see uses up nothing.
                if tracing::enabled!(target: "guest", tracing::Level::$enabled)
                    && let Some(text) = self.admit(text)
                {
                    let plugin = &*self.plugin;
                    let peer = caller.map(Exchange::peer);
                    let told = |key| caller.and_then(|caller| caller.value(key));
                    let [tunnel, origin] = [peer::TUNNEL_ID, peer::ORIGIN]
                        .map(|key| told(key).and_then(|value| String::from_utf8(value).ok()));
                    tracing::$level!(
                        target: "guest", plugin, stream = $stream, cut,
                        peer = peer.as_deref().map(tracing::field::display),
                        tunnel, origin, "{text}"
                    );
                }
            };
        }
        match way {
            Way::Log(wit::Level::Trace) => line!(trace, TRACE, "log"),
            Way::Log(wit::Level::Debug) => line!(debug, DEBUG, "log"),
            Way::Log(wit::Level::Info) => line!(info, INFO, "log"),
            Way::Log(wit::Level::Warn) => line!(warn, WARN, "log"),
            Way::Log(wit::Level::Error) => line!(error, ERROR, "log"),
            Way::Stdout => line!(info, INFO, "stdout"),
            Way::Stderr => line!(warn, WARN, "stderr"),
        }
    }

    /// The text as one line, if there is any and it fits.
    fn admit<'a>(&self, text: &'a [u8]) -> Option<Cow<'a, str>> {
        let end = text.iter().rposition(|byte| !b"\r\n".contains(byte))?;
        let text = &text[..=end];
        let now = self.since.elapsed();
        let verdict = {
            let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
            budget.take(now, text.len())
        };
        if let Some(left_out) = verdict.left_out {
            let plugin = &*self.plugin;
            tracing::warn!(
                plugin,
                left_out,
                "the plugin logs more than its share, lines are left out"
            );
        }
        if !verdict.fits {
            self.left_out.add_one();
            return None;
        }
        self.written.add_one();
        // A line of a guest stays one line, whatever is in it: it must not look like one of the host's.
        Some(match String::from_utf8_lossy(text) {
            Cow::Borrowed(text) => escaped(text),
            Cow::Owned(text) => Cow::Owned(escaped(&text).into_owned()),
        })
    }
}

/// Borrows what `wit/log.wit` needs from the Store's state.
pub(crate) struct LogView<'a> {
    /// Where the plugin writes to.
    pub log: &'a GuestLog,
    /// The call being served.
    pub call: Option<&'a dyn Exchange>,
}

impl wit::Host for LogView<'_> {
    fn write(&mut self, level: wit::Level, message: String) -> wasmtime::Result<()> {
        let way = Way::Log(level);
        self.log.write(way, message.as_bytes(), self.call);
        Ok(())
    }
}

/// A guest's stdout or stderr: bytes become lines, lines go to our log.
#[derive(Clone, Debug)]
pub(crate) struct Stdio {
    log: Arc<GuestLog>,
    way: Way,
    /// Whose call it is.
    caller: Caller,
    /// The line that has no end yet; at most [`LINE_BYTES_MAX`] bytes.
    partial: Arc<Mutex<Vec<u8>>>,
}

impl Stdio {
    /// Where a plugin prints to.
    #[must_use]
    pub(crate) fn stdout(log: Arc<GuestLog>, caller: Caller) -> Self {
        Self {
            log,
            way: Way::Stdout,
            caller,
            partial: Arc::default(),
        }
    }

    /// Where a plugin prints errors, among them the message of a panic.
    #[must_use]
    pub(crate) fn stderr(log: Arc<GuestLog>, caller: Caller) -> Self {
        Self {
            log,
            way: Way::Stderr,
            caller,
            partial: Arc::default(),
        }
    }

    fn write(&self, line: &[u8]) {
        let caller = self.caller.get();
        self.log.write(self.way, line, caller.as_deref());
    }

    fn push(&self, bytes: &[u8]) {
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = (LINE_BYTES_MAX + 1).saturating_sub(partial.len());
            partial.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.write(&partial);
                partial.clear();
            }
        }
    }

    /// Writes what has no line end yet, as a trap leaves it.
    fn finish(&self) {
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(&partial);
        partial.clear();
    }
}

impl IsTerminal for Stdio {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdio {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for this form, and its interfaces are not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Output(self.clone()))
    }
}

/// One handle to a [`Stdio`]; never makes the guest wait.
struct Output(Stdio);

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(LINE_BYTES_MAX)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.0.finish();
    }
}
