//! The client in a dedicated worker, where there is no window.

use serde_json::{Value, json};
use switchboard_web_tests::Relay;

use crate::tab::{Tab, assert_ended, kinds, on_channel};

async fn run(tab: &Tab, scenario: &str, arguments: Value) -> Value {
    let arguments = json!([scenario, on_channel(arguments)]);
    tab.page.run("in_worker", arguments).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_calls_reconnects_and_cancels_as_a_page_does() {
    let tab = Tab::open().await;
    let host = tab.host(&["greeter", "testservice"], |_| {}).await;
    let relay = Relay::to(host.addr).await;
    let options = json!({ "backoff_initial_ms": 10, "backoff_max_ms": 50 }).to_string();
    let url = format!("ws://{}/tunnel", relay.addr());
    run(&tab, "open", json!([url, options])).await;
    assert_eq!(run(&tab, "greet", json!(["you"])).await, "Hello you");
    assert_eq!(run(&tab, "sum", json!([[1, 2, 3]])).await, json!([3, 6]));
    let counted = run(&tab, "count", json!([1, 100])).await;
    assert_ended(&counted["end"], "OK", &[]);
    assert_eq!(counted["messages"].as_array().map(Vec::len), Some(100));
    let running = run(&tab, "running", json!([[1, 2]])).await;
    assert_eq!(running["totals"], json!([[1, 1], [2, 3]]));
    let outcome = run(&tab, "sleep_beyond", json!([50])).await;
    assert_ended(&outcome, "DEADLINE_EXCEEDED", &[]);
    assert_eq!(run(&tab, "drop_unary", json!([50, 50])).await, 50);
    assert_ended(&run(&tab, "hold", json!(["held"])).await, "OK", &[]);
    relay.cut().await;
    let outlast = json!(["outlast_held", ["held"]]);
    let outcome = tab.page.run("in_worker", outlast).await;
    assert_ended(&outcome, "UNAVAILABLE", &["the connection is gone"]);
    relay.connect(host.addr).await;
    let outcome = run(&tab, "add_when_ready", json!([3_600_000])).await;
    assert_ended(&outcome, "OK", &[]);
    run(&tab, "stop", json!([])).await;
    let events = kinds(&run(&tab, "events", json!([])).await);
    assert_eq!(
        events.last().map(String::as_str),
        Some("stopped"),
        "{events:?}"
    );
    assert_eq!(
        tab.sockets().await,
        Vec::<Value>::new(),
        "of the page itself"
    );
    tab.page.assert_no_errors();
}
