//! gRPC over HTTP/2 as it stands on the wire, and what callers get who do not keep to it.
//! Source of each answer: grpc/doc/PROTOCOL-HTTP2.md and grpc/doc/http-grpc-status-mapping.md.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use prost::Message;
use switchboard_test_support::proto::testservice::{
    AddRequest, CountRequest, InstanceRequest, InstanceResponse,
};
use switchboard_test_support::{RawAnswer, RawClient, TestHost, frame};

use crate::inbound::Inbound;

const ADD: &str = "/testservice.TestService/Add";
const SUM: &str = "/testservice.TestService/Sum";
const COUNT: &str = "/testservice.TestService/Count";
const RUNNING: &str = "/testservice.TestService/Running";
const UNIMPLEMENTED: u16 = 12;
const INTERNAL: u16 = 13;

async fn start() -> (TestHost, RawClient) {
    let host = TestHost::start("testservice").await;
    let client = host.raw().await;
    (host, client)
}

/// Two and three, to be added.
fn two_and_three() -> Bytes {
    frame(&AddRequest { a: 2, b: 3 }.encode_to_vec())
}

fn one_to_three() -> Bytes {
    let request = CountRequest {
        from: 1,
        to: 3,
        pause_ms: 0,
    };
    frame(&request.encode_to_vec())
}

fn twice(frame: &Bytes) -> Vec<u8> {
    [&frame[..], &frame[..]].concat()
}

/// A whole answer in one block: "Trailers-Only".
fn assert_refused(answer: &RawAnswer, code: u16, text: &str) {
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.code(), code, "{}", answer.message());
    assert_eq!(answer.message(), text);
    assert_eq!(answer.headers["content-type"], "application/grpc");
    assert!(answer.headers.contains_key("grpc-status"), "{answer:?}");
    assert!(answer.body.is_empty());
}

/// An answer of HTTP and not of gRPC, with a line for people.
fn assert_plain(answer: &RawAnswer, is_head: bool) {
    assert!(answer.headers.get("grpc-status").is_none(), "{answer:?}");
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    let line =
        "this path is served over gRPC only: send a POST with content-type application/grpc\n";
    assert_eq!(answer.body, if is_head { "" } else { line });
}

