//! TLS for native transports: trusted roots, an own certificate if there is one, the handshake.
//!
//! Used by `tcp` and `tunnel`. Roots are the system's, or the caller's instead of them. Cryptography is
//! ring's. Invariant: a certificate or key that cannot be read is a
//! configuration error, found before anything is connected.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::channel::TlsOptions;
use crate::error::{ConfigError, ConnectError};
use crate::target::Target;

/// What to do about certificates that everybody meets sooner or later; the library gives a mere name.
const HINTS: [(&str, &str); 3] = [
    (
        "UnknownIssuer",
        "it is signed by nobody who is trusted here, give the CA that signed it",
    ),
    (
        "BadSignature",
        "a CA that is trusted here has the name of the one that signed it and another key, give the CA that signed it",
    ),
    (
        "CaUsedAsEndEntity",
        "it is a CA's own, as `openssl req -x509` makes them; a server needs one with CA:FALSE",
    ),
];

#[derive(Clone)]
pub(crate) struct TlsClient(TlsConnector);

impl TlsClient {
    /// # Errors
    /// [`ConfigError::Certificate`].
    pub(crate) fn new(options: &TlsOptions, protocol: &'static [u8]) -> Result<Self, ConfigError> {
        let wrong = |what: &'static str| {
            move |error: &dyn std::fmt::Display| ConfigError::Certificate {
                what,
                text: error.to_string(),
            }
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong("TLS")(&error))?
            .with_root_certificates(roots(options)?);
        let mut config = match &options.identity_pem {
            None => config.with_no_client_auth(),
            Some((certificates, key)) => {
                let certificates = read_certificates("client certificate", certificates)?;
                let key = PrivateKeyDer::from_pem_slice(key)
                    .map_err(|error| wrong("client key")(&error))?;
                config
                    .with_client_auth_cert(certificates, key)
                    .map_err(|error| wrong("client certificate")(&error))?
            }
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// # Errors
    /// [`ConnectError::Tls`].
    pub(crate) async fn handshake(
        &self,
        target: &Target,
        socket: TcpStream,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let failed = |error: &dyn std::fmt::Display| {
            let text = error.to_string();
            let hint = HINTS.iter().find(|(name, _)| text.contains(name));
            ConnectError::Tls {
                host: target.host().to_owned(),
                text: hint.map_or_else(|| text.clone(), |(_, hint)| format!("{text}: {hint}")),
            }
        };
        let name =
            ServerName::try_from(target.host().to_owned()).map_err(|error| failed(&error))?;
        let shaken = self.0.connect(name, socket).await;
        shaken.map_err(|error| failed(&error))
    }
}

fn roots(options: &TlsOptions) -> Result<RootCertStore, ConfigError> {
    let wrong = |what: &'static str, text: String| ConfigError::Certificate { what, text };
    let mut roots = RootCertStore::empty();
    if let Some(pem) = &options.ca_pem {
        const WHAT: &str = "CA certificate";
        for certificate in read_certificates(WHAT, pem)? {
            let added = roots.add(certificate);
            added.map_err(|error| wrong(WHAT, error.to_string()))?;
        }
        return Ok(roots);
    }
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "a system certificate cannot be read");
    }
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let text = "there are none: give a CA certificate".to_owned();
        return Err(wrong("system certificates", text));
    }
    Ok(roots)
}

fn read_certificates(
    what: &'static str,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let wrong = |text: String| ConfigError::Certificate { what, text };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(wrong("no certificate in PEM form".to_owned()))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(wrong(error.to_string())),
    }
}
