//! Spans from a call to a collector: what is sampled, what arrives, and what becomes of spans when nobody takes
//! them. The collector is a socket that this file answers by hand, and the bytes are decoded with types that prost
//! derives.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::{MetricsFormat, Telemetry};
use super::*;
use crate::peer::Peer;
use crate::status::Code;

/// `trace.proto` and what it uses, as far as it is written here.
mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Request {
        #[prost(message, repeated, tag = "1")]
        pub resource_spans: Vec<ResourceSpans>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ResourceSpans {
        #[prost(message, optional, tag = "1")]
        pub resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub scope_spans: Vec<ScopeSpans>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub attributes: Vec<KeyValue>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ScopeSpans {
        #[prost(message, repeated, tag = "2")]
        pub spans: Vec<Span>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Span {
        #[prost(bytes = "vec", tag = "1")]
        pub trace_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub span_id: Vec<u8>,
        #[prost(string, tag = "3")]
        pub trace_state: String,
        #[prost(bytes = "vec", tag = "4")]
        pub parent_span_id: Vec<u8>,
        #[prost(string, tag = "5")]
        pub name: String,
        #[prost(int32, tag = "6")]
        pub kind: i32,
        #[prost(fixed64, tag = "7")]
        pub begun: u64,
        #[prost(fixed64, tag = "8")]
        pub ended: u64,
        #[prost(message, repeated, tag = "9")]
        pub attributes: Vec<KeyValue>,
        #[prost(message, repeated, tag = "11")]
        pub events: Vec<Event>,
        #[prost(uint32, tag = "12")]
        pub events_dropped: u32,
        #[prost(message, optional, tag = "15")]
        pub status: Option<Status>,
        #[prost(fixed32, tag = "16")]
        pub flags: u32,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Event {
        #[prost(fixed64, tag = "1")]
        pub at: u64,
        #[prost(string, tag = "2")]
        pub name: String,
        #[prost(message, repeated, tag = "3")]
        pub attributes: Vec<KeyValue>,
        #[prost(uint32, tag = "4")]
        pub attributes_dropped: u32,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Status {
        #[prost(string, tag = "2")]
        pub message: String,
        #[prost(int32, tag = "3")]
        pub code: i32,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct KeyValue {
        #[prost(string, tag = "1")]
        pub key: String,
        #[prost(message, optional, tag = "2")]
        pub value: Option<AnyValue>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct AnyValue {
        #[prost(string, optional, tag = "1")]
        pub text: Option<String>,
        #[prost(int64, optional, tag = "3")]
        pub number: Option<i64>,
    }
}

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const PATIENCE: Duration = Duration::from_secs(20);

/// A collector that answers as it is told.
struct Collector {
    listener: TcpListener,
    config: TraceConfig,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let mut config = TraceConfig::new(format!("http://{addr}"));
        config.sample = 1.0;
        Self { listener, config }
    }

    async fn accept(&self) -> TcpStream {
        let accepted = tokio::time::timeout(PATIENCE, self.listener.accept());
        accepted.await.expect("soon").expect("a connection").0
    }
}

/// Reads one request and answers it; its head and its spans.
async fn answer(stream: &mut TcpStream, status: &str) -> (String, Vec<proto::Span>) {
    let mut read = Vec::new();
    let body_at = loop {
        let got = stream.read_buf(&mut read).await.expect("readable");
        assert!(got > 0, "it ended within a head");
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8_lossy(&read[..body_at]).to_lowercase();
    let length = head.split("content-length: ").nth(1).expect("a length");
    let length: usize = length
        .split('\r')
        .next()
        .expect("a line")
        .parse()
        .expect("a number");
    while read.len() < body_at + length {
        assert!(
            stream.read_buf(&mut read).await.expect("readable") > 0,
            "it ended within a body"
        );
    }
    let line = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(line.as_bytes()).await.expect("writable");
    let request = proto::Request::decode(&read[body_at..]).expect("protobuf");
    let resource = request.resource_spans[0]
        .resource
        .as_ref()
        .expect("a resource");
    assert_eq!(resource.attributes[0].key, "service.name");
    let scopes = request
        .resource_spans
        .into_iter()
        .flat_map(|one| one.scope_spans);
    (head, scopes.flat_map(|one| one.spans).collect())
}

fn headers(traceparent: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(
        http::HeaderName::from_static("traceparent"),
        HeaderValue::from_static(traceparent),
    )])
}

fn of(peer: &Peer) -> SpanOf<'_> {
    SpanOf {
        path: "/a.B/C",
        plugin: "plugin",
        peer,
    }
}

fn value(telemetry: &Telemetry, series: &str) -> u64 {
    let text = telemetry.metrics(MetricsFormat::Prometheus);
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.map_or(0, |rest| rest.trim().parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_arrives_with_its_parent_its_events_and_what_was_lost() {
    let collector = Collector::start().await;
    let telemetry = Telemetry::new();
    let tracing = telemetry.trace(&collector.config).expect("it starts");
    let peer = Peer::Tcp("192.0.2.1:7".parse().expect("an address"));
    let tracer = telemetry.tracer().expect("traces");
    let span = tracer
        .begin(&headers(PARENT), of(&peer))
        .expect("the caller asks for it");
    let context = span.context();
    assert!(
        context.traceparent.starts_with(&PARENT[..36]),
        "{context:?}"
    );
    assert!(
        !context.traceparent.contains("00f067aa0ba902b7"),
        "a span of its own"
    );
    let long = "x".repeat(2000);
    span.add_event("read", &[("file".to_owned(), long)]);
    for _ in 0..200 {
        span.add_event("again", &[]);
    }
    span.end(Code::Internal, Some("trap"));
    let ending = tokio::task::spawn_blocking(move || drop(tracing));
    let (head, spans) = answer(&mut collector.accept().await, "200 OK").await;
    ending.await.expect("it ends");
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(
        head.contains("content-type: application/x-protobuf"),
        "{head}"
    );
    let [span] = &spans[..] else {
        panic!("one span: {spans:?}");
    };
    assert_eq!(
        format!("{:x?}", span.parent_span_id),
        "[0, f0, 67, aa, b, a9, 2, b7]"
    );
    assert_eq!(
        (span.trace_id.len(), span.span_id.len(), span.kind),
        (16, 8, 2)
    );
    assert_eq!((&*span.name, span.flags), ("a.B/C", 0x301));
    assert!(span.ended >= span.begun && span.begun > 1 << 60);
    let attribute = |key: &str| {
        let found = span.attributes.iter().find(|one| one.key == key);
        found
            .and_then(|one| one.value.clone())
            .unwrap_or_else(|| panic!("{key}: {span:?}"))
    };
    for (key, text) in [
        ("rpc.system", "grpc"),
        ("rpc.service", "a.B"),
        ("rpc.method", "C"),
        ("network.peer.address", "192.0.2.1"),
        ("switchboard.plugin", "plugin"),
        ("error.type", "trap"),
    ] {
        assert_eq!(attribute(key).text.as_deref(), Some(text), "{key}");
    }
    assert_eq!(attribute("rpc.grpc.status_code").number, Some(13));
    let status = span.status.clone().expect("an error");
    assert_eq!((status.code, &*status.message), (2, "trap"));
    assert_eq!((span.events.len(), span.events_dropped), (128, 73));
    let kept = span.events[0].attributes[0].value.clone().expect("a value");
    assert_eq!(kept.text.expect("text").len(), 1024);
    assert_eq!(value(&telemetry, "switchboard_spans_exported_total"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_decide_for_their_calls_and_chance_for_the_others() {
    let collector = Collector::start().await;
    let telemetry = Telemetry::new();
    let mut config = collector.config.clone();
    config.sample = 0.0;
    let tracing = telemetry.trace(&config).expect("it starts");
    let tracer = telemetry.tracer().expect("traces");
    let begin = |tracer: &Arc<Tracer>, headers: &HeaderMap| {
        tracer.begin(headers, of(&Peer::Unix)).is_some()
    };
    let (yes, no) = (
        headers(PARENT),
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
    );
    assert!(begin(tracer, &yes) && !begin(tracer, &headers(no)));
    assert!(!begin(tracer, &HeaderMap::new()));
    let some = Tracer::new(0.25, tracer.queue.for_test());
    let some = Arc::new(some);
    let count = (0..4000)
        .filter(|_| begin(&some, &HeaderMap::new()))
        .count();
    assert!((800..1200).contains(&count), "a quarter of 4000: {count}");
    assert!(!begin(&some, &headers(no)), "its caller said no");
    let all = Arc::new(Tracer::new(1.0, tracer.queue.for_test()));
    assert!((0..1000).all(|_| begin(&all, &HeaderMap::new())));
    tokio::task::spawn_blocking(move || drop(tracing))
        .await
        .expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_nobody_takes_are_dropped_and_counted_and_nobody_waits() {
    let collector = Collector::start().await;
    let telemetry = Telemetry::new();
    let tracing = telemetry.trace(&collector.config).expect("it starts");
    let tracer = telemetry.tracer().expect("traces");
    // The collector accepts nothing that is sent: one batch is on its way, the queue is full, the rest is lost.
    for _ in 0..4000 {
        tracer.take(vec![]);
    }
    let full = "switchboard_spans_dropped_total{cause=\"queue_full\"}";
    assert!(
        value(&telemetry, full) >= 4000 - 2048 - 512 - 1,
        "{}",
        value(&telemetry, full)
    );
    let mut stream = collector.accept().await;
    let failed = "switchboard_spans_dropped_total{cause=\"failed\"}";
    let (_, spans) = answer(&mut stream, "400 Bad Request").await;
    tokio::task::spawn_blocking(move || drop(tracing))
        .await
        .expect("it ends within its time");
    assert!(value(&telemetry, failed) >= u64::try_from(spans.len()).expect("few"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_busy_is_asked_again() {
    let collector = Collector::start().await;
    let telemetry = Telemetry::new();
    let tracing = telemetry.trace(&collector.config).expect("it starts");
    let tracer = telemetry.tracer().expect("traces");
    for _ in 0..512 {
        tracer.take(vec![]);
    }
    let mut stream = collector.accept().await;
    let (_, first) = answer(&mut stream, "503 Service Unavailable").await;
    let (_, second) = answer(&mut collector.accept().await, "200 OK").await;
    assert_eq!((first.len(), second.len()), (512, 512));
    tokio::task::spawn_blocking(move || drop(tracing))
        .await
        .expect("it ends");
    assert_eq!(value(&telemetry, "switchboard_spans_exported_total"), 512);
}

#[test]
fn an_endpoint_that_is_none_says_what_to_write() {
    for (endpoint, expected) in [
        ("ftp://collector:4318", "http:// or https://"),
        ("collector:4318", "http://"),
        ("not a url", "write a URL"),
        ("http://", "write a URL"),
    ] {
        let error = TraceConfig::new(endpoint).check().expect_err(endpoint);
        assert!(error.to_string().contains(expected), "{endpoint}: {error}");
    }
    let mut config = TraceConfig::new("http://[::1]/own/path");
    config.check().expect("sound");
    config.sample = 1.5;
    assert!(
        config
            .check()
            .expect_err("too much")
            .to_string()
            .contains("0 to 1")
    );
}
