//! Calls that their caller gives up: the plugin learns of it, its instance is dropped, and later
//! calls are served.

use std::num::NonZeroU32;
use std::time::Duration;

use h2::Reason;
use prost::Message;
use switchboard_test_support::proto::testservice::{
    InstanceRequest, InstanceResponse, SleepRequest, WaitEvent, WaitEventKind,
};
use switchboard_test_support::{RawCall, RawClient, Setup, TestHost, eventually, log};
use tokio::net::TcpStream;

use crate::inbound::{Inbound, copy_as};

const WAIT: &str = "/testservice.Probe/Wait";
const SLEEP: &str = "/testservice.Probe/Sleep";
const BURN: &str = "/testservice.Probe/Burn";

/// A host that serves `guests/testservice` under a name that only this test's log lines have.
async fn start_as(plugin: &str, edit: impl FnOnce(&mut Setup)) -> TestHost {
    let (_folder, path) = copy_as("testservice", plugin);
    TestHost::start_with("testservice", |setup| {
        setup.paths = vec![path];
        edit(setup);
    })
    .await
}

/// Which instance serves the next call, and how many it has served.
async fn instance(client: &RawClient) -> InstanceResponse {
    let request = InstanceRequest {}.encode_to_vec();
    let answer = client.unary("/testservice.Probe/Instance", &request).await;
    assert_eq!(answer.code(), 0, "{}", answer.message());
    InstanceResponse::decode(answer.messages().remove(0)).expect("an answer")
}

async fn begin_for_ever(client: &RawClient, path: &str) -> RawCall {
    let request = SleepRequest {
        duration_ms: 600_000,
    };
    let mut call = client.begin(RawClient::head(path)).await;
    call.send(&request.encode_to_vec());
    call.end();
    call
}

/// Begins `Wait` and reads that the plugin is about to wait.
async fn begin_wait(client: &RawClient) -> (Inbound, h2::SendStream<bytes::Bytes>) {
    let call = client.begin(RawClient::head(WAIT)).await;
    let (_, body, request) = call.headers().await.expect("headers");
    let mut events = Inbound::new(body);
    let event = events.next().await.expect("no reset").expect("an event");
    let event = WaitEvent::decode(event).expect("an event");
    assert_eq!(event.kind(), WaitEventKind::Waiting);
    (events, request)
}

async fn freed(host: &TestHost, plugin: &str) {
    let free = || host.stats(plugin).leased.total() == 0;
    eventually("all instances are free", free).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_reaches_the_plugin_and_frees_its_instance() {
    let host = start_as("cancel-reset", |_| {}).await;
    let client = host.raw().await;
    let before = instance(&client).await;
    let (mut events, mut request) = begin_wait(&client).await;
    request.send_reset(Reason::CANCEL);
    log()
        .wait_for(&["cancel-reset", "wait: cancelled: the caller is gone"])
        .await;
    freed(&host, "cancel-reset").await;
    let end = events.next().await.expect_err("this side was closed too");
    assert_eq!(end.reason(), Some(Reason::CANCEL));
    assert_eq!(host.stats("cancel-reset").retired_unclean, 1);
    let after = instance(&client).await;
    assert_ne!(after.instance_id, before.instance_id, "never lent again");
    assert_eq!(after.calls, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_ends_its_calls() {
    let host = start_as("cancel-connection", |_| {}).await;
    let socket = TcpStream::connect(host.addr).await.expect("connected");
    let (requests, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
    #[expect(clippy::disallowed_methods, reason = "a test's own task")]
    let connection = tokio::spawn(connection);
    let mut open = Vec::new();
    for _ in 0..3 {
        let request = RawClient::head(WAIT).body(()).expect("a request");
        let mut requests = requests.clone().ready().await.expect("open");
        open.push(requests.send_request(request, false).expect("a call"));
    }
    let entered = || host.stats("cancel-connection").leased.streams == 3;
    eventually("three calls run", entered).await;
    // The socket closes without a word of HTTP/2.
    connection.abort();
    freed(&host, "cancel-connection").await;
    let lines = || {
        let parts = ["cancel-connection", "wait: cancelled: the caller is gone"];
        log().find(&parts).len() == 3
    };
    eventually("each call was told", lines).await;
    assert_eq!(host.stats("cancel-connection").retired_unclean, 3);
    let client = host.raw().await;
    assert_eq!(instance(&client).await.calls, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_does_not_listen_is_ended() {
    // None is made in advance, so that it is known which one serves the next call.
    let host = TestHost::start_with("testservice", |setup| {
        setup.config.plugin.pool.warm_min = 0;
    })
    .await;
    let client = host.raw().await;
    for (round, path) in [SLEEP, BURN].into_iter().enumerate() {
        let mut call = begin_for_ever(&client, path).await;
        let entered = || host.stats("testservice").leased.unary == 1;
        eventually("the call runs", entered).await;
        call.cancel();
        freed(&host, "testservice").await;
        let dropped = u64::try_from(round + 1).expect("small");
        assert_eq!(host.stats("testservice").retired_unclean, dropped);
        assert_eq!(instance(&client).await.calls, 1, "after {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_given_up_in_line_leaves_the_line() {
    let host = TestHost::start_with("testservice", |setup| {
        let pool = &mut setup.config.plugin.pool;
        pool.stores_max = NonZeroU32::MIN;
        pool.wait_max = Duration::from_secs(600);
    })
    .await;
    let client = host.raw().await;
    let mut first = begin_for_ever(&client, SLEEP).await;
    let entered = || host.stats("testservice").leased.unary == 1;
    eventually("the first call runs", entered).await;

    let mut second = begin_for_ever(&client, SLEEP).await;
    let waits = |count| move |host: &TestHost| host.stats("testservice").waiting == count;
    eventually("the second waits", || waits(1)(&host)).await;
    let third = client.begin(RawClient::head("/testservice.Probe/Instance"));
    let mut third = third.await;
    third.send(b"");
    third.end();
    eventually("the third waits", || waits(2)(&host)).await;

    second.cancel();
    eventually("the second has left", || waits(1)(&host)).await;
    assert_eq!(host.stats("testservice").leased.unary, 1);
    first.cancel();
    // Were the second still in line it would be served now, for ten minutes.
    let answer = third.answer().await.expect("an answer");
    assert_eq!(answer.code(), 0, "{}", answer.message());
    freed(&host, "testservice").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_given_up_half_way_enters_no_plugin() {
    let host = TestHost::start("testservice").await;
    let client = host.raw().await;
    let mut call = client.begin(RawClient::head(SLEEP)).await;
    call.body
        .send_data(bytes::Bytes::from_static(&[0, 0, 0]), false)
        .expect("open");
    call.cancel();
    drop(call);
    // Both calls are of one connection: the reset has been seen when this one is served.
    let seen = instance(&client).await;
    assert_eq!(seen.calls, 1);
    assert_eq!(host.stats("testservice").retired_unclean, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_given_up_at_once_leave_the_connection_in_order() {
    const CALLS: u32 = 64;
    let host = start_as("cancel-many", |_| {}).await;
    let client = host.raw().await;
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        calls.push(client.begin(RawClient::head(WAIT)).await);
    }
    let entered = || host.stats("cancel-many").leased.streams == CALLS;
    eventually("all calls run", entered).await;
    for call in &mut calls {
        call.cancel();
    }
    freed(&host, "cancel-many").await;
    let stats = host.stats("cancel-many");
    assert_eq!(stats.retired_unclean, u64::from(CALLS));
    assert_eq!(instance(&client).await.calls, 1, "on the same connection");
}
