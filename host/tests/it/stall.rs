//! Peers that take nothing: what they asked for ends, and nobody waits for them.

use std::time::Duration;

use http::Request;
use prost::Message;
use switchboard_host::{Drained, FilesConfig};
use switchboard_test_support::proto::testservice::FloodRequest;
use switchboard_test_support::{
    PATIENCE, RawClient, TestHost, WebSocketByHand, eventually, frame, patiently,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::http2_frames::{DATA, END_STREAM, Frame, PREFACE, SETTINGS, WINDOW_UPDATE, wire};

const BINARY: u8 = 2;

/// A host that finds such a peer soon. Nothing else would end the call: neither side is silent for as
/// long as the test has, and the call has no deadline.
async fn start() -> TestHost {
    TestHost::start_with("testservice", |setup| {
        setup.config.connection.send_stall_timeout = Duration::from_millis(100);
    })
    .await
}

/// Asks for a gigabyte, with windows for all of it.
fn flood() -> Vec<u8> {
    let window = (i32::MAX.unsigned_abs() - (1 << 16)).to_be_bytes();
    let request = FloodRequest {
        count: 1 << 14,
        size_bytes: 64 << 10,
    };
    let frames = [
        // SETTINGS_INITIAL_WINDOW_SIZE is 4. Source: RFC 9113, section 6.5.2.
        Frame::new(SETTINGS, 0, 0, [&[0, 4][..], &window].concat()),
        Frame::new(WINDOW_UPDATE, 0, 0, window),
        Frame::request(1, "/testservice.Probe/Flood"),
        Frame::new(DATA, END_STREAM, 1, frame(&request.encode_to_vec())),
    ];
    [PREFACE, &wire(&frames)].concat()
}

async fn call_ends(host: &TestHost) {
    eventually("the call is cut short", || {
        host.stats("testservice").retired_unclean == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_reads_nothing_loses_its_calls() {
    let host = start().await;
    let mut socket = TcpStream::connect(host.addr).await.expect("it listens");
    socket.write_all(&flood()).await.expect("sent");
    call_ends(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_peer_of_a_tunnel_that_reads_nothing_loses_its_calls_and_its_place() {
    let host = start().await;
    let mut socket: WebSocketByHand = host.ask().by_hand().await;
    socket.send(BINARY, &flood()).await;
    call_ends(&host).await;
    assert_eq!(patiently("its end", host.finish()).await, Drained::Clean);
}

/// Whatever the host would say to it is not taken: its windows are closed.
async fn window_of_nothing(host: &TestHost) -> RawClient {
    let mut settings = h2::client::Builder::new();
    settings.initial_window_size(0);
    RawClient::connect_with(host.addr, &settings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_takes_does_not_hold_up_the_drain() {
    let folder = tempfile::TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("index.html"), "a page").expect("a file");
    let host = TestHost::start_with("echo", |setup| {
        setup.config.drain_timeout = PATIENCE * 10;
        setup.config.files = vec![FilesConfig::new("/page/", folder.path())];
    })
    .await;
    let client = window_of_nothing(&host).await;
    let websocket = h2::ext::Protocol::from_static("websocket");
    let elsewhere = Request::builder()
        .method(http::Method::CONNECT)
        .extension(websocket)
        .uri(format!("http://{}/elsewhere", host.addr));
    let page = Request::get(format!("http://{}/page/", host.addr));
    let mut unread = Vec::new();
    for asked in [elsewhere, page] {
        let call = client.begin(asked).await;
        unread.push(call.headers().await.expect("a head"));
    }
    assert_eq!(host.finish().await, Drained::Clean);
    drop(unread);
}
