//! Tunnels in streams of HTTP/2 (RFC 8441): the same tunnel by another way, with the same questions
//! before it and the same end after it.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use switchboard_host::{AuthoriseFuture, Authoriser, Drained, StaticTokens, TunnelConfig, Upgrade};
use switchboard_test_support::proto::testservice::ContextRequest;
use switchboard_test_support::proto::testservice::probe_client::ProbeClient;
use switchboard_test_support::{
    PATIENCE, RawClient, Setup, TestHost, channel_over, eventually, guest, log, patiently,
};
use switchboard_tunnel::{CloseCode, Ending};
use tokio::sync::Notify;

const UNARY: &str = "/echo.Echo/Unary";
const TOKEN: &str = "abcdefghij0123456789";

async fn start(edit: impl FnOnce(&mut TunnelConfig)) -> TestHost {
    TestHost::start_with("echo", |setup| {
        setup.paths.push(guest("testservice"));
        setup.config.drain_timeout = PATIENCE * 10;
        edit(
            setup
                .config
                .tunnel
                .as_mut()
                .expect("there is one by default"),
        );
    })
    .await
}

async fn through(host: &TestHost, outer: &RawClient) -> RawClient {
    let stream = host.ask().open_over_http2(outer).await;
    RawClient::over(stream, &h2::client::Builder::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_inside_and_outside_of_one_connection() {
    let host = start(|_| {}).await;
    let outer = host.raw().await;
    let message: Vec<u8> = (0..=250).cycle().take(1_000_000).collect();
    let (one, two) = tokio::join!(through(&host, &outer), through(&host, &outer));
    let calls = [&outer, &one, &two].map(|client| client.unary(UNARY, &message));
    for answer in futures_util::future::join_all(calls).await {
        assert!(answer.messages() == [&*message]);
    }
    assert!(outer.may_connect());
    // Not once more inside: there is no end to that.
    assert!(!one.may_connect());
    let own = format!("http://{}", host.addr);
    let stream = host.ask().origin(&own).open_over_http2(&outer).await;
    let mut probe = ProbeClient::new(channel_over(stream).await);
    let seen = probe.context(ContextRequest::default()).await.expect("OK");
    let seen = seen.into_inner();
    assert!(seen.peer.starts_with("127.0.0.1:"), "{}", seen.peer);
    let origin = seen
        .metadata
        .iter()
        .find(|entry| entry.key == "switchboard-origin");
    assert_eq!(origin.expect("it is known").value, own.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_refusals() {
    let tokens = StaticTokens::parse(&format!("alice {TOKEN}")).expect("sound");
    let mut setup = Setup::default();
    let tunnel = setup
        .config
        .tunnel
        .as_mut()
        .expect("there is one by default");
    tunnel.tunnels_max = 1.try_into().expect("not zero");
    let host = TestHost::build(setup, |builder| builder.authoriser(tokens)).await;
    let outer = host.raw().await;
    let ask = host.ask();
    for (asked, status, says) in [
        (ask.clone(), 401, "a token is needed"),
        (ask.clone().token("wrong"), 401, "not valid"),
        (ask.clone().origin("https://foreign.example"), 403, "origin"),
        (ask.clone().path("/elsewhere"), 404, "at /tunnel"),
        (
            ask.clone().header("sec-websocket-version", "8"),
            426,
            "version 13",
        ),
    ] {
        let answer = asked.send_over_http2(&outer).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        assert!(answer.body.contains(says), "{}", answer.body);
    }
    let head = Request::get(format!("http://{}/tunnel", host.addr));
    let answer = outer.connect_to("connect-udp", head).await;
    assert_eq!(answer.status, 501, "{}", answer.body);
    let _open = ask.clone().token(TOKEN).open_over_http2(&outer).await;
    let answer = ask.token(TOKEN).send_over_http2(&outer).await;
    assert_eq!(answer.status, 503);
    assert!(answer.headers.contains_key("retry-after"));
    // A host without tunnels does not offer them.
    let host = TestHost::start_with("echo", |setup| setup.config.tunnel = None).await;
    let outer = host.raw().await;
    assert_eq!(outer.unary(UNARY, b"").await.code(), 0);
    assert!(!outer.may_connect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_gone_takes_its_tunnels_along() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("stream-gone.wasm");
    std::fs::copy(guest("testservice"), &file).expect("a copy");
    let host = TestHost::start_with("echo", |setup| {
        // On a busy machine the plugin may get its turn late; what it does with it is the test.
        setup.config.call.cancel_grace = PATIENCE;
        setup.paths.push(file);
    })
    .await;
    // The tunnel's end must be seen through the connection, so it is one that can be torn.
    let (torn, far) = tokio::io::duplex(64 * 1024);
    let socket = tokio::net::TcpStream::connect(host.addr)
        .await
        .expect("the host listens");
    #[expect(clippy::disallowed_methods, reason = "a test's own task")]
    let tear = tokio::spawn(async move {
        let (mut far, mut socket) = (far, socket);
        drop(tokio::io::copy_bidirectional(&mut far, &mut socket).await);
    });
    let outer = RawClient::over(torn, &h2::client::Builder::new()).await;
    let inner = through(&host, &outer).await;
    let call = inner
        .begin(RawClient::head("/testservice.Probe/Wait"))
        .await;
    let (_, mut events, _body) = call.headers().await.expect("headers");
    patiently("an event", events.data())
        .await
        .expect("one")
        .expect("no reset");
    tear.abort();
    log()
        .wait_for(&[
            "plugin=\"stream-gone\"",
            "wait: cancelled: the caller is gone",
        ])
        .await;
    eventually("its instance is free", || {
        host.stats("stream-gone").leased.total() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drain_ends_them_in_order() {
    let host = start(|_| {}).await;
    let outer = host.raw().await;
    let stream = host.ask().open_over_http2(&outer).await;
    let tunnel = stream.handle();
    let inner = RawClient::over(stream, &h2::client::Builder::new()).await;
    assert_eq!(inner.unary(UNARY, b"").await.code(), 0);
    host.drain();
    // HTTP/2 inside says that the end is near, so the client may close it first.
    match patiently("the tunnel's end", tunnel.closed()).await {
        Ending::ClosedByPeer(close) => assert_eq!(close.code, CloseCode::GOING_AWAY),
        Ending::ClosedByUs(close) => assert_eq!(close.code, CloseCode::NORMAL),
        Ending::Failed(error) => panic!("{error}"),
    }
    assert_eq!(host.finish().await, Drained::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_one_is_found_dead() {
    let host = start(|config| {
        config.ping_interval = Duration::from_millis(20);
        config.dead_after = Duration::from_millis(60);
        config.tunnels_max = 1.try_into().expect("not zero");
    })
    .await;
    let outer = host.raw().await;
    // Open, and nobody who would answer a ping.
    let silent = host.ask().send_over_http2(&outer).await;
    assert_eq!(silent.status, 200);
    let opened = async { while host.ask().send().await.status != 101 {} };
    patiently("its place", opened).await;
    drop(silent);
}

/// Never decides; says when it is asked, and when nobody wants to know any more.
#[derive(Clone, Default)]
struct Undecided {
    asked: Arc<Notify>,
    dropped: Arc<Notify>,
}

impl Authoriser for Undecided {
    fn authorise<'a>(&'a self, _upgrade: &'a Upgrade<'a>) -> AuthoriseFuture<'a> {
        struct Dropped(Arc<Notify>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.notify_one();
            }
        }
        Box::pin(async move {
            let _dropped = Dropped(Arc::clone(&self.dropped));
            self.asked.notify_one();
            std::future::pending().await
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_taken_back_is_not_decided_about() {
    let mut setup = Setup::default();
    let tunnel = setup.config.tunnel.as_mut();
    let tunnel = tunnel.expect("there is one by default");
    // Longer than the test has.
    tunnel.authorise_timeout = PATIENCE * 2;
    setup.config.http1.stall_timeout = PATIENCE * 3;
    let undecided = Undecided::default();
    let authoriser = undecided.clone();
    let host = TestHost::build(setup, |builder| builder.authoriser(authoriser)).await;
    let outer = host.raw().await;
    let head = Request::builder()
        .method(http::Method::CONNECT)
        .extension(h2::ext::Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .uri(format!("http://{}/tunnel", host.addr));
    let mut call = outer.begin(head).await;
    patiently("it is asked", undecided.asked.notified()).await;
    call.cancel();
    patiently("it is not asked any more", undecided.dropped.notified()).await;
}
