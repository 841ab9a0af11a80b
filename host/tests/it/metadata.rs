//! Metadata in both directions, and how a call ends: code, message, details, trailers.

use std::time::Duration;

use prost::Message;
use switchboard_test_support::proto::testservice::probe_client::ProbeClient;
use switchboard_test_support::proto::testservice::{
    ContextRequest, ContextResponse, DecorateRequest, DecorateResponse, FailAfterRequest, Failure,
    Metadata, Number,
};
use switchboard_test_support::{RawAnswer, RawClient, TestHost, frame, log};
use tonic::metadata::{BinaryMetadataValue, KeyAndValueRef, MetadataMap};
use tonic::{Code, Request};

const CONTEXT: &str = "/testservice.Probe/Context";
const DECORATE: &str = "/testservice.Probe/Decorate";

/// Any text may be a status message.
const TEXT: &str = "100 % \u{fc}n\u{ef}c\u{f6}de \u{1f680}\r\n\ttab\u{0}";

fn entry(key: &str, value: impl Into<Vec<u8>>) -> Metadata {
    Metadata {
        key: key.to_owned(),
        value: value.into(),
    }
}

fn failure(code: u32) -> Failure {
    Failure {
        code,
        message: format!("{TEXT}{code}"),
        details: vec![0, 1, 254, 255],
        trailers: vec![
            entry("x-text", "a"),
            entry("x-text", "b"),
            entry("x-raw-bin", [0xff, 0]),
        ],
    }
}

fn assert_failed(status: &tonic::Status, code: u32) {
    let number = i32::try_from(code).expect("a code");
    assert_eq!(status.code(), Code::from_i32(number));
    assert_eq!(status.message(), format!("{TEXT}{code}"));
    assert_eq!(status.details(), [0, 1, 254, 255]);
    let texts: Vec<_> = status.metadata().get_all("x-text").iter().collect();
    assert_eq!(texts, ["a", "b"]);
    let raw = status.metadata().get_bin("x-raw-bin").expect("a trailer");
    assert_eq!(raw.to_bytes().expect("base64").as_ref(), [0xff, 0]);
}

/// Our own keys among response metadata, with their values as text.
fn ours(metadata: &MetadataMap) -> Vec<(String, String)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    metadata
        .iter()
        .map(|pair| match pair {
            KeyAndValueRef::Ascii(key, value) => (key.to_string(), text(value.as_bytes())),
            KeyAndValueRef::Binary(key, value) => (
                key.to_string(),
                format!("{:?}", value.to_bytes().expect("base64")),
            ),
        })
        .filter(|(key, _)| key.starts_with("x-"))
        .collect()
}

async fn context(head: http::request::Builder, client: &RawClient) -> ContextResponse {
    let answer = client.call(head, frame(b"")).await;
    assert_eq!(answer.code(), 0, "{}", answer.message());
    ContextResponse::decode(answer.messages().remove(0)).expect("a context")
}

