//! WebSocket frames in a tunnel, by hand: what breaks the rules closes the tunnel with the code that
//! says so, and what keeps them may be cut as it likes.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use switchboard_host::TunnelConfig;
use switchboard_test_support::{
    PATIENCE, RawClient, TestHost, WebSocketByHand, eventually, frame, patiently, rest_of,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::http2_frames::{
    DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PREFACE, SETTINGS, WINDOW_UPDATE, wire,
};

const UNARY: &str = "/echo.Echo/Unary";
const BIDI: &str = "/echo.Echo/Bidi";

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

async fn start(edit: impl FnOnce(&mut TunnelConfig)) -> TestHost {
    TestHost::start_with("echo", |setup| {
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

async fn assert_served(host: &TestHost) {
    let (client, _tunnel) = host.raw_tunnel().await;
    assert_eq!(client.unary(UNARY, b"next").await.messages(), ["next"]);
}

/// The beginning of HTTP/2 with windows for large answers, and a call of this message.
fn call(message: &[u8]) -> Vec<u8> {
    let window = (1_u32 << 24).to_be_bytes();
    let mut frames = vec![
        // SETTINGS_INITIAL_WINDOW_SIZE is 4. Source: RFC 9113, section 6.5.2.
        Frame::new(SETTINGS, 0, 0, [&[0, 4][..], &window].concat()),
        Frame::new(WINDOW_UPDATE, 0, 0, window),
        Frame::request(1, UNARY),
    ];
    let message = frame(message);
    frames.extend(
        message
            .chunks(16_000)
            .map(|part| Frame::new(DATA, 0, 1, part)),
    );
    frames.push(Frame::new(DATA, END_STREAM, 1, []));
    [PREFACE, &wire(&frames)].concat()
}

/// Reads the answer to [`call`]; its message, and the sizes of the WebSocket messages it came in.
async fn answer(socket: &mut WebSocketByHand) -> (Vec<u8>, Vec<usize>) {
    let (mut read, mut body, mut sizes) = (BytesMut::new(), Vec::new(), Vec::new());
    loop {
        let message = socket.next().await.expect("the tunnel is open");
        assert_eq!(message.opcode, BINARY, "{message:?}");
        sizes.push(message.payload.len());
        read.extend_from_slice(&message.payload);
        while let Some(frame) = Frame::parse(&mut read) {
            match (frame.kind, frame.flags) {
                (DATA, _) => body.extend_from_slice(&frame.payload),
                (HEADERS, flags) if flags == END_HEADERS | END_STREAM => {
                    return (body, sizes);
                }
                _ => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_the_rules_closes_the_tunnel_with_the_reason() {
    let host = start(|_| {}).await;
    let begun = async || {
        let mut socket = host.ask().by_hand().await;
        socket.send(BINARY, &call(b"before")).await;
        answer(&mut socket).await;
        socket
    };
    let mut socket = begun().await;
    socket.send(TEXT, b"PRI * HTTP/2.0").await;
    let (code, reason, _) = socket.closed().await;
    assert_eq!(code, 1003);
    assert!(reason.contains("text"), "{reason}");
    let mut socket = begun().await;
    socket.send_unmasked(BINARY, b"PRI").await;
    let (code, reason, _) = socket.closed().await;
    assert_eq!(code, 1002);
    assert!(reason.contains("not masked"), "{reason}");
    let mut socket = begun().await;
    socket.begin(BINARY, (16 << 20) + 1).await;
    let (code, reason, _) = socket.closed().await;
    assert_eq!(code, 1009);
    assert!(reason.contains("at most 16777216"), "{reason}");
    // Sound frames, and nothing sound in them.
    let mut socket = begun().await;
    socket
        .send(BINARY, &wire(&[Frame::new(DATA, 0, 0, b"of no stream")]))
        .await;
    let (code, reason, _) = socket.closed().await;
    assert_eq!((code, &*reason), (1002, "HTTP/2 failed"));
    let mut socket = host.ask().by_hand().await;
    socket
        .send(BINARY, b"GET / HTTP/1.1\r\n\r\n, and more bytes")
        .await;
    let (code, reason, _) = socket.closed().await;
    assert_eq!((code, &*reason), (1002, "HTTP/2 was not set up"));
    assert_served(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_is_served_while_it_still_comes() {
    let host = start(|config| config.frame_bytes_max = u64::MAX >> 1).await;
    let mut socket = host.ask().by_hand().await;
    // A promise of a terabyte; the call is in its first bytes.
    let call = call(b"early");
    socket.begin(BINARY, 1 << 40).await;
    let masked: Vec<_> = call
        .iter()
        .zip([0x5a, 0xa5, 0x0f, 0xf0].iter().cycle())
        .map(|(byte, mask)| byte ^ mask)
        .collect();
    // However it is cut: the same bytes, one at a time at first.
    let (slow, fast) = masked.split_at(40);
    for byte in slow {
        socket.stream.write_all(&[*byte]).await.expect("sent");
    }
    socket.stream.write_all(fast).await.expect("sent");
    let (body, _) = answer(&mut socket).await;
    assert_eq!(body, frame(b"early"));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_any_size_carry_the_same_bytes() {
    let host = start(|_| {}).await;
    for size in [1, 2, 9, 100] {
        let mut socket = host.ask().by_hand().await;
        for part in call(b"in pieces").chunks(size) {
            socket.send(BINARY, part).await;
        }
        let (body, _) = answer(&mut socket).await;
        assert_eq!(body, frame(b"in pieces"), "{size}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_speak_our_subprotocol_gets_shorter_messages() {
    let host = start(|_| {}).await;
    // No more than may be sent before any window was opened.
    let message = vec![7; 60_000];
    for (ask, size_max) in [(host.ask(), 64 << 10), (host.ask().offer(&[]), 32 << 10)] {
        let mut socket = ask.by_hand().await;
        socket.send(BINARY, &call(&message)).await;
        let (body, sizes) = answer(&mut socket).await;
        assert!(body == frame(&message), "{} bytes", body.len());
        assert!(sizes.iter().all(|size| *size <= size_max), "{sizes:?}");
        // And not shorter than they may be: gathered, not one for each frame of 16 KiB.
        assert!(sizes.iter().any(|size| *size > size_max / 2), "{sizes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_are_answered_and_a_close_is_answered_with_its_code() {
    let host = start(|_| {}).await;
    let mut socket = host.ask().by_hand().await;
    socket.send(BINARY, &call(b"first")).await;
    answer(&mut socket).await;
    socket.send(PING, b"are you there").await;
    let pong = socket.next().await.expect("a pong");
    assert_eq!((pong.opcode, &*pong.payload), (PONG, &b"are you there"[..]));
    socket.send(CLOSE, &[0x0f, 0xa0, b'b', b'y', b'e']).await;
    let (code, _, _) = socket.closed().await;
    assert_eq!(code, 4000);
    assert_eq!(socket.next().await, None, "the connection has ended");
}

/// Keeps sending while it is being refused. A connection closed before that was read is reset, and on many
/// systems a reset takes back what was not read yet, the reason too.
#[tokio::test(flavor = "multi_thread")]
async fn who_still_sends_when_the_tunnel_is_closed_is_heard_out() {
    let host = start(|config| config.close_timeout = PATIENCE).await;
    let mut socket = host.ask().by_hand().await;
    socket.begin(BINARY, 1 << 30).await;
    // More than fits on the way.
    let flood = vec![0; 16 << 20];
    let sent = patiently("the flood", socket.stream.write_all(&flood)).await;
    sent.expect("no reset");
    let (code, _, _) = socket.closed().await;
    assert_eq!(code, 1009);
    socket.stream.shutdown().await.expect("no reset");
    assert_eq!(rest_of(&mut socket.stream).await, b"");
}

/// A WebSocket client that other people wrote.
#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;

    let host = start(|_| {}).await;
    let stream = TcpStream::connect(host.addr)
        .await
        .expect("the host listens");
    let url = format!("ws://{}/tunnel", host.addr);
    let (mut socket, response) = tokio_tungstenite::client_async(url, stream)
        .await
        .expect("101");
    assert!(!response.headers().contains_key("sec-websocket-extensions"));
    socket
        .send(Message::binary(call(b"stock")))
        .await
        .expect("sent");
    socket
        .send(Message::Ping("there?".into()))
        .await
        .expect("sent");
    let (mut body, mut pongs) = (Vec::new(), 0);
    let mut read = BytesMut::new();
    while body.is_empty() || pongs == 0 {
        match patiently("a message", socket.next())
            .await
            .expect("open")
            .expect("sound")
        {
            Message::Binary(bytes) => read.extend_from_slice(&bytes),
            Message::Pong(payload) => pongs += usize::from(&*payload == b"there?"),
            other @ (Message::Text(_)
            | Message::Ping(_)
            | Message::Close(_)
            | Message::Frame(_)) => panic!("{other:?}"),
        }
        while let Some(frame) = Frame::parse(&mut read) {
            if frame.kind == DATA {
                body.extend_from_slice(&frame.payload);
            }
        }
    }
    assert_eq!(body, frame(b"stock"));
    socket.close(None).await.expect("sent");
    let last = patiently("the end", socket.next()).await;
    let closed = matches!(
        last,
        None | Some(Ok(Message::Close(_) | Message::Binary(_)))
    );
    assert!(closed, "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_no_ping_is_dead_and_its_calls_are_cancelled() {
    let host = start(|config| {
        config.ping_interval = Duration::from_millis(20);
        config.dead_after = Duration::from_millis(60);
    })
    .await;
    let mut socket = host.ask().by_hand().await;
    let frames = [Frame::new(SETTINGS, 0, 0, []), Frame::request(1, BIDI)];
    socket
        .send(BINARY, &[PREFACE, &wire(&frames)].concat())
        .await;
    let mut pings = 0;
    while let Some(frame) = socket.next().await {
        pings += usize::from(frame.opcode == PING);
    }
    assert!(pings > 0, "it was asked");
    eventually("its call has ended", || {
        host.stats("echo").leased.total() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_pings_may_be_silent() {
    let host = start(|config| {
        config.ping_interval = Duration::from_millis(20);
        config.dead_after = PATIENCE;
    })
    .await;
    let mut socket = host.ask().by_hand().await;
    socket.send(BINARY, PREFACE).await;
    socket
        .send(BINARY, &wire(&[Frame::new(SETTINGS, 0, 0, [])]))
        .await;
    let mut answered = 0;
    while answered < 5 {
        let frame = socket.next().await.expect("the tunnel is open");
        if frame.opcode == PING {
            socket.send(PONG, &frame.payload).await;
            answered += 1;
        }
    }
    let request = Frame::request(1, UNARY);
    let data = Frame::new(DATA, END_STREAM, 1, frame(b"alive").to_vec());
    socket.send(BINARY, &wire(&[request, data])).await;
    loop {
        let message = socket.next().await.expect("the tunnel is open");
        if message.opcode == BINARY && message.payload.windows(5).any(|five| five == b"alive") {
            break;
        }
    }
}

/// A stalled reader makes the plugin wait, not the host grow: that is HTTP/2's doing, and holds inside a
/// tunnel as outside.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_not_sent_more_than_the_windows_allow() {
    let host = TestHost::start("testservice").await;
    let stream = host.ask().open().await;
    let tunnel = stream.handle();
    // Room for other calls, whatever one of them leaves unread.
    let mut settings = h2::client::Builder::new();
    settings.initial_window_size(64 << 10);
    settings.initial_connection_window_size(1 << 20);
    let client = RawClient::over(stream, &settings).await;
    let mut flood = client
        .begin(RawClient::head("/testservice.Probe/Flood"))
        .await;
    // `count` 1000 and `size_bytes` 65536, as protobuf has them.
    flood.send(&[0x08, 0xe8, 0x07, 0x10, 0x80, 0x80, 0x04]);
    flood.end();
    let (_, mut blocks, _body) = flood.headers().await.expect("headers");
    let mut seen = 0;
    while seen < 1 << 20 {
        let block: Bytes = patiently("a block", blocks.data())
            .await
            .expect("one")
            .expect("open");
        seen += block.len();
        let released = blocks.flow_control().release_capacity(block.len());
        released.expect("open");
    }
    // From here on nothing of it is taken. Another call passes all the same.
    let answer = client
        .unary("/testservice.TestService/Add", &[8, 2, 16, 3])
        .await;
    assert_eq!(answer.messages(), [&[8, 5][..]]);
    let sent_bytes = tunnel.activity().received_bytes;
    let unread = sent_bytes.saturating_sub(u64::try_from(seen).expect("small"));
    assert!(
        unread < 1 << 20,
        "{unread} bytes were sent and not asked for"
    );
}
