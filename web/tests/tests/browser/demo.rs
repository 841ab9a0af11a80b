//! The demo page, as a visitor uses it: served by the host that it calls, under the policy that the
//! host sends with it.

use serde_json::json;
use switchboard_host::FilesConfig;
use switchboard_test_support::{Setup, TestHost, guest};
use switchboard_web_tests::{Browser, Page, built};

/// Calls in a run of the page's benchmark.
const CALLS: u32 = 200;

async fn start() -> (Page, TestHost, Browser) {
    let mut setup = Setup {
        paths: vec![guest("greeter"), guest("testservice")],
        ..Setup::default()
    };
    setup.config.files = vec![FilesConfig::new("/demo/", built("demo"))];
    let host = TestHost::build(setup, |builder| builder).await;
    let browser = Browser::start().await;
    let url = format!("http://{}/demo/?calls={CALLS}", host.addr);
    let page = browser.open(&url).await;
    page.wait_until("document.body.dataset.app === 'ready'")
        .await;
    (page, host, browser)
}

/// Writes into a field of the page.
async fn fill(page: &Page, id: &str, value: &str) {
    let filled = format!("document.getElementById('{id}').value = {}", json!(value));
    page.evaluate(&filled).await.expect("a field of that name");
}

/// Presses a button of the page, once it can be pressed.
async fn press(page: &Page, id: &str) {
    page.wait_until(&format!("!document.getElementById('{id}').disabled"))
        .await;
    let press = format!("document.getElementById('{id}').click()");
    page.evaluate(&press).await.expect("a button of that name");
}

/// Waits until a card's log has this text.
async fn wait_for_text(page: &Page, card: &str, text: &str) {
    let has = format!(
        "document.getElementById('{card}-log').textContent.includes({})",
        json!(text)
    );
    page.wait_until(&has).await;
}

/// Waits until a card's call has ended with this code.
async fn wait_for_code(page: &Page, card: &str, code: &str) {
    let ended = format!("document.getElementById('{card}').dataset.code === '{code}'");
    page.wait_until(&ended).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_makes_calls_of_all_kinds() {
    let (page, _host, _browser) = start().await;
    fill(&page, "hello-name", "Zoë").await;
    press(&page, "hello-call").await;
    wait_for_text(&page, "hello", "Hello Zoë").await;
    wait_for_code(&page, "hello", "OK").await;

    press(&page, "add-call").await;
    wait_for_text(&page, "add", "42").await;

    press(&page, "sum-send").await;
    fill(&page, "sum-value", "8").await;
    press(&page, "sum-send").await;
    press(&page, "sum-finish").await;
    wait_for_text(&page, "sum", "2 numbers, total 15").await;
    wait_for_code(&page, "sum", "OK").await;

    fill(&page, "count-to", "5").await;
    fill(&page, "count-pause", "0").await;
    press(&page, "count-start").await;
    wait_for_code(&page, "count", "OK").await;
    wait_for_text(&page, "count", "5 messages").await;

    press(&page, "running-send").await;
    wait_for_text(&page, "running", "1 number, total 5").await;
    press(&page, "running-cancel").await;
    wait_for_code(&page, "running", "CANCELLED").await;
    page.assert_no_errors();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_sees_how_calls_fail() {
    let (page, _host, _browser) = start().await;
    fill(&page, "deadline-limit", "50").await;
    fill(&page, "deadline-work", "60000").await;
    press(&page, "deadline-call").await;
    wait_for_code(&page, "deadline", "DEADLINE_EXCEEDED").await;
    fill(&page, "fail-text", "Zoë zog den Stecker").await;
    press(&page, "fail-call").await;
    wait_for_code(&page, "fail", "FAILED_PRECONDITION").await;
    wait_for_text(&page, "fail", "Zoë zog den Stecker").await;
    page.assert_no_errors();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_run_of_calls_comes_to_its_result() {
    let (page, _host, _browser) = start().await;
    press(&page, "bench-start").await;
    page.wait_until("document.getElementById('bench').dataset.state === 'done'")
        .await;
    let shown = "document.getElementById('bench-done').textContent";
    let done = page.evaluate(shown).await.expect("it is there");
    assert_eq!(done, CALLS.to_string());
    let shown = "document.getElementById('bench-p50').textContent";
    let p50 = page.evaluate(shown).await.expect("it is there");
    let digits = |text: &str| text.contains(|c: char| c.is_ascii_digit());
    assert!(p50.as_str().is_some_and(digits), "{p50}");
    page.assert_no_errors();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_fits_a_phone_and_a_desktop() {
    let (page, _host, _browser) = start().await;
    for (width, height) in [(320, 640), (390, 844), (1440, 900)] {
        page.resize(width, height).await;
        let wide = page.evaluate("document.documentElement.scrollWidth").await;
        let wide = wide.expect("a number").as_u64().expect("a number");
        assert!(wide <= u64::from(width), "{wide} pixels wide on {width}");
    }
    page.assert_no_errors();
}
