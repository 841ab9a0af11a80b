//! What an operator sees of `switchboard serve`: metrics, probes, traces and the log of machines.

use std::ffi::OsString;
use std::sync::{Arc, Mutex};

use http::StatusCode;
use rustix::process::Signal;
use switchboard_test_support::{HttpAnswer, RawClient, eventually, guest, http1, patiently};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::serving::{Serving, run};

const UNARY: &str = "/echo.Echo/Unary";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn args(more: &[&str]) -> Vec<OsString> {
    let fixed = [guest("echo"), guest("testservice")].map(OsString::from);
    fixed
        .into_iter()
        .chain(more.iter().map(OsString::from))
        .collect()
}

async fn get(addr: &str, path: &str) -> HttpAnswer<TcpStream> {
    let stream = TcpStream::connect(addr).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\n\r\n");
    patiently(path, http1(stream, request.as_bytes())).await
}

/// The value of a series; none if there is none.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|value| value.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_found_in_the_metrics_and_readiness_ends_with_the_signal() {
    let (serving, admin) = Serving::with_admin(args(&["--drain-notice", "1min"])).await;
    let client = serving.client().await;
    for _ in 0..3 {
        client.unary(UNARY, b"x").await;
    }
    client.unary("/echo.Echo/NoSuchMethod", b"x").await;
    // Who answers calls is ready.
    assert_eq!(get(&admin, "/readyz").await.status, StatusCode::OK);
    let of = "grpc_type=\"unary\",grpc_service=\"echo.Echo\",grpc_method=\"Unary\"";
    let ended = format!("grpc_server_handled_total{{{of},grpc_code=\"OK\"}}");
    let mut text = String::new();
    while value(&text, &ended) != Some(3.0) {
        text = get(&admin, "/metrics").await.body;
    }
    assert_eq!(
        value(&text, &format!("grpc_server_started_total{{{of}}}")),
        Some(3.0)
    );
    assert_eq!(
        value(&text, &format!("grpc_server_msg_sent_total{{{of}}}")),
        Some(3.0)
    );
    let other = "grpc_server_handled_total{grpc_type=\"unknown\",grpc_service=\"other\",\
        grpc_method=\"other\",grpc_code=\"Unimplemented\"}";
    assert_eq!(value(&text, other), Some(1.0));
    assert_eq!(value(&text, "switchboard_plugins"), Some(2.0));
    assert_eq!(value(&text, "switchboard_ready"), Some(1.0));
    assert!(
        value(&text, "process_resident_memory_bytes") > Some(1e6),
        "{text}"
    );
    serving.signal(Signal::TERM);
    serving.says("stopping soon").await;
    let answer = get(&admin, "/readyz").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.body.contains("told to stop"), "{}", answer.body);
    // Until the drain everything is served as before.
    assert_eq!(client.unary(UNARY, b"y").await.messages(), ["y"]);
    assert_eq!(get(&admin, "/livez").await.status, StatusCode::OK);
}

/// Takes all that is sent to it.
async fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("bound");
    let bodies = Arc::<Mutex<Vec<u8>>>::default();
    let taken = Arc::clone(&bodies);
    #[expect(clippy::disallowed_methods, reason = "a test's own task")]
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            while let Some(body) = request_body(&mut stream).await {
                taken.lock().expect("nobody panics").extend(body);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                if stream.write_all(answer).await.is_err() {
                    break;
                }
            }
        }
    });
    (format!("http://{addr}"), bodies)
}

