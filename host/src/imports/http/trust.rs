//! Whose certificates a plugin's requests trust: the system's, and those of its file, as `trust` reads them.
//!
//! Called by `imports::http` at the first request over TLS; reads them once. They are read anew when the plugin
//! is loaded anew.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::sync::OnceCell;
use wasmtime_wasi_http::Error;

use crate::trust;

/// The certificates, once they are asked for.
#[derive(Debug)]
pub(super) struct Trust {
    file: Option<PathBuf>,
    config: OnceCell<Arc<ClientConfig>>,
}

impl Trust {
    /// Nothing is read yet.
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        Self {
            file,
            config: OnceCell::new(),
        }
    }

    /// TLS with them.
    ///
    /// # Errors
    /// [`Error::ConfigurationError`] when there are none, or the file cannot be used; the log says why. It is
    /// tried again then.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the reading to its end, unseen.
    pub(super) async fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        let read = || async {
            let file = self.file.clone();
            let read = tokio::task::spawn_blocking(move || trust::client(file.as_deref())).await;
            read.unwrap_or_else(|panic| Err(panic.to_string()))
        };
        let config = self.config.get_or_try_init(read).await;
        config.cloned().map_err(|error| {
            tracing::warn!(error, "plugins have no certificates to trust");
            Error::ConfigurationError
        })
    }
}
