//! The span of one call: begun with it, ended with its status, with what its plugin added in between.
//!
//! Made by `Tracer::begin`, carried by the call's exchange, ended by `grpc::call`. Names are those of the semantic
//! conventions of OpenTelemetry for RPC. Invariants: ended once; what plugins add has limits, and what is beyond
//! them is counted in the span; nothing here waits.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use super::context::{Ids, Parent};
use super::otlp::{self, Value, Wire};
use super::{TraceContext, Tracer};
use crate::peer::Peer;
use crate::status::Code;

/// Most events of a span, and attributes of an event. Count. Source: OpenTelemetry SDK specification, "Span Limits":
/// both are 128 by default.
const EVENTS_MAX: usize = 128;
const ATTRIBUTES_MAX: usize = 128;

/// Longest name, key and value that a plugin may add, in bytes; the rest is cut. As long as a service's name, and
/// room for a line.
const NAME_BYTES_MAX: usize = 255;
const VALUE_BYTES_MAX: usize = 1024;

/// Most bytes of all events of a span. The queue holds some thousand spans, so this bounds what plugins can make the
/// host hold.
const EVENTS_BYTES_MAX: usize = 16 << 10;

/// What a call is, for its span.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanOf<'a> {
    /// `/package.Service/Method`.
    pub path: &'a str,
    /// Who serves it.
    pub plugin: &'a str,
    /// Who calls.
    pub peer: &'a Peer,
}

/// What is added while the call runs.
#[derive(Debug, Default)]
struct Added {
    events: Vec<Wire>,
    bytes: usize,
    dropped: u32,
}

/// The span of a call that is sampled.
#[derive(Debug)]
pub(crate) struct CallSpan {
    tracer: Arc<Tracer>,
    ids: Ids,
    parent: Option<Parent>,
    path: Box<str>,
    plugin: Box<str>,
    addr: Option<SocketAddr>,
    tunnel: Option<Box<str>>,
    begun: SystemTime,
    /// Says how long it took, even if the clock is set meanwhile.
    since: Instant,
    added: Mutex<Added>,
}

impl CallSpan {
    pub(super) fn begin(
        tracer: Arc<Tracer>,
        ids: Ids,
        parent: Option<Parent>,
        of: SpanOf<'_>,
    ) -> Self {
        Self {
            tracer,
            ids,
            parent,
            path: of.path.into(),
            plugin: of.plugin.into(),
            addr: (*of.peer != Peer::Unix).then(|| of.peer.addr()),
            tunnel: of.peer.tunnel_id().map(Into::into),
            begun: SystemTime::now(),
            since: Instant::now(),
            added: Mutex::default(),
        }
    }

    /// What the plugin passes on: the context with this span in it.
    pub(crate) fn context(&self) -> TraceContext {
        let state = self.parent.as_ref().map(|parent| parent.state.clone());
        self.ids.context(state.unwrap_or_default())
    }

    /// For the log: every line within it says whose it is.
    pub(crate) fn log_span(&self) -> tracing::Span {
        let (trace_id, span_id) = (self.ids.trace_id, self.ids.span_id);
        // Of the highest level, so that whatever is logged has it.
        tracing::error_span!(
            "call",
            trace_id = %format_args!("{trace_id:032x}"),
            span_id = %format_args!("{span_id:016x}")
        )
    }

    /// Adds an event, within the limits.
    pub(crate) fn add_event(&self, name: &str, attributes: &[(String, String)]) {
        let mut added = self.added.lock().unwrap_or_else(PoisonError::into_inner);
        if added.events.len() >= EVENTS_MAX || added.bytes >= EVENTS_BYTES_MAX {
            added.dropped = added.dropped.saturating_add(1);
            return;
        }
        let kept = attributes.iter().take(ATTRIBUTES_MAX);
        let dropped = attributes.len() - kept.len();
        let mut room = EVENTS_BYTES_MAX - added.bytes;
        let mut lost = 0;
        let kept: Vec<_> = kept
            .map(|(key, value)| (cut(key, NAME_BYTES_MAX), cut(value, VALUE_BYTES_MAX)))
            .filter(|(key, value)| {
                let len = key.len() + value.len();
                let fits = len <= room;
                room -= if fits { len } else { 0 };
                lost += usize::from(!fits);
                fits
            })
            .collect();
        let dropped = u32::try_from(dropped + lost).unwrap_or(u32::MAX);
        let name = cut(name, NAME_BYTES_MAX);
        let event = otlp::event(SystemTime::now(), name, kept.into_iter(), dropped);
        added.bytes += event.clone().into_bytes().len();
        added.events.push(event);
    }

    /// The call has ended with this code, for this reason if it was the host's.
    pub(crate) fn end(&self, code: Code, cause: Option<&'static str>) {
        let added = std::mem::take(&mut *self.added.lock().unwrap_or_else(PoisonError::into_inner));
        let (service, method) = self
            .path
            .trim_start_matches('/')
            .split_once('/')
            .unwrap_or_default();
        let address = self.addr.map(|addr| addr.ip().to_string());
        let mut attributes = vec![
            ("rpc.system", Value::Text("grpc")),
            ("rpc.service", Value::Text(service)),
            ("rpc.method", Value::Text(method)),
            ("rpc.grpc.status_code", Value::Number(code.number().into())),
            ("switchboard.plugin", Value::Text(&self.plugin)),
        ];
        if let (Some(addr), Some(address)) = (self.addr, &address) {
            attributes.push(("network.peer.address", Value::Text(address)));
            attributes.push(("network.peer.port", Value::Number(addr.port().into())));
        }
        if let Some(tunnel) = &self.tunnel {
            attributes.push(("switchboard.tunnel.id", Value::Text(tunnel)));
        }
        let error = is_error(code).then(|| cause.unwrap_or_else(|| code.name()));
        if let Some(error) = error {
            attributes.push(("error.type", Value::Text(error)));
        }
        let span = otlp::Span {
            trace_id: self.ids.trace_id,
            span_id: self.ids.span_id,
            parent_span_id: self.parent.as_ref().map(|parent| parent.ids.span_id),
            state: self.parent.as_ref().map_or("", |parent| &parent.state),
            name: self.path.trim_start_matches('/'),
            begun: self.begun,
            ended: self.begun + self.since.elapsed(),
            attributes: &attributes,
            events: &added.events,
            events_dropped: added.dropped,
            error,
        };
        self.tracer.take(span.write());
    }
}

/// At most so many bytes of a text, between characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// Which codes are the server's fault. Source: semantic conventions for gRPC, "for SpanKind.SERVER ... UNKNOWN,
/// DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS ... MUST set span status to Error".
fn is_error(code: Code) -> bool {
    match code {
        Code::Unknown
        | Code::DeadlineExceeded
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::Ok
        | Code::Cancelled
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unauthenticated => false,
    }
}
