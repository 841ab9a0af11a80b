//! The log of all hosts in a test's process, so that a test can see what an operator would.

use std::io::{self, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::eventually;

/// Lines written so far, by every host of this process. Look for something only your test writes.
#[derive(Debug, Default)]
pub struct Log {
    lines: Mutex<Vec<String>>,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// The log; recording begins with the first call.
///
/// # Panics
/// If the process has another tracing subscriber already.
pub fn log() -> &'static Log {
    LOG.get_or_init(|| {
        let filter =
            EnvFilter::new("info,switchboard_host=debug,switchboard_host::task=trace,guest=trace");
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(false)
            .with_writer(Lines)
            .try_init()
            .expect("no other subscriber in a test's process");
        Log::default()
    })
}

impl Log {
    /// Lines that contain all of `parts`.
    #[must_use]
    pub fn find(&self, parts: &[&str]) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .iter()
            .filter(|line| parts.iter().all(|part| line.contains(part)))
            .cloned()
            .collect()
    }

    /// Waits for a line that contains all of `parts`, and returns it.
    pub async fn wait_for(&self, parts: &[&str]) -> String {
        eventually(&format!("a log line with {parts:?}"), || {
            !self.find(parts).is_empty()
        })
        .await;
        self.find(parts).swap_remove(0)
    }
}

#[derive(Clone, Copy)]
struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(log) = LOG.get() {
            let mut lines = log.lines.lock().unwrap_or_else(PoisonError::into_inner);
            lines.push(String::from_utf8_lossy(bytes).trim_end().to_owned());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}
