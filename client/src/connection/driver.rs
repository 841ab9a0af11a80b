//! The task of one connection: moves its bytes, pings, drains and ends it.
//!
//! Spawned by `hub`, which it tells what calls cannot know. In each turn it lets HTTP/2 read and write, then
//! sends what was gathered in one go. Invariants: every ending (by the server, by an order, by
//! silence) has a limit in time; the owner is told of the end exactly once, even when the task is
//! dropped. It is told before calls are, so that a call that looks for another place finds none here.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::Connection;
use h2::{Ping, PingPong};

use super::link::{Link, Order};
use super::setup::Established;
use super::wire::{Fate, Wire, WireIo};
use crate::config::Config;
use crate::error::{CloseReason, reason_name};
use crate::keepalive::{Advice, Pinger};
use crate::platform::{self, Clock, MaybeSend, Sleep};
use crate::transport::{BoxIo, EndText};

/// Longest wait for a server that does not take our last bytes or does not answer a WebSocket's close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Who is told what happens to a connection.
pub(crate) trait Owner: MaybeSend {
    /// The server takes no more calls on it.
    fn draining(&self, link: &Arc<Link>, reason: CloseReason, too_many_pings: bool);
    /// It has ended: nothing more comes or goes.
    fn closed(&self, link: &Arc<Link>, reason: CloseReason);
    /// Its byte stream has ended too.
    fn gone(&self, link: &Arc<Link>);
}

pub(crate) struct Driver<O: Owner> {
    owner: O,
    link: Arc<Link>,
    /// Gone when HTTP/2 is over and only the byte stream is left to end.
    connection: Option<Connection<WireIo<BoxIo>, Bytes>>,
    wire: Wire<BoxIo>,
    end_text: Option<EndText>,
    clock: Clock,
    ping: Option<PingPong>,
    pinger: Option<Pinger>,
    idle: Option<Idle>,
    timer: Option<(Duration, Sleep)>,
    /// When an ending is given up.
    closing: Option<Duration>,
    reason: Option<CloseReason>,
    yielded: bool,
    over: bool,
}

/// Since when there is no call.
struct Idle {
    timeout: Duration,
    since: Option<Duration>,
}

impl<O: Owner> Driver<O> {
    pub(crate) fn new(
        owner: O,
        link: Arc<Link>,
        established: Established,
        config: &Config,
        clock: Clock,
        ping_stretch: u32,
    ) -> Self {
        let Established {
            mut connection,
            wire,
            end_text,
            ..
        } = established;
        link.wake_when_idle(config.idle_timeout.is_some());
        let pinger = config
            .keepalive
            .map(|keepalive| Pinger::new(keepalive, ping_stretch, clock.now()));
        Self {
            owner,
            link,
            ping: connection.ping_pong(),
            connection: Some(connection),
            wire,
            end_text,
            clock,
            pinger,
            idle: config.idle_timeout.map(|timeout| Idle {
                timeout,
                since: None,
            }),
            timer: None,
            closing: None,
            reason: None,
            yielded: false,
            over: false,
        }
    }

    /// Lets HTTP/2 read and write.
    fn exchange(&mut self, cx: &mut Context<'_>) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let ended = Pin::new(connection).poll(cx);
        if let Some(ping) = &mut self.ping {
            // The answer counts like anything else that is heard, but the library keeps it until
            // it is taken, and sends no other PING before.
            drop(ping.poll_pong(cx));
        }
        let news = self.wire.take_news();
        if news.settings {
            self.link.update_slots();
        }
        if news.heard
            && let Some(pinger) = &mut self.pinger
        {
            pinger.handle_heard(self.clock.now());
        }
        if news.go_away
            && let Some(go_away) = self.link.go_away()
        {
            let pings = go_away.is_too_many_pings();
            self.owner.draining(&self.link, go_away.reason(), pings);
        }
        if let Poll::Ready(result) = ended {
            let reason = self.why(result.err());
            self.finish(reason);
        }
    }

    /// Why HTTP/2 is over: our own order first, then what the server said, then what happened.
    fn why(&self, error: Option<h2::Error>) -> CloseReason {
        if let Order::Drain(reason) | Order::Cut(reason) = self.link.ordered() {
            return reason;
        }
        if let Some(go_away) = self.link.go_away() {
            return go_away.reason();
        }
        let end_text = self.end_text.as_ref().and_then(|end_text| end_text());
        match (self.wire.fate(), error) {
            (Fate::Foreign(text), _) => CloseReason::Protocol(text),
            (Fate::Failed(text), _) => CloseReason::Lost(end_text.unwrap_or(text)),
            (Fate::Open, Some(error)) => CloseReason::Protocol(match error.reason() {
                Some(reason) => reason_name(reason),
                None => error.to_string(),
            }),
            (Fate::Ended | Fate::Open, _) => {
                CloseReason::Lost(end_text.unwrap_or_else(|| "the server closed it".to_owned()))
            }
        }
    }

