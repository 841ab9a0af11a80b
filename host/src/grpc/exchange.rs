//! One call over one HTTP/2 stream, as its handler sees it.
//!
//! Made by `grpc::call`; used by the handler through [`Exchange`] and by `grpc::call` for what a
//! handler may not do: the unary request and reply, the status, cancellation. Both directions go
//! straight to h2: no queue and no task lies between a guest's `send` and the connection.
//!
//! Invariants: bytes are handed to h2 only when flow control takes them, so a caller that does not
//! read makes the handler wait instead of the host grow; after the status nothing is sent; once
//! cancelled, every receive and send says so at once.
//!
//! Locks are held for one step and never across a wait. All waits are polled by the one task that
//! runs the call.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use h2::RecvStream;
use h2::server::SendResponse;
use http::HeaderMap;
use tokio::time::Instant;

use super::codec::Message;
use super::compression::Responses;
use super::incoming::Incoming;
use super::link::Link;
use super::outgoing::Outgoing;
use super::route::Endpoint;
use super::unread::{FREE_BYTES_MAX, Place, Unread};
use super::unsent::{Share, WaitingReply};
use super::web::Dialect;
use super::wire;
use crate::config::{CallConfig, Encoding};
use crate::error::CallError;
use crate::guest::MethodKind;
use crate::imports::call::{CancelReason, Exchange, MetadataError, Outbound, Received, SendError};
use crate::peer::{self, Peer};
use crate::status::Status;
use crate::telemetry::{CallSpan, Telemetry, TraceContext, passed_on};

/// One call's HTTP/2 stream.
#[derive(Debug)]
pub(crate) struct HttpExchange {
    me: Weak<Self>,
    request: HeaderMap,
    link: Arc<Link>,
    config: Arc<CallConfig>,
    endpoint: Arc<Endpoint>,
    deadline: Option<Instant>,
    /// Its span, if it is traced.
    span: Option<Arc<CallSpan>>,
    /// Whether the message that was received last came compressed.
    received_compressed: AtomicBool,
    /// Why the call is over; see [`reason_of`].
    over: AtomicU8,
    /// Whether the handler has begun.
    entered: AtomicBool,
    /// Wakes the call's task when it is cancelled from outside.
    waker: AtomicWaker,
    /// Why the host gave the call up for others, if it did.
    crowded_out: Mutex<Option<CallError>>,
    incoming: Mutex<Incoming>,
    outgoing: Mutex<Outgoing>,
}

const NOT_OVER: u8 = 0;
/// Over because the connection is as old as it may be; to the handler that is [`CancelReason::Shutdown`].
const AGED: u8 = 4;

fn number_of(reason: CancelReason) -> u8 {
    match reason {
        CancelReason::ClientGone => 1,
        CancelReason::Deadline => 2,
        CancelReason::Shutdown => 3,
    }
}

