//! Runs services natively, so that `cargo test` of a guest needs neither wasm nor a host.
//!
//! A [`Call`] is written down whole (metadata, deadline, messages, when it is cancelled), then run
//! to its end; the [`Answer`] holds everything the caller and the host's log would have got. The
//! rules of the contract hold: what the host refuses, `fake` refuses. There is no clock: silence
//! and cancellation happen where the script puts them. Not part of a plugin: it exists only
//! where the target is not wasm32.
//!
//! ```
//! use switchboard_guest::testing::Call;
//! use switchboard_guest::{ByteService, CancelReason, Code, Method, Receive};
//! use std::time::Duration;
//!
//! static COUNTER: ByteService = ByteService::new(
//!     "count.Counter",
//!     &[Method::bidi("Count", |context, incoming, outgoing| {
//!         context.set_header("greeted", context.get("user").unwrap_or_default())?;
//!         let mut count = 0_u8;
//!         loop {
//!             match incoming.receive_timeout(Duration::from_secs(1))? {
//!                 Receive::Message(_) => count += 1,
//!                 Receive::Timeout => outgoing.send([count])?,
//!                 Receive::End => return outgoing.send([count]),
//!             }
//!         }
//!     })],
//! );
//!
//! let answer = Call::to(&COUNTER, "Count")
//!     .metadata("user", "ada")
//!     .messages(["a", "b"])
//!     .silence()
//!     .message("c")
//!     .run();
//! assert_eq!(answer.status, Ok(()));
//! assert_eq!(answer.messages, [[2], [3]]);
//! assert_eq!(answer.headers.get_str("greeted"), Some("ada"));
//!
//! let answer = Call::to(&COUNTER, "Count").cancel(CancelReason::Deadline).run();
//! assert_eq!(answer.code(), Code::DeadlineExceeded);
//! ```

pub(crate) mod fake;

use std::string::String;
use std::time::Duration;
use std::vec::Vec;

use self::fake::{Event, State};
use crate::log::Level;
use crate::{
    CancelReason, Code, Context, Incoming, Metadata, MethodKind, Outgoing, Request, Service,
    Status, TraceContext,
};

/// A context without metadata, deadline or messages, for calling a handler directly.
pub fn context() -> Context {
    Context::new(fake::Call::new(State::new(MethodKind::Unary)))
}

/// A context with this request metadata, for calling a handler directly.
pub fn context_with(metadata: Metadata) -> Context {
    let mut state = State::new(MethodKind::Unary);
    state.metadata = metadata;
    Context::new(fake::Call::new(state))
}

/// A request as a typed handler gets it, without metadata or deadline.
pub fn request<T>(message: T) -> Request<T> {
    Request::with_context(context(), message)
}

/// A call to make, written down before it is run.
#[must_use = "a call does nothing until `run`"]
pub struct Call<'a> {
    service: &'a dyn Service,
    method: usize,
    state: State,
}

impl core::fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Call")
            .field("service", &self.service.name())
            .field("method", &self.method)
            .field("state", &self.state)
            .finish()
    }
}

impl<'a> Call<'a> {
    /// A call to a method of this service, from `192.0.2.1:50000`, without deadline.
    ///
    /// # Panics
    /// When the service has no method of this name.
    pub fn to(service: &'a dyn Service, method: &str) -> Self {
        let methods = service.methods();
        let index = methods
            .iter()
            .position(|description| description.name == method);
        let index = index.unwrap_or_else(|| {
            panic!(
                "{} has no method {method}; it has {methods:?}",
                service.name()
            )
        });
        Self {
            service,
            method: index,
            state: State::new(methods[index].kind),
        }
    }

    /// Adds to the request metadata.
    pub fn metadata(mut self, key: &str, value: impl Into<Vec<u8>>) -> Self {
        self.state.metadata.append(key, value);
        self
    }

    /// Says who calls.
    pub fn peer(mut self, peer: &str) -> Self {
        self.state.peer = String::from(peer);
        self
    }

    /// Traces the call: the host records a span, and this is its context.
    pub fn traced(mut self, traceparent: &str) -> Self {
        self.state.trace_context = Some(TraceContext {
            traceparent: String::from(traceparent),
            tracestate: String::new(),
        });
        self
    }

    /// Says what `time_left` answers. The call is not cancelled by it: see [`Call::cancel`].
    pub fn time_left(mut self, left: Duration) -> Self {
        self.state.time_left = Some(left);
        self
    }

    /// Adds a request message. A unary or server-streaming call without one sends an empty one,
    /// which is what a protobuf message of defaults is.
    pub fn message(mut self, message: impl Into<Vec<u8>>) -> Self {
        self.state.events.push_back(Event::message(message.into()));
        self
    }

