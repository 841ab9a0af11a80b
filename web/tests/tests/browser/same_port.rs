//! A page that came over TLS and HTTP/2 from the host that it calls, as in production without a proxy: the
//! browser opens its WebSocket in a stream of the connection that it has (RFC 8441).

use serde_json::{Value, json};
use switchboard_host::{Drained, FilesConfig, Tls};
use switchboard_test_support::{PATIENCE, Setup, TestHost, eventually, guest, log};
use switchboard_web_tests::{Browser, Page, built};

use crate::tab::{assert_ended, kinds, on_channel};

/// Calls begun together in a storm: as many as the pool takes.
const AT_ONCE: u32 = 50;

/// The page, its host and what shows it; in this order, so that the page closes first.
struct SamePort {
    page: Page,
    host: TestHost,
    _browser: Browser,
}

impl SamePort {
    async fn open() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let rcgen::CertifiedKey { cert, signing_key } = made.expect("a certificate");
        let key = signing_key.serialize_pem();
        let tls = Tls::from_pem(cert.pem().as_bytes(), key.as_bytes()).expect("sound PEM");
        let mut setup = Setup {
            paths: vec![guest("greeter"), guest("testservice")],
            tls: Some(tls),
            ..Setup::default()
        };
        setup.config.files = vec![FilesConfig::new("/page/", built("tests"))];
        setup.config.drain_timeout = PATIENCE * 10;
        // Cancelled calls may leave the pool a moment after the next ones have come.
        setup.config.plugin.pool.wait_max = PATIENCE;
        let host = TestHost::build(setup, |builder| builder).await;
        let browser = Browser::start().await;
        let page = browser.open("about:blank").await;
        page.trust_any_certificate().await;
        let origin = format!("https://localhost:{}", host.addr.port());
        page.go(&format!("{origin}/page/")).await;
        let protocol = "performance.getEntriesByType('navigation')[0].nextHopProtocol";
        let protocol = page.evaluate(protocol).await.expect("the page is loaded");
        assert_eq!(protocol, "h2");
        let opened = json!(["channel", "/tunnel", "{}"]);
        assert_eq!(page.run("open", opened).await, json!({}));
        let shown = Self {
            page,
            host,
            _browser: browser,
        };
        assert_eq!(shown.run("greet", json!(["you"])).await, "Hello you");
        // A tunnel has a task of its own if it is in a stream; over HTTP/1.1 it is in its connection's.
        let own = format!("origin=\"{origin}\"");
        let parts = ["task{name=\"tunnel\"}", &own, "tunnel opened"];
        log().wait_for(&parts).await;
        shown
    }

    async fn run(&self, scenario: &str, arguments: Value) -> Value {
        self.page.run(scenario, on_channel(arguments)).await
    }

    async fn events(&self) -> Vec<String> {
        kinds(&self.run("events", json!([])).await)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_four_kinds_and_many_calls_at_once() {
    let shown = SamePort::open().await;
    assert_eq!(shown.run("add", json!([2, -44])).await, -42);
    assert_eq!(
        shown.run("sum", json!([[1, 2, 3, -7]])).await,
        json!([4, -1])
    );
    let counted = shown.run("count", json!([1, 1000])).await;
    assert_ended(&counted["end"], "OK", &[]);
    let running = shown.run("running", json!([[5, -1]])).await;
    assert_eq!(running["totals"], json!([[1, 5], [2, 4]]));
    assert_eq!(shown.run("in_flight", json!([64, 20])).await, 64 * 20);
    // More than a window both ways, through the windows of two connections.
    let down = shown.run("down", json!([256, 64 << 10])).await;
    assert_eq!(down["bytes"], 16 << 20, "{down}");
    let up = shown.run("up", json!([256, 64 << 10])).await;
    assert_eq!(up["bytes"], 16 << 20, "{up}");
    assert_eq!(shown.events().await, ["connecting", "opened"]);
    shown.page.assert_no_errors();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_cancelled_calls_leaves_both_connections_as_they_were() {
    let shown = SamePort::open().await;
    let dropped = shown.run("drop_unary", json!([500, AT_ONCE])).await;
    assert_eq!(dropped, 500);
    let dropped = shown.run("drop_streams", json!([2000, AT_ONCE])).await;
    assert_eq!(dropped, 2000);
    eventually("no call is left in the plugin", || {
        shown.host.stats("testservice").leased.total() == 0
    })
    .await;
    let came = shown.run("down", json!([512, 64 << 10])).await;
    assert_eq!(came["bytes"], 32 << 20, "{came}");
    assert_eq!(shown.events().await, ["connecting", "opened"]);
    // The connection that the tunnel is in still answers, too.
    let page = "fetch('/page/').then((answer) => answer.status)";
    assert_eq!(shown.page.evaluate(page).await.expect("an answer"), 200);
    shown.page.assert_no_errors();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_outlives_the_beginning_of_the_drain_and_the_host_its_call() {
    let shown = SamePort::open().await;
    assert_ended(&shown.run("hold", json!(["held"])).await, "OK", &[]);
    shown.host.drain();
    shown.run("wait_for_event", json!(["draining", 1])).await;
    for step in ["exchange_on", "end_held"] {
        let outcome = shown.page.run(step, json!(["held"])).await;
        assert_ended(&outcome, "OK", &[]);
    }
    shown.run("wait_for_event", json!(["closed", 1])).await;
    let sockets = shown.page.run("sockets", json!([])).await;
    assert_eq!(sockets[0]["code"], 1001, "{sockets:#?}");
    assert_eq!(sockets[0]["clean"], true, "{sockets:#?}");
    let SamePort {
        page,
        host,
        _browser,
    } = shown;
    assert_eq!(host.finish().await, Drained::Clean);
    drop(page);
}
