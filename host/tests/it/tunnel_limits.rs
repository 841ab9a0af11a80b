//! How many tunnels there may be and how long: places, calls, silence, and the end of the host.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use switchboard_host::{DrainClose, Drained, HostConfig, MetricsFormat, Telemetry, TunnelConfig};
use switchboard_test_support::{
    PATIENCE, RawClient, Setup, TestHost, WebSocketByHand, eventually, frame, frames, guest, log,
    patiently,
};
use switchboard_tunnel::{CloseCode, Ending, TunnelHandle};

use crate::http2_frames::{
    ACK, DATA, END_STREAM, Frame, GOAWAY, PING, PREFACE, REFUSED_STREAM, RST_STREAM, SETTINGS, wire,
};

const UNARY: &str = "/echo.Echo/Unary";
const BIDI: &str = "/echo.Echo/Bidi";
const WAIT: &str = "/testservice.Probe/Wait";

const BINARY: u8 = 2;

async fn start(edit: impl FnOnce(&mut HostConfig, &mut TunnelConfig)) -> TestHost {
    let with = |setup: &mut Setup| {
        setup.paths.push(guest("testservice"));
        let mut tunnel = setup.config.tunnel.take().expect("there is one by default");
        edit(&mut setup.config, &mut tunnel);
        setup.config.tunnel = Some(tunnel);
    };
    TestHost::start_with("echo", with).await
}

