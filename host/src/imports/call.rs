//! Host side of `wit/call.wit`: one RPC, seen by the plugin that serves it.
//!
//! Called by the guest through `imports::bindings`; calls the [`Exchange`] that the call brought.
//! Invariants: a handle is good only for the call it was made for (asserted by its number on
//! every use, and a stale one is a trap); every wait ends when the call is cancelled, because the
//! exchange answers `cancelled` from then on and the call's task polls it again.
//!
//! Knows no HTTP/2 and no pool. Nothing is copied that the guest does not ask for.

use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::Resource;
use wasmtime::error::Context as _;
use wasmtime_wasi::ResourceTable;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use super::bindings::switchboard::grpc::call as wit;
use crate::telemetry::TraceContext;

/// Largest batch `receive-many` hands over, in bytes. Source: 16 messages of 64 KiB in one batch
/// cost 17-26 us each where one at a time cost 2.5-4.6 us; up to 128 KiB a batch pays.
pub(crate) const RECEIVE_MANY_BYTES_MAX: usize = 128 * 1024;

/// Why nobody waits for a call's answer any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelReason {
    /// The caller cancelled, broke the protocol, or its connection is gone.
    ClientGone,
    /// The call's deadline has passed.
    Deadline,
    /// The host stops, or the plugin is being unloaded.
    Shutdown,
}

/// What a receive answers.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// The next message.
    Message(Bytes),
    /// The caller has sent all it will send.
    End,
    /// The call is over.
    Cancelled(CancelReason),
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The call is over; the message was dropped.
    Cancelled(CancelReason),
    /// Larger than the limit for responses.
    TooLarge,
    /// The call takes no further message.
    Closed,
}

/// Why a header or trailer was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataError {
    /// Empty, or a character outside `0-9 a-z _ - .`.
    InvalidKey,
    /// A key that gRPC or HTTP/2 uses itself.
    ReservedKey,
    /// Not printable ASCII under a key without `-bin`.
    InvalidValue,
    /// The block would pass its limit in bytes.
    TooLarge,
    /// The headers have left already.
    AlreadySent,
}

/// One call's two directions, as its handler uses them. `grpc::exchange` implements it over
/// HTTP/2; handlers are plugins (through this module) and native services.
///
/// All `poll_*` methods are called from the one task that runs the call.
pub trait Exchange: Send + Sync + 'static {
    /// The first value of `key` in the request metadata, decoded if it is a `-bin` key.
    fn value(&self, key: &str) -> Option<Vec<u8>>;
    /// The whole request metadata, `-bin` values decoded.
    fn metadata(&self) -> Vec<(String, Vec<u8>)>;
    /// Who calls, as `ip:port` or `unix`.
    fn peer(&self) -> String;
    /// Time until the deadline, zero once it has passed; none without a deadline.
    fn time_left(&self) -> Option<Duration>;
    /// Whether the call is over.
    fn cancelled(&self) -> Option<CancelReason>;
    /// Whether the message that was received last came compressed; in a unary call, the request.
    fn received_compressed(&self) -> bool;
    /// Switches compression of the messages framed from now on; answers whether they will be
    /// compressed.
    fn set_compression(&self, on: bool) -> bool;
    /// Adds to the response headers.
    ///
    /// # Errors
    /// As [`MetadataError`] says; nothing was added then.
    fn set_header(&self, key: &str, value: &[u8]) -> Result<(), MetadataError>;
    /// Sends the response headers now, unless they have left.
    fn send_headers(&self);
    /// Adds to the trailers.
    ///
    /// # Errors
    /// As [`MetadataError`] says; nothing was added then.
    fn set_trailer(&self, key: &str, value: &[u8]) -> Result<(), MetadataError>;
    /// Ready when a receive would answer at once, with the length of the message it would give
    /// (none for end and cancellation).
    fn poll_receivable(&self, cx: &mut Context<'_>) -> Poll<Option<usize>>;
    /// The next message.
    fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Received>;
    /// Compresses `message` if it was framed so, then takes as much of it as there is room for;
    /// ready once nothing is left of it. Small
    /// messages are gathered and leave when the handler waits. [`Exchange::frame`] makes `message`.
    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        message: &mut Outbound,
    ) -> Poll<Result<(), SendError>>;
    /// Ready once flow control has taken all that was sent: then the caller's window has room.
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>>;
    /// Ends the call at once, as if from outside: what flow control has not taken is not waited for. The
    /// caller gets the status that goes with the reason, whatever the handler returns.
    fn cancel(&self, reason: CancelReason);
    /// The trace context that the handler passes on with calls of its own; none if nobody traces this one.
    fn trace_context(&self) -> Option<TraceContext> {
        None
    }
    /// Adds an event to the call's span, within its limits; nothing when it has none.
    fn add_event(&self, _name: &str, _attributes: &[(String, String)]) {}
    /// Checks a message against the call's limits and gives it its frame header.
    ///
    /// # Errors
    /// [`SendError::TooLarge`], [`SendError::Closed`] or [`SendError::Cancelled`]; the message is
    /// dropped then.
    fn frame(&self, message: Bytes) -> Result<Outbound, SendError>;
}

