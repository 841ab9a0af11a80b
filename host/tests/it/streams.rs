//! Streams under flow control: a slow reader holds up nobody but itself, nothing piles up in the
//! host, and many calls share one connection.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use switchboard_test_support::proto::testservice::test_service_client::TestServiceClient;
use switchboard_test_support::proto::testservice::{
    AddRequest, Block, CountRequest, FloodRequest, Number, Total,
};
use switchboard_test_support::{RawCall, RawClient, TestHost, eventually, frame, patiently};
use tokio_stream as stream;

use crate::inbound::Inbound;

const RUNNING: &str = "/testservice.TestService/Running";
const WINDOW: usize = 65_535;

/// Connects with a window for the connection that one stream cannot fill, as stock clients do. Its
/// size is also how many small answers h2 lets pile up unread before it gives up the connection.
async fn connect(host: &TestHost) -> RawClient {
    let mut settings = h2::client::Builder::new();
    settings
        .initial_window_size(65_535)
        .initial_connection_window_size(4 << 20);
    RawClient::connect_with(host.addr, &settings).await
}

/// A stream that wants to send ten megabytes, to a caller that reads none of them.
async fn flood(client: &RawClient) -> RawCall {
    let request = FloodRequest {
        count: 1000,
        size_bytes: 10_000,
    };
    let mut call = client
        .begin(RawClient::head("/testservice.Probe/Flood"))
        .await;
    call.send(&request.encode_to_vec());
    call.end();
    call
}

async fn add(client: &RawClient, a: i64, b: i64) -> i64 {
    let request = AddRequest { a, b }.encode_to_vec();
    let answer = client.unary("/testservice.TestService/Add", &request).await;
    assert_eq!(answer.code(), 0, "{}", answer.message());
    Number::decode(answer.messages().remove(0))
        .expect("a number")
        .value
}

