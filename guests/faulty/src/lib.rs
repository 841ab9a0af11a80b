//! `faulty.Faulty`: every way in which a plugin can misbehave, one method each, on bytes.
//!
//! The host's tests load it to see that a fault ends the call with the right status, frees the
//! instance and leaves the neighbours alone. Never serve it to anybody else. `README.md` lists the
//! methods and what each does; `calls` has those that return at once, `streams` those that
//! stream. What is wrong already when the file is loaded is in `description`, and what the SDK
//! does not let a plugin do in `raw`: both are other components, built from the features of this
//! crate.
//!
//! Messages are not protobuf: a number is its decimal digits, a text is UTF-8.

mod calls;
mod description;
#[cfg(all(
    target_arch = "wasm32",
    any(feature = "raw", feature = "describe-ids", feature = "describe-empty")
))]
mod raw;
mod streams;

use std::cell::Cell;

use switchboard_guest::{
    Context, Incoming, MethodDescription, MethodKind, Outgoing, Service, Status,
};

pub use description::Described;

type Unary = fn(&Context, Vec<u8>) -> Result<Vec<u8>, Status>;
type Stream = fn(&Context, &Incoming, &Outgoing) -> Result<(), Status>;

/// What a method does. A client-streaming one sends its answer itself, or fails to.
#[derive(Clone, Copy)]
enum Handler {
    Unary(Unary),
    Stream(MethodKind, Stream),
}

/// The methods, in the order of README.md.
const METHODS: &[(&str, Handler)] = &[
    ("Calls", Handler::Unary(calls::calls)),
    ("Panic", Handler::Unary(calls::panic)),
    ("Trap", Handler::Unary(calls::trap)),
    ("Exit", Handler::Unary(calls::exit)),
    ("Spin", Handler::Unary(calls::spin)),
    ("Sleep", Handler::Unary(calls::sleep)),
    ("Recurse", Handler::Unary(calls::recurse)),
    ("Grow", Handler::Unary(calls::grow)),
    ("GrowQuiet", Handler::Unary(calls::grow_quiet)),
    ("GrowTable", Handler::Unary(calls::grow_table)),
    ("OkStatus", Handler::Unary(calls::ok_status)),
    ("LongMessage", Handler::Unary(calls::long_message)),
    ("TooLarge", Handler::Unary(calls::too_large)),
    ("BadMetadata", Handler::Unary(calls::bad_metadata)),
    ("MuchMetadata", Handler::Unary(calls::much_metadata)),
    ("BadTrailers", Handler::Unary(calls::bad_trailers)),
    ("FloodLog", Handler::Unary(calls::flood_log)),
    ("FloodStderr", Handler::Unary(calls::flood_stderr)),
    ("LongLine", Handler::Unary(calls::long_line)),
    ("HoldCall", Handler::Unary(calls::hold_call)),
    ("UseHeldCall", Handler::Unary(calls::use_held_call)),
    client_stream("OkWithoutMessage", streams::ok_without_message),
    client_stream("SendTwice", streams::send_twice),
    server_stream("Flood", streams::flood),
    server_stream("SendTooLarge", streams::send_too_large),
    server_stream("TrapMidStream", streams::trap_mid_stream),
    server_stream("ErrorMidStream", streams::error_mid_stream),
    bidi("IgnoreCancel", streams::ignore_cancel),
    bidi("ReceiveForEver", streams::receive_for_ever),
    bidi("NeverReceive", streams::never_receive),
];

const fn client_stream(name: &'static str, handler: Stream) -> (&'static str, Handler) {
    (name, Handler::Stream(MethodKind::ClientStreaming, handler))
}

const fn server_stream(name: &'static str, handler: Stream) -> (&'static str, Handler) {
    (name, Handler::Stream(MethodKind::ServerStreaming, handler))
}

const fn bidi(name: &'static str, handler: Stream) -> (&'static str, Handler) {
    (name, Handler::Stream(MethodKind::BidiStreaming, handler))
}

/// Serves the table above as they are, where `ByteService` would keep a handler from going wrong.
#[derive(Debug, Default)]
pub struct Faulty {
    calls: Cell<u64>,
}

impl Faulty {
    fn begin(&self, method: usize) -> Result<Handler, Status> {
        self.calls.set(self.calls.get() + 1);
        calls::CALLS.set(self.calls.get());
        match METHODS.get(method) {
            Some((_, handler)) => Ok(*handler),
            None => Err(Status::unimplemented("no such method")),
        }
    }
}

impl Service for Faulty {
    fn name(&self) -> &str {
        "faulty.Faulty"
    }

    fn methods(&self) -> Vec<MethodDescription> {
        let describe = |(name, handler): &(&'static str, Handler)| match handler {
            Handler::Unary(_) => MethodDescription::new(name, MethodKind::Unary),
            Handler::Stream(kind, _) => MethodDescription::new(name, *kind),
        };
        METHODS.iter().map(describe).collect()
    }

    fn unary(&self, method: usize, context: &Context, request: Vec<u8>) -> Result<Vec<u8>, Status> {
        match self.begin(method)? {
            Handler::Unary(handler) => handler(context, request),
            Handler::Stream(..) => Err(Status::unimplemented("a streaming method")),
        }
    }

    fn stream(
        &self,
        method: usize,
        context: &Context,
        incoming: Incoming,
        outgoing: Outgoing,
    ) -> Result<(), Status> {
        match self.begin(method)? {
            Handler::Stream(_, handler) => handler(context, &incoming, &outgoing),
            Handler::Unary(_) => Err(Status::unimplemented("a unary method")),
        }
    }
}

/// The number in a request, or `default` for an empty one.
fn number(request: &[u8], default: usize) -> Result<usize, Status> {
    if request.is_empty() {
        return Ok(default);
    }
    std::str::from_utf8(request)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| Status::invalid_argument("a number is its decimal digits"))
}

// The components of which more than the service is wrong export something else.
#[cfg(not(any(
    feature = "describe-trap",
    feature = "describe-spin",
    feature = "describe-grow",
    feature = "describe-nonsense",
    feature = "describe-twice",
    feature = "describe-clash",
    feature = "describe-health",
    feature = "describe-descriptors",
    feature = "describe-ids",
    feature = "describe-empty",
    feature = "raw",
)))]
switchboard_guest::export!(Faulty::default());

#[cfg(test)]
mod tests;
