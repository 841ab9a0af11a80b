//! The smallest guest: bytes back as they came, unary and both ways.

use bytes::Bytes;
use switchboard_test_support::{RawClient, TestHost, frame, frames};

const UNARY: &str = "/echo.Echo/Unary";
const BIDI: &str = "/echo.Echo/Bidi";

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_any_size_comes_back() {
    let host = TestHost::start("echo").await;
    let client = host.raw().await;
    for size in [0, 1, 5, 16_383, 16_384, 16_385, 65_536, 1 << 20, 4 << 20] {
        let message: Vec<u8> = (0..size).map(|at: usize| (at % 251) as u8).collect();
        let answer = client.unary(UNARY, &message).await;
        assert_eq!(answer.code(), 0, "{size} bytes: {}", answer.message());
        assert!(answer.messages() == [Bytes::from(message)], "{size} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_answers_each_message_before_the_next() {
    let host = TestHost::start("echo").await;
    let client = host.raw().await;
    let mut call = client.begin(RawClient::head(BIDI)).await;
    call.send(b"0");
    let (_, mut answers, mut body) = call.headers().await.expect("headers");
    for round in 1..50_u8 {
        let chunk = answers.data().await.expect("a message").expect("no reset");
        assert_eq!(frames(chunk), [Bytes::from(format!("{}", round - 1))]);
        body.send_data(frame(round.to_string().as_bytes()), false)
            .expect("open");
    }
    body.send_data(Bytes::new(), true).expect("open");
    let last = answers.data().await.expect("a message").expect("no reset");
    assert_eq!(frames(last), [Bytes::from_static(b"49")]);
    assert!(answers.data().await.is_none());
    let trailers = answers
        .trailers()
        .await
        .expect("no reset")
        .expect("trailers");
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_headers_before_its_first_message_gets_them() {
    let host = TestHost::start("echo").await;
    let call = host.raw().await.begin(RawClient::head(BIDI)).await;
    let (headers, mut answers, mut body) = call.headers().await.expect("headers");
    assert_eq!(headers["content-type"], "application/grpc");
    body.send_data(frame(b"now"), true).expect("open");
    let answer = answers.data().await.expect("a message").expect("no reset");
    assert_eq!(frames(answer), [Bytes::from_static(b"now")]);
}
