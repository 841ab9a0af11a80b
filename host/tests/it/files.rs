//! Files for browsers on the port of gRPC: over HTTP/1.1 and HTTP/2, beside gRPC and the tunnel, and not
//! at all unless asked for.

use std::fs;

use http::{Method, Request, StatusCode, header};
use switchboard_host::{BuildError, Drained, FilesConfig, HostBuilder, HostConfig, chain};
use switchboard_test_support::{
    HttpAnswer, RawAnswer, RawClient, TestHost, http1, patiently, rest_of,
};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// More than the window of a stream, so that flow control is used.
const LARGE_BYTES: usize = 300_000;

/// A host that serves a folder under `/demo/`.
async fn start(edit: impl FnOnce(&mut HostConfig)) -> (TestHost, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("sub")).expect("a folder");
    for (name, text) in [
        ("index.html", "<!doctype html>"),
        ("app.js", "plain script"),
        ("app.js.gz", "compressed script"),
        ("app.wasm", "module"),
        ("sub/index.html", "below"),
        ("large.txt", &"x".repeat(LARGE_BYTES)),
        (".secret", "hidden"),
    ] {
        fs::write(folder.path().join(name), text).expect(name);
    }
    let host = TestHost::start_with("echo", |setup| {
        setup.config.files = vec![FilesConfig::new("/demo/", folder.path())];
        edit(&mut setup.config);
    })
    .await;
    (host, folder)
}

/// Asks over HTTP/1.1; `headers` are whole lines.
async fn get(host: &TestHost, path: &str, headers: &str) -> HttpAnswer<TcpStream> {
    let stream = TcpStream::connect(host.addr).await;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
    http1(stream.expect("the host listens"), request.as_bytes()).await
}

