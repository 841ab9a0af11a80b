//! Calls of each kind through generated clients; metadata, errors, limits.

use serde_json::{Value, json};
use tokio_stream::{Stream, StreamExt, iter};
use tonic::metadata::{BinaryMetadataValue, MetadataValue};
use tonic::{Request, Response, Status, Streaming};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::channels::channel;
use crate::outcome::{ended, ended_with, metadata, text};
use crate::proto::echo::EchoMessage;
use crate::proto::echo::echo_client::EchoClient;
use crate::proto::helloworld::HelloRequest;
use crate::proto::helloworld::greeter_client::GreeterClient;
use crate::proto::testservice::probe_client::ProbeClient;
use crate::proto::testservice::test_service_client::TestServiceClient;
use crate::proto::testservice::{
    AddRequest, ContextRequest, CountRequest, DecorateRequest, FailAfterRequest, Failure,
    FloodRequest, Metadata, Number, Total,
};

/// Unary, of another service: the greeting.
#[wasm_bindgen]
pub async fn greet(name: String, who: String) -> String {
    let mut greeter = GreeterClient::new(channel(&name));
    match greeter.say_hello(HelloRequest { name: who }).await {
        Ok(answer) => text(&json!(answer.get_ref().message)),
        Err(status) => text(&ended(&status)),
    }
}

/// Unary: the sum of two numbers.
#[wasm_bindgen]
pub async fn add(name: String, a: i32, b: i32) -> String {
    let mut service = TestServiceClient::new(channel(&name));
    let (a, b) = (a.into(), b.into());
    match service.add(AddRequest { a, b }).await {
        Ok(answer) => text(&json!(answer.get_ref().value)),
        Err(status) => text(&ended(&status)),
    }
}

/// Client streaming: how many numbers came, and their total.
#[wasm_bindgen]
pub async fn sum(name: String, values: Vec<i32>) -> String {
    let mut service = TestServiceClient::new(channel(&name));
    match service.sum(numbers(values)).await {
        Ok(answer) => text(&shown(answer.get_ref())),
        Err(status) => text(&ended(&status)),
    }
}

/// Server streaming: the numbers that came, and how it ended.
#[wasm_bindgen]
pub async fn count(name: String, from: i32, to: i32) -> String {
    let mut service = TestServiceClient::new(channel(&name));
    let request = CountRequest {
        from: from.into(),
        to: to.into(),
        pause_ms: 0,
    };
    let answer = service.count(request).await;
    text(&streamed(answer, |number: &Number| json!(number.value)).await)
}

/// Bidi: each number is sent after the total of those before it has come.
#[wasm_bindgen]
pub async fn running(name: String, values: Vec<i32>) -> String {
    let mut service = TestServiceClient::new(channel(&name));
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut totals = match service.running(requests).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return text(&ended(&status)),
    };
    let mut seen = Vec::new();
    for value in values {
        let value = value.into();
        sender
            .send(Number { value })
            .await
            .expect("the call is open");
        match totals.message().await {
            Ok(Some(total)) => seen.push(shown(&total)),
            Ok(None) => return text(&json!("the stream ended too soon")),
            Err(status) => return text(&ended(&status)),
        }
    }
    drop(sender);
    let rest = collected(totals, shown).await;
    text(&json!({ "totals": seen, "rest": rest }))
}

/// Sends metadata, asks for headers and trailers, and tells all that either side saw.
#[wasm_bindgen]
pub async fn decorate(name: String) -> String {
    let mut probe = ProbeClient::new(channel(&name));
    let mut request = Request::new(ContextRequest { keys: Vec::new() });
    let sent = request.metadata_mut();
    sent.insert("x-text", MetadataValue::from_static("as it is, = and all"));
    let bytes = BinaryMetadataValue::from_bytes(&[0, 1, 254, 255]);
    sent.insert_bin("x-bytes-bin", bytes);
    sent.append("x-twice", MetadataValue::from_static("one"));
    sent.append("x-twice", MetadataValue::from_static("two"));
    let received = match probe.context(request).await {
        Ok(answer) => answer.into_inner().metadata,
        Err(status) => return text(&ended(&status)),
    };
    let entry = |key: &str, value: &[u8]| Metadata {
        key: key.to_owned(),
        value: value.to_vec(),
    };
    let decorated = probe.decorate(DecorateRequest {
        headers: vec![entry("x-head", b"first"), entry("x-head-bin", &[0, 200])],
        trailers: vec![entry("x-trail", b"last"), entry("x-trail-bin", &[201, 0])],
        ..DecorateRequest::default()
    });
    let answered = match decorated.await {
        Ok(answer) => metadata(answer.metadata()),
        Err(status) => ended(&status),
    };
    let received = received.iter().filter(|entry| entry.key.starts_with("x-"));
    let received = received.map(|entry| json!([entry.key, entry.value]));
    text(&json!({ "server_saw": received.collect::<Vec<_>>(), "client_saw": answered }))
}

