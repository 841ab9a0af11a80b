//! Heads that no client library sends, written by hand: what each costs, and that the next is served. And how a
//! stream ends that is answered before its request has.
//! Source: RFC 9113, section 8.1.1, malformed requests are stream errors of type PROTOCOL_ERROR;
//! grpc/doc/PROTOCOL-HTTP2.md, "Early Server Closure" and the codes of RST_STREAM.

use prost::Message;
use switchboard_test_support::proto::testservice::{Number, Total};
use switchboard_test_support::{TestHost, eventually, frame, frames};

use crate::connection::ByHand;
use crate::http2_frames::{
    DATA, END_STREAM, Frame, GOAWAY, GRPC_HEAD, HEADERS, PATH_AT, RST_STREAM,
};

const ADD: &str = "/testservice.TestService/Add";
const SUM: &str = "/testservice.TestService/Sum";
const RUNNING: &str = "/testservice.TestService/Running";
const EARLY: &str = "/testservice.Probe/Early";
const WAIT: &str = "/testservice.Probe/Wait";

const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;

type Fields = Vec<(&'static str, &'static str)>;

async fn start() -> (TestHost, ByHand) {
    let host = TestHost::start("testservice").await;
    let peer = ByHand::connect(host.addr).await;
    (host, peer)
}

fn to(path: &'static str) -> Fields {
    let mut fields = GRPC_HEAD;
    fields[PATH_AT].1 = path;
    fields.into()
}

/// A message in its frame.
fn number(value: i64) -> Vec<u8> {
    frame(&Number { value }.encode_to_vec()).to_vec()
}

/// The next frame of a stream; frames of the connection are passed over.
async fn next_of_stream(peer: &mut ByHand, stream: u32) -> Frame {
    loop {
        let frame = peer.next().await.expect("the connection is open");
        if frame.stream == stream {
            return frame;
        }
    }
}