/// A message on its way out: the five bytes of its frame header, then its own.
#[derive(Debug)]
pub struct Outbound {
    head: [u8; 5],
    /// Bytes of `head` that have been taken already.
    head_taken: usize,
    body: Bytes,
    /// Whether the body is to be compressed before any of this is taken.
    to_compress: bool,
}

impl Outbound {
    /// Frames `body`, uncompressed. Source: gRPC over HTTP/2, "Length-Prefixed-Message".
    ///
    /// # Panics
    /// If the body is 4 GiB or longer, which the limit on responses excludes.
    #[must_use]
    pub fn new(body: Bytes) -> Self {
        Self::flagged(0, body)
    }

    /// Frames `body`, which is compressed.
    pub(crate) fn compressed(body: Bytes) -> Self {
        Self::flagged(1, body)
    }

    /// Frames `body`, which is to be compressed first.
    pub(crate) fn to_compress(body: Bytes) -> Self {
        let to_compress = true;
        Self {
            to_compress,
            ..Self::new(body)
        }
    }

    /// The body, if it is to be compressed first.
    pub(crate) fn uncompressed(&self) -> Option<Bytes> {
        self.to_compress.then(|| self.body.clone())
    }

    /// Puts the same bytes in another owner's hands.
    pub(crate) fn hold(&mut self, held: impl FnOnce(Bytes) -> Bytes) {
        self.body = held(std::mem::take(&mut self.body));
    }

    fn flagged(flag: u8, body: Bytes) -> Self {
        let len = u32::try_from(body.len()).expect("a response message is limited below 4 GiB");
        let [a, b, c, d] = len.to_be_bytes();
        Self {
            head: [flag, a, b, c, d],
            head_taken: 0,
            body,
            to_compress: false,
        }
    }

    /// Takes the first `at` bytes (of all that is left, at most).
    #[must_use]
    pub fn split_to(&mut self, at: usize) -> Self {
        let head_left = 5 - self.head_taken;
        let from_head = head_left.min(at);
        let from_body = (at - from_head).min(self.body.len());
        let part = Self {
            head: self.head,
            head_taken: self.head_taken,
            body: self.body.split_to(from_body),
            to_compress: false,
        };
        self.head_taken += from_head;
        if from_head < head_left {
            // Only part of the frame header fits: the part must end where the header was cut.
            let taken = part.head_taken;
            return Self::piece(&self.head[taken..taken + from_head]);
        }
        part
    }

    /// A piece of a frame header on its own; the window was smaller than the header.
    fn piece(bytes: &[u8]) -> Self {
        Self::framed(Bytes::copy_from_slice(bytes))
    }

