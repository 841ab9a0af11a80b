//! The host's side of a call, natively: what `abi` is on wasm32.
//!
//! Called by `Context`, `Incoming`, `Outgoing` and `Pollable` through the names that `abi`
//! re-exports; set up and read by `testing`. Holds the rules of `wit/call.wit` that a handler can
//! notice. Invariant: after `finish` every use panics, as it traps in the host.

use std::cell::{Ref, RefCell, RefMut};
use std::collections::VecDeque;
use std::rc::Rc;
use std::string::String;
use std::time::Duration;
use std::vec::Vec;

use crate::abi::{Received, ReceivedMany, SendError};
use crate::log::Level;
use crate::{CancelReason, Metadata, MetadataError, MethodKind, Status, TraceContext};

/// The host's defaults; see `docs/abi.md`.
const RESPONSE_BYTES_MAX: usize = 4 << 20;
const METADATA_BYTES_MAX: usize = 16 << 10;
/// What a header counts beside its key and value. Source: RFC 9113, 6.5.2.
const METADATA_ENTRY_BYTES: usize = 32;

/// What the caller does next.
#[derive(Debug)]
pub(crate) enum Event {
    Message { bytes: Vec<u8>, compressed: bool },
    Silence,
    Cancel(CancelReason),
}

impl Event {
    /// A message that came uncompressed.
    pub(super) fn message(bytes: Vec<u8>) -> Self {
        Self::Message {
            bytes,
            compressed: false,
        }
    }
}

/// What the caller sends after a response message.
pub(super) struct Answering(pub(super) Box<AnswerFn>);

type AnswerFn = dyn FnMut(&[u8]) -> Vec<Vec<u8>>;

impl core::fmt::Debug for Answering {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Answering")
    }
}

/// One call, from both sides.
#[derive(Debug)]
pub(crate) struct State {
    pub(super) kind: MethodKind,
    pub(super) metadata: Metadata,
    pub(super) peer: String,
    pub(super) time_left: Option<Duration>,
    pub(super) events: VecDeque<Event>,
    pub(super) cancel_after_sent: Option<(usize, CancelReason)>,
    pub(super) answering: Option<Answering>,
    pub(super) response_bytes_max: usize,
    /// Whether the caller takes compressed messages, of an encoding that the operator allows.
    pub(super) takes_compressed: bool,
    /// Where the call stands in a trace.
    pub(super) trace_context: Option<TraceContext>,
    spans_events: Vec<super::TraceEvent>,
    received_compressed: bool,
    /// The headers name an encoding, or will.
    announced: bool,
    compressing: bool,
    cancelled: Option<CancelReason>,
    headers: Metadata,
    headers_sent: bool,
    trailers: Metadata,
    sent: Vec<Vec<u8>>,
    /// Of each message of `sent`, whether it was compressed.
    sent_compressed: Vec<bool>,
    finished: bool,
}

/// What a call left behind.
pub(super) struct Ended {
    pub(super) status: Result<(), Status>,
    pub(super) headers: Metadata,
    pub(super) trailers: Metadata,
    pub(super) messages: Vec<Vec<u8>>,
    pub(super) compressed: Vec<bool>,
    pub(super) trace_events: Vec<super::TraceEvent>,
}

impl State {
    pub(crate) fn new(kind: MethodKind) -> Self {
        Self {
            kind,
            metadata: Metadata::new(),
            peer: String::from("192.0.2.1:50000"),
            time_left: None,
            events: VecDeque::new(),
            cancel_after_sent: None,
            answering: None,
            response_bytes_max: RESPONSE_BYTES_MAX,
            takes_compressed: false,
            trace_context: None,
            spans_events: Vec::new(),
            received_compressed: false,
            announced: false,
            compressing: false,
            cancelled: None,
            headers: Metadata::new(),
            headers_sent: false,
            trailers: Metadata::new(),
            sent: Vec::new(),
            sent_compressed: Vec::new(),
            finished: false,
        }
    }

    /// Cancels the call now.
    #[cfg(test)]
    pub(crate) fn cancel(&mut self, reason: CancelReason) {
        self.cancelled = Some(reason);
    }

    pub(super) fn exactly_one_message(&mut self) {
        let messages = self
            .events
            .iter()
            .filter(|event| matches!(event, Event::Message { .. }));
        match messages.count() {
            0 => self.events.push_front(Event::message(Vec::new())),
            1 => {}
            several => panic!("{:?} takes one request message, not {several}", self.kind),
        }
    }

    /// The request of a unary call; a cancellation in the script has happened already.
    pub(super) fn take_unary_request(&mut self) -> Option<Vec<u8>> {
        let mut request = None;
        for event in self.events.drain(..) {
            match event {
                Event::Message { bytes, compressed } => {
                    request = Some(bytes);
                    self.received_compressed = compressed;
                }
                Event::Silence => {}
                Event::Cancel(reason) => self.cancelled = Some(reason),
            }
        }
        request
    }

