//! Host side of `wit/log.wit`, and where a guest's stdout and stderr end up: our log.
//!
//! Called by the guest; calls `tracing`. Every line carries the plugin's name. Lines are cut at
//! [`LINE_BYTES_MAX`], and what could make one line look like several is escaped. A plugin that logs more
//! than its share (`budget`) loses lines, and the log says how many.
//!
//! Knows nothing of calls: a line belongs to the span that is current when it is written.

mod budget;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use self::budget::{Budget, Verdict};
use super::bindings::switchboard::grpc::log as wit;

/// Longest line taken from a guest, in bytes; the rest is cut and the line says so.
pub(crate) const LINE_BYTES_MAX: usize = 8 * 1024;

/// Which of a guest's ways to write a line came from.
#[derive(Clone, Copy, Debug)]
enum Origin {
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
}

impl GuestLog {
    /// For the plugin of this name.
    #[must_use]
    pub(crate) fn new(plugin: Arc<str>) -> Self {
        Self {
            plugin,
            budget: Mutex::new(Budget::new()),
            since: Instant::now(),
        }
    }

    /// Name of the plugin.
    #[must_use]
    pub(crate) fn plugin(&self) -> &Arc<str> {
        &self.plugin
    }

    /// Writes one line, if it fits into the plugin's share.
    fn write(&self, origin: Origin, text: &[u8]) {
        let cut = text.len() > LINE_BYTES_MAX;
        let text = &text[..text.len().min(LINE_BYTES_MAX)];
        macro_rules! line {
            ($level:ident, $enabled:ident, $stream:literal) => {
                // What nobody wants to see uses up nothing.
                if tracing::enabled!(target: "guest", tracing::Level::$enabled)
                    && let Some(text) = self.admit(text)
                {
                    let plugin = &*self.plugin;
                    tracing::$level!(target: "guest", plugin, stream = $stream, cut, "{text}");
                }
            };
        }
        match origin {
            Origin::Log(wit::Level::Trace) => line!(trace, TRACE, "log"),
            Origin::Log(wit::Level::Debug) => line!(debug, DEBUG, "log"),
            Origin::Log(wit::Level::Info) => line!(info, INFO, "log"),
            Origin::Log(wit::Level::Warn) => line!(warn, WARN, "log"),
            Origin::Log(wit::Level::Error) => line!(error, ERROR, "log"),
            Origin::Stdout => line!(info, INFO, "stdout"),
            Origin::Stderr => line!(warn, WARN, "stderr"),
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
        let plugin = &*self.plugin;
        match verdict {
            Verdict::LeftOut => return None,
            Verdict::FirstLeftOut => {
                tracing::warn!(
                    plugin,
                    "the plugin logs more than its share, lines are left out"
                );
                return None;
            }
            Verdict::Write { left_out: 0 } => {}
            Verdict::Write { left_out } => {
                tracing::warn!(plugin, left_out, "lines of the plugin were left out");
            }
        }
        // A line of a guest stays one line, whatever is in it: it must not look like one of the host's.
        Some(match String::from_utf8_lossy(text) {
            Cow::Borrowed(text) => escaped(text),
            Cow::Owned(text) => Cow::Owned(escaped(&text).into_owned()),
        })
    }
}

/// Control characters as escapes; everything else as it is.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if char.is_control() && char != '\t' {
            line.extend(char.escape_default());
        } else {
            line.push(char);
        }
    }
    Cow::Owned(line)
}

/// Borrows what `wit/log.wit` needs from the Store's state.
#[derive(Debug)]
pub(crate) struct LogView<'a> {
    /// Where the plugin writes to.
    pub log: &'a GuestLog,
}

impl wit::Host for LogView<'_> {
    fn write(&mut self, level: wit::Level, message: String) -> wasmtime::Result<()> {
        self.log.write(Origin::Log(level), message.as_bytes());
        Ok(())
    }
}

/// A guest's stdout or stderr: bytes become lines, lines go to our log.
#[derive(Clone, Debug)]
pub(crate) struct Stdio {
    log: Arc<GuestLog>,
    origin: Origin,
    /// The line that has no end yet; at most [`LINE_BYTES_MAX`] bytes.
    partial: Arc<Mutex<Vec<u8>>>,
}

impl Stdio {
    /// Where a plugin prints to.
    #[must_use]
    pub(crate) fn stdout(log: Arc<GuestLog>) -> Self {
        Self {
            log,
            origin: Origin::Stdout,
            partial: Arc::default(),
        }
    }

    /// Where a plugin prints errors, among them the message of a panic.
    #[must_use]
    pub(crate) fn stderr(log: Arc<GuestLog>) -> Self {
        Self {
            log,
            origin: Origin::Stderr,
            partial: Arc::default(),
        }
    }

    fn push(&self, bytes: &[u8]) {
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = (LINE_BYTES_MAX + 1).saturating_sub(partial.len());
            partial.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.log.write(self.origin, &partial);
                partial.clear();
            }
        }
    }

    /// Writes what has no line end yet, as a trap leaves it.
    fn finish(&self) {
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        self.log.write(self.origin, &partial);
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
        Box::new(Lines(self.clone()))
    }
}

/// One handle to a [`Stdio`]; never makes the guest wait.
struct Lines(Stdio);

#[wasmtime_wasi::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl OutputStream for Lines {
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

impl Drop for Lines {
    fn drop(&mut self) {
        self.0.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_guest_stays_one_line() {
        assert_eq!(escaped("plain \u{fc} \t text"), "plain \u{fc} \t text");
        assert_eq!(
            escaped("a\nERROR host: b\r\u{1b}[2J"),
            "a\\nERROR host: b\\r\\u{1b}[2J"
        );
    }
}
