//! What one connection may cost: how many there are, how long they may be silent, and how far a peer
//! gets that does not keep to HTTP/2. Whatever it does, the next connection is served.
//!
//! Frames are written and read by hand where a client that keeps the rules would not send them.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use switchboard_host::ConnectionConfig;
use switchboard_test_support::{
    PATIENCE, RawClient, TestHost, eventually, frame, frames, guest, log, patiently,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::http2_frames::{
    ACK, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frame, GOAWAY, HEADERS, PING, PREFACE,
    REFUSED_STREAM, RST_STREAM, SETTINGS, wire,
};

const UNARY: &str = "/echo.Echo/Unary";
const BIDI: &str = "/echo.Echo/Bidi";

#[expect(clippy::disallowed_methods, reason = "a test's own task")]
fn begin<T: Send + 'static>(call: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(call)
}

async fn start(edit: impl FnOnce(&mut ConnectionConfig)) -> TestHost {
    TestHost::start_with("echo", |setup| edit(&mut setup.config.connection)).await
}

async fn assert_served(host: &TestHost) {
    let answer = host.raw().await.unary(UNARY, b"next").await;
    assert_eq!(answer.messages(), ["next"]);
}

/// A connection whose frames the test writes and reads itself.
pub(crate) struct ByHand {
    pub(crate) stream: TcpStream,
    read: BytesMut,
}

