//! One HTTP/2 connection, and its calls.
//!
//! Called by `listener` with a byte stream; calls `grpc::call` for every request. A connection is one
//! task that does all of it in turn: read frames, begin the calls that came, poll them, write what
//! they answered, send it with one system call. A task for each call would flush for each response:
//! 8.7 us of CPU a call instead of 4.4. Which calls may not run here is `lane`'s to say.
//!
//! Invariants: a call that is polled here is dropped here or ends here, so a connection that goes
//! takes its calls along; a panic stays inside its call; every wait (set-up, silence, drain) has a
//! limit.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::task::AtomicWaker;
use h2::Reason;
use h2::server::{self, Connection};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::call;
use super::connect::{self, Connect, Connects};
use super::exchange::HttpExchange;
use super::flood::Flood;
use super::lifetime;
use super::link::{Buffers, Link};
use super::live::LiveRoutes;
use super::outbox::{Outbox, OutboxIo, outbox};
use super::page::{self, Pages};
use super::stall::Stall;
use super::web::Origins;
use crate::config::ConnectionConfig;
use crate::imports::call::{CancelReason, Outbound};
use crate::lane::{Lanes, Run};
use crate::peer::Peer;
use crate::telemetry::{OpenConnection, Telemetry, Turn};

/// Times the task goes round before it lets other connections run. Two are enough for calls that
/// end at once (read and run, then write); the third serves what they woke.
const ROUNDS_MAX: usize = 3;

/// What h2 may hold for DATA frames that no call has taken yet, in bytes as h2 counts them: some 256
/// for each small frame. Calls take over what comes when they are polled, but one on the long lane may
/// be polled late; h2's default ends the connection after eight thousand frames.
const SMALL_FRAMES_BUDGET_BYTES: usize = 16 << 20;

/// Time a peer has to answer the PING that goes with GOAWAY. One that does not is closed once its
/// calls have ended, instead of being waited for until the end of the drain. One that is not even
/// set up is not waited for any longer either.
const GOAWAY_TIMEOUT: Duration = Duration::from_secs(1);

/// Calls of a connection that may run, reset ones included, for each that may be open. Room for a peer that
/// cancels all its calls and begins as many again.
const UNFINISHED_FACTOR: usize = 2;

/// What the log says of a flood that h2 finds: which one it is h2 tells the peer alone.
const FOUND_BY_H2: &str = "excessive_load";

/// What every connection of a host shares.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// Who serves what.
    pub routes: Arc<LiveRoutes>,
    /// Limits of connections.
    pub connection: Arc<ConnectionConfig>,
    /// What waits in the host.
    pub buffers: Buffers,
    /// Who runs a call.
    pub lanes: Arc<Lanes>,
    /// What is served beside gRPC.
    pub pages: Arc<dyn Pages>,
    /// What else than gRPC a stream may be connected to.
    pub connects: Option<Arc<dyn Connects>>,
    /// Whose pages may call; without it there is no gRPC-Web.
    pub origins: Option<Arc<dyn Origins>>,
    /// Where connections and calls are counted.
    pub telemetry: Telemetry,
}

/// When connections are to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections {
    /// No new calls: GOAWAY, and the end once the running calls have ended.
    pub drain: CancellationToken,
    /// No more time: the calls that still run are cancelled.
    pub cut: CancellationToken,
    /// Calls that were cancelled so.
    pub cut_calls: Arc<AtomicUsize>,
}

impl Connections {
    /// Waits for a handshake: `within` at most, and in a drain no longer than for any other answer.
    ///
    /// # Cancel safety
    /// That of the handshake.
    pub(crate) async fn set_up<T>(
        &self,
        within: Duration,
        handshake: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            shaken = timeout(within, handshake) => shaken.ok(),
            () = self.grace() => None,
        }
    }

    /// Waits until the drain has begun and nobody who asked nothing yet is waited for any longer.
    ///
    /// # Cancel safety
    /// Begins anew.
    pub(crate) async fn grace(&self) {
        self.drain.cancelled().await;
        sleep(GOAWAY_TIMEOUT).await;
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// HTTP/2 was not set up, or not in time.
    NotSetUp,
    /// The peer ended it.
    Peer,
    /// The peer broke HTTP/2, does not answer, or the byte stream failed.
    Failed,
    /// It had no call for `idle_timeout`, or no request for `first_request_timeout`.
    Idle,
    /// It was as old as it may be.
    Aged,
    /// The host stops.
    Drained,
}