/// The body of the next request; none when there is no other.
async fn request_body(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    let body_at = loop {
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8_lossy(&read[..body_at]).to_lowercase();
    let length = head.split("content-length: ").nth(1).expect("a length");
    let length = length
        .split('\r')
        .next()
        .and_then(|line| line.parse::<usize>().ok());
    let length = length.expect("a number");
    while read.len() < body_at + length {
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
    Some(read.split_off(body_at))
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_traced_call_leaves_a_span_below_its_callers_and_lines_that_name_it() {
    let (endpoint, bodies) = collector().await;
    let options = ["--otlp-endpoint", &endpoint, "--log-format", "json"];
    let serving = Serving::start(args(&options)).await;
    let client = serving.client().await;
    let head = RawClient::head("/testservice.Probe/Trace");
    let head = head.header("traceparent", format!("00-{TRACE}-{SPAN}-01"));
    // TraceRequest: event, key, value.
    let request = b"\x0a\x04seen\x12\x01k\x1a\x03val";
    let answer = client
        .call(head, switchboard_test_support::frame(request))
        .await;
    assert_eq!(answer.code(), 0);
    serving.says("traced: seen").await;
    let ended = serving.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    eventually("the span arrives", || {
        let bodies = bodies.lock().expect("nobody panics");
        let parent = u64::from_str_radix(SPAN, 16).expect("hex").to_be_bytes();
        let trace = u128::from_str_radix(TRACE, 16).expect("hex").to_be_bytes();
        let parts: [&[u8]; 5] = [&trace, &parent, b"testservice.Probe/Trace", b"seen", b"val"];
        parts.iter().all(|part| has(&bodies, part))
    })
    .await;
    let line = ended
        .stderr
        .lines()
        .find(|line| line.contains("traced: seen"));
    let line = line.expect("the plugin's line");
    assert!(
        line.starts_with("{\"timestamp\":\"") && line.ends_with('}'),
        "{line}"
    );
    let named = format!("\"trace_id\":\"{TRACE}\",\"span_id\":\"");
    for part in [
        &*named,
        "\"target\":\"guest\"",
        "\"plugin\":\"testservice\"",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_said_before_anything_is_served() {
    for (flags, said) in [
        (["--otlp-endpoint", "ftp://collector:4318"], "https://"),
        (["--trace-sample", "0.5"], "--otlp-endpoint"),
        (["--trace-sample", "some"], "no number"),
        (["--log-format", "xml"], "json"),
        (["--admin", "localhost"], "--admin"),
    ] {
        let serve = [OsString::from("serve")];
        let ended = run(serve.into_iter().chain(args(&flags))).await;
        assert_eq!(ended.code, Some(64), "{}", ended.stderr);
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_what_runs_where_and_at_debug_what_each_connection_and_call_came_to() {
    let serving = Serving::start(args(&["--log", "debug"])).await;
    let at = format!("addresses=\"{}\"", serving.addr);
    let version = format!("serving version=\"{}\"", env!("CARGO_PKG_VERSION"));
    let client = serving.client().await;
    client.unary(UNARY, b"x").await;
    client.unary("/echo.Echo/NoSuchMethod", b"x").await;
    drop(client);
    let addr = serving.addr.to_string();
    let nothing = get(&addr, "/not/here").await;
    assert_eq!(nothing.status, StatusCode::NOT_FOUND);
    for part in ["connection accepted", "protocol=\"HTTP/1.1\""] {
        serving.says_times(part, 1).await;
    }
    serving.says("protocol=\"HTTP/2\" why=\"peer\"").await;
    let ended = serving.stop().await;
    let has = |parts: &[&str]| {
        let mut lines = ended.stderr.lines();
        lines.any(|line| parts.iter().all(|part| line.contains(part)))
    };
    for parts in [
        &["INFO", &version, &at][..],
        &["INFO", "configuration", "version="],
        &["DEBUG", "connection accepted", "peer=127.0.0.1:"],
        &[
            "DEBUG",
            "call ended",
            UNARY,
            "plugin=\"echo\"",
            "code=OK",
            "took=",
        ],
        &["DEBUG", "request refused", "unknown_method"],
        &[
            "DEBUG",
            "answered over HTTP/1.1",
            "path=\"/not/here\"",
            "status=404",
        ],
    ] {
        assert!(has(parts), "{parts:?}: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("task{"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_can_be_had_alone_in_the_log() {
    let filter = "warn,switchboard_host::calls=debug";
    let serving = Serving::start(args(&["--log", filter])).await;
    serving.client().await.unary(UNARY, b"x").await;
    serving.says("call ended").await;
    let ended = serving.stop().await;
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
}
