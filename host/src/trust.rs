//! Whose certificates a client inside the host trusts: the system's, and those of a file.
//!
//! A leaf. Called by `imports::http` for what plugins ask others for, by `telemetry` for the collector of traces, and by
//! `config`, which looks at the file before anything starts. Reads files, and blocks for as long as that takes.
//! Invariant: a file that is named and gives no certificate is an error, never silently nothing.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// TLS for HTTP/1.1 that trusts the system's certificates and those of `file`.
///
/// # Errors
/// What is wrong with the file, or that there is nothing to trust, in words.
pub(crate) fn client(file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    // Those that cannot be read are missing, as for every other program.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = file {
        add(&mut roots, file)?;
    }
    if roots.is_empty() {
        return Err("the system has no certificates to trust, and no file is named".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// What is wrong with a file of certificates; none if it can be used.
pub(crate) fn fault(file: &Path) -> Option<String> {
    add(&mut RootCertStore::empty(), file).err()
}

fn add(roots: &mut RootCertStore, file: &Path) -> Result<(), String> {
    let shown = file.display();
    let wrong = |error: &dyn std::fmt::Display| format!("{shown}: {error}");
    let text = std::fs::read(file).map_err(|error| wrong(&error))?;
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    if roots.len() == before {
        return Err(wrong(&"there is no certificate (PEM) in it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_a_fault() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.pem");
        let said = fault(&file).expect("it is not there");
        assert!(said.contains("ca.pem"), "{said}");
        std::fs::write(&file, "no certificate").expect("written");
        let said = fault(&file).expect("it holds none");
        assert!(said.contains("no certificate (PEM)"), "{said}");
        assert_eq!(client(Some(&file)).map(|_| ()), Err(said));
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        std::fs::write(&file, issued.expect("a certificate").cert.pem()).expect("written");
        assert_eq!(fault(&file), None);
        assert!(client(Some(&file)).is_ok());
    }
}
