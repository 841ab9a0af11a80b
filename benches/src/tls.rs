//! A certificate made for one run, and a client that trusts it.
//!
//! Called by `cmd::compare` (makes it), `cmd::serve` and `cmd::load` (read it from a folder).

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Name in the certificate, and what clients ask for.
pub const SERVER_NAME: &str = "localhost";

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Pem {
    /// The certificate, which is its own authority.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Pem {
    /// Makes a new one: ECDSA P-256, for [`SERVER_NAME`].
    ///
    /// # Errors
    /// When no key can be made.
    pub fn generate() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([SERVER_NAME.to_owned()])
            .context("making a certificate")?;
        Ok(Self {
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        })
    }

    /// Leaves it in a folder.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::write(folder.join(CERTIFICATE), &self.certificate).context("writing it")?;
        std::fs::write(folder.join(KEY), &self.key).context("writing its key")
    }

    /// Reads it from a folder.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        Ok(Self {
            certificate: read(CERTIFICATE)?,
            key: read(KEY)?,
        })
    }

    /// A client's side: trusts this certificate, speaks HTTP/2, or HTTP/1.1 if it is to ask for a
    /// tunnel.
    ///
    /// # Errors
    /// When the certificate is not usable.
    pub fn client(&self, tunnel: bool) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.certificate.as_bytes()) {
            roots.add(certificate.context("the certificate is not PEM")?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let protocol: &[u8] = if tunnel { b"http/1.1" } else { b"h2" };
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(Arc::new(config))
    }
}