    /// Bytes that are framed already, of one message or several.
    pub(crate) fn framed(bytes: Bytes) -> Self {
        Self {
            head: [0; 5],
            head_taken: 5,
            body: bytes,
            to_compress: false,
        }
    }
}

impl bytes::Buf for Outbound {
    fn remaining(&self) -> usize {
        5 - self.head_taken + self.body.len()
    }

    fn chunk(&self) -> &[u8] {
        if self.head_taken < 5 {
            &self.head[self.head_taken..]
        } else {
            &self.body
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [std::io::IoSlice<'a>]) -> usize {
        let mut used = 0;
        if self.head_taken < 5 && used < slices.len() {
            slices[used] = std::io::IoSlice::new(&self.head[self.head_taken..]);
            used += 1;
        }
        if !self.body.is_empty() && used < slices.len() {
            slices[used] = std::io::IoSlice::new(&self.body);
            used += 1;
        }
        used
    }

    fn advance(&mut self, count: usize) {
        let from_head = count.min(5 - self.head_taken);
        self.head_taken += from_head;
        bytes::Buf::advance(&mut self.body, count - from_head);
    }
}

/// What a guest's `call` handle stands for; its `rep` is the call's number in this Store.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "generated bindings re-export it")]
pub struct CallHandle;

/// The call that a Store is serving, as the imports see it. Lives in the Store's state.
#[derive(Default)]
pub struct CallState {
    /// Counts calls in this Store; the `rep` of handles for the current one.
    number: u32,
    exchange: Option<Arc<dyn Exchange>>,
}

impl std::fmt::Debug for CallState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallState")
            .field("number", &self.number)
            .field("in_call", &self.exchange.is_some())
            .finish()
    }
}

impl CallState {
    /// Begins a call; the handle that the guest gets is good until [`CallState::end`].
    pub fn begin(&mut self, exchange: Arc<dyn Exchange>) -> u32 {
        self.number = self.number.wrapping_add(1);
        self.exchange = Some(exchange);
        self.number
    }

    /// Ends the call: handles that the guest kept are stale from here on.
    pub fn end(&mut self) {
        self.exchange = None;
    }

    /// The call being served, for host services that want its context.
    #[must_use]
    pub fn current(&self) -> Option<&Arc<dyn Exchange>> {
        self.exchange.as_ref()
    }

    pub(super) fn of(&self, handle: &Resource<CallHandle>) -> wasmtime::Result<&Arc<dyn Exchange>> {
        match &self.exchange {
            Some(exchange) if handle.rep() == self.number => Ok(exchange),
            Some(_) | None => Err(wasmtime::Error::msg(
                "a call handle was used after its call had ended",
            )),
        }
    }
}

/// Borrows what the functions of `wit/call.wit` need from the Store's state.
#[derive(Debug)]
pub(crate) struct CallView<'a> {
    /// The call being served.
    pub call: &'a mut CallState,
    /// Where pollables live.
    pub table: &'a mut ResourceTable,
}

impl From<CancelReason> for wit::CancelReason {
    fn from(reason: CancelReason) -> Self {
        match reason {
            CancelReason::ClientGone => Self::ClientGone,
            CancelReason::Deadline => Self::Deadline,
            CancelReason::Shutdown => Self::Shutdown,
        }
    }
}

impl From<Received> for wit::Received {
    fn from(received: Received) -> Self {
        match received {
            Received::Message(message) => Self::Message(message.into()),
            Received::End => Self::EndOfStream,
            Received::Cancelled(reason) => Self::Cancelled(reason.into()),
        }
    }
}

impl From<SendError> for wit::SendError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Cancelled(reason) => Self::Cancelled(reason.into()),
            SendError::TooLarge => Self::TooLarge,
            SendError::Closed => Self::Closed,
        }
    }
}

