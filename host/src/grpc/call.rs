//! One call of any of the four kinds, from its head to its status.
//!
//! Called by `grpc::connection` for every request; calls `pool` for an instance and the instance
//! through it. One code path owns deadline, cancellation and status for all kinds; a unary call
//! differs only in how its one message enters the guest.
//!
//! Invariants: every call that was begun ends with a status, unless its caller is gone; the
//! deadline covers the last trailer; an instance whose call was cut short is dropped.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{Instrument, Level};

use super::compression;
use super::exchange::{HttpExchange, Terms};
use super::link::Link;
use super::request::{self, Refusal};
use super::route::{Backend, Endpoint, Routes};
use super::web::{Dialect, Origins};
use super::wire;
use crate::config::CallConfig;
use crate::error::{CallError, chain};
use crate::guest::MethodKind;
use crate::imports::call::{CancelReason, Exchange, Outbound};
use crate::lane::Meter;
use crate::peer::Peer;
use crate::status::{Code, Status};
use crate::telemetry::{SpanOf, Telemetry, Tracer, ended, latest};

/// What a request that is not gRPC is told.
const NOT_GRPC: &str =
    "this path is served over gRPC only: send a POST with content-type application/grpc\n";

/// A call that is ready to run.
pub(crate) struct Begun {
    /// For cancelling it from outside.
    pub(crate) exchange: Arc<HttpExchange>,
    /// How long calls of its method hold a thread.
    pub(crate) meter: Arc<Meter>,
    /// Runs it; sends the status itself.
    pub(crate) run: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Begins a call, or answers the request at once if it cannot be served.
pub(crate) fn begin(
    routes: &Routes,
    link: &Arc<Link>,
    origins: Option<&dyn Origins>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Outbound>,
) -> Option<Begun> {
    let config = routes.call();
    let (parts, body) = request.into_parts();
    let dialect = Dialect::of(&parts.headers, origins);
    let checked = request::check(&parts, config, dialect.is_some()).and_then(|head| {
        let path = parts.uri.path();
        let endpoint = routes
            .find(path)
            .ok_or_else(|| Refusal::Grpc(CallError::UnknownMethod(path.to_owned())))?;
        Ok((head, endpoint))
    });
    let dialect = dialect.unwrap_or_default();
    let (head, endpoint) = match checked {
        Ok(found) => found,
        Err(refusal) => {
            count_refused(&refusal, parts.uri.path(), routes, &link.telemetry);
            refuse(
                refusal,
                &parts.method,
                config,
                &dialect,
                &link.peer,
                &mut respond,
            );
            return None;
        }
    };
    let deadline = deadline(head.time, endpoint);
    let traced = |tracer: &Arc<Tracer>| {
        let of = SpanOf {
            path: &endpoint.path,
            plugin: &endpoint.owner,
            peer: &link.peer,
        };
        tracer.begin(&parts.headers, of)
    };
    let span = link.telemetry.tracer().and_then(traced);
    let log_span = span.as_ref().map(|span| span.log_span());
    let exchange = HttpExchange::new(
        Request::from_parts(parts, body),
        respond,
        Arc::clone(link),
        Arc::clone(config),
        Arc::clone(endpoint),
        Terms {
            deadline,
            encoding: head.encoding,
            dialect,
            span,
        },
    );
    let meter = Arc::clone(&endpoint.meter);
    let counted = Counted::begin(Arc::clone(&exchange));
    let run = run(counted, Arc::clone(config));
    let run: Pin<Box<dyn Future<Output = ()> + Send>> = match log_span {
        None => Box::pin(run),
        Some(span) => Box::pin(run.instrument(span)),
    };
    Some(Begun {
        exchange,
        meter,
        run,
    })
}

/// Counts a call that ends before it begins: under its method if that is served, and never under a name that
/// only the caller knows.
fn count_refused(refusal: &Refusal, path: &str, routes: &Routes, telemetry: &Telemetry) {
    let Refusal::Grpc(error) = refusal else {
        return;
    };
    let endpoint = routes.find(path);
    let metrics = endpoint.map_or_else(|| telemetry.other_methods(), |endpoint| &endpoint.metrics);
    metrics.started();
    metrics.handled(error.code(), Duration::ZERO);
    telemetry.failed(error.cause());
}

/// What the log's line about each call is filed under, so that it can be had alone, or left out.
const CALLS: &str = "switchboard_host::calls";

/// A call that was begun and is counted as ended when this is dropped: however it ends, also without a word.
struct Counted {
    exchange: Arc<HttpExchange>,
    /// When it was polled first.
    begun: Option<std::time::Instant>,
    /// How it ended; cancelled, if nobody says otherwise.
    code: Code,
    /// Why, if that was the host's.
    cause: Option<&'static str>,
}

impl Counted {
    fn begin(exchange: Arc<HttpExchange>) -> Self {
        exchange.endpoint().metrics.started();
        Self {
            exchange,
            begun: None,
            code: Code::Cancelled,
            cause: None,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let took = self
            .begun
            .map(|begun| ended().saturating_duration_since(begun));
        let metrics = &self.exchange.endpoint().metrics;
        metrics.handled(self.code, took.unwrap_or_default());
        // What the host says of its own failures is said by `report`.
        if self.cause.is_none() && tracing::enabled!(target: CALLS, Level::DEBUG) {
            let (endpoint, peer) = (self.exchange.endpoint(), self.exchange.caller());
            let (path, plugin) = (&*endpoint.path, &*endpoint.owner);
            let (tunnel, origin) = (peer.tunnel_id(), peer.origin());
            let (code, took) = (self.code, took.unwrap_or_default());
            tracing::debug!(target: CALLS, path, plugin, %peer, tunnel, origin, %code, ?took, "call ended");
        }
        if let Some(span) = self.exchange.span() {
            span.end(self.code, self.cause);
        }
    }
}

/// When a call must have ended, if it must: its caller, the host and the plugin's configuration may each say.
fn deadline(time: Option<Duration>, endpoint: &Endpoint) -> Option<Instant> {
    let time = time.into_iter().chain(endpoint.timeout_max).min()?;
    Instant::now().checked_add(time)
}

fn refuse(
    refusal: Refusal,
    method: &Method,
    config: &CallConfig,
    dialect: &Dialect,
    peer: &Peer,
    respond: &mut SendResponse<Outbound>,
) {
    let error = match refusal {
        Refusal::Http(status) => {
            tracing::debug!(%peer, %method, status = status.as_u16(), "a request is not gRPC");
            return refuse_http(status, method, respond);
        }
        Refusal::Grpc(error) => error,
    };
    let (tunnel, origin) = (peer.tunnel_id(), peer.origin());
    tracing::debug!(cause = error.cause(), %peer, tunnel, origin, "request refused: {}", chain(&error));
    let mut response = Response::new(());
    let headers = response.headers_mut();
    if matches!(error, CallError::UnknownEncoding(_)) {
        // "the server must ... include grpc-accept-encoding".
        headers.insert(compression::ACCEPT_ENCODING, compression::ACCEPTED);
    }
    wire::write_status(headers, config.metadata_bytes_max, Some(&error.status()));
    dialect.complete(headers);
    // An error means that the caller is gone.
    drop(respond.send_response(response, true));
}

/// Answers what is not gRPC, with a line for whoever looks at it.
fn refuse_http(status: StatusCode, method: &Method, respond: &mut SendResponse<Outbound>) {
    let mut response = Response::new(());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        // "The origin server MUST generate an Allow header field" (RFC 9110, 15.5.6).
        headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    for (name, value) in [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let has_body = *method != Method::HEAD;
    let Ok(mut stream) = respond.send_response(response, !has_body) else {
        return;
    };
    if !has_body {
        return;
    }
    // A peer that has no room for one line goes without: nothing waits for it here.
    stream.reserve_capacity(NOT_GRPC.len());
    let fits = stream.capacity() >= NOT_GRPC.len();
    let line = if fits { NOT_GRPC } else { "" };
    let line = Outbound::framed(Bytes::from_static(line.as_bytes()));
    drop(stream.send_data(line, true));
}

/// Writes one line about a call: the words first, then what it called, and who calls.
macro_rules! say {
    ($level:ident, $endpoint:expr, $caller:expr, $($words:tt)+) => {{
        let (endpoint, peer): (&Endpoint, &Peer) = ($endpoint, $caller);
        let (path, plugin) = (&*endpoint.path, &*endpoint.owner);
        let (tunnel, origin) = (peer.tunnel_id(), peer.origin());
        tracing::$level!(path, plugin, %peer, tunnel, origin, $($words)+);
    }};
}

/// Runs a call to its status.
async fn run(mut counted: Counted, config: Arc<CallConfig>) {
    counted.begun = Some(latest());
    let Counted {
        exchange,
        code: end_code,
        cause,
        ..
    } = &mut counted;
    let exchange = &*exchange;
    let endpoint = exchange.endpoint();
    let guarded = AssertUnwindSafe(race(exchange, endpoint, &config)).catch_unwind();
    let ended = guarded.await.unwrap_or(Err(CallError::Bug));
    match ended {
        Ok(Ok(())) => {
            *end_code = Code::Ok;
            finish(exchange, endpoint, None);
        }
        Ok(Err(status)) => {
            let code = status.code;
            *end_code = code;
            finish(exchange, endpoint, Some(&status));
        }
        Err(error) => {
            *end_code = error.code();
            *cause = Some(error.cause());
            exchange.telemetry().failed(error.cause());
            report(endpoint, exchange.caller(), &error);
            finish(exchange, endpoint, Some(&error.status()));
        }
    }
    if exchange.is_ending() {
        Box::pin(end(exchange)).await;
    }
}

/// Waits for flow control to take trailers that are part of the body, no longer than for any other byte.
async fn end(exchange: &HttpExchange) {
    let end = poll_fn(|cx| exchange.poll_end(cx));
    match exchange.deadline() {
        None => end.await,
        Some(deadline) => drop(timeout_at(deadline, end).await),
    }
    exchange.give_up();
}

/// Sends the status of a call, and says what could not be sent of it.
fn finish(exchange: &HttpExchange, endpoint: &Endpoint, status: Option<&Status>) {
    let left_out = exchange.finish(status);
    if !left_out.is_empty() {
        say!(
            warn,
            endpoint,
            exchange.caller(),
            ?left_out,
            "parts of a status were not sent: too large or not allowed"
        );
    }
}

/// The handler against the deadline, the caller's reset, and being cancelled from outside.
async fn race(
    exchange: &Arc<HttpExchange>,
    endpoint: &Endpoint,
    config: &CallConfig,
) -> Result<Result<(), Status>, CallError> {
    let mut work = pin!(handle(exchange, endpoint));
    let mut handled = false;
    // A timer costs, and so does waiting for the end of a version; most calls end at the first poll and
    // need neither.
    let mut timer = pin!(None);
    let mut cut = pin!(None);
    let over = poll_fn(|cx| {
        if let Poll::Ready(ended) = work.as_mut().poll(cx) {
            handled = true;
            // A handler that was told "cancelled" may end first, and what it makes of that must not
            // pass for its answer: what the caller did, or the host, is the truth all the same.
            return Poll::Ready(match exchange.take_failure() {
                Some(failure) => Err(failure),
                None if exchange.cancelled() == Some(CancelReason::Shutdown) => {
                    Err(exchange.why_shut_down())
                }
                None => Ok(ended),
            });
        }
        // A handler that waits has nothing more to add to what it sent. If nobody takes it any more,
        // the reset below tells.
        drop(exchange.poll_flush(cx));
        exchange.drain_incoming(cx);
        if let Poll::Ready(error) = exchange.poll_over(cx) {
            return Poll::Ready(Err(error));
        }
        if let Backend::Plugin(version) = &endpoint.backend {
            if cut.is_none() {
                cut.set(Some(version.cut()));
            }
            if let Some(Poll::Ready(())) = cut.as_mut().as_pin_mut().map(|cut| cut.poll(cx)) {
                return Poll::Ready(Err(CallError::Replaced));
            }
        }
        let Some(deadline) = exchange.deadline() else {
            return Poll::Pending;
        };
        // A guest that computes is looked at each time it pauses: the timer may be late on a machine that is busy.
        if Instant::now() >= deadline {
            return Poll::Ready(Err(CallError::Deadline));
        }
        if timer.is_none() {
            timer.set(Some(sleep_until(deadline)));
        }
        match timer.as_mut().as_pin_mut().map(|timer| timer.poll(cx)) {
            Some(Poll::Ready(())) => Poll::Ready(Err(CallError::Deadline)),
            Some(Poll::Pending) | None => Poll::Pending,
        }
    });
    let error = match over.await {
        Ok(ended) => return ended,
        Err(error) => error,
    };
    exchange.cancel(reason(&error));
    // The caller is answered now; a handler that runs has a moment to notice and to put things in
    // order. One that still waits for its instance must not get it any more.
    finish(exchange, endpoint, Some(&error.status()));
    if exchange.is_entered() && !handled {
        Box::pin(last_moments(work, config.cancel_grace)).await;
    }
    Err(error)
}

/// Lets a handler go on for a moment, by the clock and not only by a timer.
async fn last_moments(mut work: Pin<&mut impl Future>, grace: Duration) {
    let end = Instant::now() + grace;
    let mut timer = pin!(sleep_until(end));
    poll_fn(|cx| {
        if Instant::now() >= end || work.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        timer.as_mut().poll(cx)
    })
    .await;
}

/// What a handler is told when its call is over because of this.
fn reason(error: &CallError) -> CancelReason {
    if matches!(error, CallError::Deadline) {
        CancelReason::Deadline
    } else if matches!(
        error,
        CallError::Draining | CallError::ConnectionAged | CallError::Replaced
    ) {
        CancelReason::Shutdown
    } else {
        CancelReason::ClientGone
    }
}

/// What the kind of the method asks for; ends with what the handler answered.
async fn handle(
    exchange: &Arc<HttpExchange>,
    endpoint: &Endpoint,
) -> Result<Result<(), Status>, CallError> {
    if endpoint.kind == MethodKind::Unary {
        return unary(exchange, endpoint).await;
    }
    if endpoint.kind == MethodKind::ServerStreaming {
        // Its one request message first: a caller who does not send it holds no instance.
        poll_fn(|cx| exchange.poll_first_message(cx)).await?;
    }
    let call: Arc<dyn Exchange> = Arc::clone(exchange) as _;
    let ended = match &endpoint.backend {
        Backend::Plugin(version) => {
            let mut lease = version.lease(endpoint.want).await?;
            exchange.enter()?;
            let ended = lease.stream(call, endpoint.id).await;
            if matches!(ended, Ok(Ok(()))) && owes_message(exchange, endpoint) {
                lease.broke_contract();
            }
            ended
        }
        Backend::Native(service) => {
            exchange.enter()?;
            Ok(service.stream(native_id(endpoint), call).await)
        }
    };
    // What was sent before stays sent, also before a trap. The instance is free already.
    let flushed = poll_fn(|cx| exchange.poll_flush(cx)).await;
    let ended = ended?;
    flushed?;
    if ended.is_ok() && owes_message(exchange, endpoint) {
        return Err(CallError::Contract(
            "it ended with OK and sent no response message",
        ));
    }
    Ok(ended)
}

/// Whether the one response message of the method is missing, and somebody is there to miss it.
fn owes_message(exchange: &HttpExchange, endpoint: &Endpoint) -> bool {
    endpoint.kind.gives_one() && exchange.sent() == 0
}

async fn unary(
    exchange: &Arc<HttpExchange>,
    endpoint: &Endpoint,
) -> Result<Result<(), Status>, CallError> {
    let (request, place) = poll_fn(|cx| exchange.poll_only_message(cx)).await?;
    let call: Arc<dyn Exchange> = Arc::clone(exchange) as _;
    let unsent = exchange.unsent();
    let (reply, expected) = match &endpoint.backend {
        Backend::Plugin(version) => {
            let (mut lease, expected) = loop {
                unsent.room().await;
                let expected = unsent.expect(&endpoint.expected).await?;
                let lease = version.lease(endpoint.want).await?;
                // While this one waited, others may have answered a caller who does not read.
                if unsent.has_room() && expected.suffices(&endpoint.expected) {
                    break (lease, expected);
                }
            };
            let request = exchange.open(request).await?;
            exchange.enter()?;
            // Calls that run are counted by instances; those that wait must not wait for their bytes.
            drop(place);
            // The lease ends here: a caller who reads slowly holds no instance.
            let reply = lease.unary(call, endpoint.id, &request).await?;
            (reply.map(Bytes::from), expected)
        }
        Backend::Native(service) => {
            unsent.room().await;
            let expected = unsent.expect(&endpoint.expected).await?;
            let request = exchange.open(request).await?;
            exchange.enter()?;
            let reply = service.unary(native_id(endpoint), call, request).await;
            (reply, expected)
        }
    };
    let reply = match reply {
        Ok(reply) => reply,
        Err(status) => return Ok(Err(status)),
    };
    let mut reply = exchange.frame_reply(reply)?;
    // It is counted itself now.
    drop(expected);
    poll_fn(|cx| exchange.poll_packed(cx, &mut reply)).await;
    let mut waiting = None;
    poll_fn(|cx| {
        let sent = exchange.poll_reply(cx, &mut reply);
        if sent.is_pending() {
            if waiting.is_none() {
                waiting = exchange.wait_for_caller(&reply);
            }
            if let Some((waiting, relieving)) = &mut waiting {
                waiting.has_left(reply.remaining());
                let _never = relieving.as_mut().poll(cx);
            }
        }
        sent
    })
    .await?;
    Ok(Ok(()))
}

fn native_id(endpoint: &Endpoint) -> usize {
    usize::try_from(endpoint.id).unwrap_or(usize::MAX)
}

/// Says in the log what a caller is not told. One line for each failed call at debug level; what
/// somebody must act on is louder. `docs/errors.md` has the levels.
fn report(endpoint: &Endpoint, caller: &Peer, error: &CallError) {
    let cause = error.cause();
    match error {
        CallError::Exhausted { .. }
        | CallError::Trap(_)
        | CallError::Instantiate(_)
        | CallError::Contract(_) => {
            say!(
                warn,
                endpoint,
                caller,
                cause,
                "call failed: {}",
                chain(error)
            );
        }
        CallError::ResponseTooLarge { .. } => {
            say!(warn, endpoint, caller, cause, "call failed: {error}");
        }
        CallError::PoolFull { .. }
        | CallError::WaitedTooLong(_)
        | CallError::EngineFull
        | CallError::Unread { .. }
        | CallError::Untaken { .. }
        | CallError::Unfinished
        | CallError::Unsent
        | CallError::Quarantined { .. } => {
            static LAST: Mutex<Option<Instant>> = Mutex::new(None);
            if at_most_once_a_second(&LAST) {
                say!(warn, endpoint, caller, cause, "calls are refused: {error}");
            } else {
                say!(debug, endpoint, caller, cause, "call refused: {error}");
            }
        }
        CallError::Draining | CallError::ConnectionAged | CallError::Replaced => {
            say!(info, endpoint, caller, cause, "call cut short: {error}");
        }
        CallError::Bug => say!(error, endpoint, caller, cause, "call failed: {error}"),
        CallError::UnknownMethod(_)
        | CallError::UnknownEncoding(_)
        | CallError::Malformed(_)
        | CallError::Corrupt { .. }
        | CallError::Cardinality(_)
        | CallError::RequestTooLarge { .. }
        | CallError::UnpackedTooLarge { .. }
        | CallError::WindowTooLarge { .. }
        | CallError::MetadataTooLarge { .. }
        | CallError::Deadline
        | CallError::Cancelled => {
            say!(debug, endpoint, caller, cause, "call failed: {error}");
        }
    }
}

/// Whether a line may be written that strangers can cause; `last` is when one of its kind was.
pub(super) fn at_most_once_a_second(last: &Mutex<Option<Instant>>) -> bool {
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    if last.is_some_and(|last| now.saturating_duration_since(last) < Duration::from_secs(1)) {
        return false;
    }
    *last = Some(now);
    true
}
