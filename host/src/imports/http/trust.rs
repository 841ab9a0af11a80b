//! Whose certificates a plugin's requests trust: the system's, and those of a file.
//!
//! Called by `imports::http` at the first request over TLS; reads them once. They are read anew when the plugin
//! is loaded anew.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;
use wasmtime_wasi_http::Error;

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
            let read = tokio::task::spawn_blocking(move || read(file)).await;
            read.unwrap_or_else(|panic| Err(panic.to_string()))
        };
        let config = self.config.get_or_try_init(read).await;
        config.cloned().map_err(|error| {
            tracing::warn!(error, "plugins have no certificates to trust");
            Error::ConfigurationError
        })
    }
}

fn read(file: Option<PathBuf>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    // Those that cannot be read are missing, as for every other program.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = file {
        let shown = file.display();
        let text = std::fs::read(&file).map_err(|error| format!("{shown}: {error}"))?;
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.map_err(|error| format!("{shown}: {error}"))?;
            let added = roots.add(certificate);
            added.map_err(|error| format!("{shown}: {error}"))?;
        }
    }
    if roots.is_empty() {
        return Err("the system has none, and no file is named".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
