//! Traces from a caller through the host into a plugin and to a collector: the span's parent is the caller's, the
//! plugin's event is on it, and the log says whose lines are whose.

use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use switchboard_host::{MetricsFormat, Telemetry, TraceConfig};
use switchboard_test_support::proto::testservice::TraceRequest;
use switchboard_test_support::proto::testservice::probe_client::ProbeClient;
use switchboard_test_support::{Authority, Setup, TestHost, eventually, guest, log, patiently};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
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
        Self::listen(None).await
    }

    /// Over TLS, with a certificate for `localhost`.
    async fn secure(authority: &Authority) -> Self {
        let issued = authority.server();
        let certificates = CertificateDer::pem_slice_iter(issued.certificate.as_bytes());
        let certificates = certificates.collect::<Result<_, _>>().expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("PEM");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().expect("TLS");
        let config = config.with_no_client_auth();
        let config = config.with_single_cert(certificates, key).expect("a pair");
        Self::listen(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let endpoint = match tls {
            Some(_) => format!("https://localhost:{port}"),
            None => format!("http://127.0.0.1:{port}"),
        };
        let bodies = Arc::<Mutex<Vec<u8>>>::default();
        let taken = Arc::clone(&bodies);
        #[expect(clippy::disallowed_methods, reason = "a test's own task")]
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                match &tls {
                    None => take(stream, &taken).await,
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => take(stream, &taken).await,
                        Err(_not_trusted) => {}
                    },
                }
            }
        });
        Self {
            config: TraceConfig::new(endpoint),
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

/// Answers each request; heads and bodies are what came.
async fn take(mut stream: impl AsyncRead + AsyncWrite + Unpin, taken: &Mutex<Vec<u8>>) {
    while let Some(request) = request(&mut stream).await {
        taken.lock().expect("nobody panics").extend(request);
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        if stream.write_all(answer).await.is_err() {
            break;
        }
    }
}

/// The next request; none when there is no other.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
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
    Some(read)
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

fn asks(event: &str, headers: &[(&'static str, String)]) -> Request<TraceRequest> {
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
    let answer = client.trace(asks("the plugin saw it", &headers)).await;
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
        .trace(asks("nobody asked", &[]))
        .await
        .expect("OK")
        .into_inner();
    assert_eq!(other.traceparent, "");
    let no = [("traceparent", format!("00-{TRACE}-{SPAN}-00"))];
    let passed = client
        .trace(asks("it said no", &no))
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

/// The host makes a span for a call and ends; how many spans were lost.
async fn traced(config: &TraceConfig) -> u64 {
    let telemetry = Telemetry::new();
    let tracing = telemetry.trace(config).expect("it starts");
    let host = host_of(&telemetry).await;
    let headers = [("traceparent", format!("00-{TRACE}-{SPAN}-01"))];
    let mut client = ProbeClient::new(host.channel());
    client.trace(asks("over TLS", &headers)).await.expect("OK");
    drop(client);
    patiently("the drain", host.finish()).await;
    let sent = tokio::task::spawn_blocking(move || drop(tracing));
    patiently("the end", sent).await.expect("no panic");
    let text = telemetry.metrics(MetricsFormat::Prometheus);
    let series = "switchboard_spans_dropped_total{cause=\"failed\"} ";
    let lost = text.lines().find_map(|line| line.strip_prefix(series));
    lost.expect("a line").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_over_tls_gets_its_keys_if_its_certificate_is_trusted() {
    let authority = Authority::new("of collectors");
    let mut collector = Collector::secure(&authority).await;
    let header = ("Authorization".to_owned(), "Bearer key".to_owned());
    collector.config.headers.push(header);
    let folder = tempfile::TempDir::new().expect("a folder");
    for (of, lost) in [(&Authority::new("of others"), 1), (&authority, 0)] {
        assert!(!collector.has(&[b"Bearer key"]), "nobody got it");
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, of.pem()).expect("written");
        collector.config.ca = Some(file);
        assert_eq!(traced(&collector.config).await, lost);
    }
    let found = [
        &b"authorization: Bearer key\r\n"[..],
        &bytes(TRACE),
        b"over TLS",
    ];
    assert!(collector.has(&found));
    let shown = format!("{:?}", collector.config);
    assert!(!shown.contains("Bearer"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_a_plugin_still_passes_the_callers_context_on() {
    let host = host_of(&Telemetry::new()).await;
    let mut client = ProbeClient::new(host.channel());
    let headers = [("traceparent", format!("00-{TRACE}-{SPAN}-01"))];
    let answer = client.trace(asks("to nobody", &headers)).await.expect("OK");
    assert_eq!(
        answer.get_ref().traceparent,
        format!("00-{TRACE}-{SPAN}-01")
    );
    let wrong = [("traceparent", format!("00-{TRACE}-{SPAN}-zz"))];
    let answer = client.trace(asks("to nobody", &wrong)).await.expect("OK");
    assert_eq!(
        answer.get_ref().traceparent,
        "",
        "what breaks the rules is not passed on"
    );
}
