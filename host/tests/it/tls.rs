//! TLS: HTTP/2 inside or HTTP/1.1, agreed by ALPN; whoever cannot speak it costs nobody else anything.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use switchboard_host::{Drained, Tls};
use switchboard_test_support::{
    PATIENCE, RawClient, Setup, TestHost, frame, frames, http1, patiently,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::web_client::{BINARY, Over, TEXT, WebClient};

/// A host behind TLS, and the certificate to trust.
struct Secure {
    host: TestHost,
    root: CertificateDer<'static>,
}

impl Secure {
    async fn start(edit: impl FnOnce(&mut Setup)) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let rcgen::CertifiedKey { cert, signing_key } = made.expect("a certificate");
        let tls = Tls::from_pem(
            cert.pem().as_bytes(),
            signing_key.serialize_pem().as_bytes(),
        );
        let tls = tls.expect("sound PEM");
        let host = TestHost::start_with("echo", |setup| {
            setup.tls = Some(tls);
            edit(setup);
        })
        .await;
        Self {
            host,
            root: cert.der().clone(),
        }
    }

    async fn connect(&self, protocols: &[&str]) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).expect("a certificate");
        connect(self.host.addr, roots, protocols).await
    }

    async fn client(&self) -> SendRequest<Bytes> {
        let stream = self.connect(&["h2"]).await.expect("TLS");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        #[expect(clippy::disallowed_methods, reason = "a test's own task")]
        tokio::spawn(async move {
            // How it ended shows in the calls.
            drop(connection.await);
        });
        client
    }
}

async fn connect(
    addr: SocketAddr,
    roots: RootCertStore,
    protocols: &[&str],
) -> io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let socket = TcpStream::connect(addr).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    patiently(
        "a handshake",
        TlsConnector::from(Arc::new(config)).connect(name, socket),
    )
    .await
}

