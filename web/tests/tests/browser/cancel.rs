//! Calls that the page drops: the server learns it, and the connection survives any number of them.
//!
//! The storms are the gate against two traps of HTTP/2 libraries in browsers, seen only at run time: a
//! clock that is not there is asked for the time of a reset, and resets are counted until the
//! connection is given up.

use serde_json::json;
use switchboard_test_support::{PATIENCE, Setup, eventually};

use crate::tab::{Tab, assert_ended};

/// Calls begun together: as many as the pool takes.
const AT_ONCE: u32 = 50;

/// Cancelled calls may leave the pool a moment after the next ones have come.
fn patient(setup: &mut Setup) {
    setup.config.plugin.pool.wait_max = PATIENCE;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_ends_in_the_plugin() {
    let tab = Tab::open().await;
    let host = tab.host(&["testservice"], |_| {}).await;
    tab.channel(host.addr).await;
    let held = tab.run("hold", json!(["a"])).await;
    assert_ended(&held, "OK", &[]);
    assert_eq!(host.stats("testservice").leased.streams, 1);
    tab.page.run("drop_held", json!(["a"])).await;
    eventually("the plugin's call is over", || {
        host.stats("testservice").leased.streams == 0
    })
    .await;
    tab.page.assert_no_errors();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_left_ends_its_calls_in_the_plugin() {
    let tab = Tab::open().await;
    let host = tab.host(&["testservice"], |_| {}).await;
    tab.channel(host.addr).await;
    assert_ended(&tab.run("hold", json!(["a"])).await, "OK", &[]);
    assert_eq!(host.stats("testservice").leased.streams, 1);
    tab.page.go("about:blank").await;
    eventually("the plugin's call is over", || {
        host.stats("testservice").leased.streams == 0
    })
    .await;
    tab.page.assert_no_errors();
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_dropped_unary_calls_leave_the_connection_as_it_was() {
    let tab = Tab::open().await;
    let host = tab.host(&["testservice"], patient).await;
    tab.channel(host.addr).await;
    let dropped = tab.run("drop_unary", json!([500, AT_ONCE])).await;
    assert_eq!(dropped, 500);
    eventually("no call is left in the plugin", || {
        host.stats("testservice").leased.unary == 0
    })
    .await;
    assert_as_it_was(&tab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_dropped_streams_leave_the_connection_as_it_was() {
    let tab = Tab::open().await;
    let host = tab.host(&["testservice"], patient).await;
    tab.channel(host.addr).await;
    let dropped = tab.run("drop_streams", json!([2000, AT_ONCE])).await;
    assert_eq!(dropped, 2000);
    eventually("no call is left in the plugin", || {
        host.stats("testservice").leased.streams == 0
    })
    .await;
    assert_as_it_was(&tab).await;
}

/// The first connection still serves calls, and the window that the dropped ones had is given back:
/// 32 MiB come through one of 4.
async fn assert_as_it_was(tab: &Tab) {
    assert_eq!(tab.run("add", json!([1, 2])).await, 3);
    let came = tab.run("down", json!([512, 64 << 10])).await;
    assert_eq!(came["bytes"], 32 << 20, "{came}");
    assert_eq!(came["end"]["code"], "OK", "{came}");
    assert!(
        tab.only_socket().await["code"].is_null(),
        "it is open still"
    );
    assert_eq!(tab.events().await, ["connecting", "opened"]);
    tab.page.assert_no_errors();
}
