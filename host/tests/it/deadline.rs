//! Deadlines: every unit of `grpc-timeout`, whatever the plugin does meanwhile, up to the last
//! trailer. The status comes from the host; these clients keep no time of their own.

use std::num::NonZeroU32;
use std::time::Duration;

use h2::Reason;
use prost::Message;
use switchboard_test_support::proto::testservice::{
    ContextRequest, ContextResponse, FloodRequest, InstanceRequest, InstanceResponse, Number,
    SleepRequest, WaitEvent, WaitEventKind,
};
use switchboard_test_support::{PATIENCE, RawAnswer, RawClient, TestHost, eventually, frame, log};

use crate::inbound::{Inbound, copy_as};

const FOR_EVER: SleepRequest = SleepRequest {
    duration_ms: 600_000,
};
const EXCEEDED: u16 = 4;

/// Long enough for a call to enter its plugin, and to fill a window, on a machine that is busy.
const ENTERED: &str = "400m";

fn probe(method: &str, timeout: &str) -> http::request::Builder {
    RawClient::head(&format!("/testservice.Probe/{method}")).header("grpc-timeout", timeout)
}

/// Which instance serves the next call, and how many it has served.
async fn instance(client: &RawClient) -> InstanceResponse {
    let request = InstanceRequest {}.encode_to_vec();
    let answer = client.unary("/testservice.Probe/Instance", &request).await;
    assert_eq!(answer.code(), 0, "{}", answer.message());
    InstanceResponse::decode(answer.messages().remove(0)).expect("an answer")
}

async fn freed(host: &TestHost, plugin: &str) {
    let free = || host.stats(plugin).leased.total() == 0;
    eventually("all instances are free", free).await;
}