    fn receive(&mut self, waits: bool) -> Received {
        loop {
            if let Some(reason) = self.cancelled {
                return Received::Cancelled(reason);
            }
            match self.events.pop_front() {
                Some(Event::Message { bytes, compressed }) => {
                    self.received_compressed = compressed;
                    return Received::Message(bytes);
                }
                Some(Event::Silence) if waits => {}
                Some(Event::Silence) => return Received::Timeout,
                Some(Event::Cancel(reason)) => self.cancelled = Some(reason),
                None => return Received::EndOfStream,
            }
        }
    }

    fn receive_many(&mut self, count_max: usize, bytes_max: usize) -> ReceivedMany {
        let first = match self.receive(true) {
            Received::Message(message) => message,
            Received::Cancelled(reason) => return ReceivedMany::Cancelled(reason),
            Received::EndOfStream | Received::Timeout => return ReceivedMany::EndOfStream,
        };
        let mut bytes = first.len();
        let mut messages = vec![first];
        while messages.len() < count_max {
            match self.events.pop_front() {
                Some(Event::Message {
                    bytes: next,
                    compressed,
                }) if bytes + next.len() <= bytes_max => {
                    bytes += next.len();
                    messages.push(next);
                    self.received_compressed = compressed;
                }
                Some(other) => {
                    self.events.push_front(other);
                    break;
                }
                None => break,
            }
        }
        ReceivedMany::Messages(messages)
    }

    fn send(&mut self, message: &[u8]) -> Result<(), SendError> {
        if let Some(reason) = self.cancelled {
            return Err(SendError::Cancelled(reason));
        }
        let full = match self.kind {
            MethodKind::Unary => true,
            MethodKind::ClientStreaming => !self.sent.is_empty(),
            MethodKind::ServerStreaming | MethodKind::BidiStreaming => false,
        };
        if full {
            return Err(SendError::Closed);
        }
        if message.len() > self.response_bytes_max {
            return Err(SendError::TooLarge);
        }
        self.headers_sent = true;
        self.sent.push(message.to_vec());
        self.sent_compressed.push(self.compresses(message));
        if let Some(Answering(answer)) = &mut self.answering {
            self.events
                .extend(answer(message).into_iter().map(Event::message));
        }
        match self.cancel_after_sent {
            Some((count, reason)) if self.sent.len() >= count => self.cancelled = Some(reason),
            Some(_) | None => {}
        }
        Ok(())
    }

    fn set_compression(&mut self, on: bool) -> bool {
        self.announced |= on && self.takes_compressed && !self.headers_sent;
        self.compressing = on && self.announced;
        self.compressing
    }

    /// As the host does it: what is empty has nothing to compress.
    fn compresses(&self, message: &[u8]) -> bool {
        self.compressing && !message.is_empty()
    }

    fn ready(&self) -> bool {
        self.cancelled.is_some() || !matches!(self.events.front(), Some(Event::Silence))
    }

    fn block(&mut self) {
        while !self.ready() {
            self.events.pop_front();
        }
    }

    fn finish(&mut self, outcome: Result<Option<Vec<u8>>, Status>) -> Ended {
        self.finished = true;
        let mut messages = core::mem::take(&mut self.sent);
        let mut compressed = core::mem::take(&mut self.sent_compressed);
        let mut trailers = core::mem::take(&mut self.trailers);
        let status = match outcome {
            Ok(Some(message)) if message.len() > self.response_bytes_max => Err(
                Status::resource_exhausted("response message is larger than the host's limit"),
            ),
            Ok(Some(message)) => {
                compressed.push(self.compresses(&message));
                messages.push(message);
                Ok(())
            }
            Ok(None) if self.kind == MethodKind::ClientStreaming && messages.is_empty() => {
                Err(Status::internal("the plugin sent no response message"))
            }
            Ok(None) => Ok(()),
            Err(status) => Err(status),
        };
        if let Err(status) = &status {
            for (key, value) in status.trailers().iter() {
                // The host leaves out what it would have refused from `set-trailer`.
                let _refused = add(&mut trailers, key, value);
            }
        }
        Ended {
            status,
            headers: core::mem::take(&mut self.headers),
            trailers,
            messages,
            compressed,
            trace_events: core::mem::take(&mut self.spans_events),
        }
    }
}

/// Adds a pair as the host does.
fn add(metadata: &mut Metadata, key: &str, value: &[u8]) -> Result<(), MetadataError> {
    let valid = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'_' | b'-' | b'.');
    if key.is_empty() || !key.bytes().all(valid) {
        return Err(MetadataError::InvalidKey);
    }
    if is_reserved(key) {
        return Err(MetadataError::ReservedKey);
    }
    if !key.ends_with("-bin") && !value.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(MetadataError::InvalidValue);
    }
    let size = |key: &str, value: &[u8]| {
        // On the wire, the bytes of `-bin` values are base64 without padding.
        let bytes = value.len();
        let sent = if key.ends_with("-bin") {
            (bytes * 4).div_ceil(3)
        } else {
            bytes
        };
        key.len() + sent + METADATA_ENTRY_BYTES
    };
    let used: usize = metadata.iter().map(|(key, value)| size(key, value)).sum();
    if used + size(key, value) > METADATA_BYTES_MAX {
        return Err(MetadataError::TooLarge);
    }
    metadata.append(key, value);
    Ok(())
}

