//! One call and what can become of it: statuses, resets, cancellation, broken answers.

use futures_util::{FutureExt, stream};
use switchboard_client::CallError;
use switchboard_client_peer::peer::Ask;
use switchboard_client_peer::server::Limits;
use tonic::{Code, Request, Status};

use crate::fake::{Fake, HEADERS};
use crate::support::{
    Over, Rig, assert_status, call, client, counted, echo, hang, over, patiently,
};

/// What a unary call becomes when its server does this to it.
async fn answered(script: &[Step]) -> Status {
    let (mut fake, line) = Fake::new();
    let channel = over(&line).build().expect("a channel");
    let serving = async {
        let mut connection = fake.accept().await;
        let stream = connection.call().await;
        for step in script {
            match step {
                Step::Head(fields, end) => connection.headers(stream, fields, *end).await,
                Step::Message => connection.message(stream).await,
                Step::Data(bytes, end) => connection.data(stream, bytes, *end).await,
                Step::Reset(code) => connection.reset(stream, *code).await,
            }
        }
        connection.until_closed().await;
    };
    let calling = async {
        let status = call(&channel).await.expect_err("not an answer");
        channel.stop_now();
        status
    };
    tokio::join!(calling, serving).0
}

enum Step {
    Head(&'static [(&'static str, &'static str)], bool),
    Message,
    Data(&'static [u8], bool),
    Reset(u32),
}

const GRPC: Step = Step::Head(
    &[(":status", "200"), ("content-type", "application/grpc")],
    false,
);

#[tokio::test]
async fn a_reset_has_its_code() {
    let table = [
        (0, Code::Internal, "NO_ERROR"),
        (1, Code::Internal, "PROTOCOL_ERROR"),
        (2, Code::Internal, "INTERNAL_ERROR"),
        (8, Code::Cancelled, "CANCEL"),
        (11, Code::ResourceExhausted, "ENHANCE_YOUR_CALM"),
        (12, Code::PermissionDenied, "INADEQUATE_SECURITY"),
        (77, Code::Internal, "code 77"),
    ];
    for (reset, code, text) in table {
        let early = answered(&[Step::Reset(reset)]).await;
        assert_status(&early, code, text);
        let late = answered(&[GRPC, Step::Message, Step::Reset(reset)]).await;
        assert_status(&late, code, text);
    }
}

#[tokio::test]
async fn what_is_not_grpc_is_named() {
    let html = Step::Head(&[(":status", "502"), ("content-type", "text/html")], true);
    let status = answered(&[html]).await;
    assert_status(&status, Code::Unavailable, "HTTP 502 Bad Gateway");
    let page = Step::Head(&[(":status", "200"), ("content-type", "text/html")], false);
    let status = answered(&[page, Step::Data(b"<html>", true)]).await;
    assert_status(&status, Code::Internal, "text/html");
    let teapot = Step::Head(&[(":status", "418")], true);
    let status = answered(&[teapot]).await;
    assert_status(&status, Code::Unknown, "HTTP 418");
    let login = Step::Head(
        &[(":status", "401"), ("content-type", "application/grpc")],
        true,
    );
    let status = answered(&[login]).await;
    assert_status(&status, Code::Unauthenticated, "HTTP 401");
}

#[tokio::test]
async fn an_answer_without_a_status_is_an_error() {
    let cut = answered(&[GRPC, Step::Data(&[0; 5], true)]).await;
    assert_status(&cut, Code::Internal, "ended without a status");
    let trailers = Step::Head(&[("x-something", "else")], true);
    let odd = answered(&[GRPC, Step::Message, trailers]).await;
    assert_status(&odd, Code::Internal, "ended without a status");
    let head = Step::Head(
        &[(":status", "200"), ("content-type", "application/grpc")],
        true,
    );
    let empty = answered(&[head]).await;
    assert_status(&empty, Code::Internal, "ended without a status");
}

#[tokio::test]
async fn a_status_in_the_head_is_taken_and_garbage_in_it_is_survived() {
    let head = Step::Head(
        &[
            (":status", "200"),
            ("content-type", "application/grpc"),
            ("grpc-status", "9"),
            ("grpc-message", "%ff%C3%BC"),
            ("grpc-status-details-bin", "no base64!"),
        ],
        true,
    );
    let status = answered(&[head]).await;
    assert_status(&status, Code::FailedPrecondition, "\u{fffd}ü");
    assert_eq!(status.details(), b"");
}

#[tokio::test]
async fn a_frame_that_breaks_http2_ends_its_call_and_the_next_one_works() {
    let (mut fake, line) = Fake::new();
    let channel = over(&line).build().expect("a channel");
    let serving = async {
        let mut connection = fake.accept().await;
        let stream = connection.call().await;
        // Trailers that do not end the stream.
        connection.head(stream).await;
        connection.headers(stream, &[("a", "b")], false).await;
        let stream = connection.call().await;
        connection.answer(stream).await;
        connection.until_closed().await;
    };
    let calling = async {
        let status = call(&channel).await.expect_err("broken");
        assert_status(&status, Code::Internal, "broke HTTP/2");
        call(&channel).await.expect("another call");
        channel.stop_now();
    };
    tokio::join!(calling, serving);
}

#[tokio::test]
async fn a_call_that_is_dropped_is_dropped_by_its_server() {
    for over in [Over::Tcp, Over::Tunnel] {
        let rig = Rig::start(over).await;
        let mut counts = rig.counts();
        let mut client = rig.client();
        {
            let mut unary = Box::pin(client.unary(hang()));
            let begun = counted(&mut counts, |counts| counts.begun == 1);
            tokio::select! {
                _ = &mut unary => panic!("it hangs"),
                () = begun => {}
            }
        }
        counted(&mut counts, |counts| counts.dropped == 1).await;
        // The same with a stream whose messages come from a task of their own.
        let asks = stream::once(async { hang() }).chain_pending();
        let answers = patiently(client.converse(asks)).await.expect("a stream");
        counted(&mut counts, |counts| counts.begun == 2).await;
        drop(answers);
        counted(&mut counts, |counts| counts.dropped == 2).await;
        call(&rig.channel).await.expect("the channel is as before");
    }
}

/// A stream that has no end.
trait ChainPending: futures_util::Stream + Sized {
    fn chain_pending(self) -> impl futures_util::Stream<Item = Self::Item> {
        futures_util::StreamExt::chain(self, stream::pending())
    }
}
impl<S: futures_util::Stream> ChainPending for S {}

#[tokio::test]
async fn a_status_before_the_last_message_ends_the_sending() {
    let rig = Rig::start(Over::Tunnel).await;
    let refuse = Ask {
        code: Code::Aborted as u32,
        message: "enough".to_owned(),
        ..Ask::default()
    };
    let asks = stream::once(async { refuse }).chain_pending();
    let status = patiently(rig.client().collect(asks)).await;
    assert_status(&status.expect_err("asked for"), Code::Aborted, "enough");
    call(&rig.channel).await.expect("the channel is as before");
}

#[tokio::test]
async fn messages_that_panic_fail_their_call_only() {
    let rig = Rig::start(Over::Memory).await;
    let asks = (0..10).spaced(|number| {
        assert!(number < 5, "a caller's own bug");
        echo(b"fine")
    });
    let status = patiently(rig.client().collect(asks)).await;
    let status = status.expect_err("it panics");
    assert_status(&status, Code::Internal, "without its end");
    call(&rig.channel).await.expect("the channel is as before");
}

/// A stream whose items come one at a time, each after a pause.
trait Spaced: Iterator + Sized + Send {
    fn spaced<T: Send>(
        self,
        mut map: impl FnMut(Self::Item) -> T + Send,
    ) -> impl futures_util::Stream<Item = T> + Send
    where
        Self::Item: Send,
    {
        futures_util::StreamExt::then(stream::iter(self), move |item| {
            let item = map(item);
            async move {
                tokio::task::yield_now().await;
                item
            }
        })
    }
}
impl<I: Iterator + Send> Spaced for I {}

#[tokio::test]
async fn a_message_too_large_for_one_end_costs_its_call_only() {
    let rig = Rig::start_with(Over::Tunnel, Limits::default(), |_| {}).await;
    let too_large = vec![7; switchboard_client_peer::server::MESSAGE_BYTES_MAX + 1];
    let status = patiently(rig.client().unary(echo(&too_large))).await;
    assert_eq!(status.expect_err("too large").code(), Code::OutOfRange);
    let ask = Ask {
        size_bytes: 2 << 20,
        ..Ask::default()
    };
    let mut small = rig.client().max_decoding_message_size(1 << 20);
    let status = patiently(small.unary(ask)).await;
    assert_eq!(status.expect_err("too large").code(), Code::OutOfRange);
    call(&rig.channel).await.expect("the channel is as before");
}

#[tokio::test]
async fn a_request_that_http2_cannot_carry_is_refused_here() {
    let rig = Rig::start(Over::Memory).await;
    let mut request = Request::new(echo(b""));
    let value = "x".repeat(10).parse().expect("a value");
    request.metadata_mut().insert("transfer-encoding", value);
    let status = patiently(rig.client().unary(request)).await;
    let status = status.expect_err("HTTP/1.1's header");
    assert_status(&status, Code::Internal, "cannot be sent");
    call(&rig.channel).await.expect("the channel is as before");
}

#[tokio::test]
async fn a_call_outside_a_runtime_says_so() {
    let (connector, _listener) = switchboard_client::transport::memory();
    let channel = switchboard_client::Channel::builder("http://memory.test")
        .with_connector(connector)
        .build()
        .expect("a channel");
    let outside = std::thread::spawn(move || {
        let mut client = client(&channel);
        let called = client.unary(echo(b"")).now_or_never();
        called.expect("at once").expect_err("no runtime")
    });
    let status = outside.join().expect("no panic");
    assert_status(&status, Code::FailedPrecondition, "tokio runtime");
    let source = std::error::Error::source(&status).expect("a source");
    assert!(
        source
            .downcast_ref::<CallError>()
            .expect("ours")
            .is_unsent()
    );
}

#[tokio::test]
async fn head_and_message_of_a_small_call_go_out_together() {
    let (mut fake, line) = Fake::new();
    let channel = over(&line).build().expect("a channel");
    let serving = async {
        let mut connection = fake.accept().await;
        let head = connection.until(HEADERS).await;
        assert_eq!(head.1 & 1, 0, "the message follows");
        let (kind, flags, _, message) = connection.read().await.expect("the message");
        assert_eq!((kind, flags), (0, 1), "with the end of the stream");
        assert!(message.len() > 5);
        connection.answer(head.2).await;
        connection.until_closed().await;
    };
    let calling = async {
        call(&channel).await.expect("an answer");
        channel.stop_now();
    };
    tokio::join!(calling, serving);
}

#[tokio::test]
async fn a_status_of_enormous_length_costs_its_call_only() {
    let rig = Rig::start(Over::Tunnel).await;
    let long = |length: usize| Ask {
        code: Code::Aborted as u32,
        message: "x".repeat(length),
        ..Ask::default()
    };
    let status = patiently(rig.client().unary(long(100 * 1024))).await;
    assert_eq!(status.expect_err("asked for").message().len(), 100 * 1024);
    let status = patiently(rig.client().unary(long(300 * 1024))).await;
    assert_status(&status.expect_err("too long"), Code::Internal, "HTTP/2");
    call(&rig.channel).await.expect("the channel is as before");
}
