//! Which files TLS is served with, and what is asked of peers.
//!
//! Read by `listener::tls`. A leaf: what is in the files is looked at there.

use std::path::PathBuf;
use std::time::Duration;

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 and 1.3. The default: gRPC requires 1.2 (RFC 9113, section 9.2), and old clients know no
    /// other.
    #[default]
    V1_2,
    /// TLS 1.3 only.
    V1_3,
}

/// What becomes of a peer that sends no certificate, where there is a CA to verify one by. A certificate
/// that does not verify is refused in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Its connection is refused. The default.
    #[default]
    Required,
    /// It is served like one without TLS: plugins see nothing of who it is.
    Optional,
}

/// TLS from files, which are read again when they change.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// The host's certificate and those between it and a root, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The oldest version. Default: [`TlsVersion::V1_2`].
    pub version_min: TlsVersion,
    /// Certificates, PEM, of whoever signs those of peers. Default: none, and peers are asked for none.
    pub client_ca: Option<PathBuf>,
    /// Whether a peer must have one. Default: [`ClientCertificate::Required`].
    pub client_certificate: ClientCertificate,
    /// How often the files are looked at, by their content. Default 10 s: certificates are renewed days
    /// before they end. A file that has changed is looked at again, a second later at most, until it
    /// stays as it is; then all are taken together, or, if something is wrong with them, none.
    pub reload_interval: Duration,
}

impl TlsConfig {
    /// With these two files, and defaults.
    #[must_use]
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            version_min: TlsVersion::default(),
            client_ca: None,
            client_certificate: ClientCertificate::default(),
            reload_interval: Duration::from_secs(10),
        }
    }
}
