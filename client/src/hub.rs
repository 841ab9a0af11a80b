//! What the clones of a channel share: finds a connection for every call, and keeps count.
//!
//! Called by `call` for a place on a connection, by `channel` for everything its owner can ask, by
//! the drivers of connections when they end. It drives the state machine under one short lock and
//! lets `supervisor` carry out what takes time. Invariants: at most `waiting_max` calls wait; a
//! waiting call ends with a place, an error or its own drop, and leaves the line each time; events
//! are written under the lock, so that their order is that of the changes.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::task::AtomicWaker;
use tokio::sync::watch;

use crate::config::Config;
use crate::connection::{Driver, Established, Link, Order, Owner, Ticket};
use crate::error::{CallError, CloseReason, ConnectError};
use crate::events::{Event, Log};
use crate::gate::Gate;
use crate::platform::{self, Clock};
use crate::state::{Machine, Output, Policy, State};
use crate::supervisor::Supervisor;
use crate::transport::Connector;

pub(crate) struct Hub {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) gate: Gate,
    pub(crate) events: Log,
    /// Wakes the supervisor.
    pub(crate) supervisor: AtomicWaker,
    connector: Box<dyn Connector>,
    changes: watch::Sender<State>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    machine: Machine,
    /// The connection that takes calls.
    link: Option<Arc<Link>>,
    /// Every connection that has not ended.
    links: Vec<Arc<Link>>,
    links_opened: u64,
    supervised: bool,
    /// Whether an attempt is to be begun.
    connect: bool,
    /// Attempts that failed, ever.
    failures: u64,
    /// By how much the server wants keepalive stretched.
    ping_stretch: u32,
}

/// What the supervisor is to do.
pub(crate) struct Task {
    pub(crate) connect: bool,
    pub(crate) timeout: Option<std::time::Duration>,
    /// Whether an attempt under way is still wanted.
    pub(crate) wanted: bool,
    pub(crate) over: bool,
}

impl Hub {
    pub(crate) fn new(config: Config, connector: Box<dyn Connector>) -> Arc<Self> {
        let policy = Policy {
            backoff: config.backoff,
            attempts_max: config.attempts_max,
            keep_connected: config.keep_connected,
        };
        Arc::new(Self {
            clock: Clock::new(),
            gate: Gate::default(),
            events: Log::new(config.events_max),
            supervisor: AtomicWaker::new(),
            connector,
            changes: watch::Sender::new(State::Idle),
            inner: Mutex::new(Inner {
                machine: Machine::new(policy),
                link: None,
                links: Vec::new(),
                links_opened: 0,
                supervised: false,
                connect: false,
                failures: 0,
                ping_stretch: 1,
            }),
            config,
        })
    }

    /// A place on a connection, as soon as there is one.
    ///
    /// # Errors
    /// What [`CallError`] has for calls without a connection.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line.
    pub(crate) async fn lease(self: &Arc<Self>, wait_for_ready: bool) -> Result<Ticket, CallError> {
        let mut seat = None;
        loop {
            let link = self.link(wait_for_ready, &mut seat).await?;
            if let Some(ticket) = self.place_on(&link, &mut seat).await? {
                return Ok(ticket);
            }
        }
    }

    /// Waits for a connection, and no more.
    ///
    /// # Errors
    /// As [`lease`](Self::lease).
    ///
    /// # Cancel safety
    /// As [`lease`](Self::lease).
    pub(crate) async fn ready(self: &Arc<Self>, wait_for_ready: bool) -> Result<(), CallError> {
        self.link(wait_for_ready, &mut None).await.map(drop)
    }

    async fn link(
        self: &Arc<Self>,
        wait_for_ready: bool,
        seat: &mut Option<Seat>,
    ) -> Result<Arc<Link>, CallError> {
        let current = self.lock().link.clone();
        if let Some(link) = current {
            return Ok(link);
        }
        loop {
            // Subscribed before the look, so that no change falls between the look and the wait.
            let mut changes = self.changes.subscribe();
            match self.connection(wait_for_ready, seat)? {
                Some(link) => return Ok(link),
                // It ends only with us.
                None => drop(changes.changed().await),
            }
        }
    }

    /// A place on this connection; `None` when it takes no more calls.
    async fn place_on(
        self: &Arc<Self>,
        link: &Arc<Link>,
        seat: &mut Option<Seat>,
    ) -> Result<Option<Ticket>, CallError> {
        if link.is_used_up() {
            self.retire(link, CloseReason::UsedUp);
            return Ok(None);
        }
        if let Ok(ticket) = link.try_admit() {
            return Ok(Some(ticket));
        }
        if seat.is_none() {
            *seat = Some(self.take_seat(&mut self.lock())?);
        }
        Ok(link.admit().await)
    }