impl ByHand {
    /// Connects, and sends nothing.
    pub(crate) async fn silent(addr: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(addr).await.expect("the host listens"),
            read: BytesMut::new(),
        }
    }

    /// Connects and sets HTTP/2 up.
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let mut this = Self::silent(addr).await;
        this.stream.write_all(PREFACE).await.expect("sent");
        this.send(&[Frame::new(SETTINGS, 0, 0, [])]).await;
        this
    }

    /// The same, with these frames in the same write: they are there before any time of the host's is up.
    pub(crate) async fn connect_with(addr: SocketAddr, frames: &[Frame]) -> Self {
        let mut this = Self::silent(addr).await;
        let opening = [
            PREFACE,
            &wire(&[Frame::new(SETTINGS, 0, 0, [])]),
            &wire(frames),
        ];
        this.stream
            .write_all(&opening.concat())
            .await
            .expect("sent");
        this
    }

    /// Sends frames in one write, so that the host finds them all at once.
    pub(crate) async fn send(&mut self, frames: &[Frame]) {
        self.stream.write_all(&wire(frames)).await.expect("sent");
    }

    /// The next frame; none when the host has closed the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = Frame::parse(&mut self.read) {
                return Some(frame);
            }
            let read = patiently("a frame", self.stream.read_buf(&mut self.read)).await;
            if read.ok()? == 0 {
                return None;
            }
        }
    }

    /// The next frame of this kind.
    pub(crate) async fn next_of(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await.expect("the connection is open");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// Reads to the end of the connection; all that came.
    pub(crate) async fn read_out(&mut self) -> Vec<Frame> {
        let mut all = Vec::new();
        while let Some(frame) = self.next().await {
            all.push(frame);
        }
        all
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_too_many_waits_until_one_ends() {
    let host = start(|connection| connection.connections_max = 1.try_into().expect("1")).await;
    let first = host.raw().await;
    assert_eq!(first.unary(UNARY, b"").await.code(), 0);
    let addr = host.addr;
    let second = begin(async move {
        let client = RawClient::connect(addr).await;
        client.unary(UNARY, b"at last").await
    });
    for _ in 0..100 {
        assert_eq!(first.unary(UNARY, b"still").await.messages(), ["still"]);
    }
    assert!(!second.is_finished(), "one connection at a time");
    drop(first);
    let answer = patiently("its turn", second).await.expect("no panic");
    assert_eq!(answer.messages(), ["at last"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_a_connection_have_a_limit_that_the_peer_is_told() {
    let host = start(|connection| connection.calls_max = 2.try_into().expect("2")).await;
    let mut peer = ByHand::connect(host.addr).await;
    let settings = peer.next_of(SETTINGS).await;
    // SETTINGS_MAX_CONCURRENT_STREAMS is 3. Source: RFC 9113, section 6.5.2.
    assert!(
        settings
            .payload
            .chunks(6)
            .any(|setting| setting == [0, 3, 0, 0, 0, 2]),
        "{settings:?}"
    );
    peer.send(&[1, 3, 5].map(|stream| Frame::request(stream, BIDI)))
        .await;
    let refused = peer.next_of(RST_STREAM).await;
    assert_eq!((refused.stream, refused.error()), (5, REFUSED_STREAM));
    // The two go on, and when one has ended there is room again.
    let message = frame(b"one of two");
    peer.send(&[Frame::new(DATA, END_STREAM, 1, message.to_vec())])
        .await;
    let answer = peer.next_of(DATA).await;
    assert_eq!((answer.stream, answer.payload), (1, message.to_vec()));
    let trailers = peer.next_of(HEADERS).await;
    assert_eq!(
        (trailers.stream, trailers.flags),
        (1, END_HEADERS | END_STREAM)
    );
    peer.send(&[
        Frame::request(7, UNARY),
        Frame::new(DATA, END_STREAM, 7, message.to_vec()),
    ])
    .await;
    assert_eq!(peer.next_of(DATA).await.stream, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_is_not_waited_for() {
    let host = start(|connection| connection.handshake_timeout = Duration::from_millis(500)).await;
    let mut silent = ByHand::silent(host.addr).await;
    let mut half = ByHand::silent(host.addr).await;
    half.stream
        .write_all(b"PRI * HTTP/2.0\r\n")
        .await
        .expect("sent");
    for peer in [&mut silent, &mut half] {
        peer.read_out().await;
    }
    assert_served(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_answers_no_ping_is_dead() {
    let host = start(|connection| {
        connection.keepalive_interval = Duration::from_millis(50);
        connection.keepalive_timeout = Duration::from_millis(500);
    })
    .await;
    let mut peer = ByHand::connect(host.addr).await;
    peer.send(&[Frame::request(1, BIDI)]).await;
    eventually("its call runs", || host.stats("echo").leased.streams == 1).await;
    let frames = peer.read_out().await;
    assert!(
        frames
            .iter()
            .any(|frame| frame.kind == PING && frame.flags == 0),
        "it was asked: {frames:?}"
    );
    eventually("its call has ended", || {
        host.stats("echo").leased.streams == 0
    })
    .await;
    assert_served(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_answers_pings_may_be_silent() {
    let host = start(|connection| {
        connection.keepalive_interval = Duration::from_millis(10);
        connection.keepalive_timeout = PATIENCE;
    })
    .await;
    let mut peer = ByHand::connect(host.addr).await;
    for _ in 0..5 {
        let ping = loop {
            let ping = peer.next_of(PING).await;
            if ping.flags == 0 {
                break ping;
            }
        };
        peer.send(&[Frame::new(PING, ACK, 0, ping.payload)]).await;
    }
    let message = frame(b"alive").to_vec();
    peer.send(&[
        Frame::request(1, UNARY),
        Frame::new(DATA, END_STREAM, 1, message.clone()),
    ])
    .await;
    assert_eq!(peer.next_of(DATA).await.payload, message);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http2_is_hung_up_on() {
    let host = start(|_| {}).await;
    for garbage in [
        &b"SSH-2.0-OpenSSH_9.7\r\n"[..],
        &[0; 64],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS client hello, and more of it",
        // The preface, and DATA of no stream.
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x04\x00\0\0\0\0\0data",
    ] {
        let mut peer = ByHand::silent(host.addr).await;
        peer.stream.write_all(garbage).await.expect("sent");
        peer.read_out().await;
    }
    assert_served(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_vanishes_within_a_message_leaves_nothing_behind() {
    let host = TestHost::start_with("echo", |_| {}).await;
    for path in [UNARY, BIDI] {
        let mut peer = ByHand::connect(host.addr).await;
        // Five of a hundred bytes.
        let part = frame(&[7; 100])[..10].to_vec();
        peer.send(&[Frame::request(1, path), Frame::new(DATA, 0, 1, part)])
            .await;
        if path == BIDI {
            eventually("its call runs", || host.stats("echo").leased.streams == 1).await;
        }
        drop(peer);
        eventually("its call has ended", || {
            host.stats("echo").leased.total() == 0
        })
        .await;
    }
    assert_served(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_learns_that_its_caller_has_vanished() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("vanished.wasm");
    std::fs::copy(guest("testservice"), &file).expect("a copy");
    let host = TestHost::start_with("echo", |setup| {
        // On a busy machine the plugin may get its turn late; what it does with it is the test.
        setup.config.call.cancel_grace = PATIENCE;
        setup.paths.push(file);
    })
    .await;
    let mut peer = ByHand::connect(host.addr).await;
    peer.send(&[Frame::request(1, "/testservice.Probe/Wait")])
        .await;
    peer.next_of(DATA).await;
    drop(peer);
    log()
        .wait_for(&["plugin=\"vanished\"", "wait: cancelled: the caller is gone"])
        .await;
    eventually("its instance is free", || {
        host.stats("vanished").leased.total() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_block_that_is_too_large_costs_its_call_or_its_connection() {
    let host = start(|_| {}).await;
    let client = host.raw().await;
    let head = |bytes| RawClient::head(UNARY).header("x-large", "a".repeat(bytes));
    // Over the host's own limit, which it answers as gRPC has it.
    assert_eq!(
        client.call(head(20 << 10), frame(b"")).await.code(),
        8,
        "RESOURCE_EXHAUSTED"
    );
    // Over what is read at all.
    let answer = client.call(head(80 << 10), frame(b"")).await;
    assert_eq!(answer.status, 431);
    assert_eq!(
        client.unary(UNARY, b"same connection").await.messages(),
        ["same connection"]
    );
    // So large that not even the rest of it is read.
    let mut call = client.begin(head(8 << 20)).await;
    drop(call.body.send_data(frame(b""), true));
    match call.answer().await {
        Ok(answer) => assert_eq!(answer.status, 431),
        Err(error) => assert!(
            error.is_go_away() || error.is_reset() || error.is_io(),
            "{error:?}"
        ),
    }
    assert_served(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_may_cancel_all_its_calls_at_once() {
    let host = start(|_| {}).await;
    let mut peer = ByHand::connect(host.addr).await;
    // As many as may be open: all are gone before the host has looked at one.
    let storm: Vec<_> = (0..256)
        .map(|number| number * 2 + 1)
        .flat_map(|stream| [Frame::request(stream, BIDI), Frame::reset(stream)])
        .chain([Frame::new(PING, 0, 0, *b"are you?")])
        .collect();
    peer.send(&storm).await;
    let pong = peer.next_of(PING).await;
    assert_eq!((pong.flags, &*pong.payload), (ACK, &b"are you?"[..]));
    assert_served(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_reset_as_soon_as_they_begin_end_the_connection_and_nothing_else() {
    let host = start(|_| {}).await;
    let neighbour = host.raw().await;
    let mut call = neighbour.begin(RawClient::head(BIDI)).await;
    call.send(b"before");
    let (_, mut answers, mut body) = call.headers().await.expect("headers");
    assert_eq!(
        frames(answers.data().await.expect("one").expect("no reset")),
        ["before"]
    );
    let mut peer = ByHand::connect(host.addr).await;
    let storm: Vec<_> = (0..1000)
        .map(|number| number * 2 + 1)
        .flat_map(|stream| [Frame::request(stream, BIDI), Frame::reset(stream)])
        .collect();
    peer.send(&storm).await;
    let last = peer.read_out().await;
    let goaway = last
        .iter()
        .find(|frame| frame.kind == GOAWAY)
        .expect("it is told why");
    assert_eq!(goaway.error(), ENHANCE_YOUR_CALM);
    body.send_data(frame(b"after"), true).expect("open");
    assert_eq!(
        frames(answers.data().await.expect("one").expect("no reset")),
        ["after"]
    );
    eventually("nothing is left of it", || {
        host.stats("echo").leased.total() == 0
    })
    .await;
    assert_served(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_calls_ends_when_the_operator_says_so() {
    let host = start(|connection| {
        connection.idle_timeout = Some(Duration::from_millis(100));
    })
    .await;
    let mut peer = ByHand::connect(host.addr).await;
    peer.send(&[
        Frame::request(1, UNARY),
        Frame::new(DATA, END_STREAM, 1, frame(b"once").to_vec()),
    ])
    .await;
    let frames = peer.read_out().await;
    assert!(frames.iter().any(|frame| frame.kind == DATA), "{frames:?}");
    let goaway = frames.iter().rfind(|frame| frame.kind == GOAWAY);
    assert_eq!(goaway.expect("it is told").error(), 0, "NO_ERROR");
}
