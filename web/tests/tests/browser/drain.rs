//! Hosts that stop, and channels that do: calls under way come to their end.

use serde_json::json;
use switchboard_host::Drained;
use switchboard_test_support::{PATIENCE, Setup, TestHost};
use switchboard_web_tests::Relay;

use crate::tab::{Tab, assert_ended};

/// Longer than any test: calls under way are not cut.
fn patient(setup: &mut Setup) {
    setup.config.drain_timeout = PATIENCE * 10;
}

async fn start() -> (Tab, TestHost) {
    let tab = Tab::open().await;
    let host = tab.host(&["testservice"], patient).await;
    (tab, host)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_outlives_the_drain_while_new_ones_go_to_the_next_host() {
    let (tab, old) = start().await;
    let relay = Relay::to(old.addr).await;
    tab.channel(relay.addr()).await;
    assert_ended(&tab.run("hold", json!(["held"])).await, "OK", &[]);
    let new = tab.host(&["testservice"], patient).await;
    relay.redirect(new.addr);
    old.drain();
    tab.wait_for_event("draining", 1).await;
    assert_eq!(tab.run("add", json!([1, 2])).await, 3);
    assert_eq!(relay.accepted(), 2, "connections");
    // All that time the call of before goes on.
    for step in ["exchange_on", "exchange_on", "end_held"] {
        let outcome = tab.page.run(step, json!(["held"])).await;
        assert_ended(&outcome, "OK", &[]);
    }
    assert_eq!(old.finish().await, Drained::Clean);
    tab.wait_for_event("closed", 1).await;
    let sockets = tab.sockets().await;
    assert_eq!(sockets[0]["code"], 1001, "{sockets:#?}");
    assert_eq!(sockets[0]["clean"], true, "{sockets:#?}");
    assert!(sockets[1]["code"].is_null(), "{sockets:#?}");
    assert_eq!(
        tab.events().await,
        [
            "connecting",
            "opened",
            "draining",
            "connecting",
            "opened",
            "closed"
        ]
    );
    tab.page.assert_no_errors();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_another_host_new_calls_are_unavailable() {
    let (tab, host) = start().await;
    tab.channel(host.addr).await;
    assert_ended(&tab.run("hold", json!(["held"])).await, "OK", &[]);
    host.drain();
    let events = tab.wait_for_event("draining", 1).await;
    assert!(
        events[2]["reason"]
            .as_str()
            .expect("a reason")
            .contains("NO_ERROR"),
        "{events}"
    );
    let outcome = tab.run("add", json!([1, 2])).await;
    assert_ended(&outcome, "UNAVAILABLE", &["not connected"]);
    assert_ended(&tab.page.run("end_held", json!(["held"])).await, "OK", &[]);
    assert_eq!(host.finish().await, Drained::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_end_of_a_drain_cuts_off_is_unavailable() {
    let tab = Tab::open().await;
    let cut = |setup: &mut Setup| setup.config.drain_timeout = std::time::Duration::ZERO;
    let host = tab.host(&["testservice"], cut).await;
    tab.channel(host.addr).await;
    assert_ended(&tab.run("hold", json!(["held"])).await, "OK", &[]);
    assert_eq!(host.finish().await, Drained::Cut);
    let outcome = tab.page.run("outlast_held", json!(["held"])).await;
    assert_ended(&outcome, "UNAVAILABLE", &["the host is shutting down"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_stops_lets_its_calls_finish_and_closes_in_order() {
    let (tab, host) = start().await;
    tab.channel(host.addr).await;
    assert_ended(&tab.run("hold", json!(["held"])).await, "OK", &[]);
    let stopping = tab.begin("stop", json!([]));
    tab.wait_for_event("stopping", 1).await;
    let outcome = tab.run("add", json!([1, 2])).await;
    assert_ended(&outcome, "UNAVAILABLE", &["the channel is stopped"]);
    assert_ended(&tab.page.run("end_held", json!(["held"])).await, "OK", &[]);
    stopping.finish().await;
    let socket = tab.only_socket().await;
    assert_eq!(
        (&socket["code"], &socket["clean"]),
        (&json!(1000), &json!(true))
    );
    let events = tab.events().await;
    assert_eq!(events[2..], ["stopping", "closed", "stopped"]);
    tab.page.assert_no_errors();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_dropped_lets_its_calls_finish_and_closes_in_order() {
    let (tab, host) = start().await;
    tab.channel(host.addr).await;
    assert_ended(&tab.run("hold", json!(["held"])).await, "OK", &[]);
    let ended = tab.begin("wait_for_event", json!(["stopped", 1]));
    tab.run("forget", json!([])).await;
    for step in ["exchange_on", "end_held"] {
        assert_ended(&tab.page.run(step, json!(["held"])).await, "OK", &[]);
    }
    ended.finish().await;
    let socket = tab.only_socket().await;
    assert_eq!(
        (&socket["code"], &socket["clean"]),
        (&json!(1000), &json!(true))
    );
    assert_eq!(host.finish().await, Drained::Clean);
    tab.page.assert_no_errors();
}
