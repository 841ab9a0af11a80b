//! What TLS is made of: a certificate, its key, and the CAs of peers, read from files or given as PEM.
//!
//! Used by `listener::tls` and its `reload`. Reading is apart from making, because files are read often and
//! made into something only when they changed. Invariants: a certificate and a key that do not belong
//! together are refused; every error names the file; none holds what is in a key.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};

use crate::config::{ClientCertificate, TlsConfig, TlsVersion};
use crate::error::TlsError;
use crate::listener::certificate::{self, Validity};

/// The name of HTTP/2 in ALPN. Source: RFC 9113, section 3.2.
pub(super) const HTTP2: &[u8] = b"h2";

/// The name of HTTP/1.1 in ALPN. Source: RFC 7301, section 6.
pub(super) const HTTP1: &[u8] = b"http/1.1";

/// Largest file that is read, in bytes: all CAs that browsers trust have 250 KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What the files hold.
#[derive(Hash)]
pub(super) struct Material {
    certificates: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// What was made of it.
pub(super) struct Made {
    pub config: Arc<ServerConfig>,
    validity: Option<Validity>,
}

impl Material {
    pub(super) fn of_pem(certificates: &[u8], key: &[u8]) -> Self {
        Self {
            certificates: certificates.to_vec(),
            key: key.to_vec(),
            client_ca: None,
        }
    }

    /// Reads the files. Blocks.
    pub(super) fn read(config: &TlsConfig) -> Result<Self, TlsError> {
        let client_ca = config.client_ca.as_deref();
        Ok(Self {
            certificates: read(CERTIFICATE, &config.certificate)?,
            key: read(KEY, &config.key)?,
            client_ca: client_ca.map(|path| read(CLIENT_CA, path)).transpose()?,
        })
    }

    /// Makes TLS of it; `config` says what else is wanted, and how the files are called.
    pub(super) fn make(&self, config: &TlsConfig) -> Result<Made, TlsError> {
        let certificate = named(CERTIFICATE, &config.certificate);
        let chain = certificates(&certificate, &self.certificates)?;
        let validity = chain.first().and_then(|der| certificate::validity(der));
        let key = named(KEY, &config.key);
        let private = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| unusable(&key, key_in_words(&error, &self.key)))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = match config.version_min {
            TlsVersion::V1_2 => &[&TLS13, &TLS12][..],
            TlsVersion::V1_3 => &[&TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| unusable("the TLS configuration", error))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(pem) => builder.with_client_cert_verifier(verifier(config, pem, provider)?),
        };
        let mut made = builder.with_single_cert(chain, private).map_err(|error| {
            let mismatch = rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch);
            if error == mismatch {
                let both = format!("{certificate} and {key}");
                unusable(&both, "they do not belong together")
            } else {
                unusable(&format!("{certificate} with {key}"), error)
            }
        })?;
        made.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        Ok(Made {
            config: Arc::new(made),
            validity,
        })
    }
}

impl Made {
    /// Says until when the certificate holds, and warns if it does not hold now. It is served all the same:
    /// the clock may be wrong, and clients check it by theirs.
    pub(super) fn tell(&self, config: &TlsConfig, what: &str) {
        let validity = self.validity.as_ref();
        let until = validity.map_or("unknown", |validity| &validity.until_text);
        tracing::info!(certificate = %config.certificate.display(), until, "{what}");
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if let Some(validity) = validity
            && !(validity.from..=validity.until).contains(&now)
        {
            tracing::warn!(
                until,
                "the TLS certificate is not valid now: clients will refuse it"
            );
        }
    }
}

