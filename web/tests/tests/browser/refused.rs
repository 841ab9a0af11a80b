//! Tunnels that a host does not open, and what the page learns of it.

use serde_json::json;
use switchboard_host::{OriginRule, StaticTokens};
use switchboard_test_support::TestHost;

use crate::tab::{Tab, assert_ended, tunnel};

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_foreign_origin_is_told_what_to_look_at() {
    let tab = Tab::open().await;
    let same = |setup: &mut _| tunnel(setup).origins = vec![OriginRule::Same];
    let host = tab.host(&["testservice"], same).await;
    tab.channel(host.addr).await;
    let outcome = tab.run("add", json!([1, 2])).await;
    // A browser hides the 403 from its page; what it may be is all that can be said.
    assert_ended(
        &outcome,
        "UNAVAILABLE",
        &["the browser could not open", "origin"],
    );
    assert_eq!(tab.only_socket().await["code"], 1006);
    assert_eq!(tab.events().await, ["connecting", "backoff"]);
    let errors = tab.page.errors();
    assert!(
        errors.iter().any(|error| error.contains("403")),
        "{errors:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_the_tunnel_and_another_one_does_not() {
    let tab = Tab::open().await;
    let setup = tab.setup(&["testservice"], |_| {});
    let tokens = StaticTokens::parse("page open-sesame-open-sesame\n").expect("tokens");
    let host = TestHost::build(setup, |builder| builder.authoriser(tokens)).await;
    for (options, opens) in [
        (json!({ "token": "open-sesame-open-sesame" }), true),
        (json!({ "token": "open-sesame-open-sesamE" }), false),
        (json!({}), false),
    ] {
        tab.channel_with(host.addr, options.clone()).await;
        let outcome = tab.run("connect", json!([])).await;
        if opens {
            assert_ended(&outcome, "OK", &[]);
        } else {
            assert_ended(&outcome, "UNAVAILABLE", &["token not allowed"]);
        }
    }
    // The token is offered as a subprotocol, and never agreed to.
    let opened = &tab.sockets().await[0];
    assert_eq!(
        opened["offered"].as_array().map(Vec::len),
        Some(2),
        "{opened}"
    );
    assert_eq!(opened["agreed"], "switchboard.v1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_set_later_counts_from_the_next_connection_on() {
    let tab = Tab::open().await;
    let setup = tab.setup(&["testservice"], |_| {});
    let tokens = StaticTokens::parse("page open-sesame-open-sesame\n").expect("tokens");
    let host = TestHost::build(setup, |builder| builder.authoriser(tokens)).await;
    let hasty = json!({ "token": "old", "backoff_initial_ms": 10, "backoff_max_ms": 50 });
    tab.channel_with(host.addr, hasty).await;
    assert_ended(&tab.run("connect", json!([])).await, "UNAVAILABLE", &[]);
    tab.run("set_token", json!(["open-sesame-open-sesame"]))
        .await;
    assert_ended(
        &tab.run("add_when_ready", json!([3_600_000])).await,
        "OK",
        &[],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_without_a_tunnel_is_told_so_too() {
    let tab = Tab::open().await;
    let host = tab.host(&["testservice"], |_| {}).await;
    let url = format!("ws://{}/elsewhere", host.addr);
    tab.open_channel("channel", &url, &json!({})).await;
    let outcome = tab.run("add", json!([1, 2])).await;
    assert_ended(&outcome, "UNAVAILABLE", &["path wrong"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_websockets_are_targets_in_a_browser() {
    let tab = Tab::open().await;
    for url in ["http://localhost:80", "https://localhost"] {
        let opened = tab.open_channel("channel", url, &json!({})).await;
        let refused = opened["refused"].as_str().expect("a refusal");
        assert!(refused.contains("ws://"), "{refused}");
    }
    tab.page.assert_no_errors();
}
