//! HTTP of a plugin: refused at load without a grant, and with one it goes where that says and no further.

use std::net::SocketAddr;
use std::time::Duration;

use switchboard_host::{Destination, GrantsConfig, HostBuilder, HostConfig, Tls};
use switchboard_test_support::{
    Authority, RawAnswer, RawClient, TestHost, granted, log, patiently,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

const OK: u16 = 0;
const PERMISSION_DENIED: u16 = 7;
const UNAVAILABLE: u16 = 14;

struct Fetching {
    host: TestHost,
    client: RawClient,
}

impl Fetching {
    async fn with(grants: GrantsConfig) -> Self {
        let host = TestHost::start_with("echo", |setup| {
            setup.paths = vec![granted("http")];
            setup.config.plugin.grants = grants;
        })
        .await;
        assert!(host.refused.is_empty(), "{:?}", host.refused);
        let client = host.raw().await;
        Self { host, client }
    }

    async fn call(&self, method: &str, message: &str) -> RawAnswer {
        let path = format!("/granted.Granted/{method}");
        patiently(method, self.client.unary(&path, message.as_bytes())).await
    }

    async fn text(&self, method: &str, message: &str) -> String {
        let answer = self.call(method, message).await;
        assert_eq!(answer.code(), OK, "{message}: {}", answer.message());
        String::from_utf8(answer.messages()[0].to_vec()).expect("text")
    }

    async fn fails(&self, message: &str, code: u16, what: &str) {
        let answer = self.call("Fetch", message).await;
        let said = answer.message();
        assert!(
            answer.code() == code && said.contains(what),
            "{message}: {} {said}",
            answer.code()
        );
    }
}

fn to(destination: &str) -> GrantsConfig {
    let destination: Destination = destination.parse().expect(destination);
    GrantsConfig {
        http: vec![destination],
        ..GrantsConfig::default()
    }
}

/// Answers one request with its own head and body.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut request = Vec::new();
    let head = loop {
        let text = String::from_utf8_lossy(&request);
        if let Some(end) = text.find("\r\n\r\n") {
            break end + 4;
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(len) => request.extend(&piece[..len]),
        }
    };
    let text = String::from_utf8_lossy(&request[..head]).into_owned();
    // With a body of unknown length it comes in pieces, of which the last is empty.
    let chunked = text.to_lowercase().contains("transfer-encoding: chunked");
    while chunked && !request.ends_with(b"0\r\n\r\n") {
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(len) => request.extend(&piece[..len]),
        }
    }
    if text.starts_with("GET /silent") {
        let _never = stream.read(&mut [0; 1]).await;
        return;
    }
    let response = if text.starts_with("GET /half") {
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_owned()
    } else {
        let len = request.len();
        let body = String::from_utf8_lossy(&request);
        format!("HTTP/1.1 201 Created\r\ncontent-length: {len}\r\n\r\n{body}")
    };
    drop(stream.write_all(response.as_bytes()).await);
    drop(stream.read(&mut [0; 1]).await);
}

async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    #[expect(clippy::disallowed_methods, reason = "a test's own tasks")]
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    address
}

#[tokio::test]
async fn without_a_grant_a_plugin_that_imports_it_is_refused() {
    let config = HostConfig {
        watch: None,
        ..HostConfig::default()
    };
    let host = HostBuilder::new(config).build(&[granted("http")]).await;
    let refused = host.expect("a host").refused()[0].to_string();
    assert!(refused.contains("it imports wasi:http/"), "{refused}");
    assert!(refused.contains("grant it http"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_where_they_are_granted() {
    let (server, other) = (server().await, server().await);
    let plugin = Fetching::with(to(&server.to_string())).await;
    let said = plugin
        .text("Fetch", &format!("http://{server}/a?b=c"))
        .await;
    assert!(said.starts_with("201\nGET /a?b=c HTTP/1.1\r\n"), "{said}");
    assert!(
        said.to_lowercase().contains(&format!("host: {server}\r\n")),
        "{said}"
    );
    let body = "#".repeat(100_000);
    let said = plugin
        .text("Fetch", &format!("http://{server}/\n{body}"))
        .await;
    assert!(
        said.starts_with("201\nPOST / HTTP/1.1\r\n"),
        "{}",
        &said[..100]
    );
    assert_eq!(said.matches('#').count(), 100_000);
    let port = server.port();
    for url in [
        format!("http://{other}/"),
        format!("http://localhost:{port}/"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        format!("http://127.0.0.2:{port}/"),
        format!("http://127.0.0.1:{port}@127.0.0.2:{port}/"),
        format!("http://[::ffff:127.0.0.2]:{port}/"),
    ] {
        plugin
            .fails(&url, PERMISSION_DENIED, "HttpRequestDenied")
            .await;
    }
    log()
        .wait_for(&["what it is not granted", "grant=\"http\""])
        .await;
    assert_eq!(plugin.host.stats("granted-http").faults, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_resolved_by_the_host() {
    let server = server().await;
    let port = server.port();
    let plugin = Fetching::with(to(&format!("localhost:{port}"))).await;
    let said = plugin
        .text("Fetch", &format!("http://LOCALHOST:{port}/"))
        .await;
    assert!(said.starts_with("201\n"), "{said}");
    let address = format!("http://{server}/");
    plugin
        .fails(&address, PERMISSION_DENIED, "HttpRequestDenied")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_or_ends_too_soon_is_an_error() {
    let server = server().await;
    let plugin = Fetching::with(GrantsConfig {
        http_timeout: Duration::from_millis(200),
        ..to("127.0.0.1:1-65535")
    })
    .await;
    let silent = format!("http://{server}/silent");
    plugin
        .fails(&silent, UNAVAILABLE, "HttpResponseTimeout")
        .await;
    plugin
        .fails(&format!("http://{server}/half"), UNAVAILABLE, "body")
        .await;
    // Nobody listens on a port that was free a moment ago.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let gone = listener.local_addr().expect("bound");
    drop(listener);
    plugin
        .fails(&format!("http://{gone}/"), UNAVAILABLE, "ConnectionRefused")
        .await;
    assert_eq!(plugin.host.stats("granted-http").faults, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_under_way_have_a_limit() {
    let server = server().await;
    let plugin = Fetching::with(GrantsConfig {
        http_requests_max: 3,
        ..to(&server.to_string())
    })
    .await;
    let url = format!("http://{server}/");
    for _ in 0..3 {
        let said = plugin.text("FetchMany", &url).await;
        assert!(
            said.starts_with("3\n") && said.contains("ConnectionLimitReached"),
            "{said}"
        );
    }
    assert!(plugin.text("Fetch", &url).await.starts_with("201\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_trusts_the_system_and_the_file_that_is_named() {
    let authority = Authority::new("a test's own");
    let issued = authority.server();
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority.pem()).expect("written");
    let tls = Tls::from_pem(issued.certificate.as_bytes(), issued.key.as_bytes());
    let server = TestHost::start_with("echo", |setup| {
        setup.tls = Some(tls.expect("sound PEM"));
    })
    .await;
    let port = server.addr.port();
    let url = format!("https://localhost:{port}/nothing");
    let trusting = Fetching::with(GrantsConfig {
        http_ca: Some(file),
        ..to(&format!("localhost:{port}"))
    })
    .await;
    let said = trusting.text("Fetch", &url).await;
    assert!(said.starts_with("404\n"), "{said}");
    let other = Fetching::with(to(&format!("localhost:{port}"))).await;
    let answer = other.call("Fetch", &url).await;
    assert_eq!(answer.code(), UNAVAILABLE, "{}", answer.message());
}