/// A call that fails as it is told to.
#[wasm_bindgen]
pub async fn fail(name: String, code: u32, message: String, details: String) -> String {
    let mut probe = ProbeClient::new(channel(&name));
    let trailers = vec![Metadata {
        key: "x-why".to_owned(),
        value: b"because".to_vec(),
    }];
    let failure = Failure {
        code,
        message,
        details: details.into_bytes(),
        trailers,
    };
    text(&ended_with(&probe.fail(failure).await))
}

/// A stream that fails after so many messages.
#[wasm_bindgen]
pub async fn fail_after(name: String, count: u32, code: u32, message: String) -> String {
    let mut probe = ProbeClient::new(channel(&name));
    let failure = Some(Failure {
        code,
        message,
        ..Failure::default()
    });
    let answer = probe.fail_after(FailAfterRequest { count, failure }).await;
    text(&streamed(answer, |number: &Number| json!(number.value)).await)
}

/// A call of whatever method.
#[wasm_bindgen]
pub async fn call(name: String, path: String) -> String {
    let mut grpc = tonic::client::Grpc::new(channel(&name));
    let codec = tonic_prost::ProstCodec::<EchoMessage, EchoMessage>::default();
    let path = path.parse().expect("a path");
    grpc.ready().await.expect("a channel is always ready");
    let answer = grpc.unary(Request::new(EchoMessage::default()), path, codec);
    text(&ended_with(&answer.await))
}

/// One message of this size there and back. The client takes whatever comes.
#[wasm_bindgen]
pub async fn echo(name: String, size_bytes: usize) -> String {
    let mut echo = EchoClient::new(channel(&name)).max_decoding_message_size(usize::MAX);
    let body = vec![7; size_bytes];
    match echo.unary(EchoMessage { body }).await {
        Ok(answer) => text(&json!(answer.get_ref().body.len())),
        Err(status) => text(&ended(&status)),
    }
}

/// One message of this size from the server, to a client that takes as much as tonic's default.
#[wasm_bindgen]
pub async fn large_answer(name: String, size_bytes: u32) -> String {
    let mut probe = ProbeClient::new(channel(&name));
    let request = FloodRequest {
        count: 1,
        size_bytes,
    };
    let answer = probe.flood(request).await;
    text(&streamed(answer, |block| json!(block.data.len())).await)
}

/// The messages of an answer that is a stream, and how it ended, wherever it did.
async fn streamed<T>(answer: Answer<T>, shown: impl Fn(&T) -> Value) -> Value {
    match answer {
        Ok(answer) => collected(answer.into_inner(), shown).await,
        Err(status) => json!({ "messages": [], "end": ended(&status) }),
    }
}

type Answer<T> = Result<Response<Streaming<T>>, Status>;

/// The messages of a stream, and how it ended.
async fn collected<T>(mut stream: Streaming<T>, shown: impl Fn(&T) -> Value) -> Value {
    let mut messages = Vec::new();
    let end: Result<(), Status> = loop {
        match stream.message().await {
            Ok(Some(message)) => messages.push(shown(&message)),
            Ok(None) => break Ok(()),
            Err(status) => break Err(status),
        }
    };
    json!({ "messages": messages, "end": ended_with(&end) })
}

fn numbers(values: Vec<i32>) -> impl Stream<Item = Number> {
    iter(values).map(|value| Number {
        value: value.into(),
    })
}

fn shown(total: &Total) -> Value {
    json!([total.count, total.total])
}
