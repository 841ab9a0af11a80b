//! gRPC-Web: the same calls as over gRPC, binary and text, over HTTP/1.1 and HTTP/2.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use h2::Reason;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use prost::Message;
use switchboard_test_support::proto::testservice::test_service_client::TestServiceClient;
use switchboard_test_support::proto::testservice::{
    AddRequest, ContextRequest, ContextResponse, CountRequest, DecorateRequest, FailAfterRequest,
    Failure, FloodRequest, Metadata, Number, SleepRequest, Total,
};
use switchboard_test_support::{RawClient, TestHost, eventually, frame, frames};
use tonic_web::GrpcWebClientLayer;
use tower_layer::Layer;

use crate::web_client::{self, BINARY, BOTH, Over, TEXT, WebClient};

const ADD: &str = "/testservice.TestService/Add";
const SUM: &str = "/testservice.TestService/Sum";
const COUNT: &str = "/testservice.TestService/Count";
const FAIL: &str = "/testservice.Probe/Fail";
const SLEEP: &str = "/testservice.Probe/Sleep";

async fn start() -> TestHost {
    TestHost::start("testservice").await
}

fn count(to: i64) -> Vec<u8> {
    let request = CountRequest {
        from: 1,
        to,
        pause_ms: 0,
    };
    request.encode_to_vec()
}