    /// HTTP/2 is over: calls learn why, then the byte stream ends.
    fn finish(&mut self, reason: CloseReason) {
        if self.reason.is_none() {
            self.reason = Some(reason.clone());
            self.owner.closed(&self.link, reason.clone());
            self.link.close_to_calls();
            self.link.end(reason);
        }
        // Tells the calls that are left.
        self.connection = None;
        self.begin_closing();
    }

    fn begin_closing(&mut self) {
        let deadline = self.clock.now() + CLOSE_TIMEOUT;
        self.closing.get_or_insert(deadline);
    }

    fn obey(&mut self) {
        match self.link.ordered() {
            Order::Run => {}
            Order::Drain(_) if self.connection.is_none() => {}
            // The library ends by itself once nobody refers to it any more.
            Order::Drain(_) if self.link.calls() == 0 => self.begin_closing(),
            // One slipped in before the connection was closed to calls.
            Order::Drain(_) => self.closing = None,
            Order::Cut(reason) => {
                if self.connection.is_some() {
                    self.finish(reason);
                }
            }
        }
    }

    /// Pings, idleness, the end of patience. Answers when to look again.
    fn watch_time(&mut self) -> Option<Duration> {
        let now = self.clock.now();
        if let Some(deadline) = self.closing {
            if now >= deadline && self.connection.is_some() {
                let reason = self.why(None);
                self.finish(reason);
            }
            return Some(deadline);
        }
        let idle_due = self.watch_idle(now);
        let ping_due = self.watch_silence(now);
        [idle_due, ping_due].into_iter().flatten().min()
    }

    fn watch_idle(&mut self, now: Duration) -> Option<Duration> {
        let idle = self.idle.as_mut()?;
        if self.link.calls() > 0 {
            idle.since = None;
            return None;
        }
        let since = *idle.since.get_or_insert(now);
        let due = since + idle.timeout;
        if now >= due {
            let reason = CloseReason::Idle(idle.timeout);
            self.idle = None;
            self.owner.draining(&self.link, reason, false);
            return None;
        }
        Some(due)
    }

    fn watch_silence(&mut self, now: Duration) -> Option<Duration> {
        let (pinger, ping) = (self.pinger.as_mut()?, self.ping.as_mut()?);
        match pinger.advice(now, self.link.calls()) {
            // The next call wakes this task, since its request has to be sent.
            Advice::Rest => None,
            Advice::Wait(due) => Some(due),
            Advice::Ping => {
                // An error means that one is under way, which is as good.
                drop(ping.send_ping(Ping::opaque()));
                pinger.handle_pinged(now);
                match pinger.advice(now, 1) {
                    Advice::Wait(due) => Some(due),
                    Advice::Rest | Advice::Ping | Advice::Dead => None,
                }
            }
            Advice::Dead => {
                let silence = pinger.timeout();
                self.finish(CloseReason::Silent(silence));
                None
            }
        }
    }

    /// Polls the timer for this time. Answers whether it has come.
    fn poll_timer(&mut self, due: Option<Duration>, cx: &mut Context<'_>) -> bool {
        let Some(due) = due else {
            self.timer = None;
            return false;
        };
        // A timer that goes off too early costs one look; setting one for each frame would cost more.
        if self.timer.as_ref().is_none_or(|(set, _)| *set > due) {
            self.timer = Some((due, self.clock.sleep_until(due)));
        }
        let Some((_, sleep)) = &mut self.timer else {
            return false;
        };
        let gone_off = Pin::new(sleep).poll(cx).is_ready();
        if gone_off {
            self.timer = None;
        }
        gone_off
    }

    /// Sends what was gathered. In browsers everybody who can run now runs before: their requests
    /// go out in the same message.
    fn send(&mut self, cx: &mut Context<'_>) {
        if self.connection.is_none() || !self.wire.has_unsent() {
            self.yielded = false;
            return;
        }
        if platform::YIELD_BEFORE_SENDING && !std::mem::replace(&mut self.yielded, true) {
            cx.waker().wake_by_ref();
            return;
        }
        self.yielded = false;
        if let Poll::Ready(Err(_)) = self.wire.poll_send(cx) {
            // The library gets the error from its next read and tells all calls.
            cx.waker().wake_by_ref();
        }
    }

    /// Ends the byte stream. Ready when the task is over.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.connection.is_some() {
            return Poll::Pending;
        }
        let patience_over = self
            .closing
            .is_some_and(|deadline| self.clock.now() >= deadline);
        let dead = matches!(self.reason, Some(CloseReason::Silent(_)));
        if self.wire.poll_shutdown(cx).is_ready() || patience_over || dead {
            self.over = true;
            self.owner.gone(&self.link);
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl<O: Owner + Unpin> Future for Driver<O> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.link.register_driver(cx.waker());
        loop {
            this.exchange(cx);
            this.obey();
            let due = this.watch_time();
            this.send(cx);
            if this.poll_close(cx).is_ready() {
                return Poll::Ready(());
            }
            if !this.poll_timer(due, cx) {
                return Poll::Pending;
            }
        }
    }
}

impl<O: Owner> Drop for Driver<O> {
    fn drop(&mut self) {
        if !self.over {
            // The runtime is gone, and this task with it.
            self.finish(CloseReason::RuntimeEnded);
            self.owner.gone(&self.link);
        }
    }
}
