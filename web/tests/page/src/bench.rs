//! How long calls take: each returns the microseconds of every call, or of the whole stream.
//!
//! What is compared with them, messages without gRPC, is in `files/echo.js`; both use the page's own
//! clock, and nothing is printed or recorded meanwhile.

use futures_util::future::join_all;
use tokio::sync::mpsc::channel as queue;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::channels::channel;
use crate::proto::echo::EchoMessage;
use crate::proto::echo::echo_client::EchoClient;
use crate::proto::helloworld::HelloRequest;
use crate::proto::helloworld::greeter_client::GreeterClient;
use crate::proto::testservice::probe_client::ProbeClient;
use crate::proto::testservice::{Block, FloodRequest};

#[wasm_bindgen]
extern "C" {
    /// Milliseconds since the page began, in steps of 5 us.
    #[wasm_bindgen(js_namespace = performance)]
    fn now() -> f64;
}

fn since_us(begun: f64) -> f64 {
    (now() - begun) * 1000.0
}

/// What the greeting is asked for: 32 bytes with the protobuf around it.
const WHO: &str = "a browser that makes many calls";

/// Unary calls one after the other.
#[wasm_bindgen]
pub async fn bench_unary(name: String, calls: u32) -> Vec<f64> {
    let mut greeter = GreeterClient::new(channel(&name));
    let mut times = Vec::new();
    for _ in 0..calls {
        let begun = now();
        let name = WHO.to_owned();
        let answer = greeter.say_hello(HelloRequest { name }).await;
        times.push(since_us(begun));
        let message = answer.expect("a greeting").into_inner().message;
        assert!(message.ends_with(WHO), "{message}");
    }
    times
}

/// Unary calls on so many lines at once.
#[wasm_bindgen]
pub async fn bench_lines(name: String, lines: u32, calls: u32) -> Vec<f64> {
    let lines = (0..lines).map(|_| bench_unary(name.clone(), calls));
    join_all(lines).await.concat()
}

/// Messages on one stream, each sent when the one before has come back.
#[wasm_bindgen]
pub async fn bench_bidi(name: String, messages: u32) -> Vec<f64> {
    let (sender, receiver) = queue(1);
    let requests = Request::new(ReceiverStream::new(receiver));
    let answer = EchoClient::new(channel(&name)).bidi(requests).await;
    let mut answers = answer.expect("a stream").into_inner();
    let mut times = Vec::new();
    for _ in 0..messages {
        let begun = now();
        let body = WHO.as_bytes().to_vec();
        sender.send(EchoMessage { body }).await.expect("it is open");
        let answer = answers.message().await.expect("no failure");
        times.push(since_us(begun));
        assert_eq!(answer.expect("an answer").body, WHO.as_bytes());
    }
    times
}

/// Blocks from the server; the time of all.
#[wasm_bindgen]
pub async fn bench_down(name: String, count: u32, size_bytes: u32) -> Vec<f64> {
    let begun = now();
    let request = FloodRequest { count, size_bytes };
    let answer = ProbeClient::new(channel(&name)).flood(request).await;
    let mut blocks = answer.expect("a stream").into_inner();
    let mut received = 0;
    while blocks.message().await.expect("no failure").is_some() {
        received += 1;
    }
    assert_eq!(received, count);
    vec![since_us(begun)]
}

/// Blocks to the server; the time of all.
#[wasm_bindgen]
pub async fn bench_up(name: String, count: u32, size_bytes: u32) -> Vec<f64> {
    let data = vec![7; usize::try_from(size_bytes).expect("it fits")];
    let begun = now();
    let blocks = tokio_stream::iter(0..count).map(move |index| Block {
        index,
        data: data.clone(),
        pause_ms: 0,
    });
    let answer = ProbeClient::new(channel(&name)).swallow(blocks).await;
    let total = answer.expect("an answer").into_inner();
    assert_eq!(total.count, u64::from(count));
    vec![since_us(begun)]
}