async fn echo(client: &SendRequest<Bytes>, message: &[u8]) -> Vec<Bytes> {
    let mut client = client
        .clone()
        .ready()
        .await
        .expect("the connection is open");
    let head = RawClient::head("/echo.Echo/Unary")
        .body(())
        .expect("a request");
    let (response, mut body) = client.send_request(head, false).expect("a request");
    body.send_data(frame(message), true).expect("open");
    let response = patiently("a response", response).await.expect("no reset");
    let mut stream = response.into_body();
    let mut answer = Vec::new();
    while let Some(chunk) = patiently("a body", stream.data()).await {
        let chunk = chunk.expect("no reset");
        stream
            .flow_control()
            .release_capacity(chunk.len())
            .expect("open");
        answer.extend_from_slice(&chunk);
    }
    let trailers = stream
        .trailers()
        .await
        .expect("no reset")
        .expect("trailers");
    assert_eq!(trailers["grpc-status"], "0");
    frames(answer.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_any_size_pass_through_tls() {
    let secure = Secure::start(|_| {}).await;
    let client = secure.client().await;
    // Around the size of a TLS record, and above the windows of a connection.
    for size in [0, 1, 16_000, 16_384, 16_400, 70_000, 2 << 20] {
        let message: Vec<u8> = (0..size).map(|at: usize| (at % 251) as u8).collect();
        assert!(
            echo(&client, &message).await == [Bytes::from(message)],
            "{size} bytes"
        );
    }
    assert_eq!(secure.host.finish().await, Drained::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_or_http1_is_agreed_on() {
    let secure = Secure::start(|_| {}).await;
    let error = secure.connect(&["spdy/3.1"]).await;
    let error = error.expect_err("nothing in common").to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
    // HTTP/2 is preferred, whatever the order.
    let stream = secure.connect(&["http/1.1", "h2"]).await.expect("TLS");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let stream = secure.connect(&["http/1.1"]).await.expect("TLS");
    let answer = http1(stream, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!(answer.status, 404);
    // Who names no protocol at all is taken at his word.
    let stream = secure.connect(&[]).await.expect("TLS");
    assert_eq!(stream.get_ref().1.alpn_protocol(), None);
    assert_eq!(echo(&secure.client().await, b"next").await, ["next"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_over_tls() {
    let secure = Secure::start(|_| {}).await;
    // With and without a word about the protocol, as browsers and simple clients have it.
    for protocols in [&["http/1.1"][..], &[]] {
        let stream = secure.connect(protocols).await.expect("TLS");
        // The page came over TLS too, so the same host without it is another origin.
        let ask = secure.host.ask();
        let foreign = ask.clone().origin(&format!("http://{}", secure.host.addr));
        let answer = http1(stream, &foreign.bytes()).await;
        assert_eq!(answer.status, 403);
        let own = ask.origin(&format!("https://{}", secure.host.addr));
        let tunnel = own.open_over(answer.stream).await;
        let client = RawClient::over(tunnel, &h2::client::Builder::new()).await;
        let message = vec![7; 100_000];
        let answer = client.unary("/echo.Echo/Unary", &message).await;
        assert!(answer.messages() == [message]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_web_over_tls() {
    let secure = Secure::start(|_| {}).await;
    let own = "https://localhost";
    for (protocols, over) in [
        (&["http/1.1"][..], Over::Http1),
        (&[], Over::Http1),
        (&["h2"], Over::Http2),
    ] {
        for (content_type, origin) in [(BINARY, "http://localhost"), (BINARY, own), (TEXT, own)] {
            let stream = secure.connect(protocols).await.expect("TLS");
            let mut client = WebClient::on(stream, over).await;
            let headers = [("content-type", content_type), ("origin", origin)];
            let message = vec![7; 200_000];
            let answer = client.call("/echo.Echo/Unary", &headers, &message).await;
            if origin == own {
                assert_eq!(answer.code(), 0);
                assert!(answer.messages == [message], "{protocols:?}");
            } else {
                assert_eq!(answer.status, 403, "the page came without TLS");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_no_tls_fails_cleanly_and_the_others_go_on() {
    let secure = Secure::start(|_| {}).await;
    let client = secure.client().await;
    let mut plain = TcpStream::connect(secure.host.addr)
        .await
        .expect("the port is open");
    plain
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .expect("sent");
    let mut said = Vec::new();
    let ended = patiently("the end", plain.read_to_end(&mut said)).await;
    // An alert, and the end: a plain HTTP/2 client finds nothing of HTTP/2 in it.
    assert!(
        said.first().is_none_or(|kind| *kind == 21),
        "{said:?} {ended:?}"
    );
    // The host's certificate is none that this one trusts.
    connect(secure.host.addr, RootCertStore::empty(), &["h2"])
        .await
        .expect_err("no trust");
    assert_eq!(echo(&client, b"still here").await, ["still here"]);
    assert_eq!(echo(&secure.client().await, b"next").await, ["next"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_is_never_finished_is_not_waited_for() {
    let secure = Secure::start(|setup| {
        setup.config.connection.handshake_timeout = Duration::from_millis(700);
    })
    .await;
    let mut silent = TcpStream::connect(secure.host.addr)
        .await
        .expect("the port is open");
    // The head of a record, and nothing in it.
    silent
        .write_all(b"\x16\x03\x01\x02\x00")
        .await
        .expect("sent");
    let mut said = Vec::new();
    let _how = patiently("the end", silent.read_to_end(&mut said)).await;
    assert!(said.is_empty(), "{said:?}");
    assert_eq!(echo(&secure.client().await, b"next").await, ["next"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_in_the_making_does_not_hold_up_the_drain() {
    let secure = Secure::start(|setup| {
        setup.config.drain_timeout = PATIENCE * 10;
        setup.config.connection.handshake_timeout = PATIENCE * 10;
    })
    .await;
    let silent = TcpStream::connect(secure.host.addr)
        .await
        .expect("the port is open");
    // It was accepted before this one.
    assert_eq!(echo(&secure.client().await, b"first").await, ["first"]);
    assert_eq!(secure.host.finish().await, Drained::Clean);
    drop(silent);
}