    /// Adds a request message that comes compressed; `message` is what the handler gets.
    pub fn compressed_message(mut self, message: impl Into<Vec<u8>>) -> Self {
        self.state.events.push_back(Event::Message {
            bytes: message.into(),
            compressed: true,
        });
        self
    }

    /// Makes the caller take compressed messages, in an encoding that the operator allows.
    pub fn takes_compressed(mut self) -> Self {
        self.state.takes_compressed = true;
        self
    }

    /// Adds request messages.
    pub fn messages<M: Into<Vec<u8>>>(self, messages: impl IntoIterator<Item = M>) -> Self {
        messages.into_iter().fold(self, Self::message)
    }

    /// Adds a silence: one `receive_timeout` runs into it and answers `Timeout`; a `receive`
    /// waits until it is over.
    pub fn silence(mut self) -> Self {
        self.state.events.push_back(Event::Silence);
        self
    }

    /// Cancels the call after what has been added so far has been received; at once for a
    /// unary call.
    pub fn cancel(mut self, reason: CancelReason) -> Self {
        self.state.events.push_back(Event::Cancel(reason));
        self
    }

    /// Cancels the call when this many response messages have been sent.
    pub fn cancel_after_sent(mut self, count: usize, reason: CancelReason) -> Self {
        self.state.cancel_after_sent = Some((count, reason));
        self
    }

    /// Makes the caller answer: what `answer` returns for a response message comes in as request
    /// messages after those that wait.
    pub fn answering(mut self, answer: impl FnMut(&[u8]) -> Vec<Vec<u8>> + 'static) -> Self {
        self.state.answering = Some(fake::Answering(Box::new(answer)));
        self
    }

    /// Sets the host's limit on response messages, in bytes; 4 MiB without it.
    pub fn max_response_message(mut self, bytes: usize) -> Self {
        self.state.response_bytes_max = bytes;
        self
    }

    /// Runs the call to its end.
    ///
    /// # Panics
    /// When a call with one request message was given several, and when the handler panics.
    pub fn run(mut self) -> Answer {
        let kind = self.state.kind;
        if matches!(kind, MethodKind::Unary | MethodKind::ServerStreaming) {
            self.state.exactly_one_message();
        }
        let request = if kind == MethodKind::Unary {
            self.state.take_unary_request()
        } else {
            None
        };

        fake::take_log();
        let call = fake::Call::new(self.state);
        let context = Context::new(call.clone());
        let outcome = match request {
            Some(request) => self.service.unary(self.method, &context, request).map(Some),
            None => {
                let (incoming, outgoing) =
                    (Incoming::new(call.clone()), Outgoing::new(call.clone()));
                self.service
                    .stream(self.method, &context, incoming, outgoing)
                    .map(|()| None)
            }
        };
        Answer::of(call.finish(outcome), fake::take_log())
    }
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// How it ended.
    pub status: Result<(), Status>,
    /// The response headers.
    pub headers: Metadata,
    /// The trailers: those set during the call, then those of the status.
    pub trailers: Metadata,
    /// The response messages, in order.
    pub messages: Vec<Vec<u8>>,
    /// Of each response message, whether it leaves compressed.
    pub compressed: Vec<bool>,
    /// The lines for the host's log.
    pub log: Vec<(Level, String)>,
    /// The events added to the call's span; none without [`Call::traced`].
    pub trace_events: Vec<TraceEvent>,
}

/// An event that a handler added to its call's span.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceEvent {
    /// Its name.
    pub name: String,
    /// Its attributes, in their order.
    pub attributes: Vec<(String, String)>,
}

impl Answer {
    fn of(ended: fake::Ended, log: Vec<(Level, String)>) -> Self {
        let fake::Ended {
            status,
            headers,
            trailers,
            messages,
            compressed,
            trace_events,
        } = ended;
        Self {
            status,
            headers,
            trailers,
            messages,
            compressed,
            log,
            trace_events,
        }
    }

    /// The code of the status.
    pub fn code(&self) -> Code {
        match &self.status {
            Ok(()) => Code::Ok,
            Err(status) => status.code(),
        }
    }

    /// The one message of a call that succeeded.
    ///
    /// # Panics
    /// When the call failed, or has no message or several.
    pub fn message(&self) -> &[u8] {
        match (&self.status, self.messages.as_slice()) {
            (Ok(()), [message]) => message,
            (status, messages) => {
                panic!("wanted one message, got {} with {status:?}", messages.len())
            }
        }
    }
}

#[cfg(test)]
mod tests;
