//! The server side of the interoperability tests, natively, with the sizes of their description.

use prost::Message;
use switchboard_guest::testing::{Answer, Call};
use switchboard_guest::{CancelReason, Code, Service as _, Status};

use crate::testing::test_service_server::TestServiceServer;
use crate::testing::*;
use crate::{ECHO_INITIAL, ECHO_TRAILING, Interop};

const INTEROP: TestServiceServer<Interop> = TestServiceServer::new(Interop);

fn zeros(size: usize) -> Option<Payload> {
    Some(Payload {
        r#type: PayloadType::Compressable.into(),
        body: vec![0; size],
    })
}

fn wants(sizes: &[i32]) -> StreamingOutputCallRequest {
    StreamingOutputCallRequest {
        response_parameters: sizes
            .iter()
            .map(|size| ResponseParameters {
                size: *size,
                interval_us: 1,
                compressed: None,
            })
            .collect(),
        ..StreamingOutputCallRequest::default()
    }
}

fn sizes(answer: &Answer) -> Vec<usize> {
    answer
        .messages
        .iter()
        .map(|bytes| StreamingOutputCallResponse::decode(bytes.as_slice()).expect("a response"))
        .map(|response| response.payload.expect("a payload").body.len())
        .collect()
}

fn unary(request: SimpleRequest) -> Answer {
    Call::to(&INTEROP, "UnaryCall")
        .message(request.encode_to_vec())
        .run()
}

const TEST_STATUS: &str = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n";

fn test_status() -> Option<EchoStatus> {
    Some(EchoStatus {
        code: 2,
        message: TEST_STATUS.to_owned(),
    })
}

#[test]
fn empty_unary() {
    assert_eq!(Call::to(&INTEROP, "EmptyCall").run().message(), b"");
}

#[test]
fn large_unary() {
    let answer = unary(SimpleRequest {
        response_size: 314_159,
        payload: zeros(271_828),
        ..SimpleRequest::default()
    });
    let response = SimpleResponse::decode(answer.message()).expect("a response");
    assert_eq!(response.payload, zeros(314_159));
}

#[test]
fn client_streaming() {
    let messages = [27_182, 8, 1_828, 45_904].map(|size| {
        StreamingInputCallRequest {
            payload: zeros(size),
            expect_compressed: None,
        }
        .encode_to_vec()
    });
    let answer = Call::to(&INTEROP, "StreamingInputCall")
        .messages(messages)
        .run();
    let response = StreamingInputCallResponse::decode(answer.message()).expect("a response");
    assert_eq!(response.aggregated_payload_size, 74_922);
}

#[test]
fn server_streaming() {
    let answer = Call::to(&INTEROP, "StreamingOutputCall")
        .message(wants(&[31_415, 9, 2_653, 58_979]).encode_to_vec())
        .run();
    assert_eq!(answer.status, Ok(()));
    assert_eq!(sizes(&answer), [31_415, 9, 2_653, 58_979]);
}

#[test]
fn full_and_half_duplex() {
    for method in ["FullDuplexCall", "HalfDuplexCall"] {
        let answer = Call::to(&INTEROP, method)
            .message(wants(&[31_415]).encode_to_vec())
            .message(wants(&[9, 2_653]).encode_to_vec())
            .run();
        assert_eq!(answer.status, Ok(()), "{method}");
        assert_eq!(sizes(&answer), [31_415, 9, 2_653], "{method}");
    }
}

#[test]
fn ping_pong() {
    let mut next = [9, 2_653, 58_979].into_iter();
    let answer = Call::to(&INTEROP, "FullDuplexCall")
        .message(wants(&[31_415]).encode_to_vec())
        .answering(move |_| {
            let next = next.next().map(|size| wants(&[size]).encode_to_vec());
            next.into_iter().collect()
        })
        .run();
    assert_eq!(answer.status, Ok(()));
    assert_eq!(sizes(&answer), [31_415, 9, 2_653, 58_979]);
}

#[test]
fn empty_stream() {
    let answer = Call::to(&INTEROP, "FullDuplexCall").run();
    assert_eq!(answer.status, Ok(()));
    assert!(answer.messages.is_empty());
}

#[test]
fn custom_metadata() {
    let methods = INTEROP.methods();
    assert_eq!(methods.len(), 7);
    for method in methods {
        let answer = Call::to(&INTEROP, method.name)
            .metadata(ECHO_INITIAL, "test_initial_metadata_value")
            .metadata(ECHO_TRAILING, [0xab; 3])
            .run();
        assert_eq!(answer.status, Ok(()), "{}", method.name);
        let initial = answer.headers.get_str(ECHO_INITIAL);
        assert_eq!(
            initial,
            Some("test_initial_metadata_value"),
            "{}",
            method.name
        );
        assert_eq!(answer.trailers.get(ECHO_TRAILING), Some(&[0xab; 3][..]));
    }
}