fn numbers(messages: &[Bytes]) -> Vec<i64> {
    let number = |message: &Bytes| Number::decode(message.clone()).expect("a number").value;
    messages.iter().map(number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_trailers_are_in_the_body() {
    let host = start().await;
    for over in BOTH {
        let mut client = WebClient::connect(host.addr, over).await;
        for content_type in [
            "application/grpc-web",
            BINARY,
            "application/grpc-web-text",
            TEXT,
        ] {
            let headers = [
                ("content-type", content_type),
                ("x-grpc-web", "1"),
                ("x-user-agent", "grpc-web-javascript/0.1"),
            ];
            let answer = client.call(ADD, &headers, &[8, 2, 16, 3]).await;
            let of = format!("{over:?} {content_type}: {answer:?}");
            assert_eq!(answer.status, 200, "{of}");
            assert_eq!(answer.header("content-type"), content_type, "{of}");
            assert_eq!(numbers(&answer.messages), [5], "{of}");
            assert_eq!(answer.code(), 0, "{of}");
            assert!(!answer.headers.contains_key("grpc-status"), "{of}");
            let answer = client.call(COUNT, &headers, &count(300)).await;
            assert_eq!(
                numbers(&answer.messages),
                Vec::from_iter(1..=300),
                "{over:?}"
            );
            assert_eq!(answer.code(), 0);
            let answer = client.call(COUNT, &headers, &count(0)).await;
            assert_eq!(
                (answer.messages.len(), answer.code()),
                (0, 0),
                "none at all"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_makes_its_calls() {
    let host = start().await;
    let http = Client::builder(TokioExecutor::new()).build_http();
    let service = GrpcWebClientLayer::new().layer(http);
    let origin = format!("http://{}", host.addr).parse().expect("a URI");
    let mut client = TestServiceClient::with_origin(service, origin);
    let sum = client.add(AddRequest { a: 2, b: 3 }).await.expect("a sum");
    assert_eq!(sum.into_inner().value, 5);
    let range = AddRequest { a: i64::MAX, b: 1 };
    let status = client.add(range).await.expect_err("too large");
    assert_eq!(status.code(), tonic::Code::OutOfRange);
    let request = CountRequest {
        from: 1,
        to: 1000,
        pause_ms: 0,
    };
    let mut stream = client.count(request).await.expect("a stream").into_inner();
    for expected in 1..=1000 {
        let number = stream.message().await.expect("no error");
        assert_eq!(number.expect("a number").value, expected);
    }
    assert!(stream.message().await.expect("the end").is_none());
    let sent = (1..=10).map(|value| Number { value });
    let total = client.sum(tokio_stream::iter(sent)).await.expect("a total");
    assert_eq!(
        total.into_inner(),
        Total {
            count: 10,
            total: 55
        }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_comes_with_all_that_belongs_to_it() {
    let host = start().await;
    let failure = Failure {
        code: 9,
        message: "nicht jetzt, 50 % \u{fc}ber\u{1f680}".to_owned(),
        details: vec![0, 1, 255],
        trailers: vec![Metadata {
            key: "x-own-bin".to_owned(),
            value: vec![0, 254, 255],
        }],
    };
    let after = FailAfterRequest {
        count: 2,
        failure: Some(failure.clone()),
    };
    for over in BOTH {
        for content_type in [BINARY, TEXT] {
            let headers = [("content-type", content_type)];
            let mut client = WebClient::connect(host.addr, over).await;
            let at_once = client.call(FAIL, &headers, &failure.encode_to_vec()).await;
            assert!(at_once.is_trailers_only(), "{over:?} {at_once:?}");
            assert_eq!(at_once.header("content-type"), content_type);
            let path = "/testservice.Probe/FailAfter";
            let later = client.call(path, &headers, &after.encode_to_vec()).await;
            assert_eq!(numbers(&later.messages), [1, 2], "{over:?} {later:?}");
            assert!(!later.headers.contains_key("grpc-status"));
            for answer in [at_once, later] {
                assert_eq!((answer.status.as_u16(), answer.code()), (200, 9));
                let message = "nicht jetzt, 50 %25 %C3%BCber%F0%9F%9A%80";
                assert_eq!(answer.trailer("grpc-message"), message);
                assert_eq!(answer.trailer("grpc-status-details-bin"), "AAH/");
                assert_eq!(answer.trailer("x-own-bin"), "AP7/");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_goes_both_ways() {
    let host = start().await;
    let entry = |key: &str, value: &[u8]| Metadata {
        key: key.to_owned(),
        value: value.to_vec(),
    };
    let decorate = DecorateRequest {
        headers: vec![entry("x-head", b"one"), entry("x-head-bin", &[255])],
        trailers: vec![entry("x-tail", b"two")],
        ..DecorateRequest::default()
    };
    for over in BOTH {
        let mut client = WebClient::connect(host.addr, over).await;
        let headers = [
            ("content-type", BINARY),
            ("x-own", "mine"),
            ("x-own-bin", "AP8="),
            ("grpc-timeout", "1H"),
            ("switchboard-identity", "root"),
        ];
        let request = ContextRequest::default().encode_to_vec();
        let mut answer = client
            .call("/testservice.Probe/Context", &headers, &request)
            .await;
        let context = ContextResponse::decode(answer.messages.remove(0)).expect("a context");
        let value = |key: &str| {
            let found = context.metadata.iter().find(|entry| entry.key == key);
            found.map(|entry| entry.value.clone())
        };
        assert_eq!(value("x-own"), Some(b"mine".to_vec()), "{over:?}");
        assert_eq!(value("x-own-bin"), Some(vec![0, 255]));
        assert_eq!(value("switchboard-identity"), None, "the host's word only");
        assert!(context.peer.starts_with("127.0.0.1:"), "{}", context.peer);
        let left = Duration::from_nanos(context.time_left_ns.expect("a deadline"));
        assert!(left > Duration::from_secs(3000), "{left:?}");
        let path = "/testservice.Probe/Decorate";
        let answer = client.call(path, &headers, &decorate.encode_to_vec()).await;
        assert_eq!(answer.header("x-head"), "one");
        assert_eq!(answer.header("x-head-bin"), "/w");
        assert_eq!(answer.trailer("x-tail"), "two");
        assert_eq!(answer.code(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_may_be_padded_wherever_it_was_flushed() {
    let host = start().await;
    let frames = [frame(&[8, 7]), frame(&[8, 8])].concat();
    for size in 1..=frames.len() {
        let flushed = frames.chunks(size).map(|some| STANDARD.encode(some));
        let body = Bytes::from(flushed.collect::<String>());
        for over in BOTH {
            let mut client = WebClient::connect(host.addr, over).await;
            let headers = [("content-type", TEXT)];
            let answer = client.call_raw(SUM, &headers, body.clone()).await;
            assert_eq!(answer.code(), 0, "{size} {over:?} {answer:?}");
            assert_eq!(answer.messages, [[8, 2, 16, 15].as_slice()]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accept_chooses_the_form_of_the_answer() {
    let host = start().await;
    for over in BOTH {
        let mut client = WebClient::connect(host.addr, over).await;
        for (sent, accepted, answered) in [
            (BINARY, "application/grpc-web-text", TEXT),
            (TEXT, "application/grpc-web", BINARY),
            (TEXT, "*/*", TEXT),
        ] {
            let headers = [("content-type", sent), ("accept", accepted)];
            let answer = client.call(ADD, &headers, &[8, 1]).await;
            assert_eq!(answer.header("content-type"), answered, "{over:?} {sent}");
            assert_eq!(numbers(&answer.messages), [1]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_as_for_grpc() {
    let host = TestHost::start_with("testservice", |setup| {
        setup.config.call.request_bytes_max = 100;
        setup.config.call.response_bytes_max = 1000;
    })
    .await;
    let flood = FloodRequest {
        count: 1,
        size_bytes: 2000,
    };
    for over in BOTH {
        let mut client = WebClient::connect(host.addr, over).await;
        for (path, content_type, body, code) in [
            ("/no.Such/Method", BINARY, web_client::body(BINARY, b""), 12),
            (ADD, BINARY, Bytes::new(), 12),
            (ADD, BINARY, Bytes::from_static(&[1, 0, 0, 0, 0]), 13),
            (ADD, BINARY, Bytes::from_static(&[0x80, 0, 0, 0, 0]), 13),
            (ADD, BINARY, Bytes::from_static(&[0, 0, 0]), 13),
            (ADD, TEXT, Bytes::from_static(b"AAAA!AAA"), 13),
            (ADD, TEXT, Bytes::from_static(b"AAAAAAA"), 13),
            (ADD, TEXT, web_client::body(BINARY, &[8, 1]), 13),
            (ADD, BINARY, web_client::body(BINARY, &[0; 101]), 8),
            (ADD, TEXT, web_client::body(TEXT, &[0; 101]), 8),
            (
                "/testservice.Probe/Flood",
                BINARY,
                web_client::body(BINARY, &flood.encode_to_vec()),
                8,
            ),
        ] {
            let headers = [("content-type", content_type)];
            let answer = client.call_raw(path, &headers, body.clone()).await;
            assert_eq!(answer.code(), code, "{over:?} {path} {body:?} {answer:?}");
            assert_eq!(answer.status, 200);
            assert!(!answer.trailer("grpc-message").is_empty());
        }
        let headers = [("content-type", BINARY), ("grpc-timeout", "20m")];
        let sleep = SleepRequest {
            duration_ms: 600_000,
        };
        let answer = client.call(SLEEP, &headers, &sleep.encode_to_vec()).await;
        assert_eq!(answer.code(), 4, "{over:?} {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn switched_off_it_is_not_there() {
    let host = TestHost::start_with("testservice", |setup| setup.config.web = None).await;
    for (over, status) in [(Over::Http1, 404), (Over::Http2, 415)] {
        let mut client = WebClient::connect(host.addr, over).await;
        let answer = client.call(ADD, &[("content-type", BINARY)], &[8, 1]).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    assert_eq!(host.raw().await.unary(ADD, &[8, 1]).await.code(), 0);
}

/// The last frame of a body is under flow control like all of it.
#[tokio::test(flavor = "multi_thread")]
async fn trailers_wait_for_room_and_no_longer_than_the_deadline() {
    let host = start().await;
    let mut settings = h2::client::Builder::new();
    // Room for the message and a part of the trailers.
    settings.initial_window_size(10);
    let client = RawClient::connect_with(host.addr, &settings).await;
    let head = |timeout| {
        let head = http::Request::post(format!("http://localhost{ADD}"));
        head.header("content-type", BINARY)
            .header("grpc-timeout", timeout)
    };
    let mut call = client.begin(head("1H")).await;
    call.send(&[8, 1]);
    call.end();
    let (_, mut body, _request) = call.headers().await.expect("headers");
    let free = || host.stats("testservice").leased.total() == 0;
    eventually("the instance is free although nobody reads", free).await;
    let mut wire = Vec::new();
    while let Some(some) = body.data().await {
        let some = some.expect("no reset");
        assert!(some.len() <= 10);
        wire.extend_from_slice(&some);
        let opened = body.flow_control().release_capacity(some.len());
        opened.expect("it was taken");
    }
    let (messages, trailers) = web_client::frames(wire.into());
    assert_eq!(numbers(&messages), [1]);
    assert_eq!(trailers.expect("trailers")["grpc-status"], "0");

    let mut call = client.begin(head("50m")).await;
    call.send(&[8, 1]);
    call.end();
    let (_, mut body, _request) = call.headers().await.expect("headers");
    let end = async {
        loop {
            match body.data().await.expect("half a frame is no end") {
                Ok(_nobody_gives_it_back) => {}
                Err(error) => return error,
            }
        }
    };
    let error = switchboard_test_support::patiently("the deadline", end).await;
    assert_eq!(error.reason(), Some(Reason::CANCEL));
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_beside_it_is_as_it_was() {
    let host = start().await;
    let client = host.raw().await;
    let head = RawClient::head(ADD)
        .header("origin", "https://foreign.example")
        .header("accept", "application/grpc-web-text");
    let answer = client.call(head, frame(&[8, 4])).await;
    assert_eq!(answer.code(), 0);
    assert_eq!(frames(answer.body.clone()), [[8, 4].as_slice()]);
    assert_eq!(answer.headers["content-type"], "application/grpc");
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
    assert!(!answer.headers.contains_key("vary"));
}