/// Keys that gRPC and HTTP/2 keep for themselves; the list is in `docs/abi.md`.
fn is_reserved(key: &str) -> bool {
    const RESERVED: [&str; 10] = [
        "connection",
        "content-length",
        "content-type",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    key.starts_with("grpc-") || RESERVED.contains(&key)
}

/// A handle on a call, as the host's `call` resource.
#[derive(Clone, Debug)]
pub(crate) struct Call(Rc<RefCell<State>>);

impl Call {
    pub(crate) fn new(state: State) -> Self {
        Self(Rc::new(RefCell::new(state)))
    }

    pub(super) fn finish(&self, outcome: Result<Option<Vec<u8>>, Status>) -> Ended {
        self.state_mut().finish(outcome)
    }

    fn state(&self) -> Ref<'_, State> {
        let state = self.0.borrow();
        assert!(
            !state.finished,
            "the call is over: its handler has returned"
        );
        state
    }

    fn state_mut(&self) -> RefMut<'_, State> {
        let state = self.0.borrow_mut();
        assert!(
            !state.finished,
            "the call is over: its handler has returned"
        );
        state
    }

    pub(crate) fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.state().metadata.get(key).map(<[u8]>::to_vec)
    }

    pub(crate) fn metadata(&self) -> Metadata {
        self.state().metadata.clone()
    }

    pub(crate) fn peer(&self) -> String {
        self.state().peer.clone()
    }

    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.state().time_left
    }

    pub(crate) fn cancelled(&self) -> Option<CancelReason> {
        self.state().cancelled
    }

    pub(crate) fn set_header(&self, key: &str, value: &[u8]) -> Result<(), MetadataError> {
        let mut state = self.state_mut();
        if state.headers_sent {
            return Err(MetadataError::AlreadySent);
        }
        add(&mut state.headers, key, value)
    }

    pub(crate) fn send_headers(&self) {
        self.state_mut().headers_sent = true;
    }

    pub(crate) fn set_trailer(&self, key: &str, value: &[u8]) -> Result<(), MetadataError> {
        add(&mut self.state_mut().trailers, key, value)
    }

    pub(crate) fn trace_context(&self) -> Option<TraceContext> {
        self.state().trace_context.clone()
    }

    pub(crate) fn add_event(&self, name: &str, attributes: &[(&str, &str)]) {
        let mut state = self.state_mut();
        if state.trace_context.is_some() {
            let pair = |(key, value): &(&str, &str)| (String::from(*key), String::from(*value));
            let attributes = attributes.iter().map(pair).collect();
            state.spans_events.push(super::TraceEvent {
                name: String::from(name),
                attributes,
            });
        }
    }

    pub(crate) fn received_compressed(&self) -> bool {
        self.state().received_compressed
    }

    pub(crate) fn set_compression(&self, on: bool) -> bool {
        self.state_mut().set_compression(on)
    }

    pub(crate) fn receive(&self) -> Received {
        self.receiving().receive(true)
    }

    pub(crate) fn receive_timeout(&self, _nanoseconds: u64) -> Received {
        self.receiving().receive(false)
    }

    pub(crate) fn receive_many(&self, count_max: u32, bytes_max: u32) -> ReceivedMany {
        self.receiving()
            .receive_many(count_max as usize, bytes_max as usize)
    }

    /// In a bidi-streaming call the first receive sends the headers, as the host does it.
    fn receiving(&self) -> RefMut<'_, State> {
        let mut state = self.state_mut();
        state.headers_sent |= state.kind == MethodKind::BidiStreaming;
        state
    }

    pub(crate) fn send(&self, message: &[u8]) -> Result<(), SendError> {
        self.state_mut().send(message)
    }

    pub(crate) fn receivable(&self) -> Pollable {
        Pollable(self.clone())
    }
}

/// Ready when the script has something other than silence next.
#[derive(Debug)]
pub(crate) struct Pollable(Call);

impl Pollable {
    pub(crate) fn ready(&self) -> bool {
        self.0.state().ready()
    }

    pub(crate) fn block(&self) {
        self.0.state_mut().block();
    }
}

/// Waits as `wasi:io/poll` does: at least one of them is ready afterwards.
pub(crate) fn poll(pollables: &[&Pollable]) -> Vec<u32> {
    if let Some(first) = pollables.first()
        && !pollables.iter().any(|pollable| pollable.ready())
    {
        first.block();
    }
    (0..)
        .zip(pollables)
        .filter(|(_, pollable)| pollable.ready())
        .map(|(index, _)| index)
        .collect()
}

std::thread_local! {
    static LOG: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

/// Keeps the line for the test that runs on this thread.
pub(crate) fn log(level: Level, message: &str) {
    LOG.with_borrow_mut(|lines| lines.push((level, String::from(message))));
}

/// The lines since the last time.
pub(super) fn take_log() -> Vec<(Level, String)> {
    LOG.take()
}
