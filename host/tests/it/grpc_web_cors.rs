//! gRPC-Web and pages: whose may call, what browsers are told before and after, and that a refusal comes before
//! the plugin.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use prost::Message;
use switchboard_host::{HostConfig, WebConfig};
use switchboard_test_support::proto::testservice::{
    DecorateRequest, InstanceRequest, InstanceResponse, Metadata,
};
use switchboard_test_support::{TestHost, log};

use crate::web_client::{BINARY, BOTH, TEXT, WebAnswer, WebClient, read};

const INSTANCE: &str = "/testservice.Probe/Instance";
const PAGE: &str = "https://app.example";

async fn start(edit: impl FnOnce(&mut HostConfig, &mut WebConfig)) -> TestHost {
    TestHost::start_with("testservice", |setup| {
        let mut web = setup.config.web.take().expect("there is some by default");
        edit(&mut setup.config, &mut web);
        setup.config.web = Some(web);
    })
    .await
}

fn origins(web: &mut WebConfig, origins: &[&str]) {
    web.origins = origins
        .iter()
        .map(|origin| origin.parse().expect("a rule"))
        .collect();
}

/// Asks what a browser asks before a call.
async fn preflight(client: &mut WebClient, headers: &[(&str, &str)]) -> WebAnswer {
    let mut request = Request::builder().method(Method::OPTIONS).uri(INSTANCE);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::new())).expect("a request");
    read(client.send(request).await.expect("an answer")).await
}

/// How many calls the only instance has served, this one too.
async fn served(client: &mut WebClient) -> u64 {
    let request = InstanceRequest {}.encode_to_vec();
    let mut answer = client
        .call(INSTANCE, &[("content-type", BINARY)], &request)
        .await;
    let instance = InstanceResponse::decode(answer.messages.remove(0)).expect("an answer");
    instance.calls
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_foreign_origin_enters_no_plugin() {
    for over in BOTH {
        let host = start(|_, _| {}).await;
        let mut client = WebClient::connect(host.addr, over).await;
        for origin in [PAGE, "null", "http://localhost:1", "https://localhost"] {
            for content_type in [BINARY, TEXT] {
                let headers = [("content-type", content_type), ("origin", origin)];
                let answer = client.call(INSTANCE, &headers, &[]).await;
                assert_eq!(answer.status, 403, "{over:?} {origin}");
                assert!(
                    answer.body.starts_with(b"pages of this origin"),
                    "{answer:?}"
                );
                let line = String::from_utf8_lossy(&answer.body);
                assert!(line.contains("--web-origin"), "{line}");
                assert_eq!(answer.header("access-control-allow-origin"), "");
                assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
            }
            let asked = [
                ("origin", origin),
                ("access-control-request-method", "POST"),
            ];
            let answer = preflight(&mut client, &asked).await;
            assert_eq!(answer.status, 403, "{over:?} {origin}");
            assert_eq!(answer.header("access-control-allow-origin"), "");
        }
        // A page of this host, and a program.
        let own = [("content-type", BINARY), ("origin", "http://localhost")];
        assert_eq!(client.call(INSTANCE, &own, &[]).await.code(), 0);
        assert_eq!(served(&mut client).await, 2, "{over:?}: those were all");
    }
    let parts = ["a page of a foreign origin was refused gRPC-Web", PAGE];
    log().wait_for(&parts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_an_allowed_origin_may_read_what_comes() {
    let host = start(|_, web| origins(web, &[PAGE])).await;
    let decorate = DecorateRequest {
        headers: ["x-own", "access-control-allow-credentials"]
            .map(|key| Metadata {
                key: key.to_owned(),
                value: b"true".to_vec(),
            })
            .into(),
        ..DecorateRequest::default()
    };
    for over in BOTH {
        let mut client = WebClient::connect(host.addr, over).await;
        let headers = [("content-type", BINARY), ("origin", PAGE)];
        let path = "/testservice.Probe/Decorate";
        let whole = client.call(path, &headers, &decorate.encode_to_vec()).await;
        assert_eq!((whole.code(), whole.header("x-own")), (0, "true"));
        let only = client.call("/no.Such/Method", &headers, &[]).await;
        assert!(only.is_trailers_only());
        for answer in [&whole, &only] {
            assert_eq!(
                answer.header("access-control-allow-origin"),
                PAGE,
                "{over:?}"
            );
            assert_eq!(answer.header("access-control-allow-credentials"), "");
            assert_eq!(answer.header("vary"), "origin");
            let exposed = answer.header("access-control-expose-headers");
            let exposed: Vec<_> = exposed.split(", ").collect();
            for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
                assert!(exposed.contains(&name), "{exposed:?}");
            }
            assert_eq!(
                exposed.contains(&"x-own"),
                answer.headers.contains_key("x-own")
            );
        }
        let same = [("content-type", BINARY), ("origin", "http://localhost")];
        let answer = client.call(INSTANCE, &same, &[]).await;
        assert_eq!(
            answer.status, 403,
            "the list stands in place of the default"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_answered_before_the_call() {
    let asked = [
        ("origin", PAGE),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "content-type,grpc-timeout,x-grpc-web",
        ),
    ];
    for credentials in [false, true] {
        let host = start(|_, web| {
            origins(web, &["same", PAGE]);
            web.credentials = credentials;
        })
        .await;
        for over in BOTH {
            let mut client = WebClient::connect(host.addr, over).await;
            let answer = preflight(&mut client, &asked).await;
            assert_eq!(answer.status, 204, "{answer:?}");
            for (name, value) in [
                ("access-control-allow-origin", PAGE),
                ("access-control-allow-methods", "POST"),
                (
                    "access-control-allow-headers",
                    "content-type,grpc-timeout,x-grpc-web",
                ),
                ("access-control-max-age", "7200"),
                (
                    "access-control-allow-credentials",
                    if credentials { "true" } else { "" },
                ),
            ] {
                assert_eq!(answer.header(name), value, "{over:?} {name}");
            }
            assert!(answer.header("vary").starts_with("origin"));
            assert!(answer.body.is_empty());
            // The connection goes on.
            let headers = [("content-type", BINARY), ("origin", PAGE)];
            let answer = client.call(INSTANCE, &headers, &[]).await;
            let allowed = answer.header("access-control-allow-credentials");
            assert_eq!((answer.code(), allowed == "true"), (0, credentials));
            let get = [("origin", PAGE), ("access-control-request-method", "GET")];
            let answer = preflight(&mut client, &get).await;
            assert!(answer.status.is_client_error(), "{answer:?}");
            assert_eq!(answer.header("access-control-allow-origin"), "");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_its_name_counts() {
    let host = start(|config, _| {
        config.http1.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    })
    .await;
    for over in BOTH {
        let mut client = WebClient::connect(host.addr, over).await;
        for (origin, status) in [(PAGE, 200), ("http://localhost", 403)] {
            let headers = [
                ("content-type", BINARY),
                ("origin", origin),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "app.example"),
            ];
            let answer = client.call(INSTANCE, &headers, &[]).await;
            assert_eq!(answer.status, status, "{over:?} {origin}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn switched_off_no_browser_is_told_anything() {
    let host = TestHost::start_with("testservice", |setup| setup.config.web = None).await;
    for over in BOTH {
        let mut client = WebClient::connect(host.addr, over).await;
        let asked = [
            ("origin", "http://localhost"),
            ("access-control-request-method", "POST"),
        ];
        let answer = preflight(&mut client, &asked).await;
        assert!(answer.status.is_client_error(), "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
}
