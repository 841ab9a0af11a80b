//! Settings that are read again while the host serves: on SIGHUP, and when their file has changed.
//!
//! Called by `cmd::serve`. Looks at what the file holds, not at when it was written, so that links which are
//! turned to another file, as Kubernetes does, count like any other change. Invariant: all that is new is taken,
//! but for what needs a restart, or nothing is; what was taken, what waits and what is wrong is in the log.

use std::convert::Infallible;
use std::time::Duration;

use switchboard_host::{Handle, ReloadError};
use tokio::signal::unix::Signal;
use tokio::time::{MissedTickBehavior, interval};

use super::super::{explain, systemd};
use crate::settings::{Faults, Loaded, Sources};

/// How often the file is looked at. A file of settings is some KiB, and most often in memory.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Settings, and what they were read from.
pub(super) struct Reload {
    sources: Sources,
    /// What is in force.
    loaded: Loaded,
    /// What the file held when it was last read; none if there is no file.
    text: Option<String>,
    /// Why it could not be read, so that this is said once.
    unreadable: Option<String>,
}

impl Reload {
    pub(super) fn new(sources: Sources, loaded: Loaded, text: Option<String>) -> Self {
        Self {
            sources,
            loaded,
            text,
            unreadable: None,
        }
    }

    /// Keeps the host of `handle` in step, for as long as it is polled.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing any more.
    pub(super) async fn follow(mut self, handle: Handle, mut hangup: Option<Signal>) -> Infallible {
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = None;
        loop {
            tokio::select! {
                () = signalled(&mut hangup) => {
                    tracing::info!(signal = "SIGHUP", "reading settings and plugins again");
                    systemd::reloading();
                    // Who asks is answered, also if nothing is new.
                    self.unreadable = None;
                    if let Some(text) = self.read().await {
                        self.take(text, &handle).await;
                    }
                    handle.look_again();
                    systemd::ready();
                }
                _ = looks.tick(), if self.sources.has_file() => {
                    let Some(text) = self.read().await else {
                        continue;
                    };
                    // What is being written is looked at again until it stays as it is.
                    if text != self.text && seen.as_ref() == Some(&text) {
                        self.take(text, &handle).await;
                    } else {
                        seen = Some(text);
                    }
                }
            }
        }
    }

    /// What the file holds; none if that cannot be said, which is logged once.
    async fn read(&mut self) -> Option<Option<String>> {
        let sources = self.sources.clone();
        let read = tokio::task::spawn_blocking(move || sources.text()).await;
        match read.map_err(anyhow::Error::new).and_then(|read| read) {
            Ok(text) => {
                self.unreadable = None;
                Some(text)
            }
            Err(error) => {
                let why = format!("{error:#}");
                if self.unreadable.as_ref() != Some(&why) {
                    tracing::error!("settings stay as they are: {why}");
                    self.unreadable = Some(why);
                }
                None
            }
        }
    }

    /// Takes what the file says now, if all of it is right.
    async fn take(&mut self, text: Option<String>, handle: &Handle) {
        let loaded = self.sources.load(text.as_deref());
        // Whatever becomes of it: the same text is not tried again by itself.
        self.text = text;
        if let Err(faults) = Box::pin(self.put(loaded, handle)).await {
            let Faults(faults) = faults;
            tracing::error!(
                faults = faults.len(),
                "settings are wrong and stay as they are"
            );
            for fault in faults {
                tracing::error!("{fault}");
            }
        }
    }

    async fn put(&mut self, newer: Result<Loaded, Faults>, handle: &Handle) -> Result<(), Faults> {
        let newer = newer?;
        let changes = self.loaded.changes(&newer);
        let taking = self.loaded.taking(&newer)?;
        if changes.iter().any(|change| change.taken) {
            let configuration = taking.configuration.clone();
            let plugins = handle.reload(&configuration.host, configuration.plugins);
            let anew = plugins.await.map_err(|error| refused(&error, &newer))?;
            if !anew.is_empty() {
                tracing::info!(plugins = ?anew, "plugins were loaded anew");
            }
        }
        self.loaded = taking;
        let (taken, waiting): (Vec<_>, Vec<_>) = changes.iter().partition(|change| change.taken);
        for change in taken {
            tracing::info!("setting changed: {change}");
        }
        for change in &waiting {
            tracing::warn!("setting needs a restart: {change}");
        }
        if !changes.is_empty() {
            explain::warn_of_sections(&self.loaded, handle);
        } else {
            tracing::info!("settings were read again: nothing has changed");
        }
        Ok(())
    }
}

/// Why the host did not take the settings, in the operator's words.
fn refused(error: &ReloadError, newer: &Loaded) -> Faults {
    Faults::one(newer.names.explain(&switchboard_host::chain(error)))
}

/// Ends when SIGHUP has come; never where whoever started us wants it ignored.
async fn signalled(hangup: &mut Option<Signal>) {
    if let Some(signal) = hangup
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}
