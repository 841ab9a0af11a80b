//! gRPC-Web from a page of another origin, with nothing but `fetch`: over HTTP/1.1, and over HTTP/2 with TLS.

use prost::Message;
use serde_json::{Value, json};
use switchboard_host::{Tls, WebConfig};
use switchboard_test_support::proto::helloworld::{HelloReply, HelloRequest};
use switchboard_test_support::proto::testservice::{
    CountRequest, Failure, FloodRequest, InstanceRequest, InstanceResponse, Number, SleepRequest,
};
use switchboard_test_support::{Setup, TestHost, eventually};
use switchboard_web_tests::Thrown;

use crate::tab::Tab;

const CALL: &str = include_str!("grpc_web.js");

/// A tab in which calls can be made, and a host; whether the host lets the page in.
async fn start(allowed: bool, edit: impl FnOnce(&mut Setup)) -> (Tab, TestHost) {
    let tab = Tab::open().await;
    tab.page.evaluate(CALL).await.expect("a script");
    let origin = tab.origin();
    let host = tab.host(&["greeter", "testservice"], |setup| {
        if allowed {
            let mut web = WebConfig::default();
            web.origins.push(origin);
            setup.config.web = Some(web);
        }
        edit(setup);
    });
    let host = host.await;
    (tab, host)
}

async fn call(
    tab: &Tab,
    url: &str,
    path: &str,
    message: &impl Message,
    options: &str,
) -> Result<Value, Thrown> {
    let (url, message) = (format!("{url}{path}"), json!(message.encode_to_vec()));
    let expression = format!("call({}, {message}, {options})", json!(url));
    tab.page.evaluate(&expression).await
}

fn decoded<M: Message + Default>(outcome: &Value) -> Vec<M> {
    let bytes = |message: &Value| serde_json::from_value::<Vec<u8>>(message.clone());
    let messages = outcome["messages"].as_array().expect("messages");
    let decode = |message| {
        let bytes = bytes(message).expect("bytes");
        M::decode(&bytes[..]).expect("a message")
    };
    messages.iter().map(decode).collect()
}

async fn all_kinds_that_fetch_has(tab: &Tab, url: &str) {
    for (options, content_type) in [
        ("{}", "application/grpc-web+proto"),
        ("{ text: true }", "application/grpc-web-text+proto"),
    ] {
        let you = HelloRequest {
            name: "you \u{1f680}".to_owned(),
        };
        let hello = "/helloworld.Greeter/SayHello";
        let outcome = call(tab, url, hello, &you, options)
            .await
            .expect("an answer");
        assert_eq!(outcome["status"], "0", "{outcome}");
        assert_eq!(outcome["type"], content_type);
        let replies: Vec<HelloReply> = decoded(&outcome);
        assert_eq!(replies[0].message, "Hello you \u{1f680}");

        let count = CountRequest {
            from: 1,
            to: 500,
            pause_ms: 0,
        };
        let path = "/testservice.TestService/Count";
        let outcome = call(tab, url, path, &count, options)
            .await
            .expect("an answer");
        assert_eq!(outcome["status"], "0", "{outcome}");
        let numbers: Vec<Number> = decoded(&outcome);
        let numbers: Vec<_> = numbers.iter().map(|number| number.value).collect();
        assert_eq!(numbers, Vec::from_iter(1..=500));

        // In the headers alone, which the page must be allowed to see.
        let failure = Failure {
            code: 9,
            message: "not now".to_owned(),
            ..Failure::default()
        };
        let path = "/testservice.Probe/Fail";
        let outcome = call(tab, url, path, &failure, options)
            .await
            .expect("an answer");
        assert_eq!(
            (&outcome["status"], &outcome["message"]),
            (&json!("9"), &json!("not now"))
        );
        assert_eq!(outcome["messages"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_an_allowed_origin_calls_with_fetch() {
    let (tab, host) = start(true, |_| {}).await;
    let url = format!("http://{}", host.addr);
    all_kinds_that_fetch_has(&tab, &url).await;
    // Metadata that a browser asks about first, and a deadline.
    let sleep = SleepRequest {
        duration_ms: 600_000,
    };
    let path = "/testservice.Probe/Sleep";
    let options = r#"{ headers: { "authorization": "Bearer a", "grpc-timeout": "50m" } }"#;
    let outcome = call(&tab, &url, path, &sleep, options)
        .await
        .expect("an answer");
    assert_eq!(outcome["status"], "4", "{outcome}");
    tab.page.assert_no_errors();
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_it_is_http2() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let rcgen::CertifiedKey { cert, signing_key } = made.expect("a certificate");
    let key = signing_key.serialize_pem();
    let tls = Tls::from_pem(cert.pem().as_bytes(), key.as_bytes()).expect("sound PEM");
    let (tab, host) = start(true, |setup| setup.tls = Some(tls)).await;
    tab.page.trust_any_certificate().await;
    let url = format!("https://localhost:{}", host.addr.port());
    all_kinds_that_fetch_has(&tab, &url).await;
    let spoken = "performance.getEntriesByType('resource').pop().nextHopProtocol";
    let spoken = tab.page.evaluate(spoken).await.expect("a name");
    // Hidden from pages of other origins unless the server says otherwise, and then empty.
    assert!(
        ["", "h2"].contains(&spoken.as_str().expect("text")),
        "{spoken}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_foreign_origin_gets_nothing() {
    let (tab, host) = start(false, |_| {}).await;
    let url = format!("http://{}", host.addr);
    let path = "/testservice.Probe/Instance";
    for options in ["{}", "{ text: true }"] {
        let refused = call(&tab, &url, path, &InstanceRequest {}, options).await;
        let Err(Thrown(error)) = refused else {
            panic!("the page was let in: {refused:?}");
        };
        assert!(error.contains("Failed to fetch"), "{error}");
    }
    // Also what no browser asks about first: a page that does not care for the answer.
    let blind = format!(
        "fetch('{url}{path}', \
         {{ method: 'POST', mode: 'no-cors', body: 'x' }}).then(() => 1, () => 1)"
    );
    tab.page.evaluate(&blind).await.expect("nothing is said");
    let errors = tab.page.errors();
    assert!(
        errors.iter().any(|error| error.contains("CORS")),
        "{errors:#?}"
    );
    let answer = host.raw().await.unary(path, &[]).await;
    let instance = InstanceResponse::decode(answer.messages().remove(0)).expect("an answer");
    assert_eq!(instance.calls, 1, "the plugin was not entered before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_gives_a_call_up_frees_its_instance() {
    let (tab, host) = start(true, |_| {}).await;
    let url = format!("http://{}", host.addr);
    let flood = FloodRequest {
        count: 1_000_000,
        size_bytes: 1000,
    };
    let options = "{ signal: (window.aborted = new AbortController()).signal, \
                   onMessage: (count) => count === 100 && aborted.abort() }";
    let path = "/testservice.Probe/Flood";
    let given_up = call(&tab, &url, path, &flood, options).await;
    let Err(Thrown(error)) = given_up else {
        panic!("the page read a million messages");
    };
    assert!(error.contains("AbortError"), "{error}");
    let free = || host.stats("testservice").leased.total() == 0;
    eventually("the instance is free", free).await;
    assert_eq!(host.stats("testservice").retired_unclean, 1);
}
