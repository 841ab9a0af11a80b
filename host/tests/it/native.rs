//! Services of the embedder beside the plugins: the same calls, limits and statuses.

use std::future::poll_fn;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use h2::Reason;
use switchboard_host::{
    CancelReason, Code, Exchange, HostBuilder, HostConfig, MethodKind, NativeFuture, NativeMethod,
    NativeService, Received, SendError, Status, send,
};
use switchboard_test_support::{RawClient, Setup, TestHost, frame, guest, patiently};
use tokio::sync::Notify;

use crate::inbound::Inbound;

/// Lists of bytes, one method of each kind.
pub(crate) struct Lists {
    name: &'static str,
    /// Told when `Watch` has learnt that its call is over.
    cancelled: Arc<Notify>,
}

impl Lists {
    pub(crate) fn named(name: &'static str) -> Self {
        Self {
            name,
            cancelled: Arc::default(),
        }
    }
}

async fn receive(call: &dyn Exchange) -> Option<Bytes> {
    match poll_fn(|cx| call.poll_receive(cx)).await {
        Received::Message(message) => Some(message),
        Received::End | Received::Cancelled(_) => None,
    }
}

fn failed(error: SendError) -> Status {
    Status::new(Code::Aborted, format!("{error:?}"))
}

impl NativeService for Lists {
    fn name(&self) -> &str {
        self.name
    }

    fn methods(&self) -> Vec<NativeMethod> {
        [
            ("Reverse", MethodKind::Unary),
            ("Join", MethodKind::ClientStreaming),
            ("Split", MethodKind::ServerStreaming),
            ("Double", MethodKind::BidiStreaming),
            ("Watch", MethodKind::BidiStreaming),
        ]
        .map(|(name, kind)| NativeMethod { name, kind })
        .into()
    }

    fn unary(&self, method: usize, call: Arc<dyn Exchange>, request: Bytes) -> NativeFuture<Bytes> {
        assert_eq!(method, 0);
        Box::pin(async move {
            if request.is_empty() {
                let mut status = Status::new(Code::InvalidArgument, "nothing to reverse");
                status.details = vec![1];
                return Err(status);
            }
            assert!(*request != *b"panic", "as asked");
            let who = call.value("x-who").unwrap_or_default();
            call.set_header("x-for", &who).expect("allowed");
            call.set_trailer("x-len", request.len().to_string().as_bytes())
                .expect("allowed");
            Ok(request.iter().rev().copied().collect())
        })
    }

    fn stream(&self, method: usize, call: Arc<dyn Exchange>) -> NativeFuture<()> {
        let cancelled = Arc::clone(&self.cancelled);
        Box::pin(async move {
            match method {
                1 => {
                    let mut all = Vec::new();
                    while let Some(message) = receive(&*call).await {
                        all.extend_from_slice(&message);
                    }
                    send(&*call, all.into()).await.map_err(failed)
                }
                2 => {
                    let message = receive(&*call).await.unwrap_or_default();
                    for byte in message {
                        let one = Bytes::copy_from_slice(&[byte]);
                        send(&*call, one).await.map_err(failed)?;
                    }
                    Ok(())
                }
                3 => {
                    while let Some(message) = receive(&*call).await {
                        let twice = [&message[..], &message[..]].concat();
                        send(&*call, twice.into()).await.map_err(failed)?;
                    }
                    Ok(())
                }
                _ => {
                    call.send_headers();
                    assert_eq!(receive(&*call).await, None);
                    assert_eq!(call.cancelled(), Some(CancelReason::ClientGone));
                    cancelled.notify_one();
                    Ok(())
                }
            }
        })
    }
}

