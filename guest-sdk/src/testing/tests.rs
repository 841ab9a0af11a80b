//! The fake host keeps the rules of `wit/call.wit`, so that a handler that passes here passes there.
//!
//! Each rule that a handler can notice has a test named after it.

use super::*;
use crate::{ByteService, MetadataError, Method, Receive};

static SAMPLE: ByteService = ByteService::new(
    "sample.Sample",
    &[
        Method::unary("Unary", |context, request| {
            context.check_cancelled()?;
            crate::log::info!("got {} bytes", request.len());
            Ok(request)
        }),
        Method::client_stream("Join", |_context, incoming| {
            incoming
                .collect::<Result<Vec<_>, _>>()
                .map(|messages| messages.concat())
        }),
        Method::server_stream("Bytes", |_context, request, outgoing| {
            request.iter().try_for_each(|byte| outgoing.send([*byte]))
        }),
        Method::bidi("Echo", |_context, incoming, outgoing| {
            while let Some(message) = incoming.receive()? {
                outgoing.send(message)?;
            }
            Ok(())
        }),
    ],
);

#[test]
fn the_four_kinds() {
    let unary = Call::to(&SAMPLE, "Unary").message("abc").run();
    assert_eq!(unary.message(), b"abc");
    assert_eq!(unary.log, [(Level::Info, String::from("got 3 bytes"))]);
    assert_eq!(Call::to(&SAMPLE, "Unary").run().message(), b"");
    assert_eq!(
        Call::to(&SAMPLE, "Join")
            .messages(["ab", "c"])
            .run()
            .message(),
        b"abc"
    );
    assert_eq!(
        Call::to(&SAMPLE, "Bytes").message("ab").run().messages,
        [b"a", b"b"]
    );
    assert_eq!(
        Call::to(&SAMPLE, "Echo")
            .messages(["ab", "cd"])
            .run()
            .messages,
        [b"ab", b"cd"]
    );
}

#[test]
fn cancellation_has_the_code_of_its_reason() {
    for (reason, code) in [
        (CancelReason::ClientGone, Code::Cancelled),
        (CancelReason::Deadline, Code::DeadlineExceeded),
        (CancelReason::Shutdown, Code::Unavailable),
    ] {
        for method in ["Unary", "Join", "Echo"] {
            let answer = Call::to(&SAMPLE, method).message("a").cancel(reason).run();
            assert_eq!(answer.code(), code, "{method} {reason:?}");
        }
        let answer = Call::to(&SAMPLE, "Bytes")
            .message("abc")
            .cancel_after_sent(2, reason)
            .run();
        assert_eq!((answer.code(), answer.messages.len()), (code, 2));
    }
}

#[test]
fn too_large_and_surplus_messages_are_refused() {
    let answer = Call::to(&SAMPLE, "Bytes")
        .message("a")
        .max_response_message(0)
        .run();
    assert_eq!(answer.code(), Code::ResourceExhausted);
    let answer = Call::to(&SAMPLE, "Unary")
        .message("a")
        .max_response_message(0)
        .run();
    assert_eq!(answer.code(), Code::ResourceExhausted);

    static TWICE: ByteService = ByteService::new(
        "sample.Twice",
        &[Method::bidi("Send", |_context, _incoming, outgoing| {
            outgoing.send("1")
        })],
    );
    struct AsClientStream;
    impl Service for AsClientStream {
        fn name(&self) -> &str {
            "sample.Twice"
        }
        fn methods(&self) -> Vec<crate::MethodDescription> {
            let kind = MethodKind::ClientStreaming;
            vec![
                crate::MethodDescription::new("Twice", kind),
                crate::MethodDescription::new("Never", kind),
            ]
        }
        fn unary(&self, _: usize, _: &Context, _: Vec<u8>) -> Result<Vec<u8>, Status> {
            Err(Status::unimplemented(""))
        }
        fn stream(
            &self,
            method: usize,
            _: &Context,
            _: Incoming,
            outgoing: Outgoing,
        ) -> Result<(), Status> {
            match method {
                0 => outgoing.send("1").and_then(|()| outgoing.send("2")),
                _ => Ok(()),
            }
        }
    }
    assert_eq!(Call::to(&TWICE, "Send").run().message(), b"1");
    assert_eq!(
        Call::to(&AsClientStream, "Twice").run().code(),
        Code::Internal
    );
    assert_eq!(
        Call::to(&AsClientStream, "Never").run().code(),
        Code::Internal
    );
}

#[test]
fn metadata_rules_are_those_of_the_contract() {
    let context = context();
    assert_eq!(context.set_header("", "v"), Err(MetadataError::InvalidKey));
    assert_eq!(
        context.set_header("Upper", "v"),
        Err(MetadataError::InvalidKey)
    );
    assert_eq!(
        context.set_header("grpc-status", "0"),
        Err(MetadataError::ReservedKey)
    );
    assert_eq!(
        context.set_header(":status", "200"),
        Err(MetadataError::InvalidKey)
    );
    assert_eq!(
        context.set_header("text", "ä"),
        Err(MetadataError::InvalidValue)
    );
    assert_eq!(context.set_header("raw-bin", [0_u8, 255]), Ok(()));
    assert_eq!(
        context.set_trailer("big", "x".repeat(16 << 10)),
        Err(MetadataError::TooLarge)
    );
    // In base64, 12 261 bytes are 16 348; 12 200 leave room for one more trailer. A key counts,
    // and so do 32 bytes for each pair.
    assert_eq!(
        context.set_trailer("x-bin", vec![0; 12_261]),
        Err(MetadataError::TooLarge)
    );
    assert_eq!(context.set_trailer("x-bin", vec![0; 12_200]), Ok(()));
    context.send_headers();
    context.send_headers();
    assert_eq!(
        context.set_header("late", "v"),
        Err(MetadataError::AlreadySent)
    );
    assert_eq!(context.set_trailer("late", "v"), Ok(()));
}