impl From<MetadataError> for wit::MetadataError {
    fn from(error: MetadataError) -> Self {
        match error {
            MetadataError::InvalidKey => Self::InvalidKey,
            MetadataError::ReservedKey => Self::ReservedKey,
            MetadataError::InvalidValue => Self::InvalidValue,
            MetadataError::TooLarge => Self::TooLarge,
            MetadataError::AlreadySent => Self::AlreadySent,
        }
    }
}

impl wit::Host for CallView<'_> {}

impl wit::HostCall for CallView<'_> {
    fn get(
        &mut self,
        handle: Resource<CallHandle>,
        key: String,
    ) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.call.of(&handle)?.value(&key))
    }

    fn metadata(
        &mut self,
        handle: Resource<CallHandle>,
    ) -> wasmtime::Result<Vec<(String, Vec<u8>)>> {
        Ok(self.call.of(&handle)?.metadata())
    }

    fn peer(&mut self, handle: Resource<CallHandle>) -> wasmtime::Result<String> {
        Ok(self.call.of(&handle)?.peer())
    }

    fn time_left(&mut self, handle: Resource<CallHandle>) -> wasmtime::Result<Option<u64>> {
        let left = self.call.of(&handle)?.time_left();
        Ok(left.map(|left| u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)))
    }

    fn cancelled(
        &mut self,
        handle: Resource<CallHandle>,
    ) -> wasmtime::Result<Option<wit::CancelReason>> {
        Ok(self.call.of(&handle)?.cancelled().map(Into::into))
    }

    fn set_header(
        &mut self,
        handle: Resource<CallHandle>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), wit::MetadataError>> {
        Ok(self
            .call
            .of(&handle)?
            .set_header(&key, &value)
            .map_err(Into::into))
    }

    fn send_headers(&mut self, handle: Resource<CallHandle>) -> wasmtime::Result<()> {
        self.call.of(&handle)?.send_headers();
        Ok(())
    }

    fn set_trailer(
        &mut self,
        handle: Resource<CallHandle>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), wit::MetadataError>> {
        Ok(self
            .call
            .of(&handle)?
            .set_trailer(&key, &value)
            .map_err(Into::into))
    }

    fn received_compressed(&mut self, handle: Resource<CallHandle>) -> wasmtime::Result<bool> {
        Ok(self.call.of(&handle)?.received_compressed())
    }

    fn set_compression(
        &mut self,
        handle: Resource<CallHandle>,
        on: bool,
    ) -> wasmtime::Result<bool> {
        Ok(self.call.of(&handle)?.set_compression(on))
    }

    async fn receive(&mut self, handle: Resource<CallHandle>) -> wasmtime::Result<wit::Received> {
        let exchange = self.call.of(&handle)?;
        Ok(poll_fn(|cx| exchange.poll_receive(cx)).await.into())
    }

    async fn receive_timeout(
        &mut self,
        handle: Resource<CallHandle>,
        ns: u64,
    ) -> wasmtime::Result<wit::Received> {
        let exchange = self.call.of(&handle)?;
        let received = poll_fn(|cx| exchange.poll_receive(cx));
        // A timeout polls its future before its clock, so zero asks without waiting.
        match tokio::time::timeout(Duration::from_nanos(ns), received).await {
            Ok(received) => Ok(received.into()),
            Err(_elapsed) => Ok(wit::Received::Timeout),
        }
    }

    async fn receive_many(
        &mut self,
        handle: Resource<CallHandle>,
        max_count: u32,
        max_bytes: u32,
    ) -> wasmtime::Result<wit::ReceivedMany> {
        let exchange = self.call.of(&handle)?;
        let budget = usize::try_from(max_bytes)
            .unwrap_or(usize::MAX)
            .min(RECEIVE_MANY_BYTES_MAX);
        Ok(poll_fn(|cx| poll_receive_many(exchange.as_ref(), cx, max_count, budget)).await)
    }

    async fn send(
        &mut self,
        handle: Resource<CallHandle>,
        message: Vec<u8>,
    ) -> wasmtime::Result<Result<(), wit::SendError>> {
        let exchange = self.call.of(&handle)?;
        Ok(send(exchange.as_ref(), message.into())
            .await
            .map_err(Into::into))
    }

    fn receivable(
        &mut self,
        handle: Resource<CallHandle>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        let exchange = Arc::downgrade(self.call.of(&handle)?);
        let entry = self
            .table
            .push(Receivable(exchange))
            .context("making a pollable")?;
        subscribe(self.table, entry)
    }

    fn drop(&mut self, _handle: Resource<CallHandle>) -> wasmtime::Result<()> {
        // The call lives as long as the handler runs, whatever it does with its handle.
        Ok(())
    }
}

