//! The four kinds of calls, through stock clients: right answers, whatever the number and the size
//! of the messages, and streams that end before their caller does.

use h2::Reason;
use prost::Message;
use switchboard_test_support::proto::testservice::probe_client::ProbeClient;
use switchboard_test_support::proto::testservice::test_service_client::TestServiceClient;
use switchboard_test_support::proto::testservice::tick_response::Event;
use switchboard_test_support::proto::testservice::{
    AddRequest, Block, CountRequest, FloodRequest, InstanceRequest, Number, SleepRequest,
    TickRequest, TickResponse, Total,
};
use switchboard_test_support::{RawClient, TestHost, frame, frames, patiently};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{self as stream, StreamExt};
use tonic::{Code, Streaming};

fn numbers(values: impl IntoIterator<Item = i64>) -> Vec<Number> {
    values.into_iter().map(|value| Number { value }).collect()
}

/// All messages of a stream that must end with OK.
async fn all<T>(messages: Streaming<T>) -> Vec<T> {
    let all: Result<_, _> = patiently("the stream ends", messages.collect()).await;
    all.expect("the stream ends with OK")
}

#[tokio::test(flavor = "multi_thread")]
async fn unary_adds() {
    let host = TestHost::start("testservice").await;
    let mut client = TestServiceClient::new(host.channel());
    for (a, b) in [(2, 3), (0, 0), (-7, 5), (i64::MAX, i64::MIN)] {
        let sum = client.add(AddRequest { a, b }).await.expect("a sum");
        assert_eq!(sum.into_inner().value, a + b);
    }
    let request = AddRequest { a: i64::MAX, b: 1 };
    let status = client.add(request).await.expect_err("it does not fit");
    assert_eq!(status.code(), Code::OutOfRange);
    assert_eq!(status.message(), "the sum does not fit into 64 bits");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_streaming_sums() {
    let host = TestHost::start("testservice").await;
    let mut client = TestServiceClient::new(host.channel());
    for count in [0, 1, 2, 2000] {
        let request = stream::iter(numbers(1..=count));
        let total = client.sum(request).await.expect("a total").into_inner();
        let expected = Total {
            count: count.unsigned_abs(),
            total: count * (count + 1) / 2,
        };
        assert_eq!(total, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_streaming_counts() {
    let host = TestHost::start("testservice").await;
    let mut client = TestServiceClient::new(host.channel());
    for (from, to) in [(1, 5), (-2, 2), (7, 7), (1, 0), (0, 2999)] {
        let request = CountRequest {
            from,
            to,
            pause_ms: 0,
        };
        let counted = client.count(request).await.expect("headers").into_inner();
        assert_eq!(all(counted).await, numbers(from..=to));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bidi_answers_each_number_before_the_next_is_sent() {
    let host = TestHost::start("testservice").await;
    let mut client = TestServiceClient::new(host.channel());
    let (send, receive) = mpsc::channel(1);
    // The caller's headers are followed by nothing until the plugin's have come.
    let running = client.running(ReceiverStream::new(receive));
    send.send(Number { value: 1 }).await.expect("open");
    let mut totals = running.await.expect("headers").into_inner();
    for round in 1..=100 {
        let total = totals.next().await.expect("a total").expect("no failure");
        let expected = i64::try_from(round * (round + 1) / 2).expect("small");
        assert_eq!((total.count, total.total), (round, expected));
        let value = i64::try_from(round + 1).expect("small");
        send.send(Number { value }).await.expect("open");
    }
    drop(send);
    assert_eq!(all(totals).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bidi_without_messages_is_ok_and_empty() {
    let host = TestHost::start("testservice").await;
    let mut client = TestServiceClient::new(host.channel());
    let totals = client.running(stream::empty()).await.expect("headers");
    assert_eq!(all(totals.into_inner()).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn bidi_failure_in_the_middle_keeps_what_was_sent_and_its_code() {
    let host = TestHost::start("testservice").await;
    let mut client = TestServiceClient::new(host.channel());
    let request = stream::iter(numbers([i64::MAX, 1, 5]));
    let mut totals = client.running(request).await.expect("headers").into_inner();
    let first = totals.next().await.expect("a message").expect("a total");
    assert_eq!(first.total, i64::MAX);
    let status = totals.next().await.expect("an end").expect_err("no room");
    assert_eq!(status.code(), Code::OutOfRange);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_come_whole_both_ways() {
    const MIB: usize = 1 << 20;
    let host = TestHost::start("testservice").await;
    let mut client = ProbeClient::new(host.channel());
    let block = |index, size| Block {
        index,
        data: vec![1; size],
        pause_ms: 0,
    };
    let blocks = stream::iter([block(0, MIB), block(1, 1), block(2, 2 * MIB)]);
    let swallowed = client.swallow(blocks).await.expect("a total").into_inner();
    let expected = i64::try_from(3 * MIB + 1).expect("small");
    assert_eq!((swallowed.count, swallowed.total), (3, expected));

    let request = FloodRequest {
        count: 3,
        size_bytes: u32::try_from(MIB).expect("small"),
    };
    let blocks = client.flood(request).await.expect("headers").into_inner();
    for (index, block) in (0_u8..).zip(all(blocks).await) {
        assert_eq!(block.index, u32::from(index));
        assert!(block.data == vec![index; MIB], "block {index}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_ends_early_ends_a_caller_that_still_sends() {
    let host = TestHost::start("testservice").await;
    let client = host.raw().await;
    let mut call = client
        .begin(RawClient::head("/testservice.Probe/Early"))
        .await;
    let seven = Number { value: 7 }.encode_to_vec();
    call.send(&seven);
    let (_, mut body, mut request) = call.headers().await.expect("headers");
    let message = body.data().await.expect("a message").expect("no reset");
    assert_eq!(frames(message), [seven]);
    assert!(body.data().await.is_none());
    let trailers = body.trailers().await.expect("no reset").expect("trailers");
    assert_eq!(trailers["grpc-status"], "0");
    // RFC 9113, section 8.1: the rest of the request is not wanted, and nothing went wrong.
    let reset = std::future::poll_fn(|cx| request.poll_reset(cx));
    let reason = patiently("the stream is closed", reset).await;
    assert_eq!(reason.expect("the connection stays"), Reason::NO_ERROR);
    let stock = ProbeClient::new(host.channel())
        .early(stream::iter(numbers([3])).chain(stream::pending()))
        .await;
    let answers = all(stock.expect("headers").into_inner()).await;
    assert_eq!(answers, numbers([3]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_here_already_comes_in_batches() {
    let host = TestHost::start("testservice").await;
    let client = host.raw().await;
    // One DATA frame: the plugin asks for 64 messages at most.
    let wire: Vec<u8> = numbers(1..=100)
        .iter()
        .flat_map(|number| frame(&number.encode_to_vec()))
        .collect();
    let head = RawClient::head("/testservice.Probe/Batches");
    let answer = client.call(head, wire).await;
    assert_eq!(answer.code(), 0, "{}", answer.message());
    let batches: Vec<_> = answer
        .messages()
        .into_iter()
        .map(|batch| Total::decode(batch).expect("a total"))
        .map(|batch| (batch.count, batch.total))
        .collect();
    assert_eq!(batches, [(64, 64 * 65 / 2), (36, 5050 - 64 * 65 / 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_caller_is_noticed_by_receive_with_a_time_limit() {
    let host = TestHost::start("testservice").await;
    let mut client = ProbeClient::new(host.channel());
    let (send, receive) = mpsc::channel(1);
    let tick = |value, pause_ms| TickRequest { value, pause_ms };
    send.send(tick(10, 1)).await.expect("open");
    let ticks = client.ticks(ReceiverStream::new(receive)).await;
    let mut ticks = ticks.expect("headers").into_inner();
    let mut next = async || {
        let tick: Option<Result<TickResponse, _>> = ticks.next().await;
        tick.map(|tick| tick.expect("no failure").event.expect("an event"))
    };
    assert_eq!(next().await, Some(Event::Value(10)));
    assert_eq!(next().await, Some(Event::Silences(1)));
    assert_eq!(next().await, Some(Event::Silences(2)));
    send.send(tick(20, 0)).await.expect("open");
    let mut silences = 2;
    let value = loop {
        match next().await.expect("an event") {
            Event::Silences(count) => {
                silences += 1;
                assert_eq!(count, silences, "each silence once");
            }
            Event::Value(value) => break value,
        }
    };
    assert_eq!(value, 20);
    drop(send);
    while let Some(event) = next().await {
        assert!(matches!(event, Event::Silences(_)), "{event:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_time_limit_no_silence_is_reported() {
    let host = TestHost::start("testservice").await;
    let mut client = ProbeClient::new(host.channel());
    let tick = |value| TickRequest { value, pause_ms: 0 };
    let values = stream::iter([1, 2, 3]).map(tick);
    let ticks = client.ticks(values).await.expect("headers").into_inner();
    let values: Vec<_> = all(ticks)
        .await
        .into_iter()
        .map(|tick| tick.event)
        .collect();
    assert_eq!(values, [1, 2, 3].map(|value| Some(Event::Value(value))));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_serves_one_call_after_the_other() {
    let host = TestHost::start("testservice").await;
    let mut client = ProbeClient::new(host.channel());
    let mut seen = Vec::new();
    for _ in 0..4 {
        let answer = client.instance(InstanceRequest {}).await;
        let answer = answer.expect("an answer").into_inner();
        seen.push((answer.instance_id, answer.calls));
    }
    let id = seen[0].0;
    assert_eq!(seen, [(id, 1), (id, 2), (id, 3), (id, 4)]);
    // A stream is one call like any other, and takes the same instance.
    let early = client.early(stream::iter(numbers([1]))).await;
    all(early.expect("headers").into_inner()).await;
    let answer = client.sleep(SleepRequest { duration_ms: 0 }).await;
    let answer = answer.expect("an answer").into_inner();
    assert_eq!((answer.instance_id, answer.calls), (id, 6));
    assert_eq!(host.stats("testservice").made, 1);
}