/// Verifies certificates of peers.
fn verifier(
    config: &TlsConfig,
    pem: &[u8],
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let name = named(
        CLIENT_CA,
        config.client_ca.as_deref().unwrap_or_else(|| Path::new("")),
    );
    let mut roots = RootCertStore::empty();
    for root in certificates(&name, pem)? {
        roots.add(root).map_err(|error| unusable(&name, error))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match config.client_certificate {
        ClientCertificate::Required => builder,
        ClientCertificate::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| unusable(&name, error))
}

const CERTIFICATE: &str = "the TLS certificate";
const KEY: &str = "the TLS key";
const CLIENT_CA: &str = "the TLS client CA";

/// What a file is, and where, for errors.
fn named(what: &str, path: &Path) -> String {
    if path.as_os_str().is_empty() {
        return what.to_owned();
    }
    format!("{what} {}", path.display())
}

fn read(what: &str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let read = || {
        let mut bytes = Vec::new();
        let file = File::open(path)?;
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let file = named(what, path);
    let bytes = read().map_err(|source: io::Error| TlsError::Read {
        file: file.clone(),
        source,
    })?;
    let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if len > FILE_BYTES_MAX {
        return Err(unusable(
            &file,
            format!("it has more than {FILE_BYTES_MAX} bytes"),
        ));
    }
    Ok(bytes)
}

/// All certificates in the file, at least one.
fn certificates(file: &str, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(file, in_words(&error, "certificate")))?;
    if found.is_empty() {
        return Err(unusable(file, "no certificate in it"));
    }
    Ok(found)
}

/// The error in words. The library's own show bytes, and those may be a key's.
fn in_words(error: &pem::Error, what: &str) -> String {
    use pem::Error::{Base64Decode, IllegalSectionStart, MissingSectionEnd, NoItemsFound};
    let nothing = format!("no {what} in it");
    let words = [
        (matches!(error, NoItemsFound), &*nothing),
        (
            matches!(error, MissingSectionEnd { .. }),
            "a section has no end, it may be cut short",
        ),
        (
            matches!(error, IllegalSectionStart { .. }),
            "a section begins wrongly",
        ),
        (matches!(error, Base64Decode(_)), "a section is not base64"),
    ];
    let found = words.iter().find(|(is_it, _)| *is_it);
    found.map_or("it is not PEM", |(_, words)| words).to_owned()
}

/// The same of a key, which may be sound and of no use: nobody is there to type a passphrase.
fn key_in_words(error: &pem::Error, key: &[u8]) -> String {
    // PKCS #8 says so in the label, the older form of OpenSSL in a header. Source: RFC 7468 11, RFC 1421 4.6.1.1.
    let encrypted = b"ENCRYPTED";
    if key.windows(encrypted.len()).any(|part| part == encrypted) {
        return "it has a passphrase; write it without one, as `openssl pkey -in FILE` does"
            .to_owned();
    }
    in_words(error, "private key")
}

fn unusable(file: &str, why: impl ToString) -> TlsError {
    TlsError::Unusable {
        file: file.to_owned(),
        why: why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let rcgen::CertifiedKey { cert, signing_key } = made.expect("a certificate");
        (cert.pem(), signing_key.serialize_pem())
    }

    fn fault(certificates: &[u8], key: &[u8], client_ca: Option<&[u8]>) -> String {
        let material = Material {
            client_ca: client_ca.map(<[u8]>::to_vec),
            ..Material::of_pem(certificates, key)
        };
        let mut config = TlsConfig::new("cert.pem", "key.pem");
        config.client_ca = Some("ca.pem".into());
        match material.make(&config) {
            Ok(_) => "nothing wrong".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_the_file() {
        let ((cert, key), (other, _)) = (pair(), pair());
        let (cert, key, other) = (cert.as_bytes(), key.as_bytes(), other.as_bytes());
        assert_eq!(fault(cert, key, Some(other)), "nothing wrong");
        for (material, expected) in [
            (
                (&b""[..], key, None),
                "the TLS certificate cert.pem cannot be used: no certificate in it",
            ),
            (
                (key, key, None),
                "the TLS certificate cert.pem cannot be used: no certificate in it",
            ),
            (
                (cert, cert, None),
                "the TLS key key.pem cannot be used: no private key in it",
            ),
            (
                (other, key, None),
                "the TLS certificate cert.pem and the TLS key key.pem cannot be used: they do not \
                 belong together",
            ),
            (
                (cert, key, Some(&b"text"[..])),
                "the TLS client CA ca.pem cannot be used: no certificate in it",
            ),
        ] {
            let (certificates, key, client_ca) = material;
            assert_eq!(fault(certificates, key, client_ca), expected);
        }
        // Keys that want a passphrase, as openssl writes them now and as it did once.
        for encrypted in [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
             -----END RSA PRIVATE KEY-----\n",
        ] {
            let said = fault(cert, encrypted.as_bytes(), None);
            let expected = "the TLS key key.pem cannot be used: it has a passphrase";
            assert!(said.starts_with(expected), "{said}");
        }
        // Cut within a section, as by somebody who still writes it.
        let cut = fault(&cert[..cert.len() - 40], key, None);
        let expected = "the TLS certificate cert.pem cannot be used: a section has no end, it may be cut short";
        assert_eq!(cut, expected);
    }
}