#[test]
fn status_code_and_message() {
    let expected = Err(Status::unknown(TEST_STATUS));
    let answer = unary(SimpleRequest {
        response_status: test_status(),
        ..SimpleRequest::default()
    });
    assert_eq!(answer.status, expected);

    let request = StreamingOutputCallRequest {
        response_status: test_status(),
        ..wants(&[1])
    };
    for method in ["StreamingOutputCall", "FullDuplexCall", "HalfDuplexCall"] {
        let answer = Call::to(&INTEROP, method)
            .message(request.encode_to_vec())
            .run();
        assert_eq!(answer.status, expected, "{method}");
        assert!(answer.messages.is_empty(), "{method}");
    }
}

#[test]
fn status_of_any_code() {
    let code = |code| {
        unary(SimpleRequest {
            response_status: Some(EchoStatus {
                code,
                message: String::new(),
            }),
            ..SimpleRequest::default()
        })
        .code()
    };
    let codes: Vec<_> = (0..=16).map(code).collect();
    assert_eq!(codes, Code::ALL);
    assert_eq!([code(-1), code(17)], [Code::Unknown; 2]);
}

#[test]
fn false_claims_of_compression_are_refused() {
    let claim = Some(BoolValue { value: true });
    let answer = unary(SimpleRequest {
        expect_compressed: claim,
        ..SimpleRequest::default()
    });
    assert_eq!(answer.code(), Code::InvalidArgument);
    let message = StreamingInputCallRequest {
        payload: None,
        expect_compressed: claim,
    };
    let answer = Call::to(&INTEROP, "StreamingInputCall")
        .message(message.encode_to_vec())
        .run();
    assert_eq!(answer.code(), Code::InvalidArgument);
    let denial = SimpleRequest {
        expect_compressed: Some(BoolValue { value: false }),
        ..SimpleRequest::default()
    };
    let answer = Call::to(&INTEROP, "UnaryCall")
        .compressed_message(denial.encode_to_vec())
        .run();
    assert_eq!(answer.code(), Code::InvalidArgument);
    assert_eq!(unary(denial).status, Ok(()));
}

#[test]
fn client_compressed_unary() {
    let request = SimpleRequest {
        expect_compressed: Some(BoolValue { value: true }),
        response_size: 314_159,
        payload: zeros(271_828),
        ..SimpleRequest::default()
    };
    let answer = Call::to(&INTEROP, "UnaryCall")
        .compressed_message(request.encode_to_vec())
        .run();
    assert_eq!(answer.status, Ok(()));
}

#[test]
fn client_compressed_streaming() {
    let message = |value, size| StreamingInputCallRequest {
        payload: zeros(size),
        expect_compressed: Some(BoolValue { value }),
    };
    let answer = Call::to(&INTEROP, "StreamingInputCall")
        .compressed_message(message(true, 27_182).encode_to_vec())
        .message(message(false, 45_904).encode_to_vec())
        .run();
    let response = StreamingInputCallResponse::decode(answer.message()).expect("a response");
    assert_eq!(response.aggregated_payload_size, 73_086);
}

#[test]
fn server_compressed_unary() {
    for value in [true, false] {
        let request = SimpleRequest {
            response_compressed: Some(BoolValue { value }),
            response_size: 314_159,
            ..SimpleRequest::default()
        };
        let answer = Call::to(&INTEROP, "UnaryCall")
            .takes_compressed()
            .message(request.encode_to_vec())
            .run();
        assert_eq!(answer.compressed, [value]);
    }
}

#[test]
fn server_compressed_streaming() {
    let mut request = wants(&[31_415, 92_653]);
    for (wanted, value) in request.response_parameters.iter_mut().zip([false, true]) {
        wanted.compressed = Some(BoolValue { value });
    }
    for method in ["StreamingOutputCall", "FullDuplexCall", "HalfDuplexCall"] {
        let answer = Call::to(&INTEROP, method)
            .takes_compressed()
            .message(request.encode_to_vec())
            .run();
        assert_eq!(answer.compressed, [false, true], "{method}");
    }
}

#[test]
fn impossible_payloads_are_refused() {
    let code = |response_type, response_size| {
        unary(SimpleRequest {
            response_type,
            response_size,
            ..SimpleRequest::default()
        })
        .code()
    };
    assert_eq!(code(0, -1), Code::InvalidArgument);
    assert_eq!(code(1, 1), Code::InvalidArgument);
    assert_eq!(code(0, 1), Code::Ok);
}

#[test]
fn cacheable_unary() {
    let answer = Call::to(&INTEROP, "CacheableUnaryCall").run();
    assert_eq!(
        answer.headers.get_str("cache-control"),
        Some("max-age=60, public")
    );
    let response = SimpleResponse::decode(answer.message()).expect("a response");
    let time = String::from_utf8(response.payload.expect("a payload").body).expect("text");
    assert!(time.parse::<u128>().expect("a number") > 0);
}

#[test]
fn cancel_after_first_response() {
    let answer = Call::to(&INTEROP, "FullDuplexCall")
        .message(wants(&[31_415]).encode_to_vec())
        .cancel_after_sent(1, CancelReason::ClientGone)
        .run();
    assert_eq!(answer.code(), Code::Cancelled);
    assert_eq!(sizes(&answer), [31_415]);
}

#[test]
fn unimplemented_method_is_not_served() {
    assert!(
        INTEROP
            .methods()
            .iter()
            .all(|method| method.name != "UnimplementedCall")
    );
}
