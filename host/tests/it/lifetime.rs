//! How long a connection lasts whose peer would go on: it asks nothing, it is old, nobody listens on it;
//! and how many one address may have.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use switchboard_host::ConnectionConfig;
use switchboard_test_support::{
    PATIENCE, RawClient, TestHost, eventually, frame, frames, log, patiently,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::connection::ByHand;
use crate::http2_frames::{DATA, END_STREAM, Frame, GOAWAY, PING, PREFACE, SETTINGS, wire};

const UNARY: &str = "/echo.Echo/Unary";
const BIDI: &str = "/echo.Echo/Bidi";

/// Soon, and not yet when a test has begun.
const SOON: Duration = Duration::from_millis(200);

/// A time that does not come.
const NEVER: Duration = Duration::from_secs(3600);

async fn start(edit: impl FnOnce(&mut ConnectionConfig)) -> TestHost {
    TestHost::start_with("echo", |setup| edit(&mut setup.config.connection)).await
}

/// A request and its message.
fn whole_request(stream: u32) -> [Frame; 2] {
    let message = frame(b"once").to_vec();
    [
        Frame::request(stream, UNARY),
        Frame::new(DATA, END_STREAM, stream, message),
    ]
}

/// A stream of echo on a connection of its own that has answered once.
async fn begin(addr: SocketAddr) -> Result<(h2::RecvStream, h2::SendStream<Bytes>), h2::Error> {
    let socket = TcpStream::connect(addr).await.expect("the host listens");
    let (requests, connection) = h2::client::handshake(socket).await?;
    #[expect(clippy::disallowed_methods, reason = "a test's own task")]
    tokio::spawn(async move {
        // How it ended shows in the calls.
        drop(connection.await);
    });
    let head = RawClient::head(BIDI).body(()).expect("a request");
    let (response, mut body) = requests.ready().await?.send_request(head, false)?;
    body.send_data(frame(b"before"), false)?;
    let mut answers = response.await?.into_body();
    let answer = answers.data().await.expect("an answer")?;
    assert_eq!(frames(answer), ["before"]);
    Ok((answers, body))
}

/// Asserts that these are the frames of a connection that was told to end, without blame.
fn assert_told_to_go(frames: &[Frame]) {
    let goaway = frames.iter().rfind(|frame| frame.kind == GOAWAY);
    let goaway = goaway.unwrap_or_else(|| panic!("it is told: {frames:?}"));
    assert_eq!(goaway.error(), 0, "NO_ERROR");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_asks_anything_is_told_to_go() {
    let host = start(|connection| connection.first_request_timeout = Some(SOON)).await;
    let mut asking = ByHand::connect_with(host.addr, &whole_request(1)).await;
    asking.next_of(DATA).await;
    let tunnel = host.ask().open().await;
    let tunnel = RawClient::over(tunnel, &h2::client::Builder::new()).await;
    let mut silent = ByHand::connect(host.addr).await;
    assert_told_to_go(&silent.read_out().await);
    // The other two were here before it, so their time has come too. Who asked in time stays, and a
    // tunnel may be opened long before it is used.
    asking.send(&whole_request(3)).await;
    assert_eq!(asking.next_of(DATA).await.stream, 3);
    let answer = tunnel.unary(UNARY, b"at last").await;
    assert_eq!(answer.messages(), ["at last"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_what_is_not_there_has_asked() {
    let host = start(|connection| connection.first_request_timeout = Some(SOON)).await;
    let request = Frame::request(1, "/no.such/Method");
    let mut asking = ByHand::connect_with(host.addr, &[request]).await;
    let mut silent = ByHand::connect(host.addr).await;
    assert_told_to_go(&silent.read_out().await);
    asking.send(&whole_request(3)).await;
    assert_eq!(asking.next_of(DATA).await.stream, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_is_told_to_go_and_its_calls_come_to_their_end() {
    let host = start(|connection| {
        connection.age_max = Some(SOON);
        connection.age_grace = NEVER;
    })
    .await;
    let mut peer = ByHand::connect_with(host.addr, &[Frame::request(1, BIDI)]).await;
    let goaway = peer.next_of(GOAWAY).await;
    assert_eq!(goaway.error(), 0, "NO_ERROR");
    let message = frame(b"still here").to_vec();
    peer.send(&[Frame::new(DATA, 0, 1, message.clone())]).await;
    assert_eq!(peer.next_of(DATA).await.payload, message);
    peer.send(&[Frame::new(DATA, END_STREAM, 1, [])]).await;
    let last = peer.read_out().await;
    let trailers = last.iter().find(|frame| frame.stream == 1);
    assert!(
        trailers.is_some_and(|frame| frame.flags & END_STREAM != 0),
        "{last:?}"
    );
    assert_told_to_go(&last);
    // Without a call there is nothing to wait for.
    let mut idle = ByHand::connect(host.addr).await;
    assert_told_to_go(&idle.read_out().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_outlasts_the_grace_of_its_connection_is_cut() {
    let host = start(|connection| {
        connection.age_max = Some(SOON);
        connection.age_grace = SOON;
    })
    .await;
    // On a busy machine a connection may be old before its first call has begun.
    let (mut answers, _body) = patiently("a call", async {
        loop {
            if let Ok(begun) = begin(host.addr).await {
                return begun;
            }
        }
    })
    .await;
    assert!(patiently("the end", answers.data()).await.is_none());
    let trailers = answers.trailers().await.expect("no reset");
    let trailers = trailers.expect("a status");
    assert_eq!(trailers["grpc-status"], "14", "UNAVAILABLE");
    assert_eq!(
        trailers["grpc-message"],
        "the connection has reached its age, and the call did not end in time"
    );
    log().wait_for(&["call cut short", "reached its age"]).await;
    eventually("its instance is free", || {
        host.stats("echo").leased.total() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_reads_nothing_does_not_outlast_the_grace() {
    let host = start(|connection| {
        connection.age_max = Some(SOON);
        connection.age_grace = SOON;
    })
    .await;
    // SETTINGS_INITIAL_WINDOW_SIZE is 4: no byte of an answer fits. Source: RFC 9113, section 6.5.2.
    let [head, message] = whole_request(1);
    let closed = Frame::new(SETTINGS, 0, 0, [0, 4, 0, 0, 0, 0]);
    let mut peer = ByHand::connect_with(host.addr, &[closed, head, message]).await;
    let all = peer.read_out().await;
    assert!(all.iter().all(|frame| frame.kind != DATA), "{all:?}");
    assert_told_to_go(&all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_has_an_age_too() {
    let host = start(|connection| {
        connection.age_max = Some(SOON);
        connection.age_grace = NEVER;
    })
    .await;
    let mut tunnel = host.ask().by_hand().await;
    let mut sent = PREFACE.to_vec();
    sent.extend(wire(&[Frame::new(SETTINGS, 0, 0, [])]));
    tunnel.send(2, &sent).await;
    let (code, reason, _) = tunnel.closed().await;
    assert_eq!((code, &*reason), (1001, "the tunnel has reached its age"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_may_be_kept_to_connections_that_have_calls() {
    let host = start(|connection| {
        connection.keepalive_interval = Duration::from_millis(10);
        connection.keepalive_timeout = PATIENCE;
        connection.keepalive_without_calls = false;
    })
    .await;
    let mut idle = ByHand::connect(host.addr).await;
    let mut busy = ByHand::connect(host.addr).await;
    busy.send(&[Frame::request(1, BIDI)]).await;
    for _ in 0..5 {
        let ping = loop {
            let ping = busy.next_of(PING).await;
            if ping.flags == 0 {
                break ping;
            }
        };
        busy.send(&[Frame::new(PING, 1, 0, ping.payload)]).await;
    }
    // It was there before, so it has been silent for longer; what came until now is read first.
    idle.send(&whole_request(1)).await;
    loop {
        let frame = idle.next().await.expect("the connection is open");
        assert!(frame.kind != PING, "{frame:?}");
        if frame.kind == DATA {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_header_block_is_told_and_kept_to() {
    let host = start(|connection| connection.header_list_bytes_max = Some(20 << 10)).await;
    let mut peer = ByHand::connect(host.addr).await;
    let settings = peer.next_of(SETTINGS).await.payload;
    // SETTINGS_MAX_HEADER_LIST_SIZE is 6. Source: RFC 9113, section 6.5.2.
    let told = settings.chunks(6).find(|setting| setting[..2] == [0, 6]);
    assert_eq!(told, Some(&[0, 6, 0, 0, 0x50, 0][..]), "{settings:?}");
    let client = host.raw().await;
    let head = |bytes| RawClient::head(UNARY).header("x-large", "a".repeat(bytes));
    let refused = client.call(head(18 << 10), frame(b"")).await;
    assert_eq!(refused.code(), 8, "RESOURCE_EXHAUSTED");
    assert_eq!(client.call(head(21 << 10), Bytes::new()).await.status, 431);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_may_have_so_many_connections_and_a_proxy_more() {
    let host = start(|connection| connection.connections_per_peer_max = 1.try_into().ok()).await;
    let first = host.raw().await;
    assert_eq!(first.unary(UNARY, b"").await.code(), 0);
    let mut second = ByHand::silent(host.addr).await;
    assert_eq!(second.read_out().await, []);
    log().wait_for(&["as many are open from its address"]).await;
    assert_eq!(first.unary(UNARY, b"still").await.messages(), ["still"]);
    drop(first);
    let [head, message] = whole_request(1);
    let opening = wire(&[Frame::new(SETTINGS, 0, 0, []), head, message]);
    let opening = [PREFACE, &opening].concat();
    patiently("its place is free", async {
        loop {
            let mut next = ByHand::silent(host.addr).await;
            if next.stream.write_all(&opening).await.is_ok() && next.next().await.is_some() {
                return;
            }
        }
    })
    .await;
    let host = TestHost::start_with("echo", |setup| {
        let config = &mut setup.config;
        config.connection.connections_per_peer_max = 1.try_into().ok();
        config.http1.trusted_proxies = vec!["127.0.0.1".parse().expect("a network")];
    })
    .await;
    let clients = [host.raw().await, host.raw().await, host.raw().await];
    for client in &clients {
        assert_eq!(client.unary(UNARY, b"one of").await.messages(), ["one of"]);
    }
}