fn assert_exceeded(answer: &RawAnswer) {
    assert_eq!(answer.status, 200);
    assert_eq!(answer.code(), EXCEEDED, "{}", answer.message());
    assert_eq!(answer.message(), "deadline exceeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_unit_is_understood() {
    let host = TestHost::start("testservice").await;
    let client = host.raw().await;
    let request = frame(&ContextRequest::default().encode_to_vec());
    for (timeout, whole) in [
        ("1H", Duration::from_secs(3600)),
        // Nanoseconds end after 584 years.
        ("99999999H", Duration::from_nanos(u64::MAX)),
        ("2M", Duration::from_secs(120)),
        ("30S", Duration::from_secs(30)),
        ("40000m", Duration::from_secs(40)),
        ("50000000u", Duration::from_secs(50)),
    ] {
        let answer = client
            .call(probe("Context", timeout), request.clone())
            .await;
        assert_eq!(answer.code(), 0, "{timeout}: {}", answer.message());
        let seen = ContextResponse::decode(answer.messages().remove(0)).expect("a context");
        let left = Duration::from_nanos(seen.time_left_ns.expect("a deadline"));
        assert!(left <= whole && left > whole / 2, "{timeout}: {left:?}");
    }
    let sleep = frame(&FOR_EVER.encode_to_vec());
    for timeout in ["20m", "20000u", "20000000n"] {
        let answer = client.call(probe("Sleep", timeout), sleep.clone()).await;
        assert_exceeded(&answer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_that_is_none_is_refused() {
    let host = TestHost::start("testservice").await;
    let client = host.raw().await;
    let request = frame(&ContextRequest::default().encode_to_vec());
    for timeout in [
        "",
        "S",
        "5",
        "5s",
        "-5S",
        "+5S",
        "1.5S",
        "123456789S",
        "5 S",
    ] {
        let answer = client
            .call(probe("Context", timeout), request.clone())
            .await;
        assert_eq!(answer.code(), 13, "{timeout:?}: {}", answer.message());
        assert!(answer.message().contains("grpc-timeout"), "{timeout:?}");
    }
    assert_eq!(instance(&client).await.calls, 1, "none reached the plugin");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_has_passed_already_never_enters_the_plugin() {
    let host = TestHost::start("testservice").await;
    let client = host.raw().await;
    let request = frame(&ContextRequest::default().encode_to_vec());
    for timeout in ["0S", "1n"] {
        for method in ["Context", "Wait", "Flood", "Swallow"] {
            let answer = client.call(probe(method, timeout), request.clone()).await;
            assert_exceeded(&answer);
        }
    }
    assert_eq!(instance(&client).await.calls, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_sleeps_is_ended() {
    let host = TestHost::start("testservice").await;
    let client = host.raw().await;
    let begun = instance(&client).await;
    let answer = client
        .call(probe("Sleep", ENTERED), frame(&FOR_EVER.encode_to_vec()))
        .await;
    assert_exceeded(&answer);
    freed(&host, "testservice").await;
    assert_eq!(host.stats("testservice").retired_unclean, 1);
    let next = instance(&client).await;
    assert_ne!(next.instance_id, begun.instance_id, "never lent again");
    assert_eq!(next.calls, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_computes_is_ended() {
    let host = TestHost::start("testservice").await;
    let client = host.raw().await;
    let answer = client
        .call(probe("Burn", ENTERED), frame(&FOR_EVER.encode_to_vec()))
        .await;
    assert_exceeded(&answer);
    freed(&host, "testservice").await;
    assert_eq!(host.stats("testservice").retired_unclean, 1);
    assert_eq!(instance(&client).await.calls, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_waits_for_its_caller_is_told() {
    let (_folder, path) = copy_as("testservice", "deadline-wait");
    let host = TestHost::start_with("testservice", |setup| {
        // On a busy machine the plugin may get its turn late; what it does with it is the test.
        setup.config.call.cancel_grace = PATIENCE;
        setup.paths = vec![path];
    })
    .await;
    let client = host.raw().await;
    let call = client.begin(probe("Wait", ENTERED)).await;
    let answer = call.answer().await.expect("a status, not a reset");
    assert_exceeded(&answer);
    // The headers had left: the status stands in trailers.
    assert_eq!(answer.headers.get("grpc-status"), None);
    let event = WaitEvent::decode(answer.messages().remove(0)).expect("an event");
    assert_eq!(event.kind(), WaitEventKind::Waiting);
    log()
        .wait_for(&["deadline-wait", "wait: cancelled: the deadline has passed"])
        .await;
    freed(&host, "deadline-wait").await;
    assert_eq!(host.stats("deadline-wait").retired_unclean, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_does_not_send_its_request_is_answered() {
    let host = TestHost::start("testservice").await;
    let client = host.raw().await;
    let mut calls = Vec::new();
    for method in ["Sleep", "Flood", "Swallow"] {
        let mut call = client.begin(probe(method, ENTERED)).await;
        let beginning = frame(&[0; 100]).slice(..50);
        call.body.send_data(beginning, false).expect("open");
        calls.push((method, call));
    }
    for (method, call) in calls {
        let answer = call.answer().await.expect("a status, not a reset");
        assert_exceeded(&answer);
        // Nothing was sent before it: one block of trailers.
        assert_eq!(answer.headers["grpc-status"], "4", "{method}");
    }
    freed(&host, "testservice").await;
    // Only the client stream was entered before its message was whole.
    assert_eq!(host.stats("testservice").retired_unclean, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_covers_a_reader_that_stopped_within_a_message() {
    let host = TestHost::start("testservice").await;
    let client = host.raw().await;
    let flood = FloodRequest {
        count: 1000,
        size_bytes: 10_000,
    };
    let mut call = client.begin(probe("Flood", ENTERED)).await;
    call.send(&flood.encode_to_vec());
    call.end();
    let (_, body, _request) = call.headers().await.expect("headers");
    freed(&host, "testservice").await;
    assert_eq!(host.stats("testservice").retired_unclean, 1);
    // Half a message has left, so that trailers cannot follow.
    let mut blocks = Inbound::new(body);
    let end = loop {
        match blocks.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("half a message was passed off as an end"),
            Err(end) => break end,
        }
    };
    assert_eq!(end.reason(), Some(Reason::CANCEL));
    assert_eq!(instance(&client).await.calls, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_covers_a_reader_that_stopped_between_messages() {
    const WINDOW: usize = 65_535;
    const MESSAGE: usize = WINDOW / 5 - 5;
    let host = TestHost::start("echo").await;
    let client = host.raw().await;
    let head = RawClient::head("/echo.Echo/Bidi").header("grpc-timeout", ENTERED);
    let mut call = client.begin(head).await;
    // Five answers fill the window of the stream to its last byte, the sixth has no room.
    for _ in 0..6 {
        call.send(&[7; MESSAGE]);
    }
    let (_, body, _request) = call.headers().await.expect("headers");
    freed(&host, "echo").await;
    let mut answers = Inbound::new(body);
    for _ in 0..5 {
        let answer = answers.next().await.expect("no reset");
        assert_eq!(answer.expect("a message").len(), MESSAGE);
    }
    assert_eq!(answers.next().await.expect("no reset"), None);
    let trailers = answers.trailers().await.expect("no reset");
    assert_eq!(trailers["grpc-status"], "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unary_reply_that_nobody_reads_holds_no_instance_and_ends() {
    let host = TestHost::start("echo").await;
    let client = host.raw().await;
    let head = RawClient::head("/echo.Echo/Unary").header("grpc-timeout", ENTERED);
    let mut call = client.begin(head).await;
    call.send(&vec![7; 200_000]);
    call.end();
    let (_, body, _request) = call.headers().await.expect("headers");
    freed(&host, "echo").await;
    assert_eq!(host.stats("echo").retired_unclean, 0, "it had returned");
    // The reset comes whatever the reader does: it is not asked to read first.
    let mut answers = Inbound::new(body);
    let log_line = ["call failed: deadline exceeded", "/echo.Echo/Unary"];
    log().wait_for(&log_line).await;
    let end = answers.next().await.expect_err("cut within the message");
    assert_eq!(end.reason(), Some(Reason::CANCEL));
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_an_instance_counts() {
    let host = TestHost::start_with("testservice", |setup| {
        let pool = &mut setup.config.plugin.pool;
        pool.stores_max = NonZeroU32::MIN;
        pool.streams_max = 1;
        pool.wait_max = Duration::from_secs(600);
    })
    .await;
    let client = host.raw().await;
    let mut unary = client.begin(probe("Sleep", "1H")).await;
    unary.send(&FOR_EVER.encode_to_vec());
    unary.end();
    let mut stream = client.begin(probe("Wait", "1H")).await;
    stream.send(&Number { value: 1 }.encode_to_vec());
    let both = || host.stats("testservice").leased.total() == 2;
    eventually("both instances are taken", both).await;
    for method in ["Context", "Wait", "Flood", "Swallow"] {
        let request = frame(&ContextRequest::default().encode_to_vec());
        let answer = client.call(probe(method, "20m"), request).await;
        assert_exceeded(&answer);
        let waiting = || host.stats("testservice").waiting == 0;
        eventually("it has left the line", waiting).await;
    }
    assert_eq!(host.stats("testservice").leased.total(), 2);
    unary.cancel();
    stream.cancel();
    freed(&host, "testservice").await;
    assert_eq!(instance(&client).await.calls, 1, "none entered later");
}