fn reason_of(number: u8) -> Option<CancelReason> {
    [
        CancelReason::ClientGone,
        CancelReason::Deadline,
        CancelReason::Shutdown,
    ]
    .into_iter()
    .find(|reason| {
        number_of(*reason) == number || *reason == CancelReason::Shutdown && number == AGED
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a call's head asks for.
#[derive(Debug)]
pub(crate) struct Terms {
    /// When the call must have ended.
    pub deadline: Option<Instant>,
    /// What its messages may be compressed with.
    pub encoding: Option<Encoding>,
    /// Which way of speaking gRPC its caller has.
    pub dialect: Dialect,
    /// Its span, if it is traced.
    pub span: Option<Arc<CallSpan>>,
}

impl HttpExchange {
    /// A call that has been read up to its head.
    pub(crate) fn new(
        request: http::Request<RecvStream>,
        respond: SendResponse<Outbound>,
        link: Arc<Link>,
        config: Arc<CallConfig>,
        endpoint: Arc<Endpoint>,
        terms: Terms,
    ) -> Arc<Self> {
        let (parts, stream) = request.into_parts();
        let Terms {
            deadline,
            encoding,
            dialect,
            span,
        } = terms;
        let text = dialect.decoder();
        let incoming = Incoming::new(stream, endpoint.max.request_bytes, encoding, text);
        let responses = Responses::new(&parts.headers, encoding, &endpoint.compression);
        let outgoing = Outgoing::new(respond, responses, dialect, Arc::clone(&link));
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            request: parts.headers,
            link,
            config,
            endpoint,
            deadline,
            span,
            received_compressed: AtomicBool::new(false),
            over: AtomicU8::new(NOT_OVER),
            entered: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            incoming: Mutex::new(incoming),
            crowded_out: Mutex::new(None),
            outgoing: Mutex::new(outgoing),
        })
    }

    /// The method that is called.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// When the call must have ended.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Notes that the handler begins. It must not when the deadline has passed, even if nobody has
    /// noticed yet: a timer may be late, and a call that never waits needs none.
    ///
    /// # Errors
    /// [`CallError::Deadline`].
    pub(crate) fn enter(&self) -> Result<(), CallError> {
        if self
            .deadline
            .is_some_and(|deadline| deadline <= Instant::now())
        {
            return Err(CallError::Deadline);
        }
        self.entered.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the handler has begun.
    pub(crate) fn is_entered(&self) -> bool {
        self.entered.load(Ordering::Relaxed)
    }

    /// Ends the call: its handler learns of it, its task is woken. The first reason stays.
    pub(crate) fn cancel(&self, reason: CancelReason) {
        self.end(number_of(reason));
    }

    /// The same because of the connection's age.
    pub(crate) fn cancel_aged(&self) {
        self.end(AGED);
    }

    fn end(&self, reason: u8) {
        let first =
            self.over
                .compare_exchange(NOT_OVER, reason, Ordering::SeqCst, Ordering::SeqCst);
        if first.is_ok() {
            self.waker.wake();
        }
    }

    /// What [`CancelReason::Shutdown`] is to the caller: which of the two stops, host or connection.
    pub(crate) fn why_shut_down(&self) -> CallError {
        if self.over.load(Ordering::SeqCst) == AGED {
            CallError::ConnectionAged
        } else {
            CallError::Draining
        }
    }

    /// What the caller did to break the call, or why the host gave it up.
    pub(crate) fn take_failure(&self) -> Option<CallError> {
        // Whoever sets one cancels the call then.
        self.cancelled()?;
        let crowded_out = lock(&self.crowded_out).take();
        crowded_out.or_else(|| lock(&self.incoming).failure.take())
    }

    /// Ends the call because the host needs for others what it holds.
    pub(crate) fn crowd_out(&self, why: CallError) {
        *lock(&self.crowded_out) = Some(why);
        self.cancel(CancelReason::ClientGone);
    }

    /// Whether the call must end: cancelled from outside, reset by the caller, or broken by it.
    /// Registers the task for all three.
    pub(crate) fn poll_over(&self, cx: &mut Context<'_>) -> Poll<CallError> {
        self.waker.register(cx.waker());
        if let Some(failure) = self.take_failure() {
            return Poll::Ready(failure);
        }
        match self.cancelled() {
            None => {}
            Some(CancelReason::ClientGone) => return Poll::Ready(CallError::Cancelled),
            Some(CancelReason::Deadline) => return Poll::Ready(CallError::Deadline),
            Some(CancelReason::Shutdown) => return Poll::Ready(self.why_shut_down()),
        }
        let reset = lock(&self.outgoing).poll_reset(cx);
        reset.map(|()| CallError::Cancelled)
    }

    /// The only message of a call that takes one, once it is known to be the only one, and the place
    /// that it has.
    pub(crate) fn poll_only_message(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(Message, Option<Place>), CallError>> {
        let mut incoming = lock(&self.incoming);
        ready!(incoming.poll_first(cx, self))?;
        ready!(incoming.poll_no_more(cx, self))?;
        let message = incoming.ready.take().ok_or(CallError::Bug)?;
        Poll::Ready(Ok((message, incoming.place.take())))
    }

    /// Where the request of this call finds room, and as whom it waits there.
    pub(super) fn room(&self) -> (&Arc<Unread>, &Weak<Self>) {
        (&self.link.unread, &self.me)
    }

    /// What the caller's connection does not take.
    pub(crate) fn unsent(&self) -> &Share {
        &self.link.unsent
    }

    /// Notes that a unary reply has to wait for its caller; with what to poll meanwhile.
    pub(crate) fn wait_for_caller(
        &self,
        reply: &Outbound,
    ) -> Option<(WaitingReply, Pin<Box<impl Future<Output = ()> + use<>>>)> {
        let whom = Weak::clone(&self.me);
        let waiting = self.link.unsent.wait(reply.remaining(), whom)?;
        let relieving = WaitingReply::relieve(Arc::clone(&self.link.unsent));
        Some((waiting, Box::pin(relieving)))
    }

    /// Decompresses the only message of a call, if it came compressed. Not before the handler can
    /// begin: until then a call holds no more than its caller has sent.
    ///
    /// # Cancel safety
    /// The message is lost.
    pub(crate) async fn open(&self, message: Message) -> Result<Bytes, CallError> {
        if !message.compressed {
            return Ok(message.bytes);
        }
        self.received_compressed.store(true, Ordering::Relaxed);
        lock(&self.incoming).open(message.bytes)?;
        poll_fn(|cx| lock(&self.incoming).poll_opened(cx)).await
    }

    /// Waits until the only message of a streaming call is here for the handler to receive. One
    /// more is an error if it is here too; if it comes later, the handler's next receive finds it.
    pub(crate) fn poll_first_message(&self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        let mut incoming = lock(&self.incoming);
        ready!(incoming.poll_first(cx, self))?;
        match incoming.poll_no_more(cx, self) {
            Poll::Ready(known) => Poll::Ready(known),
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    /// Frames the reply of a unary call.
    ///
    /// # Errors
    /// [`CallError::ResponseTooLarge`].
    pub(crate) fn frame_reply(&self, message: Bytes) -> Result<Outbound, CallError> {
        let (len, max) = (message.len(), self.endpoint.max.response_bytes);
        if len > max {
            return Err(CallError::ResponseTooLarge { len, max });
        }
        self.endpoint.expected.learn(len);
        let mut reply = lock(&self.outgoing).frame(message);
        reply.hold(|body| self.link.unsent.count(body));
        Ok(reply)
    }

    /// Compresses the reply of a unary call, if it was framed so.
    pub(crate) fn poll_packed(&self, cx: &mut Context<'_>, reply: &mut Outbound) -> Poll<()> {
        if ready!(lock(&self.outgoing).poll_pack(cx, reply)) {
            reply.hold(|body| self.link.unsent.count(body));
        }
        Poll::Ready(())
    }

    /// Sends the reply of a unary call; ready once flow control has taken all of it.
    pub(crate) fn poll_reply(
        &self,
        cx: &mut Context<'_>,
        reply: &mut Outbound,
    ) -> Poll<Result<(), CallError>> {
        let sent = ready!(lock(&self.outgoing).poll_send_only(cx, reply));
        self.count_sent(sent.is_ok());
        Poll::Ready(sent.map_err(|_gone| CallError::Cancelled))
    }

    fn count_sent(&self, sent: bool) {
        if sent {
            self.endpoint.metrics.sent();
        }
    }

    /// Takes over what has come while the handler waits for something else.
    pub(crate) fn drain_incoming(&self, cx: &mut Context<'_>) {
        lock(&self.incoming).drain(cx);
    }

    /// Sends what was gathered of the handler's messages; ready once flow control has taken it.
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        let flushed = ready!(lock(&self.outgoing).poll_flush(cx));
        Poll::Ready(flushed.map_err(|_gone| CallError::Cancelled))
    }

    /// Messages that were sent whole.
    pub(crate) fn sent(&self) -> u64 {
        lock(&self.outgoing).sent
    }

    /// Ends the response with OK (none) or a status; the keys of what could not be sent of it. Does
    /// nothing the second time.
    #[must_use]
    pub(crate) fn finish(&self, status: Option<&Status>) -> Vec<String> {
        lock(&self.outgoing).finish(status, self.config.metadata_bytes_max)
    }

    /// Who calls.
    pub(crate) fn caller(&self) -> &Peer {
        &self.link.peer
    }

    /// The span of the call, if it is traced.
    pub(crate) fn span(&self) -> Option<&Arc<CallSpan>> {
        self.span.as_ref()
    }

    /// Where failures are counted.
    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.link.telemetry
    }

    fn kind(&self) -> MethodKind {
        self.endpoint.kind
    }

    /// Whether the response has ended and flow control has not taken all of its end.
    pub(crate) fn is_ending(&self) -> bool {
        lock(&self.outgoing).is_ending()
    }

    /// Waits until the end of the response was taken, or nobody takes it any more.
    pub(crate) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<()> {
        if lock(&self.outgoing).poll_end(cx).is_ready() {
            return Poll::Ready(());
        }
        self.poll_over(cx).map(drop)
    }

    /// Gives up what [`HttpExchange::poll_end`] waited for.
    pub(crate) fn give_up(&self) {
        lock(&self.outgoing).give_up();
    }

    /// The next message, decompressed; ready when there is one or none will come.
    fn poll_incoming(&self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let mut incoming = lock(&self.incoming);
        if let Some(message) = incoming.opened.take() {
            return Poll::Ready(Some(message));
        }
        if !incoming.is_opening() {
            match ready!(self.poll_as_it_came(&mut incoming, cx)) {
                Some(message) if message.compressed => {
                    if let Err(failure) = incoming.open(message.bytes) {
                        return Poll::Ready(self.broken(&mut incoming, failure));
                    }
                }
                message => return Poll::Ready(message),
            }
        }
        let opened = ready!(incoming.poll_opened(cx));
        let opened = opened.map(|bytes| Message {
            bytes,
            compressed: true,
        });
        Poll::Ready(match opened {
            Ok(message) => Some(message),
            Err(failure) => self.broken(&mut incoming, failure),
        })
    }

    /// The next message as it came; ready when there is one or none will come.
    fn poll_as_it_came(
        &self,
        incoming: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Message>> {
        if let Some(message) = incoming.ready.take() {
            return Poll::Ready(Some(message));
        }
        if self.kind().takes_one() {
            return self.poll_first_of_one(incoming, cx);
        }
        if self.kind() == MethodKind::BidiStreaming && incoming.count == 0 {
            // Many clients send their first message only when they have seen the headers, so a
            // handler that waits for it before it answers would wait for ever.
            self.send_headers();
        }
        match ready!(incoming.poll_message(cx, self)) {
            Ok(message) => Poll::Ready(message),
            Err(failure) => Poll::Ready(self.broken(incoming, failure)),
        }
    }

    /// The same for a method that takes exactly one message: a second one, or none, is an error.
    fn poll_first_of_one(
        &self,
        incoming: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Message>> {
        let first = incoming.count == 0;
        let failure = match ready!(incoming.poll_message(cx, self)) {
            Ok(Some(message)) if first => return Poll::Ready(Some(message)),
            Ok(None) if !first => return Poll::Ready(None),
            Ok(Some(_)) => CallError::Cardinality("more than one"),
            Ok(None) => CallError::Cardinality("none"),
            Err(failure) => failure,
        };
        Poll::Ready(self.broken(incoming, failure))
    }

    /// The caller broke the call: the handler sees it cancelled, the caller gets `failure`.
    fn broken(&self, incoming: &mut Incoming, failure: CallError) -> Option<Message> {
        incoming.failure = Some(failure);
        self.cancel(CancelReason::ClientGone);
        None
    }
}

impl Exchange for HttpExchange {
    fn value(&self, key: &str) -> Option<Vec<u8>> {
        if key.starts_with(peer::RESERVED) {
            // Never what the caller sent.
            let known = self.link.peer.metadata().find(|(known, _)| *known == key);
            return known.map(|(_, value)| value.as_bytes().to_vec());
        }
        wire::value(&self.request, key)
    }

    fn metadata(&self) -> Vec<(String, Vec<u8>)> {
        let mut metadata = wire::metadata(&self.request);
        metadata.retain(|(key, _)| !key.starts_with(peer::RESERVED));
        let known = self.link.peer.metadata();
        metadata.extend(known.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())));
        metadata
    }

    fn peer(&self) -> String {
        self.link.peer.to_string()
    }

    fn time_left(&self) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    fn cancelled(&self) -> Option<CancelReason> {
        reason_of(self.over.load(Ordering::SeqCst))
    }

    fn received_compressed(&self) -> bool {
        self.received_compressed.load(Ordering::Relaxed)
    }

    fn set_compression(&self, on: bool) -> bool {
        lock(&self.outgoing).set_compression(on, &self.request, &self.endpoint.compression)
    }

    fn set_header(&self, key: &str, value: &[u8]) -> Result<(), MetadataError> {
        lock(&self.outgoing).set_header(self.config.metadata_bytes_max, key, value)
    }

    fn send_headers(&self) {
        lock(&self.outgoing).send_headers();
    }

    fn set_trailer(&self, key: &str, value: &[u8]) -> Result<(), MetadataError> {
        lock(&self.outgoing).set_trailer(self.config.metadata_bytes_max, key, value)
    }

    fn poll_receivable(&self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        if self.cancelled().is_some() || self.kind() == MethodKind::Unary {
            return Poll::Ready(None);
        }
        let message = ready!(self.poll_incoming(cx));
        let len = message.as_ref().map(|message| message.bytes.len());
        lock(&self.incoming).opened = message;
        Poll::Ready(len)
    }

    fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Received> {
        if let Some(reason) = self.cancelled() {
            return Poll::Ready(Received::Cancelled(reason));
        }
        if self.kind() == MethodKind::Unary {
            return Poll::Ready(Received::End);
        }
        let message = ready!(self.poll_incoming(cx));
        Poll::Ready(match (message, self.cancelled()) {
            (Some(message), None) => {
                if message.compressed || message.bytes.len() > FREE_BYTES_MAX {
                    // The handler holds it now, for as long as it likes.
                    lock(&self.incoming).place = None;
                }
                self.received_compressed
                    .store(message.compressed, Ordering::Relaxed);
                Received::Message(message.bytes)
            }
            (None, None) => Received::End,
            (_, Some(reason)) => Received::Cancelled(reason),
        })
    }

    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        message: &mut Outbound,
    ) -> Poll<Result<(), SendError>> {
        if let Some(reason) = self.cancelled() {
            return Poll::Ready(Err(SendError::Cancelled(reason)));
        }
        let sent = ready!(lock(&self.outgoing).poll_send(cx, message));
        self.count_sent(sent.is_ok());
        Poll::Ready(sent.map_err(|_gone| {
            self.cancel(CancelReason::ClientGone);
            SendError::Cancelled(CancelReason::ClientGone)
        }))
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        // Nothing but a caller who is gone ends it otherwise.
        let gone = |_| SendError::Cancelled(CancelReason::ClientGone);
        Self::poll_flush(self, cx).map_err(gone)
    }

    fn cancel(&self, reason: CancelReason) {
        Self::cancel(self, reason);
    }

    fn trace_context(&self) -> Option<TraceContext> {
        match &self.span {
            Some(span) => Some(span.context()),
            None => passed_on(&self.request),
        }
    }

    fn add_event(&self, name: &str, attributes: &[(String, String)]) {
        if let Some(span) = &self.span {
            span.add_event(name, attributes);
        }
    }

    fn frame(&self, message: Bytes) -> Result<Outbound, SendError> {
        if let Some(reason) = self.cancelled() {
            return Err(SendError::Cancelled(reason));
        }
        let mut outgoing = lock(&self.outgoing);
        let closed = match self.kind() {
            MethodKind::Unary => true,
            MethodKind::ClientStreaming => outgoing.framed > 0,
            MethodKind::ServerStreaming | MethodKind::BidiStreaming => false,
        };
        if closed {
            return Err(SendError::Closed);
        }
        if message.len() > self.endpoint.max.response_bytes {
            return Err(SendError::TooLarge);
        }
        Ok(outgoing.frame(message))
    }
}