async fn decorate(client: &RawClient, request: &DecorateRequest) -> RawAnswer {
    client.unary(DECORATE, &request.encode_to_vec()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_code_comes_with_message_details_and_trailers() {
    let host = TestHost::start("testservice").await;
    let mut client = ProbeClient::new(host.channel());
    for code in 1..=16 {
        let status = client.fail(failure(code)).await.expect_err("a failure");
        assert_failed(&status, code);
    }
    assert_eq!(host.stats("testservice").made, 1, "a status is no fault");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_fails_keeps_its_messages_and_every_code() {
    let host = TestHost::start("testservice").await;
    let mut client = ProbeClient::new(host.channel());
    for code in 1..=16 {
        for count in [0, 3] {
            let request = FailAfterRequest {
                count,
                failure: Some(failure(code)),
            };
            let (messages, status) = match client.fail_after(request).await {
                // With no message before it, the failure may come instead of the headers.
                Err(status) => (Vec::new(), status),
                Ok(response) => {
                    let mut stream = response.into_inner();
                    let mut messages = Vec::new();
                    loop {
                        match stream.message().await {
                            Ok(Some(Number { value })) => messages.push(value),
                            Ok(None) => panic!("code {code} became OK"),
                            Err(status) => break (messages, status),
                        }
                    }
                }
            };
            assert_eq!(messages, (1..=i64::from(count)).collect::<Vec<_>>());
            assert_failed(&status, code);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_with_nothing_before_it_is_one_block_of_trailers() {
    let host = TestHost::start("testservice").await;
    let client = host.raw().await;
    let failed = failure(9).encode_to_vec();
    let answer = client.unary("/testservice.Probe/Fail", &failed).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/grpc");
    assert_eq!(answer.headers["grpc-status"], "9");
    assert_eq!(answer.headers["grpc-status-details-bin"], "AAH+/w");
    assert_eq!(answer.headers["x-raw-bin"], "/wA");
    let message = "100 %25 %C3%BCn%C3%AFc%C3%B6de %F0%9F%9A%80%0D%0A%09tab%009";
    assert_eq!(answer.message(), message);
    assert!(answer.body.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_trailers_of_a_plugin_arrive() {
    let host = TestHost::start("testservice").await;
    let mut client = ProbeClient::new(host.channel());
    for send_headers_first in [false, true] {
        let request = DecorateRequest {
            headers: vec![
                entry("x-one", "1"),
                entry("x-one", "2"),
                entry("x-bytes-bin", [0, 200]),
            ],
            trailers: vec![entry("x-last", "z"), entry("x-end-bin", b"".to_vec())],
            send_headers_first,
            ..DecorateRequest::default()
        };
        let answer = client.decorate(request).await.expect("an answer");
        assert_eq!(answer.get_ref().refused, [""; 0]);
        let expected = [
            ("x-one", "1"),
            ("x-one", "2"),
            ("x-bytes-bin", r#"b"\0\xc8""#),
            // tonic gives headers and trailers of a unary answer together.
            ("x-last", "z"),
            ("x-end-bin", r#"b"""#),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(ours(answer.metadata()), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_trailers_stand_where_they_belong() {
    let host = TestHost::start("testservice").await;
    let client = host.raw().await;
    let mut request = DecorateRequest {
        headers: vec![entry("x-head", "h")],
        trailers: vec![entry("x-tail", "t")],
        ..DecorateRequest::default()
    };
    let answer = decorate(&client, &request).await;
    assert_eq!(answer.code(), 0);
    assert_eq!(answer.headers["x-head"], "h");
    assert_eq!(answer.headers["content-type"], "application/grpc");
    assert_eq!(answer.headers.get("x-tail"), None);
    assert_eq!(answer.trailers["x-tail"], "t");
    assert_eq!(answer.trailers.get("x-head"), None);

    // Headers that were set are not lost when the call fails.
    request.failure = Some(failure(9));
    let answer = decorate(&client, &request).await;
    assert_eq!(answer.code(), 9);
    assert_eq!(answer.headers["x-head"], "h");
    assert_eq!(answer.headers.get("grpc-status"), None);
    assert_eq!(answer.trailers["x-tail"], "t", "set before the failure");
    assert_eq!(answer.trailers["x-raw-bin"], "/wA", "part of the failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_may_not_set_is_refused_and_the_call_goes_on() {
    let host = TestHost::start("testservice").await;
    let mut client = ProbeClient::new(host.channel());
    let bad = || {
        vec![
            entry("", "v"),
            entry("X-Upper", "v"),
            entry("grpc-status", "0"),
            entry("content-type", "text/html"),
            entry("x-line", "a\r\nb"),
            entry("x-big", vec![b'a'; 16 << 10]),
        ]
    };
    let request = DecorateRequest {
        headers: bad(),
        trailers: bad(),
        send_headers_first: true,
        late_headers: vec![entry("x-late", "v")],
        failure: None,
    };
    let answer = client.decorate(request).await.expect("an answer");
    assert_eq!(ours(answer.metadata()), []);
    let each = [
        ": response metadata key is not lower-case ASCII",
        "X-Upper: response metadata key is not lower-case ASCII",
        "grpc-status: response metadata key is reserved for gRPC or HTTP/2",
        "content-type: response metadata key is reserved for gRPC or HTTP/2",
        "x-line: response metadata value is not printable ASCII",
        "x-big: response metadata is larger than the host's limit",
    ];
    let late = "x-late: response headers have been sent already";
    let expected: Vec<_> = each.iter().chain(&each).chain([&late]).copied().collect();
    assert_eq!(answer.get_ref().refused, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trailer_of_a_failure_that_is_not_allowed_is_named_in_the_log() {
    let host = TestHost::start("testservice").await;
    let mut client = ProbeClient::new(host.channel());
    let request = Failure {
        code: 5,
        trailers: vec![entry("grpc-not-allowed-here", "v"), entry("x-fine", "v")],
        ..Failure::default()
    };
    let status = client.fail(request).await.expect_err("a failure");
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(
        ours(status.metadata()),
        [("x-fine".to_owned(), "v".to_owned())]
    );
    let line = log().wait_for(&["WARN", "grpc-not-allowed-here"]).await;
    for part in [
        "plugin=\"testservice\"",
        "path=\"/testservice.Probe/Fail\"",
        "peer=127.0.0.1:",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_sees_metadata_as_it_was_sent() {
    let host = TestHost::start("testservice").await;
    let client = host.raw().await;
    let head = RawClient::head(CONTEXT)
        .header("x-many", "one")
        .header("grpc-timeout", "60S")
        .header("x-many", "two")
        .header("x-padded-bin", "AAE=")
        .header("x-bare-bin", "AAE")
        .header("x-joined-bin", "AAE=,Ag")
        .header("x-broken-bin", "***")
        .header("user-agent", "a test");
    let seen = context(head, &client).await;
    let mut pairs: Vec<_> = seen
        .metadata
        .iter()
        .map(|pair| (pair.key.as_str(), pair.value.as_slice()))
        .collect();
    // The order of one key's values counts; that of keys does not.
    pairs.sort_by_key(|(key, _)| *key);
    let expected: [(&str, &[u8]); 7] = [
        ("user-agent", b"a test"),
        ("x-bare-bin", &[0, 1]),
        ("x-joined-bin", &[0, 1]),
        ("x-joined-bin", &[2]),
        ("x-many", b"one"),
        ("x-many", b"two"),
        ("x-padded-bin", &[0, 1]),
    ];
    assert_eq!(pairs, expected);
    assert!(!seen.cancelled);
    assert!(seen.peer.starts_with("127.0.0.1:"), "{}", seen.peer);
    assert_ne!(seen.peer, host.addr.to_string(), "the caller's, not ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_is_shown_it_may_send_back() {
    let host = TestHost::start("testservice").await;
    let client = host.raw().await;
    let latin = http::HeaderValue::from_bytes(b"\xe9t\xe9").expect("HTTP allows it");
    let head = RawClient::head(CONTEXT)
        // HTTP allows these and gRPC does not: they are left out, and the call goes on.
        .header("x-latin", latin)
        .header("x-tab", "a\tb")
        .header("x!y", "no key of gRPC")
        // The transport's.
        .header("host", "localhost")
        .header("trailer", "x-after")
        .header("x-text", "~ printable ~")
        .header("x-empty", "")
        .header("x-raw-bin", "/wA")
        .header("user-agent", "a test");
    let seen = context(head, &client).await.metadata;
    let mut keys: Vec<_> = seen.iter().map(|pair| pair.key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["user-agent", "x-empty", "x-raw-bin", "x-text"]);
    let request = DecorateRequest {
        headers: seen.clone(),
        trailers: seen,
        ..DecorateRequest::default()
    };
    let answer = decorate(&client, &request).await;
    assert_eq!(answer.code(), 0, "{}", answer.message());
    let refused = DecorateResponse::decode(answer.messages().remove(0));
    assert_eq!(refused.expect("an answer").refused, [""; 0]);
    assert_eq!(answer.headers["x-text"], "~ printable ~");
    assert_eq!(answer.trailers["x-raw-bin"], "/wA");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_begins_or_ends_with_a_space() {
    let host = TestHost::start("testservice").await;
    let client = host.raw().await;
    // A space around metadata may be stripped; in a status message it is text.
    let request = DecorateRequest {
        headers: vec![entry("x-one", "  a b ")],
        failure: Some(Failure {
            code: 3,
            message: "  a b ".to_owned(),
            trailers: vec![entry("x-two", " c ")],
            ..Failure::default()
        }),
        ..DecorateRequest::default()
    };
    let answer = decorate(&client, &request).await;
    assert_eq!(answer.headers["x-one"], "a b");
    assert_eq!(answer.message(), "%20%20a b%20");
    assert_eq!(answer.trailers["x-two"], "c");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_looks_up_single_keys() {
    let host = TestHost::start("testservice").await;
    let mut client = ProbeClient::new(host.channel());
    let keys = [
        "x-many",
        "X-Many",
        "x-raw-bin",
        "x-none",
        "te",
        "content-type",
    ];
    let mut request = Request::new(ContextRequest {
        keys: keys.map(str::to_owned).into(),
    });
    let metadata = request.metadata_mut();
    metadata.append("x-many", "one".parse().expect("ASCII"));
    metadata.append("x-many", "two".parse().expect("ASCII"));
    metadata.append_bin("x-raw-bin", BinaryMetadataValue::from_bytes(&[255, 0]));
    let seen = client.context(request).await.expect("a context");
    let expected = [entry("x-many", "one"), entry("x-raw-bin", [255, 0])];
    assert_eq!(seen.into_inner().looked_up, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_sees_the_time_that_is_left() {
    let host = TestHost::start("testservice").await;
    let mut client = ProbeClient::new(host.channel());
    let seen = client.context(ContextRequest::default()).await;
    let left = seen.expect("a context").into_inner().time_left_ns;
    assert_eq!(left, None, "no deadline");

    let minute = Duration::from_secs(60);
    let mut request = Request::new(ContextRequest::default());
    request.set_timeout(minute);
    let seen = client.context(request).await.expect("a context");
    let left = Duration::from_nanos(seen.into_inner().time_left_ns.expect("a deadline"));
    assert!(left <= minute && left > minute / 2, "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_time_the_operator_allows_is_a_deadline_too() {
    let half = Duration::from_secs(30);
    let host = TestHost::start_with("testservice", |setup| {
        setup.config.call.timeout_max = Some(half);
    })
    .await;
    let client = host.raw().await;
    for head in [
        RawClient::head(CONTEXT),
        RawClient::head(CONTEXT).header("grpc-timeout", "60S"),
    ] {
        let seen = context(head, &client).await;
        let left = Duration::from_nanos(seen.time_left_ns.expect("a deadline"));
        assert!(left <= half && left > half / 2, "{left:?}");
    }
}
