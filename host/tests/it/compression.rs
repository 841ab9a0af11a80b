//! Compressed messages, both ways, over real sockets: each encoding, who decides, and what is
//! refused. What a client compresses, and how, is tonic's here, and the raw client's where a flag
//! or a header matters.

use std::io::Write;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use prost::Message;
use switchboard_host::{
    Code, CompressionConfig, Encoding, Exchange, MethodKind, NativeFuture, NativeMethod,
    NativeService, Status,
};
use switchboard_test_support::proto::grpc_testing::test_service_client::TestServiceClient;
use switchboard_test_support::proto::grpc_testing::{
    BoolValue, Payload, PayloadType, ResponseParameters, SimpleRequest, StreamingInputCallRequest,
    StreamingOutputCallRequest,
};
use switchboard_test_support::proto::testservice::SleepRequest;
use switchboard_test_support::{RawAnswer, RawClient, Setup, TestHost, eventually, frame};
use tokio_stream::{self as stream, StreamExt};
use tonic::codec::CompressionEncoding;

const UNARY: &str = "/echo.Echo/Unary";
const BIDI: &str = "/echo.Echo/Bidi";
const JOIN: &str = "/testservice.TestService/Sum";
const COUNT: &str = "/testservice.TestService/Count";
const EXHAUSTED: u16 = 8;
const INTERNAL: u16 = 13;
const ALL: &str = "identity,deflate,gzip,zstd";

fn by_default(bytes_min: usize) -> impl FnOnce(&mut Setup) {
    move |setup| {
        setup.config.plugin.compression = CompressionConfig {
            by_default: true,
            bytes_min,
            ..CompressionConfig::default()
        };
    }
}

fn packed(encoding: Encoding, message: &[u8]) -> Vec<u8> {
    let level = Compression::default();
    let wrote = match encoding {
        Encoding::Gzip => {
            let mut packer = GzEncoder::new(Vec::new(), level);
            packer.write_all(message).and_then(|()| packer.finish())
        }
        Encoding::Deflate => {
            let mut packer = ZlibEncoder::new(Vec::new(), level);
            packer.write_all(message).and_then(|()| packer.finish())
        }
        Encoding::Zstd => {
            let mut packed = Vec::with_capacity(zstd_safe::compress_bound(message.len()));
            let done = zstd_safe::compress(&mut packed, message, 3);
            assert!(done.is_ok());
            Ok(packed)
        }
        _ => unreachable!("{encoding} is new: teach this test"),
    };
    wrote.expect("it compresses")
}

/// A frame whose flag says that the message is compressed.
fn compressed_frame(message: &[u8]) -> Bytes {
    let mut wire = BytesMut::from(frame(message));
    wire[0] = 1;
    wire.freeze()
}

/// The messages of an answer with their flags.
fn flagged(answer: &RawAnswer) -> Vec<(u8, Bytes)> {
    let mut body = answer.body.clone();
    let mut messages = Vec::new();
    while !body.is_empty() {
        let head = body.split_to(5);
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let len = usize::try_from(len).expect("a length fits");
        messages.push((head[0], body.split_to(len)));
    }
    messages
}

fn flags(answer: &RawAnswer) -> Vec<u8> {
    flagged(answer).into_iter().map(|(flag, _)| flag).collect()
}

fn encoded(path: &str, encoding: Encoding) -> http::request::Builder {
    RawClient::head(path).header("grpc-encoding", encoding.name())
}

fn takes(path: &str, encodings: &str) -> http::request::Builder {
    RawClient::head(path).header("grpc-accept-encoding", encodings)
}

/// Sizes that are gathered, that are not, and that take several steps.
const SIZES: [usize; 5] = [1, 700, 9_000, 100_000, 3_000_000];