/// A call on the same connection is served.
async fn assert_served(peer: &mut ByHand, stream: u32) {
    let head = Frame::request(stream, SUM);
    peer.send(&[head, Frame::new(DATA, END_STREAM, stream, number(4))])
        .await;
    assert_eq!(next_of_stream(peer, stream).await.kind, HEADERS);
    let total = next_of_stream(peer, stream).await;
    let total = frames(total.payload.into()).remove(0);
    let total = Total::decode(total).expect("a total");
    assert_eq!((total.count, total.total), (1, 4));
    let trailers = next_of_stream(peer, stream).await;
    assert_eq!((trailers.kind, trailers.flags & END_STREAM), (HEADERS, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_head_costs_its_own_stream() {
    let without = |name: &str| -> Fields {
        let mut fields = to(ADD);
        fields.retain(|(found, _)| *found != name);
        fields
    };
    let with = |name, value| -> Fields {
        let mut fields = to(ADD);
        fields.push((name, value));
        fields
    };
    let (_host, mut peer) = start().await;
    let mut stream = 1;
    for fields in [
        without(":method"),
        without(":scheme"),
        without(":path"),
        to(""),
        to("/a b"),
        with(":path", ADD),
        with(":status", "200"),
        // A pseudo-header after the others, even if it is there only once.
        {
            let mut fields = without(":authority");
            fields.push((":authority", "localhost"));
            fields
        },
        with("connection", "keep-alive"),
        with("transfer-encoding", "chunked"),
        with("te", "gzip"),
    ] {
        peer.send(&[Frame::head(stream, END_STREAM, &fields)]).await;
        let answer = next_of_stream(&mut peer, stream).await;
        assert_eq!(answer.kind, RST_STREAM, "{fields:?}");
        assert_eq!(answer.error(), PROTOCOL_ERROR, "{fields:?}");
        stream += 2;
    }
    assert_served(&mut peer, stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_cannot_even_be_decoded_costs_its_connection() {
    let host = TestHost::start("testservice").await;
    for field in [
        (":unknown", "x"),
        ("X-Upper", "x"),
        ("x-line", "a\r\nb"),
        ("x y", ""),
    ] {
        let mut peer = ByHand::connect(host.addr).await;
        let mut fields = to(ADD);
        fields.push(field);
        peer.send(&[Frame::head(1, END_STREAM, &fields)]).await;
        let goaway = peer.next_of(GOAWAY).await;
        assert_eq!(goaway.error(), PROTOCOL_ERROR, "{field:?}");
        peer.read_out().await;
    }
    assert_served(&mut ByHand::connect(host.addr).await, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_request_may_leave_out_is_not_asked_for() {
    let (_host, mut peer) = start().await;
    for (stream, left_out) in [(1, "te"), (3, ":authority")] {
        let mut fields = to(SUM);
        fields.retain(|(name, _)| *name != left_out);
        peer.send(&[
            Frame::head(stream, 0, &fields),
            Frame::new(DATA, END_STREAM, stream, number(1)),
        ])
        .await;
        assert_eq!(next_of_stream(&mut peer, stream).await.kind, HEADERS);
        let answer = next_of_stream(&mut peer, stream).await;
        assert_eq!(answer.kind, DATA, "without {left_out}");
    }
    assert_served(&mut peer, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_end_with_its_head() {
    let (_host, mut peer) = start().await;
    // One that takes any number of messages has none.
    peer.send(&[Frame::head(1, END_STREAM, &to(SUM))]).await;
    assert_eq!(next_of_stream(&mut peer, 1).await.kind, HEADERS);
    let total = next_of_stream(&mut peer, 1).await;
    assert_eq!(frames(total.payload.into()), [&b""[..]]);
    assert_eq!(next_of_stream(&mut peer, 1).await.kind, HEADERS);
    // One that takes exactly one is told, in one block.
    peer.send(&[Frame::head(3, END_STREAM, &to(ADD))]).await;
    let refusal = next_of_stream(&mut peer, 3).await;
    assert_eq!((refusal.kind, refusal.flags & END_STREAM), (HEADERS, 1));
    assert_served(&mut peer, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_of_other_shapes_are_no_methods() {
    let (_host, mut peer) = start().await;
    let mut stream = 1;
    for path in [
        "*",
        "no-slash",
        "http://localhost/testservice.TestService/Add",
    ] {
        peer.send(&[Frame::head(stream, END_STREAM, &to(path))])
            .await;
        let answer = next_of_stream(&mut peer, stream).await;
        // A status in one block, or a stream error: never an answer of a method.
        let refused = answer.kind == RST_STREAM && answer.error() == PROTOCOL_ERROR;
        let answered = answer.kind == HEADERS && answer.flags & END_STREAM == END_STREAM;
        assert!(refused || answered, "{path}: {answer:?}");
        stream += 2;
    }
    assert_served(&mut peer, stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_before_the_end_of_the_request_is_followed_by_a_reset_without_error() {
    let (host, mut peer) = start().await;
    let early = [
        // Nobody serves it: one block.
        (Frame::request(1, "/no.Such/Method"), Vec::new()),
        // A broken frame, before a plugin is entered: one block.
        (Frame::request(3, ADD), vec![9, 0, 0, 0, 0]),
        // The plugin returns after one number.
        (Frame::request(5, EARLY), number(1)),
        // Its deadline has passed.
        (
            Frame::head(7, 0, &{
                let mut fields = to(WAIT);
                fields.push(("grpc-timeout", "1m"));
                fields
            }),
            Vec::new(),
        ),
        // Not gRPC at all.
        (
            Frame::head(9, 0, &{
                let mut fields = to("/");
                fields[0].1 = "GET";
                fields
            }),
            Vec::new(),
        ),
    ];
    for (head, message) in early {
        let stream = head.stream;
        let mut request = vec![head];
        if !message.is_empty() {
            // The request goes on after it.
            request.push(Frame::new(DATA, 0, stream, message));
        }
        peer.send(&request).await;
        let mut last = next_of_stream(&mut peer, stream).await;
        while last.flags & END_STREAM == 0 {
            last = next_of_stream(&mut peer, stream).await;
        }
        assert!([HEADERS, DATA].contains(&last.kind), "{last:?}");
        let reset = next_of_stream(&mut peer, stream).await;
        let reset = (reset.kind, reset.error());
        assert_eq!(reset, (RST_STREAM, NO_ERROR), "stream {stream}");
    }
    eventually("all instances are free", || {
        host.stats("testservice").leased.total() == 0
    })
    .await;
    assert_served(&mut peer, 11).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_with_any_code_ends_the_call() {
    let (host, mut peer) = start().await;
    let running = |count| move |host: &TestHost| host.stats("testservice").leased.streams == count;
    // All codes of RFC 9113, section 7, and one that there is not.
    for code in 0..=14_u32 {
        let stream = 1 + 2 * code;
        peer.send(&[
            Frame::request(stream, RUNNING),
            Frame::new(DATA, 0, stream, number(1)),
        ])
        .await;
        // Its headers, and its first total: the plugin runs.
        assert_eq!(next_of_stream(&mut peer, stream).await.kind, HEADERS);
        assert_eq!(next_of_stream(&mut peer, stream).await.kind, DATA);
        assert!(running(1)(&host));
        let reset = Frame::new(RST_STREAM, 0, stream, code.to_be_bytes());
        peer.send(&[reset]).await;
        eventually("the call has ended", || running(0)(&host)).await;
    }
    assert_served(&mut peer, 31).await;
}