/// Asks over HTTP/2.
async fn get_over_http2(client: &RawClient, path: &str) -> RawAnswer {
    let head = Request::get(format!("http://localhost{path}"));
    client.call(head, "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_none_unless_asked_for() {
    let host = TestHost::start("echo").await;
    let answer = get(&host, "/demo/", "").await;
    assert_eq!(answer.status, 404);
    assert!(
        answer.body.contains("there is nothing here"),
        "{}",
        answer.body
    );
    let answer = get_over_http2(&host.raw().await, "/demo/").await;
    assert_eq!(answer.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_comes_with_its_type_and_apart_from_other_origins() {
    let (host, _folder) = start(|_| {}).await;
    for (path, status, content_type, body) in [
        ("/demo/", 200, "text/html; charset=utf-8", "<!doctype html>"),
        (
            "/demo/app.js",
            200,
            "text/javascript; charset=utf-8",
            "plain script",
        ),
        ("/demo/app.wasm", 200, "application/wasm", "module"),
        ("/demo/sub/", 200, "text/html; charset=utf-8", "below"),
        (
            "/demo/gone.js",
            404,
            "text/plain; charset=utf-8",
            "there is no such file here\n",
        ),
        (
            "/demo/.secret",
            404,
            "text/plain; charset=utf-8",
            "there is no such file here\n",
        ),
    ] {
        let answer = get(&host, path, "").await;
        let over_http2 = get_over_http2(&host.raw().await, path).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.body, body, "{path}");
        assert_eq!(answer.header("content-type"), content_type, "{path}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-embedder-policy", "require-corp"),
        ] {
            assert_eq!(answer.header(name), value, "{path}");
        }
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("script-src 'self' 'wasm-unsafe-eval'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe-inline"), "{policy}");
        // Over HTTP/2 it is the same, but for the date, which is the connection's to add.
        let mut headers = answer.headers;
        headers.remove(header::DATE);
        assert_eq!(over_http2.status, status, "{path}");
        assert_eq!(over_http2.headers, headers, "{path}");
        assert_eq!(over_http2.body, body, "{path}");
    }
    let answer = get(&host, "/", "").await;
    assert!(answer.body.contains("/demo/"), "{}", answer.body);
    let answer = get(&host, "/demo?calls=200", "").await;
    assert_eq!(answer.status, 307);
    assert_eq!(answer.header("location"), "/demo/?calls=200");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_already_is_not_sent_again_and_gzip_to_who_takes_it() {
    let (host, _folder) = start(|_| {}).await;
    let plain = get(&host, "/demo/app.js", "").await;
    let encoding = "accept-encoding: gzip, deflate, br\r\n";
    let gzip = get(&host, "/demo/app.js", encoding).await;
    assert_eq!(gzip.header("content-encoding"), "gzip");
    assert_eq!(gzip.body, "compressed script");
    assert_eq!(gzip.header("vary"), "accept-encoding");
    let (plain_tag, gzip_tag) = (plain.header("etag"), gzip.header("etag"));
    assert_ne!(plain_tag, gzip_tag);
    let has = format!("{encoding}if-none-match: \"other\", {gzip_tag}\r\n");
    let mut answer = get(&host, "/demo/app.js", &has).await;
    assert_eq!(answer.status, 304);
    assert_eq!(answer.body, "");
    assert_eq!(answer.header("etag"), gzip_tag);
    // The connection goes on: nothing came behind the head.
    let again = b"GET /demo/app.js HTTP/1.1\r\nhost: localhost\r\nif-none-match: \"other\"\r\n\r\n";
    answer = http1(answer.stream, again).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, "plain script");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_path_leads_out() {
    let (host, folder) = start(|_| {}).await;
    let name = folder.path().file_name().expect("a name");
    let name = name.to_str().expect("UTF-8");
    for path in [
        "/demo/../Cargo.toml",
        "/demo/../../../../etc/passwd",
        "/demo/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/demo/..%2f..%2f..%2fetc/passwd",
        "/demo/%2fetc/passwd",
        "/demo//etc/passwd",
        "/demo/sub/../../etc/passwd",
        "/demo/..%5c..%5cetc%5cpasswd",
        "/demo/%00index.html",
        "/demo/index.html%00",
        "/demo/%c0%ae%c0%ae/etc/passwd",
        &format!("/demo/../{name}/index.html"),
        &format!("/demo/{}", "a/".repeat(3000)),
    ] {
        let answer = get(&host, path, "").await;
        assert_eq!(answer.status, 404, "{path}");
        let answer = get_over_http2(&host.raw().await, path).await;
        assert_eq!(answer.status, 404, "{path} over HTTP/2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_no_body_and_files_are_only_read() {
    let (host, _folder) = start(|_| {}).await;
    let mut stream = TcpStream::connect(host.addr).await.expect("listens");
    let head = b"HEAD /demo/large.txt HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(head).await.expect("sent");
    let said = String::from_utf8(rest_of(stream).await).expect("text");
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    assert!(said.contains("content-length: 300000\r\n"), "{said}");
    assert!(said.ends_with("\r\n\r\n"), "{said}");
    let client = host.raw().await;
    let of = |method| Request::get("http://localhost/demo/large.txt").method(method);
    let head = client.call(of(Method::HEAD), "").await;
    assert_eq!(head.headers["content-length"], "300000");
    assert_eq!(head.body, "");
    for method in [Method::PUT, Method::DELETE, Method::OPTIONS] {
        let refused = client.call(of(method), "").await;
        assert_eq!(refused.status, 405);
        assert_eq!(refused.headers["allow"], "GET, HEAD");
    }
    let stream = TcpStream::connect(host.addr).await.expect("listens");
    let post = b"POST /demo/ HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\nhi";
    let refused = http1(stream, post).await;
    assert_eq!(refused.status, 405);
    assert_eq!(refused.header("allow"), "GET, HEAD");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_comes_through_small_windows_beside_calls() {
    let (host, _folder) = start(|_| {}).await;
    let mut settings = h2::client::Builder::new();
    settings.initial_window_size(1000);
    let client = RawClient::connect_with(host.addr, &settings).await;
    let files = (0..4).map(|_| get_over_http2(&client, "/demo/large.txt"));
    let calls = async {
        for _ in 0..20 {
            let answer = client.unary("/echo.Echo/Unary", b"beside").await;
            assert_eq!(answer.messages(), ["beside"]);
        }
    };
    let (files, ()) = tokio::join!(futures_util::future::join_all(files), calls);
    for file in files {
        assert_eq!(file.status, StatusCode::OK);
        assert_eq!(file.body.len(), LARGE_BYTES);
        assert!(file.body.iter().all(|byte| *byte == b'x'));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_a_file_does_not_hold_up_the_end() {
    let (host, _folder) = start(|config| {
        config.drain_timeout = std::time::Duration::from_millis(200);
    })
    .await;
    let client = host.raw().await;
    let call = client
        .begin(Request::get("http://localhost/demo/large.txt"))
        .await;
    let (headers, mut body, _request) = call.headers().await.expect("an answer");
    assert_eq!(headers["content-length"], "300000");
    // No call was cut: a file is none.
    assert_eq!(host.finish().await, Drained::Clean);
    let mut came = 0;
    let ended = loop {
        match patiently("the end of the stream", body.data()).await {
            Some(Ok(chunk)) => came += chunk.len(),
            Some(Err(error)) => break error,
            None => panic!("the file came whole, through a closed window"),
        }
    };
    assert!(came < LARGE_BYTES, "{came} bytes, {ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_the_tunnel_share_the_port() {
    let (host, folder) = start(|config| {
        // Over everything else, so also over the tunnel's path: the tunnel goes first.
        let files = &mut config.files[0];
        files.path = "/".to_owned();
        fs::write(files.folder.join("tunnel"), "never seen").expect("written");
    })
    .await;
    host.ask().open().await;
    assert_eq!(get(&host, "/tunnel", "").await.status, 426);
    let answer = get(&host, "/", "").await;
    assert_eq!(answer.body, "<!doctype html>");
    // Read once: a file that comes later, or goes, changes nothing.
    fs::remove_file(folder.path().join("index.html")).expect("removed");
    let answer = get(&host, "/index.html", "").await;
    assert_eq!(answer.body, "<!doctype html>");
    let answer = host.raw().await.unary("/echo.Echo/Unary", b"gRPC").await;
    assert_eq!(answer.messages(), ["gRPC"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_served_is_said_before_anything_is() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("a"), [0; 11]).expect("written");
    for (path, bytes_max, files_max, said) in [
        (folder.path().join("missing"), 100, 100, "missing"),
        (folder.path().to_owned(), 10, 100, "more than 10 bytes"),
        (folder.path().join("a"), 100, 100, "Not a directory"),
    ] {
        let files = FilesConfig {
            bytes_max,
            files_max,
            ..FilesConfig::new("/demo/", &path)
        };
        let config = HostConfig {
            files: vec![files],
            ..HostConfig::default()
        };
        let error = HostBuilder::new(config).build(&[]).await;
        let error = error.expect_err("not to be served");
        assert!(matches!(error, BuildError::Files { .. }), "{error:?}");
        let line = chain(&error);
        assert!(line.contains(said), "{line}");
        assert!(line.contains(&path.display().to_string()), "{line}");
    }
}