impl Ended {
    /// A word for metrics and the log.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::NotSetUp => "not_set_up",
            Self::Peer => "peer",
            Self::Failed => "failed",
            Self::Idle => "idle",
            Self::Aged => "aged",
            Self::Drained => "drained",
        }
    }
}

impl Server {
    /// Serves one connection until it ends; says why it did.
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection and all its calls.
    pub(crate) async fn serve<S>(self, stream: S, peer: Peer, until: Connections) -> Ended
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let open = Arc::new(self.telemetry.connected(&peer));
        let ended = self.run(stream, peer, until, &open).await;
        open.ended(ended.reason());
        ended
    }

    async fn run<S>(
        self,
        stream: S,
        peer: Peer,
        until: Connections,
        open: &Arc<OpenConnection>,
    ) -> Ended
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (outbox, io) = outbox(stream, self.connection.pings);
        let calls_max = self.connection.calls_max.get();
        let calls_max = usize::try_from(calls_max).unwrap_or(usize::MAX);
        let mut builder = server::Builder::new();
        builder
            .max_concurrent_streams(self.connection.calls_max.get())
            .initial_window_size(self.connection.stream_window_bytes)
            .initial_connection_window_size(self.connection.connection_window_bytes)
            .max_send_buffer_size(self.connection.send_buffer_bytes)
            .max_header_list_size(self.connection.header_list_bytes(self.routes.load().call()))
            // A peer that cancels all its calls at once is none that attacks, so as many streams may be
            // reset before we have looked at them as calls may be open; h2's default is 20. One more
            // ends the connection. Source: CVE-2023-44487, "rapid reset".
            .max_pending_accept_reset_streams(calls_max)
            .data_frame_budget(SMALL_FRAMES_BUDGET_BYTES);
        if self.connects.is_some() {
            builder.enable_connect_protocol();
        }
        let handshake = async {
            let mut handshake = std::pin::pin!(builder.handshake::<_, Outbound>(io));
            // h2 writes its SETTINGS during the handshake, so the outbox must be sent beside it.
            std::future::poll_fn(|cx| {
                let shaken = handshake.as_mut().poll(cx);
                match outbox.poll_send(cx) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(h2_error(error))),
                    Poll::Ready(Ok(())) | Poll::Pending => shaken,
                }
            })
            .await
        };
        let within = self.connection.handshake_timeout;
        match until.set_up(within, handshake).await {
            Some(Ok(connection)) => {
                let parting = outbox.clone();
                let ended =
                    Driver::new(self, connection, outbox, peer, until, Arc::clone(open)).await;
                if ended == Ended::Failed {
                    // Whoever broke the rules gets to read which.
                    drop(timeout(GOAWAY_TIMEOUT, parting.part()).await);
                }
                return ended;
            }
            Some(Err(error)) => tracing::debug!(%peer, %error, "HTTP/2 was not set up"),
            None => tracing::debug!(%peer, "HTTP/2 was not set up in time"),
        }
        Ended::NotSetUp
    }
}

fn h2_error(error: std::io::Error) -> h2::Error {
    tracing::debug!(%error, "the peer is gone before HTTP/2 was set up");
    Reason::CONNECT_ERROR.into()
}

/// Something that happened beside the frames.
enum Event {
    CallEnded,
    PageSent,
    Drain,
    IdleAsked,
    NothingAsked,
    Aged,
    AgedOut,
    Silent,
    Cut,
    Dead,
    Over,
}

/// What a connection waits for besides frames. Each is polled only when it was woken.
enum Wait {
    Call(Run, Arc<HttpExchange>),
    Other(Pin<Box<dyn Future<Output = Event> + Send>>),
}

impl Future for Wait {
    type Output = Event;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Event> {
        match &mut *self {
            Self::Call(run, _) => Pin::new(run).poll(cx).map(|()| Event::CallEnded),
            Self::Other(other) => other.as_mut().poll(cx),
        }
    }
}

