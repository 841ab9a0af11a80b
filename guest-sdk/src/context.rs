//! The call a handler serves: who asks, with what metadata, until when, and what goes back
//! beside the messages.
//!
//! Handed to every handler by reference; the typed layer keeps a copy in each [`crate::Request`].
//! Everything is fetched from the host when asked for, so a handler that does not look pays
//! nothing. Invariant: a context is used only until its handler returns (asserted in `abi`).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::abi::Call;
use crate::{Metadata, MetadataError, Status, TraceContext};

/// Why nobody waits for the answer any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CancelReason {
    /// The caller cancelled, or its connection is gone.
    ClientGone,
    /// The call's deadline has passed.
    Deadline,
    /// The host stops, or the plugin is being unloaded.
    Shutdown,
}

impl fmt::Display for CancelReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientGone => "the caller is gone",
            Self::Deadline => "the deadline has passed",
            Self::Shutdown => "the plugin is being shut down",
        })
    }
}

impl From<CancelReason> for Status {
    /// `CANCELLED`, `DEADLINE_EXCEEDED` or `UNAVAILABLE`, in the order of the variants.
    fn from(reason: CancelReason) -> Self {
        let message = alloc::format!("{reason}");
        match reason {
            CancelReason::ClientGone => Self::cancelled(message),
            CancelReason::Deadline => Self::deadline_exceeded(message),
            CancelReason::Shutdown => Self::unavailable(message),
        }
    }
}

/// The call being served. See the module's page for what it costs: nothing, until asked.
///
/// A clone is the same call. Using one after its handler has returned panics.
#[derive(Clone, Debug)]
pub struct Context {
    call: Call,
}

impl Context {
    pub(crate) fn new(call: Call) -> Self {
        Self { call }
    }

    /// The first value of `key` in the request metadata. Keys are lower-case.
    ///
    /// Cheaper than [`Context::metadata`] for a handful of keys: only this value is copied.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.call.get(key)
    }

    /// The whole request metadata, copied anew each time.
    pub fn metadata(&self) -> Metadata {
        self.call.metadata()
    }

    /// Who calls: `ip:port`, or `unix` for a Unix socket.
    pub fn peer(&self) -> String {
        self.call.peer()
    }

    /// How long until the deadline: zero once it has passed, none without one.
    pub fn time_left(&self) -> Option<Duration> {
        self.call.time_left()
    }

    /// Whether the call is over, and why; does not wait.
    pub fn cancelled(&self) -> Option<CancelReason> {
        self.call.cancelled()
    }

    /// Fails once the call is over: for `?` in loops that neither receive nor send.
    ///
    /// # Errors
    /// `CANCELLED`, `DEADLINE_EXCEEDED` or `UNAVAILABLE`, by [`CancelReason`].
    pub fn check_cancelled(&self) -> Result<(), Status> {
        match self.cancelled() {
            Some(reason) => Err(reason.into()),
            None => Ok(()),
        }
    }

    /// Where the call stands in a trace: what to send with calls of your own, so that they show below this
    /// one. None if neither the caller nor the host traces it.
    pub fn trace_context(&self) -> Option<TraceContext> {
        self.call.trace_context()
    }

    /// Adds an event to the call's span. Never waits and never fails; does nothing when the call is not
    /// traced. A span takes 128 events and 16 KiB of them; texts are cut, names and keys at 255 bytes, values at
    /// 1 KiB.
    pub fn add_event(&self, name: &str, attributes: &[(&str, &str)]) {
        self.call.add_event(name, attributes);
    }

    /// Adds to the response headers. Nothing is sent yet.
    ///
    /// # Errors
    /// A [`MetadataError`] when the host refuses the pair, or the headers have left.
    pub fn set_header(&self, key: &str, value: impl AsRef<[u8]>) -> Result<(), MetadataError> {
        self.call.set_header(key, value.as_ref())
    }

    /// Sends the response headers now; without it they leave with the first message or the
    /// status, in a bidi-streaming call also with the first receive, because many clients send
    /// nothing before they have seen them. Sending twice does nothing.
    pub fn send_headers(&self) {
        self.call.send_headers();
    }

    /// Whether the message that was received last came compressed; in a unary call, the request.
    /// Of a batch, its last message; false before the first.
    pub fn received_compressed(&self) -> bool {
        self.call.received_compressed()
    }

    /// Switches compression of the messages sent from now on, the returned one of a unary call
    /// included, on or off. Without it the operator's setting holds, which is off by default.
    ///
    /// Answers whether they will be compressed: not if the caller takes none of the encodings that
    /// the operator allows, nor if the headers, which name the encoding, left before compression
    /// was asked for. Where single messages of a stream are to be compressed, ask before the first
    /// send (in a bidi handler before the first receive) and switch it off again.
    ///
    /// Do not compress what mixes a secret with text of the caller's: the size tells.
    pub fn set_compression(&self, on: bool) -> bool {
        self.call.set_compression(on)
    }

    /// Adds to the trailers, which leave with the status, whatever it is.
    ///
    /// # Errors
    /// A [`MetadataError`] when the host refuses the pair.
    pub fn set_trailer(&self, key: &str, value: impl AsRef<[u8]>) -> Result<(), MetadataError> {
        self.call.set_trailer(key, value.as_ref())
    }
}