#[test]
fn batches_obey_both_limits() {
    static BATCHES: ByteService = ByteService::new(
        "sample.Batches",
        &[Method::bidi("Sizes", |_context, incoming, outgoing| {
            loop {
                let batch = incoming.receive_many(3, 4)?;
                if batch.is_empty() {
                    return Ok(());
                }
                outgoing.send([batch.len() as u8])?;
            }
        })],
    );
    let call = Call::to(&BATCHES, "Sizes").messages(["a", "b", "c", "d", "12345", "ab", "abc"]);
    assert_eq!(call.run().messages, [[3], [1], [1], [1], [1]]);
}

#[test]
fn compression_is_seen_and_asked_for_message_by_message() {
    static PACKS: ByteService = ByteService::new(
        "sample.Packs",
        &[
            Method::unary("Unary", |context, request| {
                context.set_compression(context.received_compressed());
                Ok(request)
            }),
            Method::bidi("Mirror", |context, incoming, outgoing| {
                assert!(!incoming.received_compressed());
                context.set_compression(true);
                while let Some(message) = incoming.receive()? {
                    outgoing.set_compression(incoming.received_compressed());
                    outgoing.send(message)?;
                }
                Ok(())
            }),
            Method::bidi("Late", |_context, incoming, outgoing| {
                while let Some(message) = incoming.receive()? {
                    assert!(!outgoing.set_compression(true));
                    outgoing.send(message)?;
                }
                Ok(())
            }),
        ],
    );
    let unary = |call: Call<'static>| call.takes_compressed().run().compressed;
    let call = || Call::to(&PACKS, "Unary");
    assert_eq!(unary(call().compressed_message("a")), [true]);
    assert_eq!(unary(call().message("a")), [false]);
    let empty = unary(call().compressed_message(""));
    assert_eq!(empty, [false], "nothing to compress");
    let answer = call().compressed_message("a").run();
    assert_eq!(answer.compressed, [false], "the caller takes none");
    let mixed = |method| {
        let call = Call::to(&PACKS, method).takes_compressed();
        let call = call.message("a").compressed_message("b").message("c");
        call.run().compressed
    };
    assert_eq!(mixed("Mirror"), [false, true, false]);
    assert_eq!(mixed("Late"), [false; 3]);
}

#[test]
fn pollables_wait_for_silence_to_end() {
    static POLLS: ByteService = ByteService::new(
        "sample.Polls",
        &[Method::bidi("Poll", |_context, incoming, outgoing| {
            let receivable = incoming.receivable();
            assert!(!receivable.ready());
            assert_eq!(incoming.receive_timeout(Duration::ZERO)?, Receive::Timeout);
            assert!(crate::poll(&[]).is_empty());
            assert_eq!(crate::poll(&[&receivable]), [0]);
            assert!(receivable.ready());
            outgoing.send(incoming.receive()?.unwrap_or_default())?;
            receivable.block();
            assert_eq!(incoming.receive()?, None);
            Ok(())
        })],
    );
    let call = Call::to(&POLLS, "Poll").silence().silence().message("late");
    assert_eq!(call.run().message(), b"late");
}

#[test]
fn the_caller_can_answer() {
    let call = Call::to(&SAMPLE, "Echo")
        .message("aaa")
        .answering(|response| {
            if response.len() > 1 {
                vec![response[1..].to_vec()]
            } else {
                Vec::new()
            }
        });
    assert_eq!(call.run().messages, [b"aaa".as_slice(), b"aa", b"a"]);
}

#[test]
fn trailers_of_the_status_come_last() {
    static FAILS: ByteService = ByteService::new(
        "sample.Fails",
        &[Method::unary("Fail", |context, _request| {
            context.set_trailer("t", "1")?;
            Err(Status::aborted("no")
                .with_trailer("t", "2")
                .with_trailer("grpc-x", "3"))
        })],
    );
    let answer = Call::to(&FAILS, "Fail").run();
    assert_eq!(
        answer.trailers,
        [("t", "1"), ("t", "2")].into_iter().collect()
    );
}

#[test]
#[should_panic(expected = "the call is over")]
fn a_context_kept_beyond_its_call_panics() {
    std::thread_local! {
        static KEPT: std::cell::RefCell<Option<Context>> = const { std::cell::RefCell::new(None) };
    }
    static KEEPS: ByteService = ByteService::new(
        "sample.Keeps",
        &[Method::unary("Keep", |context, request| {
            KEPT.set(Some(context.clone()));
            Ok(request)
        })],
    );
    Call::to(&KEEPS, "Keep").run();
    KEPT.with_borrow(|kept| kept.as_ref().map(Context::peer));
}
