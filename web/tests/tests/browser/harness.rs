//! That these tests can fail: what goes wrong in a page is seen.

use serde_json::json;
use switchboard_test_support::eventually;
use switchboard_web_tests::peers;

use crate::tab::Tab;

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_in_a_page_is_kept() {
    let tab = Tab::open().await;
    tab.page.assert_no_errors();
    for (goes_wrong, seen) in [
        ("console.error('spilt', 'milk')", "spilt milk"),
        (
            "setTimeout(() => { throw new Error('broken glass') })",
            "broken glass",
        ),
        (
            "Promise.reject(new Error('a broken promise')) && 1",
            "a broken promise",
        ),
        ("fetch('not-there.js').then(() => 1)", "not-there.js"),
    ] {
        tab.page
            .evaluate(goes_wrong)
            .await
            .expect("it is evaluated");
        eventually(seen, || {
            tab.page.errors().iter().any(|error| error.contains(seen))
        })
        .await;
    }
    assert_eq!(tab.page.errors().len(), 4, "{:#?}", tab.page.errors());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_scenario_throws_is_an_outcome() {
    let tab = Tab::open().await;
    let thrown = tab
        .page
        .evaluate("(() => { throw new Error('no') })()")
        .await;
    assert!(thrown.is_err_and(|thrown| thrown.0.contains("Error: no")));
    let thrown = tab.page.begin("nothing", json!([])).outcome().await;
    assert!(thrown.is_err_and(|thrown| thrown.0.contains("no scenario nothing")));
    let thrown = tab
        .page
        .begin("in_worker", json!(["nothing", []]))
        .outcome()
        .await;
    assert!(thrown.is_err_and(|thrown| thrown.0.contains("no scenario nothing")));
    // A panic in the page crate, where nobody keeps the promise of an outcome any more.
    let no_channel = json!(["nothing", "you"]);
    for (scenario, arguments) in [
        ("greet", no_channel.clone()),
        ("in_worker", json!(["greet", no_channel])),
    ] {
        let panicked = tab.page.begin(scenario, arguments).outcome().await;
        let text = panicked.expect_err("there is no such channel").0;
        assert!(text.contains("there is no channel nothing"), "{text}");
    }
    let errors = tab.page.errors();
    assert!(
        errors[0].contains("there is no channel nothing"),
        "{errors:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_calls_are_compared_with_moves_its_bytes() {
    let tab = Tab::open().await;
    let echo = peers::echo().await;
    let times = tab.page.run("echo_us", json!([echo.url(), 10, 32])).await;
    assert_eq!(times.as_array().map(Vec::len), Some(10));
    let flood = peers::flood().await;
    let arguments = json!([flood.url(), 16, 64 << 10]);
    tab.page.run("down_us", arguments.clone()).await;
    tab.page.run("up_us", arguments).await;
    let sockets = tab.sockets().await;
    let received = sockets.iter().map(|socket| &socket["received_bytes"]);
    let total = "1048576".len();
    assert_eq!(received.collect::<Vec<_>>(), [320, 1 << 20, total]);
    tab.page.assert_no_errors();
}