async fn start(lists: Lists, edit: impl FnOnce(&mut Setup)) -> TestHost {
    let mut setup = Setup::default();
    edit(&mut setup);
    TestHost::build(setup, |builder| builder.native(lists)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_service_has_all_four_kinds() {
    let host = start(Lists::named("native.Lists"), |_| {}).await;
    assert_eq!(host.services, ["native.Lists"]);
    let client = host.raw().await;
    let words = [frame(b"ab"), frame(b"c")].concat();
    for (method, request, expected) in [
        ("Reverse", frame(b"abc").to_vec(), &["cba"][..]),
        ("Join", words.clone(), &["abc"]),
        ("Join", Vec::new(), &[""]),
        ("Split", frame(b"abc").to_vec(), &["a", "b", "c"]),
        ("Double", words, &["abab", "cc"]),
    ] {
        let head = RawClient::head(&format!("/native.Lists/{method}"));
        let answer = client.call(head, request).await;
        assert_eq!(answer.code(), 0, "{method}: {}", answer.message());
        assert_eq!(answer.messages(), expected, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_and_statuses_of_a_native_service_arrive() {
    let host = start(Lists::named("native.Lists"), |_| {}).await;
    let client = host.raw().await;
    let head = || RawClient::head("/native.Lists/Reverse").header("x-who", "me");
    let answer = client.call(head(), frame(b"ab")).await;
    assert_eq!(answer.headers["x-for"], "me");
    assert_eq!(answer.trailers["x-len"], "2");
    let answer = client.call(head(), frame(b"")).await;
    assert_eq!(answer.code(), 3);
    assert_eq!(answer.message(), "nothing to reverse");
    assert_eq!(answer.trailers["grpc-status-details-bin"], "AQ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_handler_that_panics_ends_its_call_only() {
    let host = start(Lists::named("native.Lists"), |_| {}).await;
    let client = host.raw().await;
    let answer = client.unary("/native.Lists/Reverse", b"panic").await;
    assert_eq!(answer.code(), 13);
    assert_eq!(answer.message(), "internal error of the host");
    let answer = client.unary("/native.Lists/Reverse", b"ok").await;
    assert_eq!(answer.messages(), ["ko"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_for_a_native_service_too() {
    let host = start(Lists::named("native.Lists"), |setup| {
        setup.config.call.request_bytes_max = 100;
        setup.config.call.response_bytes_max = 100;
    })
    .await;
    let client = host.raw().await;
    let answer = client.unary("/native.Lists/Reverse", &[7; 101]).await;
    assert_eq!(answer.code(), 8, "{}", answer.message());
    // Its streams learn of it and choose for themselves.
    let answer = client.unary("/native.Lists/Double", &[7; 51]).await;
    assert_eq!((answer.code(), answer.message()), (10, "TooLarge"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_handler_learns_that_its_caller_is_gone() {
    let lists = Lists::named("native.Lists");
    let cancelled = Arc::clone(&lists.cancelled);
    let host = start(lists, |_| {}).await;
    let client = host.raw().await;
    let call = client.begin(RawClient::head("/native.Lists/Watch")).await;
    let (_, body, mut request) = call.headers().await.expect("headers");
    request.send_reset(Reason::CANCEL);
    patiently("the handler learns of it", cancelled.notified()).await;
    Inbound::new(body).next().await.expect_err("reset");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_service_goes_before_a_plugin_of_the_same_name() {
    let setup = Setup {
        paths: vec![guest("echo"), guest("greeter")],
        ..Setup::default()
    };
    let lists = Lists::named("echo.Echo");
    let host = TestHost::build(setup, |builder| builder.native(lists)).await;
    let lines: Vec<_> = host.refused.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("echo.wasm"), "{lines:?}");
    assert!(lines[0].contains("echo.Echo offers already"), "{lines:?}");
    assert_eq!(host.services, ["echo.Echo", "helloworld.Greeter"]);
    let client = host.raw().await;
    let answer = client.unary("/echo.Echo/Reverse", b"abc").await;
    assert_eq!(answer.messages(), ["cba"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_native_services_of_one_name_are_an_error() {
    let mut config = HostConfig::default();
    config.engine.instances_max = NonZeroU32::MIN;
    let built = HostBuilder::new(config)
        .native(Lists::named("native.Lists"))
        .native(Lists::named("native.Lists"))
        .build(&[])
        .await;
    let error = built.expect_err("a clash").to_string();
    assert!(error.contains("native.Lists"), "{error}");
}