    /// The connection that takes calls, if there is one; else a seat in the line.
    fn connection(
        self: &Arc<Self>,
        wait_for_ready: bool,
        seat: &mut Option<Seat>,
    ) -> Result<Option<Arc<Link>>, CallError> {
        let inner = self.lock();
        if let Some(link) = &inner.link {
            return Ok(Some(Arc::clone(link)));
        }
        let state = inner.machine.state();
        if matches!(state, State::Stopping | State::Stopped) {
            return Err(match inner.machine.gave_up() {
                Some(error) => CallError::GaveUp(error.clone()),
                None => CallError::Stopped,
            });
        }
        let Some(error) = inner.machine.last_error() else {
            return self.wait(inner, seat);
        };
        if wait_for_ready && error.try_again() {
            return self.wait(inner, seat);
        }
        match seat {
            Some(seat) if seat.failures < inner.failures => {
                Err(CallError::ConnectFailed(error.clone()))
            }
            Some(_) => self.wait(inner, seat),
            None => match inner.machine.backoff_left(self.clock.now()) {
                Some(retry_in) => Err(CallError::NotConnected {
                    error: error.clone(),
                    retry_in,
                }),
                None => self.wait(inner, seat),
            },
        }
    }

    fn wait(
        self: &Arc<Self>,
        mut inner: MutexGuard<'_, Inner>,
        seat: &mut Option<Seat>,
    ) -> Result<Option<Arc<Link>>, CallError> {
        if seat.is_none() {
            *seat = Some(self.take_seat(&mut inner)?);
        }
        self.carry_out(&mut inner);
        let supervise = !std::mem::replace(&mut inner.supervised, true);
        drop(inner);
        if supervise {
            // Where it cannot run it is dropped, and says so to us.
            platform::spawn(Supervisor::new(Arc::clone(self)))?;
        }
        Ok(None)
    }

    fn take_seat(self: &Arc<Self>, inner: &mut Inner) -> Result<Seat, CallError> {
        let waiting = inner.machine.waiting();
        if waiting >= self.config.waiting_max {
            return Err(CallError::WaitingFull(waiting));
        }
        platform::check_runtime()?;
        inner.machine.handle_wait(self.clock.now());
        Ok(Seat {
            hub: Arc::clone(self),
            failures: inner.failures,
        })
    }

    /// Why there is no connection now; for a call whose deadline passed in the line.
    pub(crate) fn last_error(&self) -> Option<ConnectError> {
        self.lock().machine.last_error().cloned()
    }

    /// The last state, and those to come.
    pub(crate) fn states(&self) -> watch::Receiver<State> {
        self.changes.subscribe()
    }

    pub(crate) fn pause(&self) {
        // Under the lock, like its opening, so that the gate follows the count.
        self.change(|inner| {
            inner.machine.handle_pause();
            self.gate.close();
        });
    }

    pub(crate) fn resume(&self) {
        self.change(|inner| {
            inner.machine.handle_resume();
            if !inner.machine.is_paused() {
                self.gate.open();
            }
        });
    }

    /// The network may be there again.
    pub(crate) fn network_changed(&self) {
        self.change(|inner| inner.machine.handle_network(self.clock.now()));
    }

    /// Ends every connection when its calls have ended, and takes no more calls if asked to.
    pub(crate) fn drain(&self, reason: &CloseReason, stop: bool) {
        let mut inner = self.lock();
        if stop {
            inner.machine.handle_stop();
        }
        let link = inner.link.take();
        if let (Some(link), false) = (&link, stop) {
            self.lost(&mut inner, link, reason);
        }
        for link in &inner.links {
            link.order(Order::Drain(reason.clone()));
        }
        if let (Some(link), false) = (&link, stop) {
            self.events.write(Event::Draining {
                connection: link.id,
                reason: reason.clone(),
            });
        }
        if inner.links.is_empty() {
            inner.machine.handle_stopped();
        }
        self.carry_out(&mut inner);
        drop(inner);
        if let Some(link) = link {
            link.close_to_calls();
        }
    }

    /// Ends every connection now, with its calls.
    pub(crate) fn cut(&self, reason: &CloseReason) {
        self.drain(reason, true);
        for link in &self.lock().links {
            link.order(Order::Cut(reason.clone()));
        }
    }

    /// Makes this connection take no more calls, if it still does.
    pub(crate) fn retire(&self, link: &Arc<Link>, reason: CloseReason) {
        let mut inner = self.lock();
        let current = inner.link.as_ref().is_some_and(|it| Arc::ptr_eq(it, link));
        if current {
            inner.link = None;
            self.lost(&mut inner, link, &reason);
            self.events.write(Event::Draining {
                connection: link.id,
                reason: reason.clone(),
            });
            self.carry_out(&mut inner);
        }
        drop(inner);
        link.order(Order::Drain(reason));
        // Last: whoever waits for a slot on it finds that it is not offered any more.
        link.close_to_calls();
    }

