//! Calls of each kind, with metadata, errors and limits, to plugins of the host.

use serde_json::{Value, json};
use switchboard_test_support::TestHost;

use crate::tab::{Tab, assert_ended};

async fn start() -> (Tab, TestHost) {
    let tab = Tab::open().await;
    let host = tab.host(&["greeter", "testservice", "echo"], |_| {}).await;
    tab.channel(host.addr).await;
    (tab, host)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_four_kinds_work_on_one_socket() {
    let (tab, _host) = start().await;
    assert_eq!(
        tab.run("greet", json!(["Grüße, 世界"])).await,
        "Hello Grüße, 世界"
    );
    assert_eq!(tab.run("add", json!([2, -44])).await, -42);
    assert_eq!(tab.run("sum", json!([[1, 2, 3, -7]])).await, json!([4, -1]));
    assert_eq!(tab.run("sum", json!([[]])).await, json!([0, 0]));
    let counted = json!({ "messages": [3, 4, 5], "end": { "code": "OK" } });
    assert_eq!(tab.run("count", json!([3, 5])).await, counted);
    let nothing = json!({ "messages": [], "end": { "code": "OK" } });
    assert_eq!(tab.run("count", json!([3, 2])).await, nothing);
    let totals = json!({ "totals": [[1, 5], [2, 4], [3, 104]], "rest": nothing });
    assert_eq!(tab.run("running", json!([[5, -1, 100]])).await, totals);
    let socket = tab.only_socket().await;
    assert_eq!(socket["offered"], json!(["switchboard.v1"]));
    assert_eq!(socket["agreed"], "switchboard.v1");
    assert_eq!(tab.events().await, ["connecting", "opened"]);
    tab.page.assert_no_errors();
}

/// Head, message and end of stream share a message of the WebSocket, each way: what a call costs beyond the
/// bytes it sends, in a browser most of all, is its number of messages.
#[tokio::test(flavor = "multi_thread")]
async fn a_unary_call_is_one_message_each_way() {
    const CALLS: u64 = 50;
    let (tab, _host) = start().await;
    // Whatever sets the connection up has been sent and received with it.
    tab.run("greet", json!(["first"])).await;
    let before = tab.only_socket().await;
    for _ in 0..CALLS {
        assert_eq!(tab.run("greet", json!(["you"])).await, "Hello you");
    }
    let after = tab.only_socket().await;
    let count = |what: &str| {
        let at = |socket: &Value| socket[what].as_u64().expect("a number");
        at(&after) - at(&before)
    };
    assert_eq!(count("sent"), CALLS);
    // A busy machine may let the host send the head of an answer before the rest is there.
    let received = count("received");
    assert!((CALLS..CALLS * 3 / 2).contains(&received), "{received}");
    tab.page.assert_no_errors();
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_goes_both_ways_in_texts_and_bytes() {
    let (tab, _host) = start().await;
    let expected = json!({
        "server_saw": [
            ["x-text", b"as it is, = and all"],
            ["x-bytes-bin", [0, 1, 254, 255]],
            ["x-twice", b"one"],
            ["x-twice", b"two"],
        ],
        "client_saw": [
            ["x-head", "first"],
            ["x-head-bin", [0, 200]],
            ["x-trail", "last"],
            ["x-trail-bin", [201, 0]],
        ],
    });
    assert_eq!(tab.run("decorate", json!([])).await, expected);
    tab.page.assert_no_errors();
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_keep_their_code_text_details_and_trailers() {
    let (tab, _host) = start().await;
    let message = "das geht nicht: 100 % – 失敗\nzweite Zeile";
    let failed = tab.run("fail", json!([6, message, "détails"])).await;
    let expected = json!({
        "code": "ALREADY_EXISTS",
        "message": message,
        "details": "détails",
        "metadata": [["x-why", "because"]],
    });
    assert_eq!(failed, expected);
    let failed = tab.run("fail_after", json!([3, 11, message])).await;
    assert_eq!(failed["messages"], json!([1, 2, 3]));
    assert_eq!(failed["end"]["code"], "OUT_OF_RANGE");
    assert_eq!(failed["end"]["message"], message);
    tab.page.assert_no_errors();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_is_not_there_is_unimplemented() {
    let (tab, _host) = start().await;
    for path in ["/helloworld.Greeter/Nothing", "/no.Service/Nothing"] {
        let outcome = tab.run("call", json!([path])).await;
        assert_ended(&outcome, "UNIMPLEMENTED", &[]);
    }
    tab.page.assert_no_errors();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_and_nothing_else_suffers() {
    let (tab, _host) = start().await;
    // The host's limit both ways is 4 MiB.
    assert_eq!(tab.run("echo", json!([3 << 20])).await, 3 << 20);
    let outcome = tab.run("echo", json!([5 << 20])).await;
    assert_ended(&outcome, "RESOURCE_EXHAUSTED", &[]);
    let outcome = tab.run("large_answer", json!([5 << 20])).await;
    assert_ended(&outcome["end"], "RESOURCE_EXHAUSTED", &[]);
    assert_eq!(tab.run("add", json!([1, 2])).await, 3);
    assert!(
        tab.only_socket().await["code"].is_null(),
        "it is open still"
    );
    tab.page.assert_no_errors();
}
