//! Unix sockets: the same calls, the same tunnel, beside a port or TLS, and gone with the host.

use std::path::PathBuf;

use switchboard_host::{Drained, Listeners, Tls, UnixListener};
use switchboard_test_support::proto::testservice::ContextRequest;
use switchboard_test_support::proto::testservice::probe_client::ProbeClient;
use switchboard_test_support::{
    Authority, PATIENCE, RawClient, Setup, TestHost, channel_over, eventually, frame, frames,
    guest, http1, patiently,
};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tonic::Request;

use crate::tls_client::{ANY_VERSION, Files, TlsClient};

const UNARY: &str = "/echo.Echo/Unary";

/// A host that listens on a port, and on a file.
struct Both {
    host: TestHost,
    path: PathBuf,
    _folder: TempDir,
}

impl Both {
    async fn start(edit: impl FnOnce(&mut Setup)) -> Self {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("host.sock");
        let unix = UnixListener::bind(&path, 0o600).await.expect("free");
        let host = TestHost::start_with("testservice", |setup| {
            setup.paths.push(guest("echo"));
            setup.also.push(Listeners::from(unix));
            edit(setup);
        })
        .await;
        Self {
            host,
            path,
            _folder: folder,
        }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).await.expect("it listens")
    }

    async fn raw(&self) -> RawClient {
        RawClient::over(self.connect().await, &h2::client::Builder::new()).await
    }
}

async fn assert_echoes(client: &RawClient, message: &str) {
    let answer = client.unary(UNARY, message.as_bytes()).await;
    assert_eq!(answer.messages(), [message.to_owned()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_calls_over_a_unix_socket() {
    let both = Both::start(|_| {}).await;
    let mut probe = ProbeClient::new(channel_over(both.connect().await).await);
    let keys = vec!["switchboard-client-subject".to_owned()];
    let mut request = Request::new(ContextRequest { keys });
    let claim = "CN=admin".parse().expect("ASCII");
    request
        .metadata_mut()
        .insert("switchboard-client-subject", claim);
    let seen = probe.context(request).await.expect("OK").into_inner();
    assert_eq!(seen.peer, "unix");
    assert_eq!(
        seen.looked_up,
        [],
        "nobody can claim what only the host knows"
    );
    // Sizes around the buffers of such sockets.
    let client = both.raw().await;
    for size in [0, 1, 200_000, 1 << 20, 3 << 20] {
        let message = vec![7; size];
        let answer = client.unary(UNARY, &message).await;
        assert!(answer.messages() == [message], "{size} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_are_served_and_share_their_limit() {
    let both = Both::start(|setup| {
        setup.config.connection.connections_max = 2.try_into().expect("2");
    })
    .await;
    let (unix, port) = (both.raw().await, both.host.raw().await);
    assert_echoes(&unix, "by the file").await;
    assert_echoes(&port, "by the port").await;
    // The third one waits, whichever way it comes, and is served when there is room.
    let (third, settings) = (both.connect().await, h2::client::Builder::new());
    let third = RawClient::over(third, &settings);
    assert_echoes(&unix, "still").await;
    drop(port);
    assert_echoes(&third.await, "at last").await;
    drop(unix);
    assert_echoes(&both.host.raw().await, "again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_for_the_port_only() {
    let authority = Authority::new("the only one");
    let files = Files::new(&authority.server(), Some(&authority));
    let tls = Tls::open(files.config()).expect("sound files");
    let both = Both::start(|setup| setup.tls = Some(tls)).await;
    assert_echoes(&both.raw().await, "in the clear").await;
    let own = authority.client("own");
    let client = TlsClient::new(&authority, Some(&own), ANY_VERSION);
    assert_echoes(&client.raw(both.host.addr).await, "encrypted").await;
    let none = TlsClient::new(&authority, None, ANY_VERSION);
    let none = none.refused(both.host.addr).await;
    assert!(none.contains("CertificateRequired"), "{none}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_and_http1_come_by_a_unix_socket_too() {
    let both = Both::start(|_| {}).await;
    let answer = http1(both.connect().await, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(answer.status, 404);
    let tunnel = both.host.ask().open_over(both.connect().await).await;
    let inside = RawClient::over(tunnel, &h2::client::Builder::new()).await;
    assert_echoes(&inside, "through a tunnel").await;
    let outside = both.raw().await;
    assert_echoes(&outside, "first").await;
    let tunnel = both.host.ask().open_over_http2(&outside).await;
    let inside = RawClient::over(tunnel, &h2::client::Builder::new()).await;
    assert_echoes(&inside, "through a stream").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_gone_when_the_drain_begins_and_calls_go_on() {
    let both = Both::start(|setup| setup.config.drain_timeout = PATIENCE * 10).await;
    let mut call = both
        .raw()
        .await
        .begin(RawClient::head("/echo.Echo/Bidi"))
        .await;
    call.send(b"before");
    let (_, mut answers, mut body) = call.headers().await.expect("headers");
    let answer = patiently("an answer", answers.data()).await.expect("one");
    assert_eq!(frames(answer.expect("no reset")), ["before"]);
    both.host.drain();
    eventually("the file is gone", || !both.path.exists()).await;
    // Another host may take its place while this one ends.
    let next = UnixListener::bind(&both.path, 0o600).await.expect("free");
    body.send_data(frame(b"after"), true).expect("open");
    let answer = patiently("an answer", answers.data()).await.expect("one");
    assert_eq!(frames(answer.expect("no reset")), ["after"]);
    drop((answers, body));
    assert_eq!(both.host.finish().await, Drained::Clean);
    assert!(both.path.exists(), "it is another's");
    drop(next);
}