    /// The connection that took calls takes no more.
    fn lost(&self, inner: &mut Inner, link: &Link, reason: &CloseReason) {
        let now = self.clock.now();
        if let CloseReason::Idle(_) = reason {
            return inner.machine.handle_unused(now);
        }
        let fruitless = reason.is_theirs() && !link.has_answered();
        let fruitless = fruitless.then(|| ConnectError::Fruitless(reason.clone()));
        let chance = platform::chance();
        inner.machine.handle_lost(now, fruitless, chance);
        if let State::Backoff { .. } = inner.machine.state() {
            // It fails the calls that wait, as an attempt that failed does.
            inner.failures += 1;
        }
    }

    /// What the supervisor is to do now.
    pub(crate) fn next_task(&self) -> Task {
        let mut inner = self.lock();
        let state = inner.machine.state();
        Task {
            connect: std::mem::take(&mut inner.connect),
            timeout: inner.machine.poll_timeout(),
            wanted: matches!(state, State::Connecting { .. }),
            over: state == State::Stopped,
        }
    }

    /// The attempt that the supervisor is to make.
    pub(crate) fn connector(&self) -> &dyn Connector {
        &*self.connector
    }

    pub(crate) fn timer(&self) {
        self.change(|inner| inner.machine.handle_timer(self.clock.now()));
    }

    pub(crate) fn failed(&self, error: ConnectError) {
        self.change(|inner| {
            inner.failures += 1;
            let chance = platform::chance();
            inner.machine.handle_failed(self.clock.now(), error, chance);
        });
    }

    pub(crate) fn connected(self: &Arc<Self>, established: Established) {
        let mut inner = self.lock();
        if !matches!(inner.machine.state(), State::Connecting { .. }) {
            return;
        }
        inner.links_opened += 1;
        let link = Link::new(
            inner.links_opened,
            established.sender.clone(),
            established.go_away.clone(),
        );
        self.events.write(Event::Opened {
            connection: link.id,
            transport: established.transport,
            subprotocol: established.subprotocol.clone(),
        });
        inner.machine.handle_connected(self.clock.now());
        inner.links.push(Arc::clone(&link));
        inner.link = Some(Arc::clone(&link));
        let stretch = inner.ping_stretch;
        self.carry_out(&mut inner);
        drop(inner);
        let owner = Arc::clone(self);
        let driver = Driver::new(owner, link, established, &self.config, self.clock, stretch);
        // Outside a runtime the driver is dropped and tells of its end by that.
        if platform::spawn(driver).is_err() {
            tracing::debug!("the runtime is gone");
        }
    }

    /// The supervisor is no more, though the channel is.
    pub(crate) fn supervisor_lost(&self) {
        self.change(|inner| {
            inner.supervised = false;
            inner.connect = false;
            let error = ConnectError::Other("the runtime that connected has ended".to_owned());
            inner.machine.handle_failed(self.clock.now(), error, 0.5);
        });
    }

    /// Does something to the machine and what follows from it.
    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.lock();
        change(&mut inner);
        self.carry_out(&mut inner);
    }

    /// Carries out what the machine wants, and tells everybody where it is now.
    fn carry_out(&self, inner: &mut Inner) {
        while let Some(output) = inner.machine.poll_output() {
            match output {
                Output::Connect => inner.connect = true,
                Output::Tell(event) => self.events.write(event),
            }
        }
        let state = inner.machine.state();
        self.changes.send_if_modified(|last| {
            let changed = *last != state;
            *last = state;
            changed
        });
        self.supervisor.wake();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call's seat in the line; dropping it leaves the line.
struct Seat {
    hub: Arc<Hub>,
    /// Failed attempts when the call sat down: a later one is its own.
    failures: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.lock().machine.handle_wait_over();
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("state", &*self.changes.borrow())
            .finish_non_exhaustive()
    }
}

impl Owner for Arc<Hub> {
    fn draining(&self, link: &Arc<Link>, reason: CloseReason, too_many_pings: bool) {
        if too_many_pings {
            let mut inner = self.lock();
            inner.ping_stretch = inner.ping_stretch.saturating_mul(2);
        }
        self.retire(link, reason);
    }

    fn closed(&self, link: &Arc<Link>, reason: CloseReason) {
        let mut inner = self.lock();
        let current = inner.link.as_ref().is_some_and(|it| Arc::ptr_eq(it, link));
        if current {
            inner.link = None;
            self.lost(&mut inner, link, &reason);
        }
        self.events.write(Event::Closed {
            connection: link.id,
            reason,
        });
        self.carry_out(&mut inner);
    }

    fn gone(&self, link: &Arc<Link>) {
        let mut inner = self.lock();
        inner.links.retain(|it| !Arc::ptr_eq(it, link));
        if inner.links.is_empty() {
            inner.machine.handle_stopped();
        }
        self.carry_out(&mut inner);
    }
}
