//! Faults of the server that this one comes after. Each test is named after what one of its users
//! saw, and fails if a user of this one could see it.

use bytes::Bytes;
use prost::Message;
use switchboard_test_support::proto::testservice::{
    AddRequest, CountRequest, FailAfterRequest, Failure, FloodRequest, InstanceRequest,
    InstanceResponse, Number, Total,
};
use switchboard_test_support::{RawAnswer, RawClient, TestHost, eventually, faulty, frame};

use crate::inbound::Inbound;

fn number(value: i64) -> Vec<u8> {
    Number { value }.encode_to_vec()
}

async fn add(client: &RawClient) -> RawAnswer {
    let request = AddRequest { a: 2, b: 3 }.encode_to_vec();
    client.unary("/testservice.TestService/Add", &request).await
}

/// No call here has a deadline: one that gets no status hangs until the test's patience ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_error_without_a_reply_ends_the_call() {
    let host = TestHost::start("testservice").await;
    let client = host.raw().await;
    let failure = || Failure {
        code: 9,
        message: "asked".to_owned(),
        ..Failure::default()
    };
    let after_none = FailAfterRequest {
        count: 0,
        failure: Some(failure()),
    };
    let too_large = [frame(&number(i64::MAX)), frame(&number(1))].concat();
    for (path, request, code) in [
        (
            "/testservice.Probe/Fail",
            frame(&failure().encode_to_vec()).to_vec(),
            9,
        ),
        (
            "/testservice.Probe/FailAfter",
            frame(&after_none.encode_to_vec()).to_vec(),
            9,
        ),
        ("/testservice.TestService/Sum", too_large.clone(), 11),
        ("/testservice.TestService/Running", too_large, 11),
    ] {
        let answer = client.call(RawClient::head(path), request).await;
        assert_eq!(answer.code(), code, "{path}: {}", answer.message());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_and_bidi_streams_end_with_a_status() {
    let host = TestHost::start("testservice").await;
    let client = host.raw().await;
    let count = CountRequest {
        from: 1,
        to: 2,
        pause_ms: 0,
    };
    for (path, request) in [
        ("/testservice.TestService/Count", count.encode_to_vec()),
        ("/testservice.TestService/Running", number(1)),
    ] {
        let answer = client.unary(path, &request).await;
        assert!(!answer.messages().is_empty(), "{path}");
        // In trailers of their own, after the messages.
        assert_eq!(answer.headers.get("grpc-status"), None, "{path}");
        assert_eq!(answer.trailers["grpc-status"], "0", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_larger_than_the_plugin_can_hold_ends_that_call_only() {
    let host = TestHost::start_with("echo", |setup| {
        setup.config.engine.memory_bytes_max = 2 << 20;
    })
    .await;
    let client = host.raw().await;
    let unary = "/echo.Echo/Unary";
    assert_eq!(client.unary(unary, b"before").await.code(), 0);
    let answer = client.unary(unary, &vec![7; 3 << 20]).await;
    assert_eq!(answer.code(), 8, "{}", answer.message());
    let answer = client.unary(unary, b"after").await;
    assert_eq!(answer.code(), 0, "{}", answer.message());
    assert_eq!(answer.messages(), ["after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_of_streams_do_not_starve_the_pool() {
    let host = TestHost::start_with("testservice", |setup| {
        setup.config.plugin.pool.streams_max = 4;
    })
    .await;
    let slow = host.raw().await;
    let flood = FloodRequest {
        count: 1000,
        size_bytes: 10_000,
    };
    let mut stuck = Vec::new();
    for _ in 0..4 {
        let head = RawClient::head("/testservice.Probe/Flood");
        let mut call = slow.begin(head).await;
        call.send(&flood.encode_to_vec());
        call.end();
        stuck.push(call);
    }
    let all = || host.stats("testservice").leased.streams == 4;
    eventually("every place for streams is taken", all).await;
    let client = host.raw().await;
    for _ in 0..20 {
        assert_eq!(add(&client).await.code(), 0);
    }
    assert_eq!(host.stats("testservice").leased.streams, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trapped_instance_does_not_go_back_to_the_pool() {
    // None is made in advance, so that it is known which one serves the next call.
    let host = TestHost::start_with("faulty", |setup| {
        setup.config.plugin.pool.warm_min = 0;
    })
    .await;
    let client = host.raw().await;
    let calls = async || {
        let answer = client.unary("/faulty.Faulty/Calls", b"").await;
        assert_eq!(answer.code(), 0, "{}", answer.message());
        answer.messages().remove(0)
    };
    assert_eq!(calls().await, "1");
    assert_eq!(calls().await, "2", "an instance that is well is kept");
    for (path, before) in [("Trap", 0), ("Panic", 1), ("TrapMidStream", 2)] {
        let path = format!("/faulty.Faulty/{path}");
        let answer = client.unary(&path, b"").await;
        assert_eq!(answer.code(), 13, "{path}: {}", answer.message());
        let dropped = || host.stats("faulty").retired_unclean == before + 1;
        eventually("the instance is dropped", dropped).await;
        assert_eq!(calls().await, "1", "a new one after {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_a_stream_keeps_its_code() {
    let host = TestHost::start("testservice").await;
    let client = host.raw().await;
    for code in 1..=16_u16 {
        let request = FailAfterRequest {
            count: 2,
            failure: Some(Failure {
                code: u32::from(code),
                message: format!("failed with {code}"),
                ..Failure::default()
            }),
        };
        let path = "/testservice.Probe/FailAfter";
        let answer = client.unary(path, &request.encode_to_vec()).await;
        assert_eq!(answer.messages(), [number(1), number(2)]);
        assert_eq!(answer.code(), code);
        assert_eq!(answer.message(), format!("failed with {code}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_reply_does_not_end_the_process() {
    let host = TestHost::start_with("faulty", |setup| setup.paths = vec![faulty("raw")]).await;
    let client = host.raw().await;
    let beside = host.raw().await;
    for method in ["OutOfBounds", "BadTag", "BadUtf8", "KeepBorrow"] {
        let answer = client.unary(&format!("/faulty.Raw/{method}"), b"").await;
        assert_eq!(answer.code(), 13, "{method}: {}", answer.message());
        for client in [&client, &beside] {
            let answer = client.unary("/faulty.Raw/Echo", b"well").await;
            assert_eq!(answer.code(), 0, "after {method}: {}", answer.message());
            assert_eq!(answer.messages(), ["well"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_messages_of_a_stream_reach_one_instance() {
    let host = TestHost::start("testservice").await;
    let client = host.raw().await;
    let mut streams = Vec::new();
    for value in 1..=3 {
        let head = RawClient::head("/testservice.TestService/Running");
        let mut call = client.begin(head).await;
        call.send(&number(value));
        let (_, body, request) = call.headers().await.expect("headers");
        streams.push((value, Inbound::new(body), request));
    }
    for round in 1..=20_u64 {
        for (value, totals, request) in &mut streams {
            // A sum that another instance kept would miss what came before.
            let total = totals.next().await.expect("no reset").expect("a total");
            let total = Total::decode(total).expect("a total");
            let expected = *value * i64::try_from(round).expect("small");
            assert_eq!((total.count, total.total), (round, expected));
            let next: Bytes = frame(&number(*value));
            request.send_data(next, false).expect("open");
            // Calls in between may take any other instance.
            assert_eq!(add(&client).await.code(), 0);
        }
        assert_eq!(host.stats("testservice").leased.streams, 3);
    }
    let request = InstanceRequest {}.encode_to_vec();
    let answer = client.unary("/testservice.Probe/Instance", &request).await;
    let seen = InstanceResponse::decode(answer.messages().remove(0));
    assert_eq!(seen.expect("an answer").calls, 1);
    assert_eq!(
        host.stats("testservice").made,
        4,
        "one each, and one beside"
    );
}