fn text(size: usize) -> Vec<u8> {
    let words = [&b"message "[..], b"plugin ", b"host ", b"stream "];
    let words = words.iter().cycle().enumerate();
    let mut text: Vec<u8> = words
        .take(size / 5 + 1)
        .flat_map(|(at, word)| [*word, at.to_string().as_bytes()].concat())
        .collect();
    text.truncate(size);
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn every_encoding_is_read_and_written_whatever_the_size() {
    let host = TestHost::start_with("echo", by_default(1)).await;
    let client = host.raw().await;
    for encoding in Encoding::ALL {
        for size in SIZES {
            let message = text(size);
            let body = compressed_frame(&packed(encoding, &message));
            for path in [UNARY, BIDI] {
                let head = encoded(path, encoding).header("grpc-accept-encoding", encoding.name());
                let answer = client.call(head, body.clone()).await;
                assert_eq!(answer.code(), 0, "{}", answer.message());
                assert_eq!(answer.headers["grpc-encoding"], encoding.name());
                assert_eq!(answer.headers["grpc-accept-encoding"], ALL);
                let [(flag, bytes)] = &flagged(&answer)[..] else {
                    panic!("one message");
                };
                if *flag == 0 {
                    // What does not get smaller stays.
                    assert!(size < 100 && *bytes == message, "{encoding} {size}");
                } else {
                    // Back through the host: it reads what it writes.
                    assert!(bytes.len() < size, "{encoding} {size}");
                    let again = encoded(path, encoding);
                    let answer = client.call(again, compressed_frame(bytes)).await;
                    assert!(answer.messages() == [message.clone()], "{encoding} {size}");
                }
            }
        }
    }
}

fn zeros(size: usize) -> Option<Payload> {
    Some(Payload {
        r#type: PayloadType::Compressable.into(),
        body: vec![0; size],
    })
}

const YES: Option<BoolValue> = Some(BoolValue { value: true });

fn wants(sizes: &[i32]) -> StreamingOutputCallRequest {
    let parameters = |size: &i32| ResponseParameters {
        size: *size,
        compressed: YES,
        ..ResponseParameters::default()
    };
    StreamingOutputCallRequest {
        response_parameters: sizes.iter().map(parameters).collect(),
        ..StreamingOutputCallRequest::default()
    }
}

/// The plugin checks that requests come compressed and asks for compressed responses; tonic checks
/// what it gets.
#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_compresses_all_four_kinds() {
    let host = TestHost::start("interop").await;
    for (encoding, name) in [
        (CompressionEncoding::Gzip, "gzip"),
        (CompressionEncoding::Deflate, "deflate"),
        (CompressionEncoding::Zstd, "zstd"),
    ] {
        let client = TestServiceClient::new(host.channel());
        let client = client.send_compressed(encoding);
        let mut client = client.accept_compressed(encoding);
        let request = SimpleRequest {
            expect_compressed: YES,
            response_compressed: YES,
            response_size: 314_159,
            payload: zeros(271_828),
            ..SimpleRequest::default()
        };
        let answer = client.unary_call(request).await.expect("an answer");
        assert_eq!(answer.metadata().get("grpc-encoding").expect("one"), name);
        assert_eq!(answer.into_inner().payload, zeros(314_159));

        let requests = [27_182, 8, 45_904].map(|size| StreamingInputCallRequest {
            payload: zeros(size),
            expect_compressed: YES,
        });
        let answer = client.streaming_input_call(stream::iter(requests)).await;
        let total = answer.expect("an answer").into_inner();
        assert_eq!(total.aggregated_payload_size, 73_094);

        let sizes = [31_415, 9, 2_653, 58_979];
        let output = client.streaming_output_call(wants(&sizes)).await;
        let duplex = stream::iter(sizes.map(|size| wants(&[size])));
        let duplex = client.full_duplex_call(duplex).await;
        for answer in [output, duplex] {
            let answer = answer.expect("headers");
            assert_eq!(answer.metadata().get("grpc-encoding").expect("one"), name);
            let found: Vec<_> = answer
                .into_inner()
                .map(|response| response.expect("no failure").payload)
                .collect()
                .await;
            let expected = sizes.map(|size| zeros(usize::try_from(size).expect("positive")));
            assert!(found == expected, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_being_asked_nothing_is_compressed_or_said() {
    let host = TestHost::start("echo").await;
    let client = host.raw().await;
    for path in [UNARY, BIDI] {
        let answer = client.call(takes(path, ALL), frame(&text(9000))).await;
        assert_eq!(flags(&answer), [0]);
        assert!(!answer.headers.contains_key("grpc-encoding"));
        assert!(!answer.headers.contains_key("grpc-accept-encoding"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_order_and_the_callers_list_decide() {
    use Encoding::{Deflate, Gzip, Zstd};
    for (allowed, table) in [
        (
            vec![Zstd, Gzip, Deflate],
            [
                (ALL, Some("zstd")),
                ("gzip, deflate", Some("gzip")),
                ("deflate", Some("deflate")),
                ("identity", None),
                ("br", None),
            ],
        ),
        (
            vec![Deflate, Gzip],
            [
                (ALL, Some("deflate")),
                ("gzip", Some("gzip")),
                ("zstd", None),
                ("identity", None),
                ("", None),
            ],
        ),
    ] {
        let host = TestHost::start_with("echo", |setup| {
            by_default(100)(setup);
            setup.config.plugin.compression.encodings = allowed.clone();
        })
        .await;
        let client = host.raw().await;
        for (list, expected) in table {
            let answer = client.call(takes(UNARY, list), frame(&text(9000))).await;
            let named = answer.headers.get("grpc-encoding");
            let named = named.map(|name| name.to_str().expect("ASCII"));
            assert_eq!(named, expected, "{list:?} of {allowed:?}");
            assert_eq!(flags(&answer), [u8::from(expected.is_some())], "{list:?}");
            let answer = client.call(takes(UNARY, list), frame(&text(99))).await;
            assert_eq!(flags(&answer), [0], "a small message");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_has_settings_of_its_own() {
    let host = TestHost::start_with("echo", |setup| {
        by_default(1)(setup);
        let mut own = setup.config.plugin.clone();
        own.compression.encodings.clear();
        own.compression.by_default = false;
        setup.plugins.push(("echo".to_owned(), own));
    })
    .await;
    let client = host.raw().await;
    let answer = client.call(takes(UNARY, ALL), frame(&text(9000))).await;
    assert_eq!((answer.code(), flags(&answer)), (0, vec![0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_of_one_stream_may_differ_and_bytes_may_come_one_by_one() {
    let host = TestHost::start("echo").await;
    let client = host.raw().await;
    for encoding in Encoding::ALL {
        let messages = [text(10), Vec::new(), text(300), text(40)];
        let mut wire = BytesMut::new();
        for (at, message) in messages.iter().enumerate() {
            if at % 2 == 0 {
                wire.extend(compressed_frame(&packed(encoding, message)));
            } else {
                wire.extend(frame(message));
            }
        }
        let mut call = client.begin(encoded(BIDI, encoding)).await;
        for byte in wire {
            let byte = Bytes::copy_from_slice(&[byte]);
            call.body.send_data(byte, false).expect("open");
        }
        call.end();
        let answer = call.answer().await.expect("an answer");
        assert_eq!(answer.messages(), messages, "{encoding}");
    }
}

/// Far more zeros than the limit, in little.
fn bomb(encoding: Encoding) -> Bytes {
    let bomb = packed(encoding, &vec![0; 64 << 20]);
    assert!(bomb.len() < 100_000);
    compressed_frame(&bomb)
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_are_refused_and_harm_nobody() {
    let host = TestHost::start("testservice").await;
    let client = host.raw().await;
    for encoding in Encoding::ALL {
        let bomb = bomb(encoding);
        for path in [
            "/testservice.TestService/Add",
            JOIN,
            COUNT,
            "/testservice.TestService/Running",
        ] {
            let answer = client.call(encoded(path, encoding), bomb.clone()).await;
            assert_eq!(answer.code(), EXHAUSTED, "{path}: {}", answer.message());
            assert_eq!(
                answer.message(),
                "request message decompresses to more than the limit of 4194304 bytes"
            );
        }
        let answer = client.unary("/testservice.TestService/Add", b"").await;
        assert_eq!(answer.code(), 0, "others are served");
    }
    let free = || host.stats("testservice").leased.streams == 0;
    eventually("no stream is held", free).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_holds_for_what_a_message_decompresses_to() {
    let host = TestHost::start_with("echo", |setup| {
        setup.config.call.request_bytes_max = 10_000;
    })
    .await;
    let client = host.raw().await;
    for encoding in Encoding::ALL {
        for (size, code) in [(10_000, 0), (10_001, EXHAUSTED)] {
            let body = compressed_frame(&packed(encoding, &vec![3; size]));
            for path in [UNARY, BIDI] {
                let answer = client.call(encoded(path, encoding), body.clone()).await;
                assert_eq!(
                    answer.code(),
                    code,
                    "{encoding} {size}: {}",
                    answer.message()
                );
            }
        }
        // The length on the wire is limited like any other.
        let body = compressed_frame(&vec![0; 10_001]);
        let answer = client.call(encoded(UNARY, encoding), body).await;
        let text = "request message of 10001 bytes is larger than the limit of 10000 bytes";
        assert_eq!((answer.code(), answer.message()), (EXHAUSTED, text));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_decompress_is_internal_and_says_why() {
    let host = TestHost::start("echo").await;
    let client = host.raw().await;
    for encoding in Encoding::ALL {
        let whole = packed(encoding, &text(3000));
        let cut = &whole[..whole.len() - 1];
        let longer = [&whole[..], b"x"].concat();
        for (wire, what) in [
            (cut, "it ends too early"),
            (&longer, "more follows its end"),
            (&b"certainly not compressed"[..], "it is damaged"),
            (b"", "it ends too early"),
        ] {
            for path in [UNARY, BIDI] {
                let body = compressed_frame(wire);
                let answer = client.call(encoded(path, encoding), body).await;
                let text = format!("the message does not decompress as {encoding}: {what}");
                assert_eq!((answer.code(), answer.message()), (INTERNAL, &*text));
            }
        }
    }
    assert_eq!(client.unary(UNARY, b"x").await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_stays_compressed_while_it_waits_in_line() {
    let host = TestHost::start_with("testservice", |setup| {
        let pool = &mut setup.config.plugin.pool;
        pool.stores_max = NonZeroU32::MIN;
        pool.wait_max = Duration::from_millis(100);
    })
    .await;
    let client = host.raw().await;
    let mut busy = client
        .begin(RawClient::head("/testservice.Probe/Sleep"))
        .await;
    let hour = SleepRequest {
        duration_ms: 3_600_000,
    };
    busy.send(&hour.encode_to_vec());
    busy.end();
    eventually("the instance is busy", || {
        host.stats("testservice").leased.unary == 1
    })
    .await;
    // Nobody has looked into it when its time in the line is over.
    let damaged = compressed_frame(b"certainly not compressed");
    let head = || encoded("/testservice.TestService/Add", Encoding::Gzip);
    let answer = client.call(head(), damaged.clone()).await;
    assert_eq!(answer.code(), EXHAUSTED, "{}", answer.message());
    busy.cancel();
    eventually("the instance is free", || {
        host.stats("testservice").leased.unary == 0
    })
    .await;
    let answer = client.call(head(), damaged).await;
    assert_eq!(answer.code(), INTERNAL, "{}", answer.message());
}

/// Turns a message around.
struct Turn;

impl NativeService for Turn {
    fn name(&self) -> &str {
        "test.Turn"
    }

    fn methods(&self) -> Vec<NativeMethod> {
        let kind = MethodKind::Unary;
        vec![NativeMethod { name: "Turn", kind }]
    }

    fn unary(&self, _: usize, call: Arc<dyn Exchange>, request: Bytes) -> NativeFuture<Bytes> {
        Box::pin(async move {
            assert!(call.received_compressed());
            assert!(call.set_compression(true));
            Ok(request.iter().rev().copied().collect())
        })
    }

    fn stream(&self, _: usize, _: Arc<dyn Exchange>) -> NativeFuture<()> {
        Box::pin(async { Err(Status::new(Code::Unimplemented, "no stream")) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_service_sees_and_asks_for_compression_too() {
    let host = TestHost::build(Setup::default(), |builder| builder.native(Turn)).await;
    let client = host.raw().await;
    for encoding in Encoding::ALL {
        let head = encoded("/test.Turn/Turn", encoding).header("grpc-accept-encoding", "zstd");
        let body = compressed_frame(&packed(encoding, &text(100_000)));
        let answer = client.call(head, body).await;
        assert_eq!(answer.code(), 0, "{}", answer.message());
        let [(1, turned)] = &flagged(&answer)[..] else {
            panic!("one message that is compressed");
        };
        let mut whole = Vec::with_capacity(100_000);
        let size = zstd_safe::decompress(&mut whole, turned);
        assert!(size.is_ok());
        whole.reverse();
        assert!(whole == text(100_000));
    }
}
