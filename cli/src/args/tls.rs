//! What `switchboard serve` may be told about TLS. Called by nobody: clap fills it in, `cmd::serve` reads it.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

/// TLS on every address that is no Unix socket.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "TLS, with files that are read again when they change")]
pub(crate) struct Tls {
    /// Certificate chain for TLS, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Private key for TLS, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Oldest version of TLS that is spoken.
    #[arg(long, value_enum, default_value_t = TlsMin::V1_2, requires = "tls_cert")]
    pub tls_min: TlsMin,

    /// Ask clients for a certificate, signed by one of those in this file, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,

    /// Whether a client must have one; a wrong one is refused in either case.
    #[arg(long, value_enum, default_value_t = TlsClient::Required, requires = "tls_client_ca")]
    pub tls_client: TlsClient,

    /// How often the files are looked at [default: 10s].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, requires = "tls_cert")]
    pub tls_reload_interval: Option<Duration>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TlsMin {
    /// TLS 1.2 and 1.3.
    #[value(name = "1.2")]
    V1_2,
    /// TLS 1.3 only.
    #[value(name = "1.3")]
    V1_3,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TlsClient {
    /// A client without a certificate is refused.
    Required,
    /// A client without a certificate is served, and plugins see no identity.
    Optional,
}
