//! Deadlines: sent to the server, and kept by the client whatever the server does.

use serde_json::json;
use switchboard_test_support::eventually;
use switchboard_web_tests::peers;

use crate::tab::{Tab, assert_ended};

#[tokio::test(flavor = "multi_thread")]
async fn the_plugin_knows_how_much_time_is_left() {
    let tab = Tab::open().await;
    let host = tab.host(&["testservice"], |_| {}).await;
    tab.channel(host.addr).await;
    let left = tab.run("time_left_ms", json!([3_600_000])).await;
    let left = left.as_u64().expect("a deadline");
    assert!((3_000_000..=3_600_000).contains(&left), "{left}");
    tab.page.assert_no_errors();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_beyond_its_deadline_ends_on_both_sides() {
    let tab = Tab::open().await;
    let host = tab.host(&["testservice"], |_| {}).await;
    tab.channel(host.addr).await;
    let outcome = tab.run("sleep_beyond", json!([50])).await;
    assert_ended(&outcome, "DEADLINE_EXCEEDED", &[]);
    eventually("the plugin's call is over", || {
        host.stats("testservice").leased.unary == 0
    })
    .await;
    assert_eq!(tab.run("add", json!([1, 2])).await, 3);
    tab.page.assert_no_errors();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ignores_the_deadline_is_not_waited_for() {
    let tab = Tab::open().await;
    let mute = peers::mute().await;
    let bridge = peers::bridge(mute.addr()).await;
    tab.channel(bridge.addr()).await;
    for _ in 0..3 {
        let outcome = tab.run("sleep_beyond", json!([50])).await;
        assert_ended(&outcome, "DEADLINE_EXCEEDED", &["50ms"]);
    }
    assert!(
        tab.only_socket().await["code"].is_null(),
        "it is open still"
    );
    tab.page.assert_no_errors();
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_connection_counts() {
    let tab = Tab::open().await;
    // Nobody listens on a port of the system's.
    tab.channel(([127, 0, 0, 1], 1).into()).await;
    let outcome = tab.run("add_when_ready", json!([200])).await;
    let parts = ["while waiting for a connection"];
    assert_ended(&outcome, "DEADLINE_EXCEEDED", &parts);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_time_is_too_long() {
    let tab = Tab::open().await;
    let host = tab.host(&["testservice"], |_| {}).await;
    let options = json!({ "for_ever": true });
    tab.channel_with(host.addr, options).await;
    // With a call there are a deadline, an idle connection, a PING and a stop to wait for.
    assert_eq!(tab.run("add", json!([1, 2])).await, 3);
    assert_eq!(tab.run("add", json!([3, 4])).await, 7);
    tab.run("stop", json!([])).await;
    tab.page.assert_no_errors();
}