/// The plugin is as it was, and so is the connection.
async fn assert_untouched(client: &RawClient) {
    let request = InstanceRequest {}.encode_to_vec();
    let answer = client.unary("/testservice.Probe/Instance", &request).await;
    assert_eq!(answer.code(), 0, "{}", answer.message());
    let seen = InstanceResponse::decode(answer.messages().remove(0));
    assert_eq!(seen.expect("an answer").calls, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_answer_has_headers_a_message_and_trailers() {
    let (_host, client) = start().await;
    let answer = client.call(RawClient::head(ADD), two_and_three()).await;
    assert_eq!(answer.status, StatusCode::OK);
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/grpc".parse().expect("ASCII"));
    assert_eq!(answer.headers, headers);
    assert_eq!(&answer.body[..], [0, 0, 0, 0, 2, 8, 5]);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().expect("ASCII"));
    assert_eq!(answer.trailers, trailers);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_post_is_grpc() {
    let (_host, client) = start().await;
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "HEAD"] {
        let head = Request::builder()
            .method(method)
            .uri(format!("http://localhost{ADD}"))
            .header("content-type", "application/grpc");
        let answer = client.call(head, two_and_three()).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        // RFC 9110, section 15.5.6: a 405 names the methods that are allowed.
        assert_eq!(answer.headers["allow"], "POST", "{method}");
        assert_plain(&answer, method == "HEAD");
    }
    assert_untouched(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_content_types_of_grpc_are_taken() {
    let (_host, client) = start().await;
    let of = |content_type: &str| {
        Request::post(format!("http://localhost{ADD}")).header("content-type", content_type)
    };
    for taken in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc+json",
        "application/grpc; charset=utf-8",
    ] {
        let answer = client.call(of(taken), two_and_three()).await;
        assert_eq!(answer.code(), 0, "{taken}");
    }
    let nothing = Request::post(format!("http://localhost{ADD}"));
    let others = [
        "application/json",
        "application/grpc-webs",
        "application/grpcx",
        "text/plain",
        "",
    ];
    for head in others.map(of).into_iter().chain([nothing]) {
        let answer = client.call(head, two_and_three()).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_plain(&answer, false);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_room_for_a_line_gets_an_answer_without() {
    let host = TestHost::start("echo").await;
    let mut settings = h2::client::Builder::new();
    settings.initial_window_size(0);
    let client = RawClient::connect_with(host.addr, &settings).await;
    // The host knows the window when it has answered once.
    assert_eq!(
        client.call(RawClient::head("/"), Bytes::new()).await.code(),
        UNIMPLEMENTED
    );
    let head = Request::get("http://localhost/");
    let answer = client.call(head, Bytes::new()).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(answer.body.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_has_the_content_type_of_the_request() {
    let (_host, client) = start().await;
    let bad = Bytes::from_static(&[9, 0, 0, 0, 0]);
    for (asked, answered) in [
        ("application/grpc", "application/grpc"),
        ("application/grpc; charset=utf-8", "application/grpc"),
        ("application/grpc+proto", "application/grpc+proto"),
        ("application/grpc+json", "application/grpc+json"),
    ] {
        for (path, body, code) in [
            (ADD, two_and_three(), 0),
            (COUNT, one_to_three(), 0),
            (ADD, bad.clone(), INTERNAL),
            ("/no.Such/Method", Bytes::new(), UNIMPLEMENTED),
        ] {
            let head = Request::post(format!("http://localhost{path}"));
            let answer = client.call(head.header("content-type", asked), body).await;
            assert_eq!(answer.code(), code, "{asked}: {path}");
            assert_eq!(answer.headers["content-type"], answered, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_serves_is_unimplemented() {
    let (_host, client) = start().await;
    for path in [
        "/testservice.TestService/Subtract",
        "/testservice.TestService/add",
        "/testservice.Nobody/Add",
        "/nobody.TestService/Add",
        "/TestService/Add",
        "/testservice.TestService/",
        "/testservice.TestService",
        "/testservice.TestService/Add/",
        "/testservice.TestService//Add",
        "//testservice.TestService/Add",
        "/testservice.TestService/%41dd",
        "/",
    ] {
        let answer = client.call(RawClient::head(path), two_and_three()).await;
        let text = format!("no service here has the method {path}").replace('%', "%25");
        assert_refused(&answer, UNIMPLEMENTED, &text);
    }
    // What follows the path is no part of the method's name.
    let answer = client
        .call(RawClient::head(&format!("{ADD}?x=1")), two_and_three())
        .await;
    assert_eq!(answer.code(), 0);
    assert_untouched(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_path_is_answered_whatever_may_follow() {
    let (_host, client) = start().await;
    let call = client.begin(RawClient::head("/no.Such/Method")).await;
    let answer = call.answer().await.expect("a status, not a reset");
    assert_eq!(answer.code(), UNIMPLEMENTED);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoding_that_is_not_known_is_refused_with_those_that_are() {
    let (_host, client) = start().await;
    for encoding in ["br", "snappy"] {
        let head = RawClient::head(ADD).header("grpc-encoding", encoding);
        let answer = client.call(head, two_and_three()).await;
        let text = format!(
            "message encoding \"{encoding}\" is not supported here; deflate, gzip, zstd and identity are"
        );
        assert_refused(&answer, UNIMPLEMENTED, &text);
        let accepted = "identity,deflate,gzip,zstd";
        assert_eq!(answer.headers["grpc-accept-encoding"], accepted);
    }
    let head = RawClient::head(ADD).header("grpc-encoding", "identity");
    let answer = client.call(head, two_and_three()).await;
    assert_eq!(answer.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_frames_are_internal_for_every_kind() {
    let (_host, client) = start().await;
    let cut = "malformed request: the request ends within a message";
    for (wire, text) in [
        (
            &[1, 0, 0, 0, 0][..],
            "malformed request: a compressed message without grpc-encoding",
        ),
        (
            &[2, 0, 0, 0, 0],
            "malformed request: unknown flag before a message",
        ),
        (&[0], cut),
        (&[0, 0, 0, 0], cut),
        (&[0, 0, 0, 0, 1], cut),
        (&[0, 0, 0, 0, 9, 8, 1], cut),
    ] {
        for path in [ADD, COUNT, SUM] {
            let wire = Bytes::copy_from_slice(wire);
            let answer = client.call(RawClient::head(path), wire.clone()).await;
            assert_refused(&answer, INTERNAL, text);
        }
        // Its headers may have left when the frame comes.
        let wire = Bytes::copy_from_slice(wire);
        let answer = client.call(RawClient::head(RUNNING), wire).await;
        assert_eq!((answer.code(), answer.message()), (INTERNAL, text));
    }
    assert_untouched(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_frame_ends_a_stream_that_has_begun() {
    let (_host, client) = start().await;
    let mut call = client.begin(RawClient::head(RUNNING)).await;
    call.send(&[8, 1]);
    let (_, body, mut request) = call.headers().await.expect("headers");
    let mut totals = Inbound::new(body);
    totals.next().await.expect("no reset").expect("a total");
    let wire = Bytes::from_static(&[3, 0, 0, 0, 0]);
    request.send_data(wire, false).expect("open");
    assert_eq!(totals.next().await.expect("no reset"), None);
    let trailers = totals.trailers().await.expect("no reset");
    assert_eq!(trailers["grpc-status"], "13");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_takes_one_message_takes_exactly_one() {
    let (host, client) = start().await;
    let none = "the method takes exactly one request message, got none";
    let more = "the method takes exactly one request message, got more than one";
    for (path, message) in [(ADD, two_and_three()), (COUNT, one_to_three())] {
        let answer = client.call(RawClient::head(path), Bytes::new()).await;
        assert_refused(&answer, UNIMPLEMENTED, none);
        let answer = client.call(RawClient::head(path), twice(&message)).await;
        assert_refused(&answer, UNIMPLEMENTED, more);
    }
    assert_eq!(host.stats("testservice").retired_unclean, 0);
    assert_eq!(client.unary(ADD, &[8, 1]).await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_may_be_cut_anywhere_into_frames_of_http2() {
    let (_host, client) = start().await;
    let mut call = client.begin(RawClient::head(SUM)).await;
    for byte in twice(&frame(&[8, 5])) {
        let piece = Bytes::from(vec![byte]);
        call.body.send_data(piece, false).expect("open");
        let nothing = Bytes::new();
        call.body.send_data(nothing, false).expect("open");
    }
    call.end();
    let answer = call.answer().await.expect("an answer");
    assert_eq!(answer.code(), 0, "{}", answer.message());
    assert_eq!(answer.messages(), [[8, 2, 16, 10].as_slice()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_ends_with_trailers_is_one_that_ends() {
    let (_host, client) = start().await;
    for path in [ADD, SUM, RUNNING] {
        let mut call = client.begin(RawClient::head(path)).await;
        call.send(&[8, 5]);
        let mut trailers = HeaderMap::new();
        trailers.insert("x-after", "all".parse().expect("ASCII"));
        call.body.send_trailers(trailers).expect("open");
        let answer = call.answer().await.expect("an answer");
        assert_eq!(answer.code(), 0, "{path}: {}", answer.message());
        assert_eq!(answer.messages().len(), 1, "{path}");
    }
}