/// Drives a connection: the task's future.
struct Driver<S> {
    server: Server,
    connection: Connection<OutboxIo<S>, Outbound>,
    outbox: Outbox<S>,
    link: Arc<Link>,
    /// What others see of it.
    open: Arc<OpenConnection>,
    waits: FuturesUnordered<Wait>,
    calls: usize,
    /// Begun in this round, not polled yet.
    begun: Vec<Wait>,
    /// Whether a request has come.
    asked: bool,
    /// Whether a call was begun since the connection was asked last whether it is idle.
    used: bool,
    /// How often it was idle in a row when it was asked.
    idle_count: u32,
    ended: Ended,
    closed: bool,
    /// The drain has begun and the peer has had its time: nothing but calls keeps it open.
    ending: bool,
    /// Whether there are calls, as far as keepalive wants to know.
    busy: Arc<AtomicBool>,
    until: Connections,
    /// Whether what waits to be sent has waited for too long.
    stall: Stall,
    /// Of what calls have handed over, what h2 does not hold any more.
    leaving: usize,
    /// What had been sent when the peer was seen to take nothing; none while it takes all.
    blocked_at: Option<u64>,
    again: Arc<Again>,
    waker: Waker,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Driver<S> {
    fn new(
        server: Server,
        mut connection: Connection<OutboxIo<S>, Outbound>,
        outbox: Outbox<S>,
        peer: Peer,
        until: Connections,
        open: Arc<OpenConnection>,
    ) -> Self {
        let waits = FuturesUnordered::new();
        let (drain, cut) = (until.drain.clone(), until.cut.clone());
        waits.push(then(drain.cancelled_owned(), Event::Drain));
        waits.push(then(cut.cancelled_owned(), Event::Cut));
        let busy = Arc::new(AtomicBool::new(false));
        if let Some(ping) = connection.ping_pong() {
            let config = Arc::clone(&server.connection);
            let dead = lifetime::dead(ping, outbox.clone(), config, Arc::clone(&busy));
            waits.push(then(dead, Event::Dead));
        }
        let config = &server.connection;
        if let Some(time) = config.idle_timeout {
            waits.push(then(lifetime::idle_part(time), Event::IdleAsked));
        }
        if let Some(time) = config.first_request_timeout {
            waits.push(then(sleep(time), Event::NothingAsked));
        }
        if let Some(time) = config.age_max {
            waits.push(then(lifetime::age(time), Event::Aged));
        }
        let stall = Stall::new(config.send_stall_timeout);
        let again = Arc::new(Again::default());
        let link = Arc::new(server.buffers.link(peer, server.telemetry.clone()));
        Self {
            server,
            connection,
            outbox,
            link,
            open,
            waits,
            calls: 0,
            begun: Vec::new(),
            asked: false,
            used: false,
            idle_count: 0,
            ended: Ended::Peer,
            closed: false,
            ending: false,
            busy,
            until,
            stall,
            leaving: 0,
            blocked_at: None,
            waker: Waker::from(Arc::clone(&again)),
            again,
        }
    }

    /// Whether there are calls, as far as pings of the peer depend on that.
    fn may_ping(&self) -> bool {
        self.server.connection.pings.without_calls
            || self.calls > 0
            || self.connection.has_streams()
    }

    /// Whether so many calls run that no other is begun. h2 counts open streams, but a call that was reset
    /// goes on until its handler has noticed, and who resets calls as fast as they begin must not have
    /// more of them than the others: h2 ends the connection when as many are reset while they wait.
    /// Source: CVE-2023-44487.
    fn is_full(&self) -> bool {
        let calls_max = self.server.connection.calls_max.get();
        let calls_max = usize::try_from(calls_max).unwrap_or(usize::MAX);
        self.calls + self.begun.len() >= calls_max.saturating_mul(UNFINISHED_FACTOR)
    }

    /// Reads frames and begins the calls that came with them.
    fn accept(&mut self, cx: &mut Context<'_>) {
        while !self.closed {
            let polled = if self.is_full() {
                // Reads and writes all the same, and lets the next calls wait in h2.
                let closed = self.connection.poll_closed(cx);
                closed.map(|closed| closed.err().map(Err))
            } else {
                self.connection.poll_accept(cx)
            };
            match polled {
                Poll::Pending => break,
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.asked = true;
                    let Server {
                        routes,
                        lanes,
                        pages,
                        connects,
                        origins,
                        ..
                    } = &self.server;
                    let origins = origins.as_deref();
                    if let Some(connects) = connects
                        && connect::is_connect(&request)
                    {
                        self.used = true;
                        connects.connect(
                            Connect::new(request, respond, Arc::clone(&self.link)),
                            &self.link.peer,
                        );
                    } else if let Some(answer) =
                        page::answer(&**pages, origins, &request, &self.link.peer)
                    {
                        self.used = true;
                        let sending = page::send(answer, respond, self.until.clone());
                        self.waits.push(other(async {
                            sending.await;
                            Event::PageSent
                        }));
                    } else if let Some(begun) =
                        call::begin(&routes.load(), &self.link, origins, request, respond)
                    {
                        self.used = true;
                        let run = Run::new(lanes, &begun.meter, begun.run);
                        self.begun.push(Wait::Call(run, begun.exchange));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(peer = %self.link.peer, %error, "connection failed");
                    if error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
                        self.tell_of_flood(FOUND_BY_H2);
                    }
                    self.ended = Ended::Failed;
                    self.closed = true;
                }
                Poll::Ready(None) => self.closed = true,
            }
        }
        if !self.closed && self.link.unsent.has_ended() {
            tracing::debug!(peer = %self.link.peer, "the peer takes nothing, and others need the room");
            self.ended = Ended::Failed;
            self.closed = true;
        }
        if !self.closed
            && let Some(flood) = self.outbox.flood()
        {
            self.send_away(flood);
        }
    }

