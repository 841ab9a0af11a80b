//! `https` and `wss`: trust, names, HTTP/2's name in the handshake.

use std::sync::Arc;

use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use switchboard_client::transport::{ByteStream, Transport};
use switchboard_client::{Channel, ConfigError, Event};
use switchboard_client_peer::server::{Limits, Server};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tonic::Code;

use crate::support::{assert_status, call, event};

/// A certificate authority, and a server's certificate of it.
struct Identity {
    ca_pem: String,
    config: ServerConfig,
}

fn identity(name: &str, protocols: &[&[u8]]) -> Identity {
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::new(Vec::new()).expect("parameters");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).expect("a certificate").pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a pair");
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Identity { ca_pem, config }
}

/// A TLS server on a port of its own: its port.
async fn serve(config: ServerConfig, feed: mpsc::Sender<Box<dyn ByteStream>>) -> u16 {
    let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    #[expect(clippy::disallowed_methods, reason = "a test's own task")]
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(socket).await {
                drop(feed.send(Box::new(stream)).await);
            }
        }
    });
    port
}

#[tokio::test]
async fn a_trusted_server_is_called_over_tls() {
    let identity = identity("localhost", &[b"h2"]);
    let (_server, feed) = Server::fed(Limits::default());
    let port = serve(identity.config, feed).await;
    let channel = Channel::builder(&format!("https://localhost:{port}"));
    let channel = channel.with_ca_pem(identity.ca_pem).build();
    let channel = channel.expect("a channel");
    let mut events = channel.events();
    call(&channel).await.expect("an answer");
    event(&mut events, |event| {
        matches!(
            event,
            Event::Opened {
                transport: Transport::Tls,
                ..
            }
        )
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_not_trusted_or_has_another_name_is_refused() {
    let stranger = identity("localhost", &[b"h2"]);
    let other = identity("other.test", &[b"h2"]);
    let (_server, feed) = Server::fed(Limits::default());
    for (served, trusted, hint) in [
        (
            stranger.config,
            other.ca_pem.clone(),
            "give the CA that signed it",
        ),
        (other.config, other.ca_pem, "not valid for name"),
    ] {
        let port = serve(served, feed.clone()).await;
        let channel = Channel::builder(&format!("https://localhost:{port}"));
        let channel = channel.with_ca_pem(trusted).build().expect("a channel");
        let status = call(&channel).await.expect_err("not trusted");
        assert_status(&status, Code::Unavailable, "TLS with localhost failed");
        assert_status(&status, Code::Unavailable, hint);
    }
}

#[tokio::test]
async fn a_web_server_without_http2_is_named() {
    let identity = identity("localhost", &[]);
    let (_server, feed) = Server::fed(Limits::default());
    let port = serve(identity.config, feed).await;
    let channel = Channel::builder(&format!("https://localhost:{port}"));
    let channel = channel.with_ca_pem(identity.ca_pem).build();
    let status = call(&channel.expect("a channel")).await;
    assert_status(
        &status.expect_err("no HTTP/2"),
        Code::Unavailable,
        "does not offer HTTP/2",
    );
}

#[tokio::test]
async fn certificates_that_cannot_be_read_are_found_before_anything_is_connected() {
    for pem in [
        "",
        "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
    ] {
        let built = Channel::builder("https://localhost")
            .with_ca_pem(pem)
            .build();
        assert!(
            matches!(built, Err(ConfigError::Certificate { .. })),
            "{pem:?}"
        );
    }
}

#[tokio::test]
async fn plain_text_where_tls_is_spoken_is_named() {
    let identity = identity("localhost", &[b"h2"]);
    let (_server, feed) = Server::fed(Limits::default());
    let port = serve(identity.config, feed).await;
    let channel = Channel::open(&format!("http://localhost:{port}")).expect("a channel");
    let status = call(&channel).await.expect_err("TLS");
    assert_status(&status, Code::Unavailable, "use https://");
}
