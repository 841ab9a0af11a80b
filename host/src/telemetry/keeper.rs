//! Who looks after the plugins of a host, as the admin service knows it.
//!
//! Implemented by `host` while it serves, asked by `grpc::admin`, which must not know a host. Invariant: what is here
//! keeps no host alive.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::Telemetry;

/// Where a plugin stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its calls are served.
    Serving,
    /// It keeps failing and is left alone, or has yet to show that it serves again.
    Quarantined,
    /// Its file was refused, and nothing is served under its name.
    Refused,
    /// It was taken out of service, until it is loaded anew.
    Drained,
}

/// A plugin, as whoever runs the host sees it.
#[derive(Clone, Debug)]
pub(crate) struct PluginReport {
    pub name: String,
    pub path: String,
    /// SHA-256 of its file, as `sha256:` and 64 hexadecimal digits; empty for a file that was refused.
    pub digest: String,
    pub services: Vec<String>,
    pub standing: Standing,
    /// Why its file, as it is now, is not what is served; empty if it is.
    pub fault: String,
    pub pool: PoolReport,
}

/// How its pool is doing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PoolReport {
    pub leased_unary: u32,
    pub leased_streams: u32,
    pub idle: u32,
    pub waiting: u32,
    pub made: u64,
    pub refused: u64,
    pub faults: u64,
    pub quarantines: u64,
}

/// Why nothing was changed, in words.
#[derive(Clone, Debug)]
pub(crate) enum NotChanged {
    /// There is no such plugin.
    Unknown(String),
    /// What is there cannot be served; what was served goes on.
    Refused(String),
}

/// A change that takes its time.
pub(crate) type Changing = Pin<Box<dyn Future<Output = Result<(), NotChanged>> + Send>>;

/// Looks after plugins.
pub(crate) trait Keeper: Send + Sync {
    /// All of them, those that were refused too.
    fn plugins(&self) -> Vec<PluginReport>;

    /// Loads the file of the plugin of this name anew, also if it is as it was.
    fn reload(&self, name: String) -> Changing;

    /// Takes the plugin of this name out of service until it is loaded anew: no new calls, and the running ones end.
    ///
    /// # Errors
    /// [`NotChanged::Unknown`].
    fn drain(&self, name: &str) -> Result<(), NotChanged>;
}

/// Where the keeper of a host is found while there is one.
#[derive(Default)]
pub(super) struct Kept(Mutex<Option<Weak<dyn Keeper>>>);

impl Telemetry {
    /// Asks `keeper` about plugins from now on, as long as it lives.
    pub(crate) fn keep(&self, keeper: &Arc<impl Keeper + 'static>) {
        let keeper = Arc::downgrade(keeper);
        let mut kept = self
            .0
            .keeper
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *kept = Some(keeper);
    }

    /// Who looks after the plugins; none before the host serves, and after.
    pub(crate) fn keeper(&self) -> Option<Arc<dyn Keeper>> {
        let kept = self
            .0
            .keeper
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        kept.as_ref()?.upgrade()
    }
}