    /// Ends a connection whose peer sends too much that asks for nothing.
    fn send_away(&mut self, flood: Flood) {
        self.tell_of_flood(flood.debug_data());
        self.outbox.say_goodbye(flood);
        self.ended = Ended::Failed;
        self.closed = true;
    }

    fn tell_of_flood(&self, why: &str) {
        static LAST: Mutex<Option<Instant>> = Mutex::new(None);
        if call::at_most_once_a_second(&LAST) {
            tracing::info!(peer = %self.link.peer, why, "a connection was ended: its peer floods it");
        }
    }

    /// Polls the calls that were begun, then whatever was woken.
    fn run(&mut self, cx: &mut Context<'_>) {
        let _turn = Turn::begin();
        let was_full = self.is_full();
        for mut wait in self.begun.drain(..) {
            // Most calls end here and never get a place among those that wait.
            if Pin::new(&mut wait).poll(cx).is_pending() {
                self.calls += 1;
                self.waits.push(wait);
            }
        }
        while let Poll::Ready(Some(event)) = self.waits.poll_next_unpin(cx) {
            match event {
                Event::CallEnded => self.calls -= 1,
                Event::PageSent => {}
                Event::Drain => {
                    self.ended = Ended::Drained;
                    self.drain();
                }
                Event::IdleAsked => self.idle(),
                Event::NothingAsked if self.asked => {}
                Event::NothingAsked => {
                    tracing::debug!(peer = %self.link.peer, "nothing was asked in time");
                    self.ended = Ended::Idle;
                    self.drain();
                }
                Event::Aged => {
                    self.ended = Ended::Aged;
                    self.drain();
                    let grace = self.server.connection.age_grace;
                    self.waits.push(then(sleep(grace), Event::AgedOut));
                }
                Event::AgedOut => self.cut_aged(),
                Event::Silent => self.ending = true,
                Event::Cut => {
                    self.ending = true;
                    self.until
                        .cut_calls
                        .fetch_add(self.calls, Ordering::Relaxed);
                    self.cancel(CancelReason::Shutdown);
                }
                Event::Dead => {
                    tracing::debug!(peer = %self.link.peer, "the peer does not answer");
                    self.ended = Ended::Failed;
                    self.closed = true;
                }
                Event::Over => self.closed = true,
            }
        }
        self.open.set_calls(self.calls);
        if was_full && !self.is_full() {
            // Nothing else announces the calls that wait in h2.
            self.again.set();
        }
        if !self.server.connection.keepalive_without_calls {
            let busy = self.calls > 0 || self.connection.has_streams();
            self.busy.store(busy, Ordering::Relaxed);
        }
    }

    /// Ends a connection that had no call for so long.
    fn idle(&mut self) {
        let used = std::mem::take(&mut self.used);
        self.idle_count = if used || self.calls > 0 {
            0
        } else {
            self.idle_count + 1
        };
        if self.idle_count < lifetime::IDLE_ASKED {
            let time = self.server.connection.idle_timeout;
            let asked = |time| then(lifetime::idle_part(time), Event::IdleAsked);
            self.waits.extend(time.map(asked));
        } else {
            self.ended = Ended::Idle;
            self.drain();
        }
    }

    /// Tells the peer to begin no more calls. h2 closes the connection when the peer has answered
    /// and all streams have ended.
    fn drain(&mut self) {
        self.connection.graceful_shutdown();
        self.waits.push(then(sleep(GOAWAY_TIMEOUT), Event::Silent));
        // h2 sends what it was told when it is polled next, and nothing else may come to wake it.
        self.again.set();
    }

    /// Cancels the calls that outlasted the grace of a connection's age. Each has its own grace to end in,
    /// and then what is left goes: streams that are no calls, and a peer that reads nothing.
    fn cut_aged(&mut self) {
        self.ending = true;
        for wait in &self.waits {
            if let Wait::Call(_, exchange) = wait {
                exchange.cancel_aged();
            }
        }
        let grace = self.server.routes.load().call().cancel_grace;
        let time = grace + GOAWAY_TIMEOUT;
        self.waits.push(then(sleep(time), Event::Over));
    }

