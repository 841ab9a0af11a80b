//! TLS around a socket, with HTTP/2 or HTTP/1.1 agreed by ALPN.
//!
//! Called by `listener` in a connection's own task. Certificates are read by whoever configures
//! the host; nothing here touches a file.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::first_bytes::Protocol;
use crate::error::ConfigError;

/// The name of HTTP/2 in ALPN. Source: RFC 9113, section 3.2.
const HTTP2: &[u8] = b"h2";

/// The name of HTTP/1.1 in ALPN. Source: RFC 7301, section 6.
const HTTP1: &[u8] = b"http/1.1";

/// The host's side of TLS: TLS 1.2 and 1.3, with HTTP/2, and HTTP/1.1 for tunnels.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// From a certificate chain and its private key, both PEM.
    ///
    /// # Errors
    /// [`ConfigError`] saying which of the two is not usable, and why.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, ConfigError> {
        let fault = |what: &str, why: &dyn std::fmt::Display| {
            ConfigError(vec![format!("the TLS {what} cannot be used: {why}")])
        };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<_, _>>()
            .map_err(|error| fault("certificate", &error))?;
        if chain.is_empty() {
            return Err(fault("certificate", &"no certificate in the file"));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| fault("key", &error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| fault("configuration", &error))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| fault("certificate and key", &error))?;
        config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    pub(super) async fn accept(self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.0.accept(socket).await
    }
}

/// What both ends agreed to speak; none if the peer named nothing.
pub(super) fn agreed(stream: &TlsStream<TcpStream>) -> Option<Protocol> {
    match stream.get_ref().1.alpn_protocol()? {
        HTTP2 => Some(Protocol::Http2),
        HTTP1 => Some(Protocol::Http1),
        // rustls agrees to nothing that was not offered.
        _ => Some(Protocol::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_pem_is_refused_with_its_name() {
        for (certificates, key, expected) in [
            (
                &b""[..],
                &b""[..],
                "TLS certificate cannot be used: no certificate",
            ),
            (
                b"nonsense",
                b"nonsense",
                "TLS certificate cannot be used: no certificate",
            ),
        ] {
            let ConfigError(faults) = Tls::from_pem(certificates, key).expect_err("not PEM");
            assert!(faults[0].contains(expected), "{faults:?}");
        }
    }
}