/// The tunnel ends as it should. When HTTP/2 inside says that the end is near, a client may close it first.
async fn ended_cleanly(tunnel: &TunnelHandle) {
    match patiently("the tunnel's end", tunnel.closed()).await {
        Ending::ClosedByPeer(close) => assert_eq!(close.code, CloseCode::GOING_AWAY),
        Ending::ClosedByUs(close) => assert_eq!(close.code, CloseCode::NORMAL),
        Ending::Failed(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_have_a_limit_and_their_places_come_back() {
    let host = start(|_, tunnel| tunnel.tunnels_max = 2.try_into().expect("not zero")).await;
    let first = host.raw_tunnel().await;
    let second = host.ask().open().await;
    let answer = host.ask().send().await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), "5");
    assert!(
        answer.body.contains("too many tunnels here"),
        "{}",
        answer.body
    );
    // gRPC without a tunnel and the tunnels that are open are not concerned.
    assert_eq!(host.raw().await.unary(UNARY, b"").await.code(), 0);
    assert_eq!(first.0.unary(UNARY, b"").await.code(), 0);
    log()
        .wait_for(&[
            "INFO",
            "a tunnel was refused: there are too many tunnels here",
        ])
        .await;
    // Closed in order or not, its place is free.
    drop(second);
    let opened = async { while host.ask().send().await.status != 101 {} };
    patiently("a free place", opened).await;
    drop(first);
    let opened = async {
        let (mut one, mut two) = (503, 503);
        while (one, two) != (101, 101) {
            let held = host.ask().send().await;
            (one, two) = (
                held.status.as_u16(),
                host.ask().send().await.status.as_u16(),
            );
        }
    };
    patiently("both places", opened).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_have_all_of_them() {
    let host = start(|config, tunnel| {
        tunnel.tunnels_per_peer_max = 1.try_into().expect("not zero");
        config.http1.trusted_proxies = vec!["127.0.0.1".parse().expect("a network")];
    })
    .await;
    let ask = |address: &str| host.ask().header("x-forwarded-for", address);
    let _first = ask("192.0.2.1").open().await;
    let answer = ask("192.0.2.1").send().await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("from your address"), "{}", answer.body);
    let _second = ask("192.0.2.2").open().await;
    let _third = ask("2001:db8::1").open().await;
    assert_eq!(
        ask("2001:db8::2").send().await.status,
        503,
        "the same 64 bits"
    );
    let _fourth = ask("2001:db8:0:1::1").open().await;
}

/// The frames of HTTP/2 in what the host sends, until one is found.
async fn next_of(socket: &mut WebSocketByHand, read: &mut BytesMut, kind: u8) -> Frame {
    loop {
        while let Some(frame) = Frame::parse(read) {
            if frame.kind == kind {
                return frame;
            }
        }
        let message = socket.next().await.expect("the tunnel is open");
        assert_eq!(message.opcode, BINARY, "{message:?}");
        read.extend_from_slice(&message.payload);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_a_tunnel_have_a_limit_of_their_own() {
    let host = start(|config, tunnel| {
        tunnel.calls_max = 2.try_into().expect("not zero");
        config.connection.calls_max = 7.try_into().expect("not zero");
    })
    .await;
    let mut socket = host.ask().by_hand().await;
    let begin = wire(&[Frame::new(SETTINGS, 0, 0, [])]);
    socket.send(BINARY, &[PREFACE, &begin].concat()).await;
    let mut read = BytesMut::new();
    let settings = next_of(&mut socket, &mut read, SETTINGS).await;
    // SETTINGS_MAX_CONCURRENT_STREAMS is 3. Source: RFC 9113, section 6.5.2.
    let told = settings
        .payload
        .chunks(6)
        .any(|one| one == [0, 3, 0, 0, 0, 2]);
    assert!(told, "{settings:?}");
    let requests = [1, 3, 5].map(|stream| Frame::request(stream, BIDI));
    socket.send(BINARY, &wire(&requests)).await;
    let refused = next_of(&mut socket, &mut read, RST_STREAM).await;
    assert_eq!((refused.stream, refused.error()), (5, REFUSED_STREAM));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_without_calls_is_closed_and_one_with_a_call_is_not() {
    let host = start(|_, tunnel| tunnel.idle_timeout = Some(Duration::from_millis(200))).await;
    let (busy, busy_tunnel) = host.raw_tunnel().await;
    let mut call = busy.begin(RawClient::head(BIDI)).await;
    call.send(b"before");
    let (_, mut answers, mut body) = call.headers().await.expect("headers");
    let answer = patiently("an answer", answers.data()).await;
    assert_eq!(frames(answer.expect("one").expect("open")), ["before"]);
    // Twice the time passes, and a tunnel in which there was a call once is idle like any other.
    for calls in [0, 1] {
        let mut socket = host.ask().by_hand().await;
        let begin = wire(&[Frame::new(SETTINGS, 0, 0, [])]);
        socket.send(BINARY, &[PREFACE, &begin].concat()).await;
        for _ in 0..calls {
            let data = Frame::new(DATA, END_STREAM, 1, frame(b"once").to_vec());
            let call = wire(&[Frame::request(1, UNARY), data]);
            socket.send(BINARY, &call).await;
        }
        let (code, reason, kinds) = read_out(&mut socket, BytesMut::new()).await;
        assert_eq!((code, &*reason), (1001, "there was no call for long"));
        let answers = kinds.iter().filter(|kind| **kind == DATA).count();
        assert_eq!(answers, calls, "{kinds:?}");
        assert!(kinds.contains(&GOAWAY), "{kinds:?}");
    }
    body.send_data(frame(b"after"), true).expect("open");
    let answer = patiently("an answer", answers.data()).await;
    assert_eq!(frames(answer.expect("one").expect("open")), ["after"]);
    assert_eq!(busy_tunnel.ending(), None);
    drop((answers, body));
    ended_cleanly(&busy_tunnel).await;
}

/// Reads to the close frame, answering PINGs of HTTP/2 as a client does; the kinds of frames before it.
async fn read_out(socket: &mut WebSocketByHand, mut read: BytesMut) -> (u16, String, Vec<u8>) {
    let mut kinds = Vec::new();
    loop {
        while let Some(frame) = Frame::parse(&mut read) {
            kinds.push(frame.kind);
            if frame.kind == PING && frame.flags & ACK == 0 {
                let pong = Frame::new(PING, ACK, 0, frame.payload);
                socket.send(BINARY, &wire(&[pong])).await;
            }
        }
        let message = socket.next().await.expect("a close frame before the end");
        if message.opcode != BINARY {
            assert_eq!(message.opcode, 8, "{message:?}");
            let (code, reason) = message.payload.split_at(2);
            let code = u16::from_be_bytes([code[0], code[1]]);
            return (code, String::from_utf8_lossy(reason).into_owned(), kinds);
        }
        read.extend_from_slice(&message.payload);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_says_so_in_http2_first_and_then_closes_the_tunnel() {
    for (drain_close, expected) in [(DrainClose::GoingAway, 1001), (DrainClose::Restart, 1012)] {
        let host = start(|config, tunnel| {
            config.drain_timeout = PATIENCE * 10;
            tunnel.drain_close = drain_close;
            tunnel.close_timeout = Duration::from_millis(50);
        })
        .await;
        let mut socket = host.ask().by_hand().await;
        let begin = wire(&[Frame::new(SETTINGS, 0, 0, []), Frame::request(1, BIDI)]);
        socket.send(BINARY, &[PREFACE, &begin].concat()).await;
        eventually("its call runs", || host.stats("echo").leased.streams == 1).await;
        host.drain();
        let mut read = BytesMut::new();
        next_of(&mut socket, &mut read, GOAWAY).await;
        // Its call goes on, and the tunnel stays open for it.
        let end = Frame::new(DATA, END_STREAM, 1, frame(b"last").to_vec());
        socket.send(BINARY, &wire(&[end])).await;
        let (code, reason, kinds) = read_out(&mut socket, read).await;
        assert_eq!((code, &*reason), (expected, "the host is shutting down"));
        assert!(kinds.contains(&DATA), "the answer came before: {kinds:?}");
        // A peer that does not answer the close frame holds the host up for a moment only.
        assert_eq!(host.finish().await, Drained::Clean);
        assert_eq!(socket.next().await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_see_the_drain_as_a_clean_end() {
    let host = start(|config, _| config.drain_timeout = PATIENCE * 10).await;
    let (client, tunnel) = host.raw_tunnel().await;
    let mut call = client.begin(RawClient::head(BIDI)).await;
    call.send(b"before");
    let (_, mut answers, mut body) = call.headers().await.expect("headers");
    patiently("an answer", answers.data())
        .await
        .expect("one")
        .expect("open");
    host.drain();
    for message in ["while", "draining"] {
        body.send_data(frame(message.as_bytes()), false)
            .expect("open");
        let answer = patiently("an answer", answers.data()).await;
        assert_eq!(frames(answer.expect("one").expect("open")), [message]);
    }
    body.send_data(Bytes::new(), true).expect("open");
    assert!(patiently("the end", answers.data()).await.is_none());
    let trailers = answers.trailers().await.expect("open").expect("trailers");
    assert_eq!(trailers["grpc-status"], "0");
    ended_cleanly(&tunnel).await;
    assert_eq!(host.finish().await, Drained::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_drain_ends_tunnels_too() {
    let host = start(|config, _| config.drain_timeout = Duration::from_millis(50)).await;
    let (client, tunnel) = host.raw_tunnel().await;
    let call = client.begin(RawClient::head(WAIT)).await;
    let (_, mut events, _body) = call.headers().await.expect("headers");
    patiently("an event", events.data())
        .await
        .expect("one")
        .expect("open");
    assert_eq!(host.finish().await, Drained::Cut);
    assert!(patiently("the end", events.data()).await.is_none());
    let trailers = events.trailers().await.expect("open").expect("a status");
    assert_eq!(trailers["grpc-status"], "14", "UNAVAILABLE");
    ended_cleanly(&tunnel).await;
}

/// Else what was sent last may never arrive: a socket that is closed while its peer still sends takes it back.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_may_answer_the_close_frame_also_when_its_calls_were_cut() {
    let telemetry = Telemetry::new();
    let mut setup = Setup {
        paths: vec![guest("echo")],
        ..Setup::default()
    };
    setup.config.drain_timeout = Duration::from_millis(50);
    let given = telemetry.clone();
    let host = TestHost::build(setup, |builder| builder.telemetry(given)).await;
    let mut socket = host.ask().by_hand().await;
    let begin = wire(&[Frame::new(SETTINGS, 0, 0, []), Frame::request(1, BIDI)]);
    socket.send(BINARY, &[PREFACE, &begin].concat()).await;
    eventually("its call runs", || host.stats("echo").leased.streams == 1).await;
    host.drain();
    let (code, _, _) = read_out(&mut socket, BytesMut::new()).await;
    assert_eq!(code, 1001);
    socket.send(8, &code.to_be_bytes()).await;
    assert_eq!(host.finish().await, Drained::Cut);
    let text = telemetry.metrics(MetricsFormat::Prometheus);
    let closed = "switchboard_tunnels_closed_total{code=\"1001\"} 1";
    assert!(text.lines().any(|line| line == closed), "{text}");
}