    /// Closes a connection that nothing keeps open any more, without an answer of the peer.
    fn end(&mut self) {
        if self.ending && self.calls == 0 && !self.connection.has_streams() {
            self.ending = false;
            self.connection.abrupt_shutdown(Reason::NO_ERROR);
            self.again.set();
        }
    }

    /// Cancels the calls that still run; each ends with its status after its grace.
    fn cancel(&self, reason: CancelReason) {
        for wait in &self.waits {
            if let Wait::Call(_, exchange) = wait {
                exchange.cancel(reason);
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Driver<S> {
    /// Sends what was gathered, as far as the peer takes it.
    fn send(&mut self, cx: &mut Context<'_>) {
        match self.outbox.poll_send(cx) {
            Poll::Ready(Ok(())) => {
                self.stall.clear();
                self.all_left();
            }
            Poll::Ready(Err(_)) if self.closed => {}
            Poll::Ready(Err(error)) => {
                tracing::debug!(peer = %self.link.peer, %error, "sending failed");
                // h2 gets the error from its next read and tells all streams.
                self.again.set();
            }
            Poll::Pending => {
                let sent = self.outbox.sent_bytes();
                let moved = self.blocked_at.replace(sent) != Some(sent);
                let bytes = self.link.sluice.bytes();
                self.link.unsent.block(bytes, moved, cx);
                if !self.closed && self.stall.poll(cx, self.outbox.sent_bytes()).is_ready() {
                    tracing::debug!(peer = %self.link.peer, "the peer takes nothing that is sent");
                    self.ended = Ended::Failed;
                    self.closed = true;
                    self.again.set();
                }
            }
        }
    }
}

impl<S> Driver<S> {
    /// Notes that all has left which h2 does not hold any more.
    fn all_left(&mut self) {
        let leaving = std::mem::take(&mut self.leaving);
        if leaving > 0 {
            self.link.sluice.left(leaving);
        }
        if self.blocked_at.take().is_some() {
            self.link.unsent.unblock();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Future for Driver<S> {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let this = &mut *self;
        this.again.begin(cx);
        let waker = this.waker.clone();
        let mut inner = Context::from_waker(&waker);
        for _ in 0..ROUNDS_MAX {
            this.again.clear();
            this.outbox.begin_round(this.may_ping());
            let handed_over = this.link.sluice.bytes();
            this.accept(&mut inner);
            if this.outbox.has_all() {
                this.leaving = handed_over;
            }
            this.run(&mut inner);
            this.end();
            if this.closed {
                // Nobody hears the calls that are left; their guests learn it and have their grace.
                this.cancel(CancelReason::ClientGone);
            }
            if this.closed && this.calls == 0 {
                // What h2 still had to say (GOAWAY) has been gathered; a peer that does not take
                // it is not waited for.
                drop(this.outbox.poll_send(cx));
                return Poll::Ready(this.ended);
            }
            if !this.again.is_set() {
                break;
            }
        }
        this.send(&mut inner);
        this.again.end(cx);
        Poll::Pending
    }
}

fn other(event: impl Future<Output = Event> + Send + 'static) -> Wait {
    Wait::Other(Box::pin(event))
}

/// This event, when the time has come.
fn then(time: impl Future<Output = ()> + Send + 'static, event: Event) -> Wait {
    other(async {
        time.await;
        event
    })
}

/// Tells "something woke the connection while it was being polled" from "wake its task".
#[derive(Debug, Default)]
struct Again {
    set: AtomicBool,
    polling: AtomicBool,
    task: AtomicWaker,
}

impl Again {
    fn begin(&self, cx: &Context<'_>) {
        self.task.register(cx.waker());
        self.polling.store(true, Ordering::SeqCst);
    }

    fn clear(&self) {
        self.set.store(false, Ordering::SeqCst);
    }

    fn is_set(&self) -> bool {
        self.set.load(Ordering::SeqCst)
    }

    fn set(&self) {
        self.set.store(true, Ordering::SeqCst);
    }

    /// A wake between the last look and here saw `polling` and woke nobody: `set` tells of it. A
    /// wake after here sees that nobody polls and wakes the task. Both orders are sequentially
    /// consistent, so none falls between.
    fn end(&self, cx: &Context<'_>) {
        self.polling.store(false, Ordering::SeqCst);
        if self.is_set() {
            cx.waker().wake_by_ref();
        }
    }
}

impl Wake for Again {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.set.store(true, Ordering::SeqCst);
        if !self.polling.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}
