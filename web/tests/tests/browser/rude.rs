//! Servers that break the rules: every call gets a status, and the channel gets over it.

use serde_json::{Value, json};
use switchboard_web_tests::peers::{Rudeness, rude};
use switchboard_web_tests::{PATIENCE, Relay};

use crate::tab::{Tab, assert_ended};

/// What a call says of such a server, and that the next server is found after it.
async fn outcome_of(how: Rudeness) -> Value {
    let tab = Tab::open().await;
    let server = rude(how).await;
    let relay = Relay::to(server.addr()).await;
    let hasty = json!({ "backoff_initial_ms": 10, "backoff_max_ms": 50 });
    tab.channel_with(relay.addr(), hasty).await;
    let outcome = tab.run("add", json!([1, 2])).await;
    assert_eq!(outcome["code"], "UNAVAILABLE", "{how:?}: {outcome}");
    let host = tab.host(&["testservice"], |_| {}).await;
    relay.connect(host.addr).await;
    let patience_ms = u64::try_from(PATIENCE.as_millis()).expect("it fits");
    let after = tab.run("add_when_ready", json!([patience_ms])).await;
    assert_ended(&after, "OK", &[]);
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn text_messages() {
    let outcome = outcome_of(Rudeness::Text).await;
    assert_ended(&outcome, "UNAVAILABLE", &["text"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_not_http2() {
    outcome_of(Rudeness::Garbage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_server_behind_a_bridge() {
    outcome_of(Rudeness::WebPage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_frame() {
    outcome_of(Rudeness::HalfFrame).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_not_allowed() {
    outcome_of(Rudeness::BadFrame).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_with_a_reason() {
    let outcome = outcome_of(Rudeness::Close(1013, "come back at nine")).await;
    assert_ended(&outcome, "UNAVAILABLE", &["1013", "come back at nine"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_up() {
    let outcome = outcome_of(Rudeness::HangUp).await;
    assert_ended(&outcome, "UNAVAILABLE", &["1006"]);
}
