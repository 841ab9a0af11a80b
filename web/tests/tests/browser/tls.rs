//! The tunnel over TLS, as pages on the internet have it.

use serde_json::json;
use switchboard_host::Tls;

use crate::tab::{Tab, assert_ended};

#[tokio::test(flavor = "multi_thread")]
async fn calls_work_over_tls() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let rcgen::CertifiedKey { cert, signing_key } = made.expect("a certificate");
    let key = signing_key.serialize_pem();
    let tls = Tls::from_pem(cert.pem().as_bytes(), key.as_bytes());
    let tab = Tab::open().await;
    let host = tab
        .host(&["greeter", "testservice"], |setup| {
            setup.tls = Some(tls.expect("sound PEM"));
        })
        .await;
    let url = format!("wss://localhost:{}/tunnel", host.addr.port());
    tab.open_channel("channel", &url, &json!({})).await;
    let outcome = tab.run("greet", json!(["you"])).await;
    assert_ended(&outcome, "UNAVAILABLE", &["the browser could not open"]);

    tab.page.trust_any_certificate().await;
    tab.open_channel("channel", &url, &json!({})).await;
    assert_eq!(tab.run("greet", json!(["you"])).await, "Hello you");
    let counted = tab.run("count", json!([1, 1000])).await;
    assert_ended(&counted["end"], "OK", &[]);
    let running = tab.run("running", json!([[1, 2]])).await;
    assert_eq!(running["totals"], json!([[1, 1], [2, 3]]));
    let up = tab.run("up", json!([64, 64 << 10])).await;
    assert_eq!(up["bytes"], 4 << 20);
    let events = tab.run("events", json!([])).await;
    assert_eq!(events[1]["transport"], "WebSocket over TLS", "{events}");
}
