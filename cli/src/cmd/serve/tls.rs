//! What the command line says of TLS, as the host wants it.
//!
//! Called by `cmd::serve`. The host reads the files and says what is wrong with them; here its words
//! become those of the command line.

use anyhow::Result;
use switchboard_host::{ClientCertificate, ConfigError, Tls, TlsConfig, TlsError, TlsVersion};

use super::set;
use crate::args::{self, TlsClient, TlsMin};

/// What the host calls a file, and its flag. The longest first.
const FLAGS: &[(&str, &str)] = &[
    ("the TLS certificate", "--tls-cert"),
    ("the TLS key", "--tls-key"),
    ("the TLS client CA", "--tls-client-ca"),
    ("tls reload_interval", "--tls-reload-interval"),
];

/// TLS from the files that the flags name; none if they name none.
pub(super) fn open(args: &args::Tls) -> Result<Option<Tls>> {
    let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) else {
        return Ok(None);
    };
    let mut config = TlsConfig::new(certificate, key);
    config.version_min = match args.tls_min {
        TlsMin::V1_2 => TlsVersion::V1_2,
        TlsMin::V1_3 => TlsVersion::V1_3,
    };
    config.client_ca.clone_from(&args.tls_client_ca);
    config.client_certificate = match args.tls_client {
        TlsClient::Required => ClientCertificate::Required,
        TlsClient::Optional => ClientCertificate::Optional,
    };
    set(&mut config.reload_interval, args.tls_reload_interval);
    Ok(Some(Tls::open(config).map_err(explained)?))
}

/// The error in the words of the command line. What a file holds is as if it had been typed.
fn explained(error: TlsError) -> anyhow::Error {
    let text = FLAGS.iter().fold(error.to_string(), |text, (what, flag)| {
        text.replace(what, flag)
    });
    if let TlsError::Read { source, .. } = error {
        return anyhow::Error::new(source).context(text);
    }
    ConfigError(vec![text]).into()
}
