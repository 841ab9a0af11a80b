//! The official interoperability tests, against `guests/interop`, with their names and sizes.
//! Source: grpc/doc/interop-test-descriptions.md.

use std::io::Write;

use bytes::{Buf, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use h2::Reason;
use prost::Message;
use switchboard_test_support::proto::grpc_testing::test_service_client::TestServiceClient;
use switchboard_test_support::proto::grpc_testing::unimplemented_service_client::UnimplementedServiceClient;
use switchboard_test_support::proto::grpc_testing::{
    BoolValue, EchoStatus, Empty, Payload, PayloadType, ResponseParameters, SimpleRequest,
    StreamingInputCallRequest, StreamingInputCallResponse, StreamingOutputCallRequest,
    StreamingOutputCallResponse,
};
use switchboard_test_support::{RawClient, TestHost, eventually, frame, patiently};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{self as stream, StreamExt};
use tonic::codec::CompressionEncoding;
use tonic::metadata::BinaryMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Streaming};

use crate::inbound::Inbound;

const REQUEST_SIZES: [usize; 4] = [27_182, 8, 1_828, 45_904];
const RESPONSE_SIZES: [i32; 4] = [31_415, 9, 2_653, 58_979];
const INITIAL: &str = "x-grpc-test-echo-initial";
const TRAILING: &str = "x-grpc-test-echo-trailing-bin";
const SPECIAL: &str = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n";
const FULL_DUPLEX: &str = "/grpc.testing.TestService/FullDuplexCall";

async fn start() -> (TestHost, TestServiceClient<Channel>) {
    let host = TestHost::start("interop").await;
    let client = TestServiceClient::new(host.channel());
    (host, client)
}

fn zeros(size: usize) -> Option<Payload> {
    Some(Payload {
        r#type: PayloadType::Compressable.into(),
        body: vec![0; size],
    })
}

fn large() -> SimpleRequest {
    SimpleRequest {
        response_size: 314_159,
        payload: zeros(271_828),
        ..SimpleRequest::default()
    }
}

fn wants(sizes: &[i32], payload: usize) -> StreamingOutputCallRequest {
    let parameters = |size: &i32| ResponseParameters {
        size: *size,
        ..ResponseParameters::default()
    };
    StreamingOutputCallRequest {
        response_parameters: sizes.iter().map(parameters).collect(),
        payload: zeros(payload),
        ..StreamingOutputCallRequest::default()
    }
}

fn ends_with(code: i32, message: &str) -> Option<EchoStatus> {
    Some(EchoStatus {
        code,
        message: message.to_owned(),
    })
}

fn size(response: StreamingOutputCallResponse) -> i32 {
    let payload = response.payload.expect("a payload");
    assert!(payload.body.iter().all(|byte| *byte == 0));
    i32::try_from(payload.body.len()).expect("small")
}

async fn next_size(responses: &mut Streaming<StreamingOutputCallResponse>) -> Option<i32> {
    let response = patiently("a response", responses.next()).await;
    response.map(|response| size(response.expect("no failure")))
}

async fn sizes(mut responses: Streaming<StreamingOutputCallResponse>) -> Vec<i32> {
    let mut sizes = Vec::new();
    while let Some(size) = next_size(&mut responses).await {
        sizes.push(size);
    }
    sizes
}

/// A response header.
fn text<'a, T>(answer: &'a Response<T>, key: &str) -> &'a str {
    let value = answer.metadata().get(key).expect("the header is there");
    value.to_str().expect("ASCII")
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_unary() {
    let (_host, mut client) = start().await;
    let answer = client.empty_call(Empty {}).await.expect("an answer");
    assert_eq!(answer.into_inner(), Empty {});
}

#[tokio::test(flavor = "multi_thread")]
async fn large_unary() {
    let (_host, mut client) = start().await;
    let answer = client.unary_call(large()).await.expect("an answer");
    assert!(answer.into_inner().payload == zeros(314_159));
}

