//! Thousands of connections that say nothing, or say it byte by byte, or fall silent after they began.
//!
//! Their number times what one costs has to stay below what a host may grow by, so these tests also
//! hold down the memory of a connection; docs/operations.md has the numbers.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::join_all;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use switchboard_test_support::patiently;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::attacker::Attacker;
use crate::siege::Siege;
use crate::wire::{PREFACE, SETTINGS, frame, opening, request};

/// Connections, of which the host lets 10 000 be by default.
const CONNECTIONS: usize = 2000;

/// Of these, how many come at a time.
const BATCH: usize = 100;

/// Connections over TLS that were set up: each costs both sides a handshake, so they are fewer, and the
/// bound for each is lower.
const TLS_CONNECTIONS: usize = 600;

const HTTP1: &[u8] = b"GET /nothing/here HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Connections that each sent `first`.
async fn connections(siege: &Siege, count: usize, first: &[u8]) -> Vec<Attacker> {
    let connect = async || {
        let mut attacker = Attacker::connect(siege.addr()).await;
        attacker.send(first).await;
        attacker
    };
    let mut all = Vec::with_capacity(count);
    for _ in (0..count).step_by(BATCH) {
        all.extend(join_all((0..BATCH).map(|_| connect())).await);
    }
    all
}

/// Each connection sends `text` byte by byte, all of them a byte in turn, but for the last.
async fn dripping(siege: &Siege, text: &[u8]) -> Vec<Attacker> {
    let mut all = connections(siege, CONNECTIONS, b"").await;
    for at in 0..text.len() - 1 {
        for attacker in &mut all {
            attacker.send(&text[at..=at]).await;
        }
    }
    all
}

/// A certificate and its key as files, and flags that name them.
struct Certificate {
    folder: TempDir,
    root: CertificateDer<'static>,
}

impl Certificate {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let rcgen::CertifiedKey { cert, signing_key } = made.expect("a certificate");
        let folder = TempDir::new().expect("a folder");
        std::fs::write(folder.path().join("cert.pem"), cert.pem()).expect("a file");
        let key = signing_key.serialize_pem();
        std::fs::write(folder.path().join("key.pem"), key).expect("a file");
        let root = cert.der().clone();
        Self { folder, root }
    }

    async fn siege(&self) -> Siege {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let (cert, key) = (file("cert.pem"), file("key.pem"));
        let flags = ["--tls-cert", &cert, "--tls-key", &key];
        Siege::begin(&[], &flags, async |addr| self.connect(addr).await).await
    }

    async fn connect(&self, addr: SocketAddr) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let socket = patiently("a connection", TcpStream::connect(addr)).await;
        let name = ServerName::try_from("localhost").expect("a name");
        let connector = TlsConnector::from(Arc::new(config));
        let socket = socket.expect("the host listens");
        socket.set_nodelay(true).expect("a socket takes options");
        let shaken = connector.connect(name, socket);
        patiently("TLS", shaken).await.expect("TLS")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing() {
    let siege = Siege::start(&[], &[]).await;
    let attack = async |siege: &Siege| connections(siege, CONNECTIONS, b"").await;
    siege.withstands(attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_within_their_preface() {
    let siege = Siege::start(&[], &[]).await;
    let attack = async |siege: &Siege| dripping(siege, PREFACE).await;
    siege.withstands(attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_within_their_first_request() {
    let siege = Siege::start(&[], &[]).await;
    let begin = [opening(), request(1, "/echo.Echo/Unary")].concat();
    // Half as many: each has a call too, which costs half as much as the connection.
    let attack = async |siege: &Siege| connections(siege, CONNECTIONS / 2, &begin).await;
    siege.withstands(attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_within_a_head_of_http1() {
    let siege = Siege::start(&[], &[]).await;
    let attack = async |siege: &Siege| dripping(siege, HTTP1).await;
    siege.withstands(attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_http1_that_are_idle() {
    let siege = Siege::start(&[], &[]).await;
    let attack = async |siege: &Siege| {
        let mut all = connections(siege, CONNECTIONS, HTTP1).await;
        for attacker in &mut all {
            attacker.hears().await;
        }
        all
    };
    siege.withstands(attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_http2_that_are_idle() {
    let siege = Siege::start(&[], &[]).await;
    // Half of them do not even take note of what the host says that it takes.
    let heard = [opening(), frame(SETTINGS, 1, 0, b"")].concat();
    let attack = async |siege: &Siege| {
        let mut all = connections(siege, CONNECTIONS / 2, &heard).await;
        all.extend(connections(siege, CONNECTIONS / 2, &opening()).await);
        for attacker in &mut all {
            attacker.hears().await;
        }
        all
    };
    siege.withstands(attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_within_their_tls_handshake() {
    let certificate = Certificate::new();
    let siege = certificate.siege().await;
    // The head of a record and of a ClientHello of 512 bytes, and of that as many as one cares to send.
    let hello = [&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3][..], &[7; 20]].concat();
    let attack = async |siege: &Siege| {
        let silent = connections(siege, CONNECTIONS / 2, b"").await;
        (silent, connections(siege, CONNECTIONS / 2, &hello).await)
    };
    siege.withstands(attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_tls_that_are_idle() {
    let certificate = Certificate::new();
    let siege = certificate.siege().await;
    let attack = async |siege: &Siege| {
        let mut all = Vec::new();
        for _ in (0..TLS_CONNECTIONS).step_by(BATCH) {
            let some = (0..BATCH).map(|_| certificate.connect(siege.addr()));
            all.extend(join_all(some).await);
        }
        all
    };
    siege.withstands(attack).await;
}
