//! Messages of a streaming call, as bytes: [`Incoming`] from the caller, [`Outgoing`] to it.
//!
//! Both block: while a handler waits, the host serves other calls in other instances. Called by
//! byte handlers and by the typed layer. Invariant: once the call is cancelled every receive and
//! every send answers an error, so a loop with `?` ends by itself.

use alloc::vec::Vec;
use core::time::Duration;

use crate::abi::{Call, Received, ReceivedMany, SendError};
use crate::{Pollable, Status};

/// What [`Incoming::receive_timeout`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receive<M = Vec<u8>> {
    /// The next message.
    Message(M),
    /// The caller has sent all it will send.
    End,
    /// Nothing came in that time; the call goes on.
    Timeout,
}

/// The messages that the caller sends.
///
/// As an iterator it yields each message and ends after the last one or the first error.
#[derive(Debug)]
pub struct Incoming {
    call: Call,
    /// Only for the iterator: the host answers the same error for ever, an iterator must end.
    ended: bool,
}

impl Incoming {
    pub(crate) fn new(call: Call) -> Self {
        Self { call, ended: false }
    }

    /// Waits for the next message; none once the caller has sent its last.
    ///
    /// # Errors
    /// `CANCELLED`, `DEADLINE_EXCEEDED` or `UNAVAILABLE` once the call is over.
    pub fn receive(&self) -> Result<Option<Vec<u8>>, Status> {
        loop {
            match self.call.receive() {
                Received::Message(message) => return Ok(Some(message)),
                Received::EndOfStream => return Ok(None),
                Received::Cancelled(reason) => return Err(reason.into()),
                // The contract gives it to `receive-timeout` only; waiting on is what was asked.
                Received::Timeout => {}
            }
        }
    }

    /// Waits for the next message for at most `timeout`; zero asks without waiting.
    ///
    /// # Errors
    /// `CANCELLED`, `DEADLINE_EXCEEDED` or `UNAVAILABLE` once the call is over.
    pub fn receive_timeout(&self, timeout: Duration) -> Result<Receive, Status> {
        let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        match self.call.receive_timeout(nanoseconds) {
            Received::Message(message) => Ok(Receive::Message(message)),
            Received::EndOfStream => Ok(Receive::End),
            Received::Cancelled(reason) => Err(reason.into()),
            Received::Timeout => Ok(Receive::Timeout),
        }
    }

    /// Waits for one message and takes those that are here already with it: at most
    /// `count_max`, and at most `bytes_max` together, though the first always fits. An empty list
    /// is the end of the stream.
    ///
    /// The host caps `bytes_max` at 128 KiB: larger batches cost more for each message, not less.
    ///
    /// # Errors
    /// `CANCELLED`, `DEADLINE_EXCEEDED` or `UNAVAILABLE` once the call is over.
    pub fn receive_many(&self, count_max: u32, bytes_max: u32) -> Result<Vec<Vec<u8>>, Status> {
        match self.call.receive_many(count_max, bytes_max) {
            ReceivedMany::Messages(messages) => Ok(messages),
            ReceivedMany::EndOfStream => Ok(Vec::new()),
            ReceivedMany::Cancelled(reason) => Err(reason.into()),
        }
    }

    /// Whether the message that was received last came compressed; see
    /// [`crate::Context::received_compressed`].
    pub fn received_compressed(&self) -> bool {
        self.call.received_compressed()
    }

    /// Becomes ready when [`Incoming::receive`] would answer without waiting: for waiting on
    /// messages, timers and other WASI events at once, with [`crate::poll()`].
    pub fn receivable(&self) -> Pollable<'_> {
        Pollable::new(self.call.receivable())
    }
}

impl Iterator for Incoming {
    type Item = Result<Vec<u8>, Status>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.receive().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// The way back to the caller.
#[derive(Debug)]
pub struct Outgoing {
    call: Call,
}

impl Outgoing {
    pub(crate) fn new(call: Call) -> Self {
        Self { call }
    }

    /// Switches compression of the messages sent from now on; see
    /// [`crate::Context::set_compression`], also for what it answers.
    pub fn set_compression(&self, on: bool) -> bool {
        self.call.set_compression(on)
    }

    /// Sends a message; returns when there is room for the next one, which is the back-pressure.
    ///
    /// # Errors
    /// - `CANCELLED`, `DEADLINE_EXCEEDED` or `UNAVAILABLE` once the call is over;
    /// - `RESOURCE_EXHAUSTED` when the message is larger than the host lets out: it is dropped,
    ///   the call goes on;
    /// - `INTERNAL` when the call takes no further message.
    pub fn send(&self, message: impl AsRef<[u8]>) -> Result<(), Status> {
        let message = message.as_ref();
        match self.call.send(message) {
            Ok(()) => Ok(()),
            Err(SendError::Cancelled(reason)) => Err(reason.into()),
            Err(SendError::TooLarge) => Err(Status::resource_exhausted(alloc::format!(
                "response message of {} bytes is larger than the host's limit",
                message.len()
            ))),
            Err(SendError::Closed) => Err(Status::internal(
                "the call takes no further response message",
            )),
        }
    }
}