#[tokio::test(flavor = "multi_thread")]
async fn cacheable_unary() {
    let (_host, mut client) = start().await;
    let answer = client.cacheable_unary_call(large()).await;
    let answer = answer.expect("an answer");
    assert_eq!(text(&answer, "cache-control"), "max-age=60, public");
    let body = answer.into_inner().payload.expect("a payload").body;
    let time: u128 = String::from_utf8_lossy(&body).parse().expect("a time");
    assert!(time > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn client_compressed_unary() {
    let (_host, mut client) = start().await;
    let claim = |value| SimpleRequest {
        expect_compressed: Some(BoolValue { value }),
        ..large()
    };
    let status = client.unary_call(claim(true)).await;
    let status = status.expect_err("a false claim");
    assert_eq!(status.code(), Code::InvalidArgument);
    let answer = client.unary_call(claim(false)).await.expect("an answer");
    assert!(answer.into_inner().payload == zeros(314_159));
    let mut client = client.send_compressed(CompressionEncoding::Gzip);
    let answer = client.unary_call(claim(true)).await.expect("an answer");
    assert!(answer.into_inner().payload == zeros(314_159));
    let status = client.unary_call(claim(false)).await;
    assert_eq!(
        status.expect_err("a false claim").code(),
        Code::InvalidArgument
    );
}

/// A frame with a message that is compressed, or is not.
fn claimed(value: bool, size: usize) -> Bytes {
    let message = StreamingInputCallRequest {
        payload: zeros(size),
        expect_compressed: Some(BoolValue { value }),
    };
    if !value {
        return frame(&message.encode_to_vec());
    }
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(&message.encode_to_vec()).expect("it fits");
    let mut wire = BytesMut::from(frame(&packer.finish().expect("it fits")));
    wire[0] = 1;
    wire.freeze()
}

#[tokio::test(flavor = "multi_thread")]
async fn client_compressed_streaming() {
    let (host, mut client) = start().await;
    let claim = StreamingInputCallRequest {
        payload: zeros(27_182),
        expect_compressed: Some(BoolValue { value: true }),
    };
    let status = client.streaming_input_call(stream::iter([claim])).await;
    let status = status.expect_err("a false claim");
    assert_eq!(status.code(), Code::InvalidArgument);
    let raw = host.raw().await;
    let head = RawClient::head("/grpc.testing.TestService/StreamingInputCall");
    let mut call = raw.begin(head.header("grpc-encoding", "gzip")).await;
    for wire in [claimed(true, 27_182), claimed(false, 45_904)] {
        call.body.send_data(wire, false).expect("open");
    }
    call.end();
    let answer = call.answer().await.expect("an answer");
    assert_eq!(answer.code(), 0, "{}", answer.message());
    let total = StreamingInputCallResponse::decode(answer.messages().remove(0));
    assert_eq!(total.expect("a total").aggregated_payload_size, 73_086);
}

/// Calls with a list of what the caller takes; answers with flag and length of each message.
async fn flags_and_lengths(host: &TestHost, method: &str, request: Vec<u8>) -> Vec<(u8, usize)> {
    let head = RawClient::head(&format!("/grpc.testing.TestService/{method}"));
    let head = head.header("grpc-accept-encoding", "identity,gzip");
    let answer = host.raw().await.call(head, frame(&request)).await;
    assert_eq!(answer.code(), 0, "{}", answer.message());
    assert_eq!(answer.headers["grpc-encoding"], "gzip");
    let mut body = answer.body;
    let mut found = Vec::new();
    while !body.is_empty() {
        let flag = body.get_u8();
        let length = usize::try_from(body.get_u32()).expect("a length fits");
        body.advance(length);
        found.push((flag, length));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn server_compressed_unary() {
    let (host, client) = start().await;
    let wants = SimpleRequest {
        response_compressed: Some(BoolValue { value: true }),
        ..large()
    };
    let found = flags_and_lengths(&host, "UnaryCall", wants.encode_to_vec()).await;
    assert!(matches!(found[..], [(1, 1..10_000)]), "{found:?}");
    let mut client = client.accept_compressed(CompressionEncoding::Gzip);
    for value in [true, false] {
        let wants = SimpleRequest {
            response_compressed: Some(BoolValue { value }),
            ..large()
        };
        let answer = client.unary_call(wants).await.expect("an answer");
        let named = answer.metadata().get("grpc-encoding");
        assert_eq!(named.is_some(), value);
        assert!(answer.into_inner().payload == zeros(314_159));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_compressed_streaming() {
    let (host, client) = start().await;
    for order in [[true, false], [false, true]] {
        let mut request = wants(&[31_415, 92_653], 0);
        for (wanted, value) in request.response_parameters.iter_mut().zip(order) {
            wanted.compressed = Some(BoolValue { value });
        }
        for method in ["StreamingOutputCall", "FullDuplexCall", "HalfDuplexCall"] {
            let found = flags_and_lengths(&host, method, request.encode_to_vec()).await;
            let flags: Vec<_> = found.iter().map(|(flag, _)| *flag == 1).collect();
            assert_eq!(flags, order, "{method}");
        }
        let mut client = client.clone().accept_compressed(CompressionEncoding::Gzip);
        let answer = client.streaming_output_call(request).await;
        let answer = answer.expect("headers").into_inner();
        assert_eq!(sizes(answer).await, [31_415, 92_653]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn client_streaming() {
    let (_host, mut client) = start().await;
    let requests = REQUEST_SIZES.map(|size| StreamingInputCallRequest {
        payload: zeros(size),
        ..StreamingInputCallRequest::default()
    });
    let answer = client.streaming_input_call(stream::iter(requests)).await;
    let total = answer.expect("an answer").into_inner();
    assert_eq!(total.aggregated_payload_size, 74_922);
}

#[tokio::test(flavor = "multi_thread")]
async fn server_streaming() {
    let (_host, mut client) = start().await;
    let request = wants(&RESPONSE_SIZES, 0);
    let answer = client.streaming_output_call(request).await;
    let answer = answer.expect("headers").into_inner();
    assert_eq!(sizes(answer).await, RESPONSE_SIZES);
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_pong() {
    let (_host, mut client) = start().await;
    let (send, receive) = mpsc::channel(1);
    let pings = REQUEST_SIZES.into_iter().zip(RESPONSE_SIZES);
    let mut pings = pings.map(|(payload, size)| wants(&[size], payload));
    // The server's headers come with its first response.
    send.send(pings.next().expect("a ping"))
        .await
        .expect("open");
    let answer = client.full_duplex_call(ReceiverStream::new(receive));
    let answer = patiently("headers", answer).await;
    let mut answer = answer.expect("headers").into_inner();
    for response in RESPONSE_SIZES {
        assert_eq!(next_size(&mut answer).await, Some(response));
        if let Some(ping) = pings.next() {
            send.send(ping).await.expect("open");
        }
    }
    drop(send);
    assert_eq!(next_size(&mut answer).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_duplex() {
    let (_host, mut client) = start().await;
    let pairs = REQUEST_SIZES.into_iter().zip(RESPONSE_SIZES);
    let requests: Vec<_> = pairs
        .map(|(payload, size)| wants(&[size], payload))
        .collect();
    let answer = client.half_duplex_call(stream::iter(requests)).await;
    let answer = answer.expect("headers").into_inner();
    assert_eq!(sizes(answer).await, RESPONSE_SIZES);
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_stream() {
    let (_host, mut client) = start().await;
    let answer = client.full_duplex_call(stream::empty()).await;
    let answer = answer.expect("headers").into_inner();
    assert_eq!(sizes(answer).await, [0; 0]);
}

fn with_metadata<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = "test_initial_metadata_value".parse().expect("ASCII");
    request.metadata_mut().insert(INITIAL, value);
    let value = BinaryMetadataValue::from_bytes(&[0xab; 3]);
    request.metadata_mut().insert_bin(TRAILING, value);
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_metadata() {
    let (_host, mut client) = start().await;
    let answer = client.unary_call(with_metadata(large())).await;
    let answer = answer.expect("an answer");
    assert_eq!(text(&answer, INITIAL), "test_initial_metadata_value");
    let trailing = answer.metadata().get_bin(TRAILING).expect("a trailer");
    assert_eq!(trailing.to_bytes().expect("base64").as_ref(), [0xab; 3]);

    let requests = stream::iter([wants(&[314_159], 271_828)]);
    let answer = client.full_duplex_call(with_metadata(requests)).await;
    let mut answer = answer.expect("headers");
    assert_eq!(text(&answer, INITIAL), "test_initial_metadata_value");
    assert!(answer.metadata().get_bin(TRAILING).is_none());
    assert_eq!(next_size(answer.get_mut()).await, Some(314_159));
    assert_eq!(next_size(answer.get_mut()).await, None);
    let trailers = answer.get_mut().trailers().await.expect("no failure");
    let trailers = trailers.expect("trailers");
    let trailing = trailers.get_bin(TRAILING).expect("a trailer");
    assert_eq!(trailing.to_bytes().expect("base64").as_ref(), [0xab; 3]);
}

async fn assert_echoed(client: &mut TestServiceClient<Channel>, text: &str) {
    let request = SimpleRequest {
        response_status: ends_with(2, text),
        ..SimpleRequest::default()
    };
    let status = client.unary_call(request).await.expect_err("as asked");
    assert_eq!((status.code(), status.message()), (Code::Unknown, text));

    let request = StreamingOutputCallRequest {
        response_status: ends_with(2, text),
        ..StreamingOutputCallRequest::default()
    };
    let status = match client.full_duplex_call(stream::iter([request])).await {
        Err(status) => status,
        Ok(answer) => {
            let next = answer.into_inner().message().await;
            next.expect_err("as asked")
        }
    };
    assert_eq!((status.code(), status.message()), (Code::Unknown, text));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_code_and_message() {
    let (_host, mut client) = start().await;
    assert_echoed(&mut client, "test status message").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn special_status_message() {
    let (_host, mut client) = start().await;
    assert_echoed(&mut client, SPECIAL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unimplemented_method() {
    let (_host, mut client) = start().await;
    let status = client.unimplemented_call(Empty {}).await;
    let status = status.expect_err("nobody serves it");
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread")]
async fn unimplemented_service() {
    let (host, _client) = start().await;
    let mut client = UnimplementedServiceClient::new(host.channel());
    let status = client.unimplemented_call(Empty {}).await;
    let status = status.expect_err("nobody serves it");
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_after_begin() {
    let (host, mut client) = start().await;
    let raw = host.raw().await;
    let head = RawClient::head("/grpc.testing.TestService/StreamingInputCall");
    let mut call = raw.begin(head).await;
    let entered = || host.stats("interop").leased.streams == 1;
    eventually("the plugin reads", entered).await;
    call.cancel();
    let reset = call.answer().await.expect_err("cancelled");
    assert_eq!(reset.reason(), Some(Reason::CANCEL));
    let freed = || host.stats("interop").leased.streams == 0;
    eventually("the call ends", freed).await;
    client
        .empty_call(Empty {})
        .await
        .expect("others are served");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_after_first_response() {
    let (host, mut client) = start().await;
    let raw = host.raw().await;
    let mut call = raw.begin(RawClient::head(FULL_DUPLEX)).await;
    call.send(&wants(&[31_415], 27_182).encode_to_vec());
    let (_, body, mut request) = call.headers().await.expect("headers");
    let response = Inbound::new(body).next().await.expect("no reset");
    let response = response.expect("a response");
    let response = StreamingOutputCallResponse::decode(response).expect("protobuf");
    assert_eq!(size(response), 31_415);
    assert_eq!(host.stats("interop").leased.streams, 1);
    request.send_reset(Reason::CANCEL);
    let freed = || host.stats("interop").leased.streams == 0;
    eventually("the call ends", freed).await;
    client
        .empty_call(Empty {})
        .await
        .expect("others are served");
}

#[tokio::test(flavor = "multi_thread")]
async fn timeout_on_sleeping_server() {
    let (host, _client) = start().await;
    let raw = host.raw().await;
    let head = RawClient::head(FULL_DUPLEX).header("grpc-timeout", "1m");
    let mut call = raw.begin(head).await;
    // Nothing is asked for, and the request does not end: the server waits.
    let request = wants(&[], 27_182).encode_to_vec();
    call.body.send_data(frame(&request), false).expect("open");
    let answer = call.answer().await.expect("a status, not a reset");
    assert_eq!(answer.code(), 4, "{}", answer.message());
}
