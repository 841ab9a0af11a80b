//! Traces from a caller through the host into a plugin and to a collector: the span's parent is the caller's, the
//! plugin's event is on it, and the log says whose lines are whose.

use std::sync::{Arc, Mutex};

use switchboard_host::{Telemetry, TraceConfig};
use switchboard_test_support::proto::testservice::TraceRequest;
use switchboard_test_support::proto::testservice::probe_client::ProbeClient;
use switchboard_test_support::{Setup, TestHost, eventually, guest, log, patiently};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::Request;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// Takes whatever is sent to it.
struct Collector {
    config: TraceConfig,
    bodies: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    async fn start() -> Self {
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
        Self {
            config: TraceConfig::new(format!("http://{addr}")),
            bodies,
        }
    }

    /// Whether these bytes came, in this order.
    fn has(&self, parts: &[&[u8]]) -> bool {
        let bodies = self.bodies.lock().expect("nobody panics");
        let mut rest = &bodies[..];
        parts.iter().all(|part| {
            let at = rest.windows(part.len()).position(|bytes| bytes == *part);
            at.is_some_and(|at| {
                rest = &rest[at + part.len()..];
                true
            })
        })
    }
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

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16);
    digits.map(|pair| byte(pair).expect("hex")).collect()
}

async fn host_of(telemetry: &Telemetry) -> TestHost {
    let setup = Setup {
        paths: vec![guest("testservice")],
        ..Setup::default()
    };
    let given = telemetry.clone();
    TestHost::build(setup, |builder| builder.telemetry(given)).await
}

fn request(event: &str, headers: &[(&'static str, String)]) -> Request<TraceRequest> {
    let mut request = Request::new(TraceRequest {
        event: event.to_owned(),
        key: "file".to_owned(),
        value: "its value".to_owned(),
    });
    for (key, value) in headers {
        let value = value.parse().expect("ASCII");
        request.metadata_mut().insert(*key, value);
    }
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_has_the_callers_as_its_parent_and_the_plugins_event() {
    let collector = Collector::start().await;
    let telemetry = Telemetry::new();
    let tracing = telemetry.trace(&collector.config).expect("it starts");
    let host = host_of(&telemetry).await;
    let mut client = ProbeClient::new(host.channel());
    let headers = [
        ("traceparent", format!("00-{TRACE}-{SPAN}-01")),
        ("tracestate", "vendor=value".to_owned()),
    ];
    let answer = client.trace(request("the plugin saw it", &headers)).await;
    let answer = answer.expect("OK").into_inner();
    let (begin, end) = (format!("00-{TRACE}-"), "-01");
    let own = answer
        .traceparent
        .strip_prefix(&begin)
        .and_then(|rest| rest.strip_suffix(end));
    let own = own
        .unwrap_or_else(|| panic!("the caller's trace: {answer:?}"))
        .to_owned();
    assert!(own.len() == 16 && own != SPAN, "a span of its own: {own}");
    assert_eq!(answer.tracestate, "vendor=value");
    // A line of the plugin, written in the call, says whose it is.
    log()
        .wait_for(&[
            "traced: the plugin saw it",
            &format!("trace_id={TRACE}"),
            &format!("span_id={own}"),
        ])
        .await;
    // Its callers say nothing, and chance has no part in it: no span.
    let other = client
        .trace(request("nobody asked", &[]))
        .await
        .expect("OK")
        .into_inner();
    assert_eq!(other.traceparent, "");
    let no = [("traceparent", format!("00-{TRACE}-{SPAN}-00"))];
    let passed = client
        .trace(request("it said no", &no))
        .await
        .expect("OK")
        .into_inner();
    assert_eq!(
        passed.traceparent,
        format!("00-{TRACE}-{SPAN}-00"),
        "as it came"
    );
    drop(client);
    patiently("the drain", host.finish()).await;
    let sent = tokio::task::spawn_blocking(move || drop(tracing));
    sent.await.expect("what is left was sent");
    let (trace, own, parent) = (bytes(TRACE), bytes(&own), bytes(SPAN));
    let found = || {
        collector.has(&[
            &trace,
            &own,
            b"vendor=value",
            &parent,
            b"testservice.Probe/Trace",
            b"rpc.system",
            b"rpc.grpc.status_code",
            b"the plugin saw it",
            b"file",
            b"its value",
        ])
    };
    eventually("the span arrives", found).await;
    assert!(!collector.has(&[b"nobody asked"]) && !collector.has(&[b"it said no"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_a_plugin_still_passes_the_callers_context_on() {
    let host = host_of(&Telemetry::new()).await;
    let mut client = ProbeClient::new(host.channel());
    let headers = [("traceparent", format!("00-{TRACE}-{SPAN}-01"))];
    let answer = client
        .trace(request("to nobody", &headers))
        .await
        .expect("OK");
    assert_eq!(
        answer.get_ref().traceparent,
        format!("00-{TRACE}-{SPAN}-01")
    );
    let wrong = [("traceparent", format!("00-{TRACE}-{SPAN}-zz"))];
    let answer = client
        .trace(request("to nobody", &wrong))
        .await
        .expect("OK");
    assert_eq!(
        answer.get_ref().traceparent,
        "",
        "what breaks the rules is not passed on"
    );
}
