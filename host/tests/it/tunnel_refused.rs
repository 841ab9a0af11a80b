//! Who may not open a tunnel, and what each of them is told. After every refusal the host serves on.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use switchboard_host::{
    AuthoriseFuture, Authoriser, OriginRule, StaticTokens, TunnelConfig, Upgrade, Verdict,
};
use switchboard_test_support::{Ask, PATIENCE, Setup, TestHost, http1, log, patiently};
use switchboard_tunnel::SUBPROTOCOL;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;

const TOKEN: &str = "0123456789abcdefghij";

async fn start(edit: impl FnOnce(&mut TunnelConfig)) -> TestHost {
    TestHost::start_with("echo", |setup| {
        edit(
            setup
                .config
                .tunnel
                .as_mut()
                .expect("there is one by default"),
        );
    })
    .await
}

async fn start_with(authoriser: impl Authoriser, edit: impl FnOnce(&mut TunnelConfig)) -> TestHost {
    let mut setup = Setup::default();
    edit(
        setup
            .config
            .tunnel
            .as_mut()
            .expect("there is one by default"),
    );
    TestHost::build(setup, |builder| builder.authoriser(authoriser)).await
}

/// The refusal has this status and says this, in one line; what a client may read in it is left alone.
async fn refused(ask: &Ask, status: u16, says: &str) -> http::HeaderMap {
    let answer = ask.send().await;
    assert_eq!(answer.status, status, "{}", answer.body);
    assert!(answer.body.contains(says), "{:?}", answer.body);
    assert_eq!(answer.body.lines().count(), 1, "{:?}", answer.body);
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    answer.headers
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_upgrade_is_told_what_would_be_one() {
    let host = start(|_| {}).await;
    let ask = host.ask();
    let plain = ask.clone().without("upgrade").without("connection");
    let headers = refused(&plain, 426, "Upgrade: websocket").await;
    assert_eq!(headers["upgrade"], "websocket");
    assert_eq!(headers["sec-websocket-version"], "13");
    let old = ask.clone().header("sec-websocket-version", "8");
    let headers = refused(&old, 426, "Sec-WebSocket-Version: 13").await;
    assert_eq!(headers["sec-websocket-version"], "13");
    refused(
        &ask.clone().without("sec-websocket-version"),
        426,
        "version 13",
    )
    .await;
    let headers = refused(&ask.clone().method(Method::POST), 405, "GET").await;
    assert_eq!(headers["allow"], "GET");
    for wrong in [
        ask.clone().without("sec-websocket-key"),
        ask.clone().header("sec-websocket-key", "c2hvcnQ="),
        ask.clone()
            .and_header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ] {
        refused(&wrong, 400, "Sec-WebSocket-Key").await;
    }
    refused(
        &ask.clone().without("connection"),
        400,
        "Connection: Upgrade",
    )
    .await;
    refused(&ask.clone().offer(&["a", "a"]), 400, "different words").await;
    refused(&ask.clone().header("content-length", "5"), 400, "no body").await;
    // One refusal does not end the connection, and the next request may be sound.
    let answer = plain.send().await;
    let answer = http1(answer.stream, &ask.bytes()).await;
    assert_eq!(answer.status, 101, "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_foreign_origins() {
    let host = start(|_| {}).await;
    let own = format!("http://{}", host.addr);
    host.ask().open().await;
    host.ask().origin(&own).open().await;
    for foreign in [
        "https://foreign.example",
        "null",
        "http://127.0.0.1:1",
        "nonsense",
    ] {
        refused(&host.ask().origin(foreign), 403, "pages of this origin").await;
    }
    let twice = host.ask().origin(&own).and_header("origin", &own);
    refused(&twice, 403, "pages of this origin").await;
    // A page cannot send these, and who is no trusted proxy is not believed.
    let claimed = host.ask().origin("https://foreign.example");
    let claimed = claimed.header("x-forwarded-host", "foreign.example");
    refused(&claimed.header("x-forwarded-proto", "https"), 403, "").await;
    log()
        .wait_for(&[
            "INFO",
            "foreign origin was refused",
            "https://foreign.example",
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn origins_that_are_listed() {
    let listed = |text: &str| text.parse::<OriginRule>().expect(text);
    let host = start(|config| config.origins = vec![listed("https://app.example")]).await;
    host.ask().origin("https://app.example").open().await;
    host.ask().open().await;
    // The list stands instead of the same origin.
    let own = format!("http://{}", host.addr);
    refused(&host.ask().origin(&own), 403, "").await;
    refused(&host.ask().origin("http://app.example"), 403, "").await;

    let host = start(|config| config.origins = vec![listed("*")]).await;
    for anybody in ["https://foreign.example", "null"] {
        host.ask().origin(anybody).open().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_the_same_origin_is_what_the_browser_asked_for() {
    let host = TestHost::start_with("echo", |setup| {
        let local = "127.0.0.1".parse().expect("a network");
        setup.config.http1.trusted_proxies = vec![local];
    })
    .await;
    let page = host.ask().origin("https://app.example");
    refused(&page, 403, "").await;
    let forwarded = page.header("x-forwarded-host", "app.example");
    refused(&forwarded, 403, "").await;
    forwarded.header("x-forwarded-proto", "https").open().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_and_a_host_without_a_tunnel() {
    let host = start(|config| config.path = "/deep/tunnel".to_owned()).await;
    refused(&host.ask(), 404, "at /deep/tunnel").await;
    host.ask().path("/deep/tunnel?with=query").open().await;
    refused(&host.ask().path("/deep/tunnel/"), 404, "HTTP/2").await;
    let host = TestHost::start_with("echo", |setup| setup.config.tunnel = None).await;
    let answer = host.ask().send().await;
    assert_eq!(answer.status, 404);
    assert!(!answer.body.contains("WebSocket"), "{}", answer.body);
    assert_eq!(
        host.raw().await.unary("/echo.Echo/Unary", b"").await.code(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_token() {
    let tokens = StaticTokens::parse(&format!("alice {TOKEN}")).expect("sound");
    let host = start_with(tokens, |config| config.cookie = Some("session".to_owned())).await;
    let ask = host.ask();
    let headers = refused(&ask, 401, "a token is needed").await;
    assert!(
        headers["www-authenticate"]
            .to_str()
            .expect("text")
            .starts_with("Bearer")
    );
    for wrong in [
        ask.clone().token("0123456789abcdefghik"),
        ask.clone()
            .header("authorization", "Bearer 0123456789abcdefghik"),
        ask.clone().header("cookie", "session=0123456789abcdefghik"),
        // What is offered counts, whatever else comes with it.
        ask.clone()
            .token("wrong")
            .header("authorization", &format!("Bearer {TOKEN}")),
    ] {
        refused(&wrong, 401, "the token is not valid").await;
    }
    for unreadable in ["bearer.", "bearer.?", "bearer.=="] {
        refused(
            &ask.clone().offer(&[SUBPROTOCOL, unreadable]),
            400,
            "base64url",
        )
        .await;
    }
    let twice = ["bearer.YQ", "bearer.Yg"];
    refused(&ask.clone().offer(&twice), 400, "more than one token").await;
    refused(
        &ask.clone().header("cookie", &format!("other={TOKEN}")),
        401,
        "needed",
    )
    .await;
    log()
        .wait_for(&["INFO", "a tunnel was denied", "a token is needed"])
        .await;

    // In any of the three ways, and what is echoed never holds it.
    let answer = ask.clone().token(TOKEN).send().await;
    assert_eq!(answer.header("sec-websocket-protocol"), SUBPROTOCOL);
    let (_tunnel, agreed) = ask
        .clone()
        .token(TOKEN)
        .opened(ask.clone().token(TOKEN).send().await);
    assert!(agreed.ours);
    ask.clone()
        .header("authorization", &format!("Bearer {TOKEN}"))
        .open()
        .await;
    ask.clone()
        .header("cookie", &format!("a=b; session={TOKEN}"))
        .open()
        .await;
    // A client without our subprotocol gets none.
    let encoded = switchboard_tunnel::handshake::Token::new(TOKEN).to_subprotocol();
    let answer = ask.clone().offer(&[&encoded]).send().await;
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.header("sec-websocket-protocol")
        ),
        (101, "")
    );
    let said = log().find(&[TOKEN]);
    assert!(said.is_empty(), "{said:?}");
    let said = log().find(&[encoded.trim_start_matches("bearer.")]);
    assert!(said.is_empty(), "{said:?}");
    // gRPC without a tunnel is not asked.
    assert_eq!(
        host.raw().await.unary("/no.Such/Method", b"").await.code(),
        12
    );
}

/// Does whatever the request's header `x-do` says.
struct Moody;

impl Authoriser for Moody {
    fn authorise<'a>(&'a self, upgrade: &'a Upgrade<'a>) -> AuthoriseFuture<'a> {
        let mood = upgrade
            .headers
            .get("x-do")
            .and_then(|mood| mood.to_str().ok());
        Box::pin(async move {
            match mood {
                Some("fail") => Err("the directory does not answer".into()),
                Some("panic") => panic!("on purpose"),
                Some("wait") => std::future::pending().await,
                Some("deny") => Ok(Verdict::Deny {
                    reason: "not on a Sunday".to_owned(),
                }),
                Some(_) | None => {
                    assert_eq!(upgrade.path, "/tunnel?room=7");
                    assert_eq!(upgrade.origin, None);
                    assert!(upgrade.peer.ip().is_loopback() && upgrade.peer.port() != 0);
                    Ok(Verdict::Allow { identity: None })
                }
            }
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authoriser_that_cannot_decide_lets_nobody_in() {
    let host = start_with(Moody, |config| {
        config.authorise_timeout = Duration::from_millis(50);
        config.tunnels_max = 1.try_into().expect("not zero");
    })
    .await;
    let ask = host.ask().path("/tunnel?room=7");
    for mood in ["fail", "panic", "wait"] {
        let headers = refused(&ask.clone().header("x-do", mood), 503, "try again later").await;
        assert!(headers.contains_key("retry-after"), "{mood}");
    }
    log()
        .wait_for(&["WARN", "did not decide", "the directory does not answer"])
        .await;
    refused(&ask.clone().header("x-do", "deny"), 401, "not on a Sunday").await;
    // None of them kept the only place.
    ask.open().await;
}

/// Thinks for ever about some, and says when it begins.
struct Thinking(Arc<Notify>);

impl Authoriser for Thinking {
    fn authorise<'a>(&'a self, upgrade: &'a Upgrade<'a>) -> AuthoriseFuture<'a> {
        let about_this = upgrade.headers.contains_key("x-think");
        Box::pin(async move {
            if about_this {
                self.0.notify_one();
                std::future::pending::<()>().await;
            }
            Ok(Verdict::Allow { identity: None })
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_while_the_authoriser_thinks_keeps_no_place() {
    let thinks = Arc::new(Notify::new());
    let host = start_with(Thinking(Arc::clone(&thinks)), |config| {
        config.authorise_timeout = PATIENCE;
        config.tunnels_max = 1.try_into().expect("not zero");
    })
    .await;
    let mut stream = TcpStream::connect(host.addr)
        .await
        .expect("the host listens");
    let asked = host.ask().header("x-think", "long").bytes();
    stream.write_all(&asked).await.expect("sent");
    patiently("the question", thinks.notified()).await;
    refused(&host.ask(), 503, "too many tunnels here").await;
    drop(stream);
    let opened = async { while host.ask().send().await.status != 101 {} };
    patiently("a free place", opened).await;
}
