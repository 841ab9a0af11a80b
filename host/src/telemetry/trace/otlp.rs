//! Spans as the OpenTelemetry protocol has them: protobuf, written by hand.
//!
//! Used by `span` for one span and by `export` for a batch. Five small messages are no reason for the dozens of
//! crates that the OpenTelemetry SDK and its exporter bring; a test decodes what is written here with types that
//! prost derives.
//!
//! Source: opentelemetry-proto 1.x, `trace.proto`, `common.proto`, `resource.proto`; field numbers are named.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A message in the making.
#[derive(Clone, Debug, Default)]
pub(super) struct Wire(Vec<u8>);

impl Wire {
    fn raw(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn varint(&mut self, field: u32, number: u64) {
        self.raw(u64::from(field) << 3);
        self.raw(number);
    }

    fn fixed64(&mut self, field: u32, number: u64) {
        self.raw(u64::from(field) << 3 | 1);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn fixed32(&mut self, field: u32, number: u32) {
        self.raw(u64::from(field) << 3 | 5);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.raw(u64::from(field) << 3 | 2);
        self.raw(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, field: u32, message: &Self) {
        self.bytes(field, &message.0);
    }

    /// Its bytes.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// The value of an attribute.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Number(i64),
}

/// A `KeyValue`.
fn attribute(key: &str, value: Value<'_>) -> Wire {
    let mut any = Wire::default();
    match value {
        Value::Text(text) => any.bytes(1, text.as_bytes()),
        // int64: a negative number is ten bytes, as its 64 bits.
        Value::Number(number) => any.varint(3, number as u64),
    }
    let mut pair = Wire::default();
    pair.bytes(1, key.as_bytes());
    pair.message(2, &any);
    pair
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// An `Event` of a span.
pub(super) fn event<'a>(
    at: SystemTime,
    name: &str,
    attributes: impl Iterator<Item = (&'a str, &'a str)>,
    dropped: u32,
) -> Wire {
    let mut event = Wire::default();
    event.fixed64(1, nanos(at));
    event.bytes(2, name.as_bytes());
    for (key, value) in attributes {
        event.message(3, &attribute(key, Value::Text(value)));
    }
    if dropped > 0 {
        event.varint(4, dropped.into());
    }
    event
}

/// What a `Span` says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span<'a> {
    pub trace_id: u128,
    pub span_id: u64,
    /// None for the first span of a trace.
    pub parent_span_id: Option<u64>,
    pub state: &'a str,
    pub name: &'a str,
    pub begun: SystemTime,
    pub ended: SystemTime,
    pub attributes: &'a [(&'a str, Value<'a>)],
    pub events: &'a [Wire],
    pub events_dropped: u32,
    /// The words for an error; none if it ended well, or as the caller wanted it to.
    pub error: Option<&'a str>,
}

/// `SPAN_KIND_SERVER`.
const SERVER: u64 = 2;
/// `STATUS_CODE_ERROR`.
const ERROR: u64 = 2;
/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK`, and that the parent is; sampled.
const FLAGS: u32 = 0x300 | 1;

impl Span<'_> {
    /// Its bytes.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut span = Wire::default();
        span.bytes(1, &self.trace_id.to_be_bytes());
        span.bytes(2, &self.span_id.to_be_bytes());
        if !self.state.is_empty() {
            span.bytes(3, self.state.as_bytes());
        }
        if let Some(parent) = self.parent_span_id {
            span.bytes(4, &parent.to_be_bytes());
        }
        span.bytes(5, self.name.as_bytes());
        span.varint(6, SERVER);
        span.fixed64(7, nanos(self.begun));
        span.fixed64(8, nanos(self.ended));
        for (key, value) in self.attributes {
            span.message(9, &attribute(key, *value));
        }
        for event in self.events {
            span.message(11, event);
        }
        if self.events_dropped > 0 {
            span.varint(12, self.events_dropped.into());
        }
        if let Some(error) = self.error {
            let mut status = Wire::default();
            status.bytes(2, error.as_bytes());
            status.varint(3, ERROR);
            span.message(15, &status);
        }
        span.fixed32(16, FLAGS);
        span.into_bytes()
    }
}

/// Who sends spans: a `Resource`.
pub(super) fn resource(attributes: &[(&str, &str)]) -> Wire {
    let mut resource = Wire::default();
    for (key, value) in attributes {
        resource.message(1, &attribute(key, Value::Text(value)));
    }
    resource
}

/// An `ExportTraceServiceRequest` with these spans.
pub(super) fn request(resource: &Wire, spans: &[Vec<u8>]) -> Vec<u8> {
    let mut scope = Wire::default();
    scope.bytes(1, env!("CARGO_PKG_NAME").as_bytes());
    scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
    let mut of_scope = Wire::default();
    of_scope.message(1, &scope);
    for span in spans {
        of_scope.bytes(2, span);
    }
    let mut of_resource = Wire::default();
    of_resource.message(1, resource);
    of_resource.message(2, &of_scope);
    let mut request = Wire::default();
    request.message(1, &of_resource);
    request.into_bytes()
}