/// Sends one message; returns when there is room for the next one.
///
/// # Errors
/// As [`SendError`] says; the message, or the rest of it, was dropped.
///
/// # Cancel safety
/// Not cancel safe: a message cut half-way breaks the stream, which must end then.
pub async fn send(exchange: &dyn Exchange, message: Bytes) -> Result<(), SendError> {
    let mut message = exchange.frame(message)?;
    poll_fn(|cx| exchange.poll_send(cx, &mut message)).await
}

/// One message, then those that are here already, within both limits.
fn poll_receive_many(
    exchange: &dyn Exchange,
    cx: &mut Context<'_>,
    count_max: u32,
    bytes_max: usize,
) -> Poll<wit::ReceivedMany> {
    let mut messages: Vec<Vec<u8>> = Vec::new();
    let mut bytes_left = bytes_max;
    loop {
        let first = messages.is_empty();
        match exchange.poll_receivable(cx) {
            Poll::Pending if first => return Poll::Pending,
            Poll::Ready(Some(len)) if first || len <= bytes_left => {}
            Poll::Ready(None) if first => {}
            Poll::Pending | Poll::Ready(Some(_) | None) => break,
        }
        let Poll::Ready(received) = exchange.poll_receive(cx) else {
            break;
        };
        match received {
            Received::Message(message) => {
                bytes_left = bytes_left.saturating_sub(message.len());
                messages.push(message.into());
            }
            Received::End => return Poll::Ready(wit::ReceivedMany::EndOfStream),
            Received::Cancelled(reason) => {
                return Poll::Ready(wit::ReceivedMany::Cancelled(reason.into()));
            }
        }
        if messages.len() >= usize::try_from(count_max.max(1)).unwrap_or(usize::MAX) {
            break;
        }
    }
    Poll::Ready(wit::ReceivedMany::Messages(messages))
}

/// Behind the pollable of `call.receivable`. Weak: a guest that keeps it must not keep the call's
/// HTTP/2 stream, whose unread bytes would block the connection's window.
struct Receivable(Weak<dyn Exchange>);

#[wasmtime_wasi::async_trait]
impl Pollable for Receivable {
    async fn ready(&mut self) {
        if let Some(exchange) = self.0.upgrade() {
            poll_fn(|cx| exchange.poll_receivable(cx)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;

    use super::*;

    #[test]
    fn a_message_split_anywhere_is_the_same_bytes() {
        let whole: Vec<u8> = [0, 0, 0, 0, 6].into_iter().chain(*b"abcdef").collect();
        for first in 0..=whole.len() {
            for second in 0..=whole.len() - first {
                let mut rest = Outbound::new(Bytes::from_static(b"abcdef"));
                let mut seen = Vec::new();
                for at in [first, second] {
                    let mut part = rest.split_to(at);
                    assert_eq!(part.remaining(), at, "split at {first} then {second}");
                    while part.has_remaining() {
                        seen.push(part.get_u8());
                    }
                }
                while rest.has_remaining() {
                    let chunk = rest.chunk().len();
                    seen.extend_from_slice(rest.chunk());
                    rest.advance(chunk);
                }
                assert_eq!(seen, whole, "split at {first} then {second}");
            }
        }
    }
}
