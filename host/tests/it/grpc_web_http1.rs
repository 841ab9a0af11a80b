//! gRPC-Web over HTTP/1.1, byte by byte: that a call's end is the connection's and the other way round, and that
//! nothing of HTTP/1.1 escapes limits, deadlines or the drain.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use switchboard_host::{Drained, HostConfig};
use switchboard_test_support::proto::testservice::{CountRequest, FloodRequest, SleepRequest};
use switchboard_test_support::{
    PATIENCE, TestHost, eventually, frame, http1, log, patiently, rest_of,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::inbound::copy_as;
use crate::web_client::{BINARY, Over, WebClient, frames};

const ADD: &str = "/testservice.TestService/Add";
const RUNNING: &str = "/testservice.TestService/Running";
const SLEEP: &str = "/testservice.Probe/Sleep";
const FLOOD: &str = "/testservice.Probe/Flood";
const WAIT: &str = "/testservice.Probe/Wait";

async fn start(edit: impl FnOnce(&mut HostConfig)) -> TestHost {
    TestHost::start_with("testservice", |setup| edit(&mut setup.config)).await
}

async fn connect(host: &TestHost) -> TcpStream {
    let stream = TcpStream::connect(host.addr).await;
    stream.expect("the host listens")
}

/// The head of a call, with headers of the test's own, each with its line end.
fn head(path: &str, more: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {BINARY}\r\n{more}\r\n")
}

/// A whole call.
fn call(path: &str, message: &[u8]) -> Vec<u8> {
    let body = frame(message);
    let length = format!("content-length: {}\r\n", body.len());
    [head(path, &length).as_bytes(), &body].concat()
}

/// Some bytes of a chunked body.
fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn pause(duration_ms: u32) -> Vec<u8> {
    SleepRequest { duration_ms }.encode_to_vec()
}

/// Reads an answer with a chunked body; its head, its bytes, and what came behind.
async fn chunked(stream: &mut TcpStream, read: &mut Vec<u8>) -> (String, Bytes) {
    let end = until(stream, read, b"\r\n\r\n").await;
    let head = String::from_utf8(read.drain(..end).collect()).expect("a head is text");
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    let mut body = Vec::new();
    loop {
        let end = until(stream, read, b"\r\n").await;
        let size = String::from_utf8(read.drain(..end).collect()).expect("a size is text");
        let size = usize::from_str_radix(size.trim_end(), 16).expect("a size");
        while read.len() < size + 2 {
            more(stream, read).await;
        }
        body.extend(read.drain(..size));
        read.drain(..2);
        if size == 0 {
            return (head, body.into());
        }
    }
}

/// Reads up to and with `mark`; where it ends.
async fn until(stream: &mut TcpStream, read: &mut Vec<u8>, mark: &[u8]) -> usize {
    loop {
        let found = read.windows(mark.len()).position(|some| some == mark);
        if let Some(at) = found {
            return at + mark.len();
        }
        more(stream, read).await;
    }
}

async fn more(stream: &mut TcpStream, read: &mut Vec<u8>) {
    let count = patiently("bytes", stream.read_buf(read)).await;
    assert!(count.expect("no reset") > 0, "it ended: {read:?}");
}

async fn freed(host: &TestHost) {
    let free = || host.stats("testservice").leased.total() == 0;
    eventually("all instances are free", free).await;
}

async fn leased(host: &TestHost) {
    let entered = || host.stats("testservice").leased.total() == 1;
    eventually("the call runs", entered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_follow_each_other_on_a_connection() {
    let host = start(|_| {}).await;
    let mut stream = connect(&host).await;
    let mut read = Vec::new();
    // Two at once, then one after the other, with something else in between.
    let two = [call(ADD, &[8, 1]), call(ADD, &[8, 2])].concat();
    stream.write_all(&two).await.expect("sent");
    for expected in 1..=2 {
        let (_, body) = chunked(&mut stream, &mut read).await;
        let (messages, trailers) = frames(body);
        assert_eq!(messages, [[8, expected].as_slice()]);
        assert_eq!(trailers.expect("trailers")["grpc-status"], "0");
    }
    for expected in 3..10 {
        let get = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
        let answer = http1(stream, get).await;
        assert_eq!((answer.status.as_u16(), answer.rest.len()), (404, 0));
        stream = answer.stream;
        let sent = stream.write_all(&call(ADD, &[8, expected])).await;
        sent.expect("sent");
        let (head, body) = chunked(&mut stream, &mut read).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(frames(body).0, [[8, expected].as_slice()]);
    }
    // One that says that it is the last.
    let body = frame(&[8, 1]);
    let last = head(
        ADD,
        &format!("connection: close\r\ncontent-length: {}\r\n", body.len()),
    );
    stream.write_all(last.as_bytes()).await.expect("sent");
    stream.write_all(&body).await.expect("sent");
    let (_, body) = chunked(&mut stream, &mut read).await;
    assert_eq!(frames(body).0.len(), 1);
    assert_eq!(rest_of(stream).await, b"");
    // HTTP/1.0 ends a body with the connection.
    let mut stream = connect(&host).await;
    let old = String::from_utf8(call(ADD, b"")).expect("ASCII, and zeros");
    let old = old.replace("HTTP/1.1", "HTTP/1.0");
    stream.write_all(old.as_bytes()).await.expect("sent");
    let answer = rest_of(stream).await;
    let at = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let body = Bytes::copy_from_slice(&answer[at.expect("a head") + 4..]);
    let (messages, trailers) = frames(body);
    assert_eq!(messages, [b"".as_slice()]);
    assert_eq!(trailers.expect("trailers")["grpc-status"], "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_to_be_asked_for_the_body_is_asked() {
    let host = start(|_| {}).await;
    let mut stream = connect(&host).await;
    let body = frame(&[8, 5]);
    let more = format!("expect: 100-continue\r\ncontent-length: {}\r\n", body.len());
    stream
        .write_all(head(ADD, &more).as_bytes())
        .await
        .expect("sent");
    let mut read = Vec::new();
    let end = until(&mut stream, &mut read, b"\r\n\r\n").await;
    assert_eq!(&read[..end], b"HTTP/1.1 100 Continue\r\n\r\n");
    read.drain(..end);
    stream.write_all(&body).await.expect("sent");
    let (_, body) = chunked(&mut stream, &mut read).await;
    assert_eq!(frames(body).0, [[8, 5].as_slice()]);
    // A page that may not is refused before it sends anything.
    let foreign = head(ADD, &format!("{more}origin: https://a.example\r\n"));
    let answer = http1(connect(&host).await, foreign.as_bytes()).await;
    assert_eq!(answer.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_go_on_while_its_answer_comes() {
    let host = start(|_| {}).await;
    let mut stream = connect(&host).await;
    let head = head(RUNNING, "transfer-encoding: chunked\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut read = Vec::new();
    // Byte by byte: HTTP's chunks are no messages.
    for byte in frame(&[8, 7]) {
        stream.write_all(&chunk(&[byte])).await.expect("sent");
    }
    until(&mut stream, &mut read, &frame(&[8, 1, 16, 7])[..]).await;
    stream
        .write_all(&chunk(&frame(&[8, 8])))
        .await
        .expect("sent");
    until(&mut stream, &mut read, &frame(&[8, 2, 16, 15])).await;
    stream.write_all(b"0\r\n\r\n").await.expect("sent");
    until(&mut stream, &mut read, b"grpc-status: 0\r\n").await;
    until(&mut stream, &mut read, b"\r\n0\r\n\r\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_cancels_the_call() {
    let host = start(|_| {}).await;
    let flood = FloodRequest {
        count: 1_000_000,
        size_bytes: 10_000,
    };
    // Waiting for an answer, and in the middle of one.
    let mut waiting = connect(&host).await;
    let sent = waiting.write_all(&call(SLEEP, &pause(600_000))).await;
    sent.expect("sent");
    leased(&host).await;
    drop(waiting);
    freed(&host).await;
    let mut reading = connect(&host).await;
    let sent = reading
        .write_all(&call(FLOOD, &flood.encode_to_vec()))
        .await;
    sent.expect("sent");
    let mut read = vec![0; 100_000];
    let read = patiently("an answer", reading.read_exact(&mut read)).await;
    read.expect("bytes");
    leased(&host).await;
    drop(reading);
    freed(&host).await;
    assert_eq!(host.stats("testservice").retired_unclean, 2);
    let mut client = WebClient::connect(host.addr, Over::Http1).await;
    let headers = [("content-type", BINARY)];
    assert_eq!(client.call(ADD, &headers, &[8, 1]).await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plugin_is_told_that_its_caller_is_gone() {
    let (_folder, path) = copy_as("testservice", "web-cancel");
    let host = TestHost::start_with("testservice", |setup| {
        setup.paths = vec![path];
        // On a busy machine a plugin may get its turn late; what it does with it is the test.
        setup.config.call.cancel_grace = PATIENCE;
    })
    .await;
    // Its request is not whole, its answer has begun.
    let mut stream = connect(&host).await;
    let begun = head(WAIT, "transfer-encoding: chunked\r\n");
    stream.write_all(begun.as_bytes()).await.expect("sent");
    until(&mut stream, &mut Vec::new(), b"\r\n\r\n").await;
    let leased = || host.stats("web-cancel").leased.total();
    eventually("the call runs", || leased() == 1).await;
    drop(stream);
    let told = ["web-cancel", "wait: cancelled: the caller is gone"];
    log().wait_for(&told).await;
    eventually("the instance is free", || leased() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_may_be_silent_and_a_peer_may_not() {
    let host = start(|config| {
        config.http1.stall_timeout = Duration::from_millis(150);
        let tunnel = config.tunnel.as_mut().expect("there is one by default");
        tunnel.authorise_timeout = Duration::from_millis(100);
    })
    .await;
    // Silent for four times as long as a peer may be.
    let mut client = WebClient::connect(host.addr, Over::Http1).await;
    let headers = [("content-type", BINARY)];
    let answer = client.call(SLEEP, &headers, &pause(600)).await;
    assert_eq!(answer.code(), 0, "{answer:?}");
    // The same once its answer has begun.
    let count = CountRequest {
        from: 1,
        to: 2,
        pause_ms: 400,
    };
    let path = "/testservice.TestService/Count";
    let answer = client.call(path, &headers, &count.encode_to_vec()).await;
    assert_eq!((answer.code(), answer.messages.len()), (0, 2), "{answer:?}");
    // Its head, and not all of its body.
    let mut half = connect(&host).await;
    let more = "content-length: 100\r\n";
    half.write_all(head(ADD, more).as_bytes())
        .await
        .expect("sent");
    half.write_all(&[0; 3]).await.expect("sent");
    let answer = rest_of(half).await;
    assert_eq!(answer, b"", "{}", String::from_utf8_lossy(&answer));
    freed(&host).await;
    // Does not read what it asked for.
    let flood = FloodRequest {
        count: 1_000_000,
        size_bytes: 10_000,
    };
    let mut deaf = connect(&host).await;
    deaf.write_all(&call(FLOOD, &flood.encode_to_vec()))
        .await
        .expect("sent");
    leased(&host).await;
    freed(&host).await;
    // Asks for more while it waits: its end could not be noticed, so silence is an end.
    let mut eager = connect(&host).await;
    let two = [call(SLEEP, &pause(600_000)), call(ADD, b"")].concat();
    eager.write_all(&two).await.expect("sent");
    leased(&host).await;
    assert_eq!(rest_of(eager).await, b"");
    freed(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_in_the_middle_of_an_answer_ends_it() {
    let host = start(|_| {}).await;
    let flood = FloodRequest {
        count: 1_000_000,
        size_bytes: 100_000,
    };
    let body = frame(&flood.encode_to_vec());
    let more = format!("grpc-timeout: 200m\r\ncontent-length: {}\r\n", body.len());
    let mut stream = connect(&host).await;
    stream
        .write_all(head(FLOOD, &more).as_bytes())
        .await
        .expect("sent");
    stream.write_all(&body).await.expect("sent");
    leased(&host).await;
    // Nobody reads, and yet it ends.
    freed(&host).await;
    let answer = rest_of(stream).await;
    assert!(!answer.ends_with(b"0\r\n\r\n"), "half a message is no end");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drain_lets_calls_end_and_takes_no_more() {
    let host = start(|config| config.drain_timeout = PATIENCE * 10).await;
    let mut running = connect(&host).await;
    running
        .write_all(&call(SLEEP, &pause(300)))
        .await
        .expect("sent");
    let early = connect(&host).await;
    leased(&host).await;
    host.drain();
    let mut read = Vec::new();
    let (_, body) = chunked(&mut running, &mut read).await;
    let (messages, trailers) = frames(body);
    assert_eq!(messages.len(), 1);
    assert_eq!(trailers.expect("trailers")["grpc-status"], "0");
    assert_eq!(rest_of(running).await, b"", "it was the last one");
    drop(early);
    assert_eq!(host.finish().await, Drained::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_calls_during_the_drain_is_told_to_go_elsewhere() {
    let host = start(|config| config.drain_timeout = PATIENCE * 10).await;
    let early = connect(&host).await;
    let mut client = WebClient::connect(host.addr, Over::Http1).await;
    let answer = client.call(ADD, &[("content-type", BINARY)], &[8, 1]).await;
    assert_eq!(answer.code(), 0, "both connections were accepted");
    host.drain();
    let answer = http1(early, &call(ADD, &[8, 1])).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), "5");
    assert_eq!(answer.header("connection"), "close");
    assert_eq!(host.finish().await, Drained::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_at_the_end_of_the_drain_says_so() {
    let host = start(|config| config.drain_timeout = Duration::from_millis(50)).await;
    let mut running = connect(&host).await;
    running
        .write_all(&call(SLEEP, &pause(600_000)))
        .await
        .expect("sent");
    leased(&host).await;
    host.drain();
    let answer = String::from_utf8(rest_of(running).await).expect("a head is text");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("grpc-status: 14\r\n"), "{answer}");
    assert_eq!(host.finish().await, Drained::Cut);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_names_no_host_is_refused() {
    let host = start(|_| {}).await;
    let whole = String::from_utf8(call(ADD, b"")).expect("ASCII, and zeros");
    for (host_line, status) in [
        ("", 400),
        ("host: a\r\nhost: a\r\n", 400),
        ("host: a b\r\n", 400),
        ("host: a:1\r\n", 200),
    ] {
        let request = whole.replace("host: localhost\r\n", host_line);
        let mut stream = connect(&host).await;
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut read = Vec::new();
        until(&mut stream, &mut read, b"\r\n\r\n").await;
        let answer = String::from_utf8_lossy(&read).into_owned();
        let first = format!("HTTP/1.1 {status}");
        assert!(answer.starts_with(&first), "{host_line}: {answer}");
    }
}
