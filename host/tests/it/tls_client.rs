//! A TLS client with or without a certificate of its own, and the files of a host that asks for one. Used by
//! the tests of TLS.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use switchboard_host::TlsConfig;
use switchboard_test_support::{Authority, Issued, RawClient, patiently};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Both versions that there are.
pub(crate) const ANY_VERSION: &[&SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];

/// A client that trusts one authority.
#[derive(Clone)]
pub(crate) struct TlsClient(Arc<ClientConfig>);

impl TlsClient {
    pub(crate) fn new(
        trusted: &Authority,
        own: Option<&Issued>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(trusted.pem().as_bytes()).expect("PEM");
        roots.add(root).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match own {
            None => config.with_no_client_auth(),
            Some(own) => {
                let chain = CertificateDer::from_pem_slice(own.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("PEM");
                config
                    .with_client_auth_cert(vec![chain.expect("PEM")], key)
                    .expect("they belong together")
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self(Arc::new(config))
    }

    /// The same without a word about the protocol.
    pub(crate) fn without_alpn(&self) -> Self {
        let mut config = ClientConfig::clone(&self.0);
        config.alpn_protocols.clear();
        Self(Arc::new(config))
    }

    /// A connection; with TLS 1.3 the host may still refuse it.
    pub(crate) async fn connect(&self, addr: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(addr).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        let shaking = TlsConnector::from(Arc::clone(&self.0)).connect(name, socket);
        patiently("a handshake", shaking).await
    }

    /// A client that speaks HTTP/2 over such a connection.
    pub(crate) async fn raw(&self, addr: SocketAddr) -> RawClient {
        let stream = self.connect(addr).await.expect("TLS");
        RawClient::over(stream, &h2::client::Builder::new()).await
    }

    /// Why the host refuses it.
    pub(crate) async fn refused(&self, addr: SocketAddr) -> String {
        let mut stream = match self.connect(addr).await {
            Ok(stream) => stream,
            Err(error) => return error.to_string(),
        };
        // It said yes before the host did.
        let mut byte = [0; 64];
        match patiently("a refusal", stream.read(&mut byte)).await {
            Ok(count) => format!("not refused, {count} bytes came"),
            Err(error) => error.to_string(),
        }
    }
}

/// The files of a host: what it serves with, and whom it asks.
pub(crate) struct Files {
    pub(crate) folder: TempDir,
}

impl Files {
    pub(crate) fn new(server: &Issued, client_ca: Option<&Authority>) -> Self {
        let folder = TempDir::new().expect("a folder");
        let this = Self { folder };
        this.put("cert.pem", &server.certificate);
        this.put("key.pem", &server.key);
        if let Some(authority) = client_ca {
            this.put("ca.pem", &authority.pem());
        }
        this
    }

    pub(crate) fn put(&self, name: &str, text: &str) {
        // In one step: how a file is written in several is another matter.
        let next = self.path("next");
        std::fs::write(&next, text).expect("a file");
        std::fs::rename(next, self.path(name)).expect("replaced");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A name that no other test has in the log.
    pub(crate) fn name(&self) -> String {
        self.folder.path().display().to_string()
    }

    pub(crate) fn config(&self) -> TlsConfig {
        let mut config = TlsConfig::new(self.path("cert.pem"), self.path("key.pem"));
        let ca = self.path("ca.pem");
        config.client_ca = ca.exists().then_some(ca);
        config
    }
}
