//! What waits in the host, over all connections: replies that nobody takes and requests that do not
//! come whole. Each limit is filled; whoever reads and writes as gRPC has it is served beside it.

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join_all;
use h2::Reason;
use prost::Message;
use switchboard_test_support::proto::grpc_testing::{SimpleRequest, SimpleResponse};
use switchboard_test_support::{RawAnswer, RawCall, RawClient, TestHost, frame};

const UNARY: &str = "/echo.Echo/Unary";
const BIDI: &str = "/echo.Echo/Bidi";
const SIZED: &str = "/grpc.testing.TestService/UnaryCall";
const EXHAUSTED: u16 = 8;
const KIB: usize = 1024;

/// A connection whose streams take this many bytes before the test reads them.
async fn reader(host: &TestHost, window: u32) -> RawClient {
    let mut settings = h2::client::Builder::new();
    settings.initial_window_size(window);
    RawClient::connect_with(host.addr, &settings).await
}

/// Begins a call whose reply has this size.
async fn ask(client: &RawClient, size: usize) -> RawCall {
    let request = SimpleRequest {
        response_size: i32::try_from(size).expect("small"),
        ..SimpleRequest::default()
    };
    let mut call = client.begin(RawClient::head(SIZED)).await;
    call.send(&request.encode_to_vec());
    call.end();
    call
}

fn assert_size(answer: &RawAnswer, size: usize) {
    assert_eq!(answer.code(), 0, "{}", answer.message());
    let reply = SimpleResponse::decode(answer.messages().remove(0)).expect("a reply");
    assert_eq!(reply.payload.expect("a payload").body.len(), size);
}

fn assert_exhausted(answer: &RawAnswer, text: &str) {
    assert_eq!(answer.code(), EXHAUSTED, "{}", answer.message());
    assert_eq!(answer.message(), text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_takes_no_replies_begins_no_more_unary_calls() {
    let host = TestHost::start_with("interop", |setup| {
        setup.config.buffer.connection_unsent_bytes_max = 64 * KIB;
    })
    .await;
    let client = reader(&host, 1024).await;
    let untaken = ask(&client, 100 * KIB).await;
    let (_, body, request) = untaken.headers().await.expect("the call has answered");
    let mut waiting = std::pin::pin!(ask(&client, 1).await.answer());
    assert!(waiting.as_mut().now_or_never().is_none());
    // Streams are not counted, so this one is served behind the call that waits.
    let head = RawClient::head("/grpc.testing.TestService/FullDuplexCall");
    let stream = client.begin(head).await;
    let (_, _, _stream) = stream.headers().await.expect("a stream goes on");
    assert!(waiting.as_mut().now_or_never().is_none(), "no room");
    // Nobody wants that reply any more.
    drop((body, request));
    assert_size(&waiting.await.expect("a reply"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reply_that_waits_longest_gives_way_when_all_hold_too_much() {
    let host = TestHost::start_with("interop", |setup| {
        setup.config.buffer.unsent_bytes_max = 256 * KIB;
    })
    .await;
    let (closed, narrow) = (reader(&host, 0).await, reader(&host, 1024).await);
    let (_, mut first, _request) = ask(&closed, 200 * KIB)
        .await
        .headers()
        .await
        .expect("headers");
    let (_, mut second, _request) = ask(&narrow, 200 * KIB)
        .await
        .headers()
        .await
        .expect("headers");
    // Of the first reply nothing had left, so its call can still end with a status.
    assert!(first.data().await.is_none(), "no byte was taken");
    let trailers = first.trailers().await.expect("no reset").expect("trailers");
    assert_eq!(trailers["grpc-status"], "8");
    // Someone who reads is served, and of the second reply a part had left.
    let good = host.raw().await;
    let answer = ask(&good, 200 * KIB).await.answer().await.expect("a reply");
    assert_size(&answer, 200 * KIB);
    let part = second.data().await.expect("a part").expect("no reset yet");
    assert!(part.len() <= KIB);
    let error = second.data().await.expect("a reset").expect_err("no end");
    assert_eq!(error.reason(), Some(Reason::CANCEL));
    // Nothing is held any more.
    for _ in 0..4 {
        let answer = ask(&good, 250 * KIB).await.answer().await.expect("a reply");
        assert_size(&answer, 250 * KIB);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_loses_no_reply_however_many_read_at_once() {
    let host = TestHost::start_with("interop", |setup| {
        setup.config.buffer.unsent_bytes_max = 400 * KIB;
    })
    .await;
    // The window of the beginning: each reply waits for its caller again and again.
    let clients: Vec<_> = join_all((0..24).map(|_| host.raw())).await;
    let calls = clients.iter().map(async |client| {
        for _ in 0..3 {
            let answer = ask(client, 200 * KIB).await.answer().await;
            assert_size(&answer.expect("a reply"), 200 * KIB);
        }
    });
    join_all(calls).await;
}

/// Begins a message of `len` bytes and sends only some of it.
async fn half(client: &RawClient, path: &str, len: usize) -> RawCall {
    let mut call = client.begin(RawClient::head(path)).await;
    let half = frame(&vec![7; len]).slice(..len / 2);
    call.body.send_data(half, false).expect("open");
    call
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_stall_give_way_to_those_that_wait_for_room() {
    let host = TestHost::start_with("echo", |setup| {
        setup.config.call.request_bytes_max = 200 * KIB;
        setup.config.buffer.unread_bytes_max = 200 * KIB;
    })
    .await;
    let (bad, good) = (host.raw().await, host.raw().await);
    for path in [UNARY, BIDI] {
        let stalled = half(&bad, path, 150 * KIB).await;
        // Small messages need no room.
        let answer = good.unary(UNARY, &[1; 16 * KIB]).await;
        assert_eq!(answer.code(), 0, "{}", answer.message());
        // A large one waits until the stalled one has had its time.
        let message = vec![2; 150 * KIB];
        let answer = good.unary(path, &message).await;
        assert_eq!(answer.code(), 0, "{path}: {}", answer.message());
        assert_eq!(answer.messages(), [message]);
        let answer = stalled.answer().await.expect("a status, not a reset");
        let text = "the request did not come in time, and others need its room";
        assert_exhausted(&answer, text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_large_requests_at_once_take_turns_and_all_are_served() {
    let host = TestHost::start_with("echo", |setup| {
        setup.config.call.request_bytes_max = 200 * KIB;
        setup.config.buffer.unread_bytes_max = 400 * KIB;
    })
    .await;
    let clients = [host.raw().await, host.raw().await];
    let message = Bytes::from(vec![3; 200 * KIB]);
    let calls = (0..32).map(|number: usize| {
        let (client, message) = (&clients[number % 2], &message);
        let path = if number % 4 < 2 { UNARY } else { BIDI };
        async move { (client.unary(path, message).await, message) }
    });
    for (answer, message) in join_all(calls).await {
        assert_eq!(answer.code(), 0, "{}", answer.message());
        assert_eq!(answer.messages(), [message]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_message_where_one_is_taken_is_refused_by_its_head() {
    let host = TestHost::start("echo").await;
    let client = host.raw().await;
    let mut call = client.begin(RawClient::head(UNARY)).await;
    call.send(b"the only one");
    let head = frame(&vec![0; 100 * KIB]).slice(..5);
    call.body.send_data(head, false).expect("open");
    let answer = call.answer().await.expect("a status");
    assert_eq!(answer.code(), 12, "{}", answer.message());
    assert!(
        answer.message().contains("more than one"),
        "{}",
        answer.message()
    );
}
