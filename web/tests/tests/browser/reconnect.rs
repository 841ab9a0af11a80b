//! Servers that go away and come back.

use serde_json::{Value, json};
use switchboard_test_support::TestHost;
use switchboard_web_tests::Relay;

use crate::tab::{Tab, assert_ended, kinds};

/// So that a test which waits for a second attempt waits for milliseconds.
fn hasty() -> Value {
    json!({ "backoff_initial_ms": 10, "backoff_max_ms": 50 })
}

/// So that a second attempt within the test has another cause than the time.
fn lazy() -> Value {
    json!({ "backoff_initial_ms": 3_600_000, "backoff_max_ms": 3_600_000 })
}

async fn start(options: Value) -> (Tab, TestHost, Relay) {
    let tab = Tab::open().await;
    let host = tab.host(&["testservice"], |_| {}).await;
    let relay = Relay::to(host.addr).await;
    tab.channel_with(relay.addr(), options).await;
    (tab, host, relay)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_fails_its_calls_and_the_next_call_finds_the_restarted_one() {
    let (tab, host, relay) = start(hasty()).await;
    assert_ended(&tab.run("hold", json!(["held"])).await, "OK", &[]);
    let sleeping = tab.begin("sleep_beyond", json!([3_600_000]));
    switchboard_test_support::eventually("both calls run", || {
        let leased = host.stats("testservice").leased;
        (leased.unary, leased.streams) == (1, 1)
    })
    .await;
    relay.cut().await;
    drop(host);
    let outcome = tab.page.run("outlast_held", json!(["held"])).await;
    assert_ended(&outcome, "UNAVAILABLE", &["the connection is gone"]);
    assert_ended(
        &sleeping.finish().await,
        "UNAVAILABLE",
        &["the connection is gone"],
    );
    // Nobody listens: a call that does not wait says so.
    let outcome = tab.run("add", json!([1, 2])).await;
    assert_ended(
        &outcome,
        "UNAVAILABLE",
        &["not connected", "the browser could not"],
    );
    // One that waits outlasts the restart.
    let waiting = tab.begin("add_when_ready", json!([3_600_000]));
    let host = tab.host(&["testservice"], |_| {}).await;
    relay.connect(host.addr).await;
    assert_ended(&waiting.finish().await, "OK", &[]);
    assert_eq!(tab.run("add", json!([1, 2])).await, 3);

    let events = tab.run("events", json!([])).await;
    assert_in_order(&events);
}

/// One connection, its end, attempts that fail with growing numbers, and the next connection.
fn assert_in_order(events: &Value) {
    let kinds = kinds(events);
    let (first, rest) = kinds.split_at(3);
    assert_eq!(first, ["connecting", "opened", "closed"], "{events:#}");
    let (attempts, last) = rest.split_at(rest.len() - 2);
    assert_eq!(last, ["connecting", "opened"], "{events:#}");
    assert!(attempts.len() >= 2, "{events:#}");
    for (at, pair) in attempts.chunks(2).enumerate() {
        assert_eq!(pair, ["connecting", "backoff"], "{events:#}");
        for event in [3 + 2 * at, 4 + 2 * at] {
            assert_eq!(events[event]["attempt"], at + 1, "{events:#}");
        }
    }
    assert_eq!(events[1]["connection"], 1);
    assert_eq!(events[2]["connection"], 1);
    assert_eq!(events[kinds.len() - 1]["connection"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_during_the_backoff_fail_at_once_and_say_when_the_next_attempt_is() {
    let (tab, _host, relay) = start(lazy()).await;
    relay.cut().await;
    let first = tab.run("add", json!([1, 2])).await;
    assert_ended(&first, "UNAVAILABLE", &["the browser could not"]);
    let second = tab.run("add", json!([1, 2])).await;
    assert_ended(
        &second,
        "UNAVAILABLE",
        &["the browser could not", "next attempt in"],
    );
    assert_eq!(tab.sockets().await.len(), 1, "one attempt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_back_ends_the_backoff() {
    let (tab, host, relay) = start(lazy()).await;
    relay.cut().await;
    assert_ended(&tab.run("add", json!([1, 2])).await, "UNAVAILABLE", &[]);
    relay.connect(host.addr).await;
    let waiting = tab.begin("add_when_ready", json!([3_600_000]));
    tab.page.tell_network(false).await;
    tab.page.tell_network(true).await;
    assert_ended(&waiting.finish().await, "OK", &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_keeps_connected_comes_back_without_a_call() {
    let mut options = hasty();
    options["keep_connected"] = json!(true);
    let (tab, host, relay) = start(options).await;
    assert_eq!(tab.run("add", json!([1, 2])).await, 3);
    relay.cut().await;
    tab.wait_for_event("backoff", 1).await;
    relay.connect(host.addr).await;
    tab.wait_for_event("opened", 2).await;
    assert_eq!(tab.run("state", json!([])).await, "Ready");
}

/// Nobody is told when a machine loses its power: only a PING without an answer shows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_silent_is_given_up() {
    let (tab, host, relay) = start(json!({ "keepalive": true })).await;
    assert_ended(&tab.run("hold", json!(["held"])).await, "OK", &[]);
    relay.freeze();
    let outcome = tab.page.run("outlast_held", json!(["held"])).await;
    assert_ended(&outcome, "UNAVAILABLE", &["does not answer a PING"]);
    let other = Relay::to(host.addr).await;
    tab.channel(other.addr()).await;
    assert_eq!(tab.run("add", json!([1, 2])).await, 3);
}
