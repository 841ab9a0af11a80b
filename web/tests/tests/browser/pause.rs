//! Answers held back: nothing is lost, and what piles up meanwhile is bounded.

use std::pin::pin;

use serde_json::json;

use crate::tab::{Tab, assert_ended};

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_channel_holds_answers_back_and_the_server_with_them() {
    let tab = Tab::open().await;
    let host = tab.host(&["testservice"], |_| {}).await;
    tab.channel(host.addr).await;
    assert_eq!(tab.run("add", json!([1, 2])).await, 3);
    tab.run("pause", json!([])).await;
    let mut unary = pin!(tab.begin("add", json!([3, 4])).finish());
    let mut stream = pin!(tab.begin("down", json!([1600, 64 << 10])).finish());
    // As much again on another channel: time enough for the first one to do what it should not.
    let url = format!("ws://{}/tunnel", host.addr);
    tab.open_channel("other", &url, &json!({})).await;
    let other = tab.page.run("down", json!(["other", 1600, 64 << 10]));
    tokio::select! {
        biased;
        answer = &mut unary => panic!("an answer in a pause: {answer}"),
        end = &mut stream => panic!("a stream in a pause: {end}"),
        other = other => assert_eq!(other["bytes"], 100 * MIB),
    }
    // The paused connection got no more than its windows and what was read already.
    let paused = &tab.sockets().await[0];
    let received = paused["received_bytes"].as_u64().expect("a number");
    assert!(received < 8 * MIB, "{received} bytes came");

    assert_eq!(tab.run("state", json!([])).await, "Paused");
    tab.run("resume", json!([])).await;
    assert_eq!(unary.await, 7);
    let came = stream.await;
    assert_ended(&came["end"], "OK", &[]);
    assert_eq!(came["bytes"], 100 * MIB, "{came}");
    let events = tab.events().await;
    assert_eq!(events, ["connecting", "opened", "paused", "resumed"]);
    tab.page.assert_no_errors();
}