fn number(value: i64) -> Vec<u8> {
    Number { value }.encode_to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stopped_holds_up_no_other_call() {
    let host = TestHost::start("testservice").await;
    let (same, other) = (connect(&host).await, connect(&host).await);
    let stuck = flood(&same).await;
    let begun = || host.stats("testservice").leased.streams == 1;
    eventually("the stream has begun", begun).await;
    for round in 0..50 {
        assert_eq!(add(&same, round, 1).await, round + 1);
        assert_eq!(add(&other, round, 2).await, round + 2);
    }
    assert_eq!(host.stats("testservice").leased.streams, 1, "still stuck");
    // It goes on where it stopped once it is read.
    let (_, body, _request) = stuck.headers().await.expect("headers");
    let mut blocks = Inbound::new(body);
    let mut count = 0;
    while blocks.next().await.expect("no reset").is_some() {
        count += 1;
    }
    assert_eq!(count, 1000);
    let trailers = blocks.trailers().await.expect("no reset");
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_readers_that_stopped_leave_unary_calls_their_instances() {
    let host = TestHost::start_with("testservice", |setup| {
        setup.config.plugin.pool.streams_max = 8;
    })
    .await;
    let client = connect(&host).await;
    let mut stuck = Vec::new();
    // Two more than may run: those wait in line and take nothing from others either.
    for _ in 0..10 {
        stuck.push(flood(&client).await);
    }
    let full = || {
        let stats = host.stats("testservice");
        (stats.leased.streams, stats.waiting) == (8, 2)
    };
    eventually("all places for streams are taken", full).await;
    for round in 0..20 {
        assert_eq!(add(&client, round, 1).await, round + 1);
    }
}

/// Sends as much of `left` as the host has room for; answers how much that was.
fn pump(body: &mut h2::SendStream<Bytes>, left: &mut Bytes) -> usize {
    body.reserve_capacity(left.len());
    let room = body.capacity().min(left.len());
    if room > 0 {
        let part = left.split_to(room);
        body.send_data(part, false).expect("the stream is open");
    }
    room
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_cannot_send_stops_reading_and_its_caller_stops_too() {
    const MESSAGE: usize = 1000;
    const COUNT: usize = 4000;
    // What a caller may send ahead, what it lets the host send, and what is on its way in between:
    // one chunk, one message and a window that is announced in steps.
    const BOUND: usize = (512 << 10) + WINDOW + (64 << 10);
    let host = TestHost::start("echo").await;
    let client = connect(&host).await;
    let mut call = client.begin(RawClient::head("/echo.Echo/Bidi")).await;
    let mut left = Bytes::from(frame(&[7; MESSAGE]).repeat(COUNT));
    let mut sent = pump(&mut call.body, &mut left);
    let (_, body, mut request) = call.headers().await.expect("headers");
    // Each of these calls goes all the way: what the host was willing to take before, it has taken.
    let mut quiet = 0;
    while quiet < 20 {
        let answer = client.unary("/echo.Echo/Unary", b"tick").await;
        assert_eq!(answer.code(), 0, "{}", answer.message());
        let room = pump(&mut request, &mut left);
        sent += room;
        assert!(sent <= BOUND, "{sent} bytes were taken, nobody reads");
        quiet = if room == 0 { quiet + 1 } else { 0 };
    }
    assert!(sent >= 512 << 10, "{sent} bytes: the window was not used");
    // Once answers are read, everything flows, and nothing was lost.
    let sending = async {
        while !left.is_empty() {
            if pump(&mut request, &mut left) == 0 {
                let room = std::future::poll_fn(|cx| request.poll_capacity(cx));
                let room = patiently("room for more", room).await;
                room.expect("the stream is open").expect("no reset");
            }
        }
        request.send_data(Bytes::new(), true).expect("open");
    };
    let mut answers = Inbound::new(body);
    let reading = async {
        for count in 1..=COUNT {
            let answer = answers.next().await.expect("no reset");
            assert_eq!(answer.as_deref(), Some(&[7; MESSAGE][..]), "{count}");
        }
        assert_eq!(answers.next().await.expect("no reset"), None);
    };
    tokio::join!(sending, reading);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_beyond_the_window_is_sent_to_a_reader_that_stopped() {
    let host = TestHost::start("testservice").await;
    let client = connect(&host).await;
    let (_, mut body, _request) = flood(&client).await.headers().await.expect("headers");
    let mut received = 0;
    while received < WINDOW {
        let chunk = body.data().await.expect("more").expect("no reset");
        received += chunk.len();
    }
    for round in 0..20 {
        assert_eq!(add(&client, round, 1).await, round + 1);
    }
    assert_eq!(received, WINDOW);
    let more = futures_util::FutureExt::now_or_never(body.data());
    assert!(more.is_none(), "the window is closed: {more:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_beyond_the_limit_waits_and_then_runs() {
    let host = TestHost::start_with("testservice", |setup| {
        let pool = &mut setup.config.plugin.pool;
        pool.streams_max = 1;
        pool.wait_max = Duration::from_secs(600);
    })
    .await;
    let client = host.raw().await;
    let mut first = client.begin(RawClient::head(RUNNING)).await;
    let begun = || host.stats("testservice").leased.streams == 1;
    eventually("the first runs", begun).await;
    let mut second = client.begin(RawClient::head(RUNNING)).await;
    second.send(&number(2));
    second.end();
    let waits = || host.stats("testservice").waiting == 1;
    eventually("the second waits", waits).await;
    first.end();
    assert_eq!(first.answer().await.expect("an answer").code(), 0);
    let answer = second.answer().await.expect("an answer");
    assert_eq!(answer.code(), 0, "{}", answer.message());
    assert_eq!(answer.messages().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_beyond_the_limit_and_the_line_is_told_when_to_come_back() {
    let host = TestHost::start_with("testservice", |setup| {
        let pool = &mut setup.config.plugin.pool;
        pool.streams_max = 1;
        pool.waiting_max = 0;
    })
    .await;
    let client = host.raw().await;
    let mut first = client.begin(RawClient::head(RUNNING)).await;
    let begun = || host.stats("testservice").leased.streams == 1;
    eventually("the first runs", begun).await;
    let answer = client.unary(RUNNING, &number(1)).await;
    assert_eq!(answer.code(), 8, "{}", answer.message());
    assert_eq!(answer.trailers["grpc-retry-pushback-ms"], "100");
    assert_eq!(add(&client, 1, 2).await, 3, "unary calls have their own");
    first.end();
    assert_eq!(first.answer().await.expect("an answer").code(), 0);
    let free = || host.stats("testservice").leased.streams == 0;
    eventually("the first has ended", free).await;
    assert_eq!(client.unary(RUNNING, &number(1)).await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_calls_share_one_connection() {
    const STREAMS: i64 = 100;
    const UNARY: i64 = 100;
    let host = TestHost::start_with("testservice", |setup| {
        setup.config.plugin.pool.streams_max = 100;
    })
    .await;
    let client = connect(&host).await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        streams.push(client.begin(RawClient::head(RUNNING)).await);
    }
    let mut unary = Vec::new();
    for value in 0..UNARY {
        let head = RawClient::head("/testservice.TestService/Add");
        let mut call = client.begin(head).await;
        call.send(&AddRequest { a: value, b: value }.encode_to_vec());
        unary.push(call);
    }
    // All are open; their messages come in turns.
    for round in 1..=3 {
        for (at, call) in (0..).zip(&mut streams) {
            call.send(&number(at * round));
        }
    }
    for call in unary.iter_mut().chain(&mut streams) {
        call.end();
    }
    for (value, call) in (0..).zip(unary) {
        let answer = call.answer().await.expect("an answer");
        assert_eq!(answer.code(), 0, "{}", answer.message());
        assert_eq!(answer.messages(), [number(value * 2)], "unary {value}");
    }
    for (at, call) in (0..).zip(streams) {
        let answer = call.answer().await.expect("an answer");
        assert_eq!(answer.code(), 0, "{}", answer.message());
        let total = |count: u64, total| Total { count, total }.encode_to_vec();
        let expected = [total(1, at), total(2, at * 3), total(3, at * 6)];
        assert_eq!(answer.messages(), expected, "stream {at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_has_said_all_still_gets_every_answer() {
    let host = TestHost::start("testservice").await;
    let client = connect(&host).await;
    let numbers: Vec<u8> = (1..=500)
        .flat_map(|value| frame(&number(value)).to_vec())
        .collect();
    let answer = client.call(RawClient::head(RUNNING), numbers).await;
    assert_eq!(answer.code(), 0, "{}", answer.message());
    let last = answer.messages().pop().expect("500 totals");
    assert_eq!(answer.messages().len(), 500);
    let last = Total::decode(last).expect("a total");
    assert_eq!((last.count, last.total), (500, 500 * 501 / 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_clients_run_many_streams_on_one_channel() {
    let host = TestHost::start("testservice").await;
    let channel = host.channel();
    let calls = (1..=40).map(|to| {
        let mut client = TestServiceClient::new(channel.clone());
        async move {
            let request = CountRequest {
                from: 1,
                to,
                pause_ms: 0,
            };
            let mut counted = client.count(request).await?.into_inner();
            let mut numbers = Vec::new();
            while let Some(number) = counted.message().await? {
                numbers.push(number);
            }
            let total = client.sum(stream::iter(numbers)).await?.into_inner();
            Ok::<_, tonic::Status>((to, total.total))
        }
    });
    for outcome in futures_util::future::join_all(calls).await {
        let (to, total) = outcome.expect("both calls end with OK");
        assert_eq!(total, to * (to + 1) / 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_messages_that_a_plugin_reads_late_end_no_connection() {
    const COUNT: u32 = 20_000;
    let host = TestHost::start("testservice").await;
    let client = host.raw().await;
    let path = "/testservice.Probe/Swallow";
    let mut call = client.begin(RawClient::head(path)).await;
    for index in 0..COUNT {
        let pause_ms = if index == 0 { 100 } else { 0 };
        let data = Vec::new();
        let block = Block {
            index,
            data,
            pause_ms,
        };
        call.send(&block.encode_to_vec());
    }
    call.end();
    let answer = call.answer().await.expect("an answer, not a reset");
    assert_eq!(answer.code(), 0, "{}", answer.message());
    let total = Total::decode(&*answer.messages()[0]).expect("a total");
    assert_eq!(total.count, u64::from(COUNT));
}
