//! When a channel connects: a state machine without a clock, a socket or chance of its own.
//!
//! Driven by `lease`: `handle_*` tell it what happened, with the time as an argument; afterwards its
//! outputs are taken one by one and its timer is set. Invariants, property-tested below: at most one
//! attempt at a time and none beside a connection; while a call waits there is an attempt, or a
//! timer that begins one; the time between two attempts is within the jitter of the policy, unless
//! the connection between them was of use, or is the first one that was not; nothing but the end
//! comes after the end. Knows nothing of calls but how many wait.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::config::Backoff;
use crate::error::ConnectError;
use crate::events::Event;

/// A connection that lasted as long was of use even if nobody called on it: shorter than the time
/// after which servers and proxies close a connection that nobody uses.
const LASTING: Duration = Duration::from_secs(10);

/// Where a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// No connection, and nobody wants one.
    Idle,
    /// A connection is being set up.
    Connecting {
        /// 1 for the first attempt since the last connection that was of use.
        attempt: u32,
    },
    /// Calls go out.
    Ready,
    /// Connected, and answers are held back.
    Paused,
    /// The last attempt failed, and the next one is not due yet.
    Backoff {
        /// The attempt that failed.
        attempt: u32,
    },
    /// No new calls; those under way may finish.
    Stopping,
    /// Of no more use.
    Stopped,
}

/// What the machine goes by.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub backoff: Backoff,
    pub attempts_max: Option<NonZeroU32>,
    pub keep_connected: bool,
}

/// What the machine wants done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Output {
    /// Begin an attempt.
    Connect,
    /// Tell the observers.
    Tell(Event),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// With the time at which a connection is sought again without a call, if it is.
    Idle {
        again: Option<Duration>,
    },
    Connecting,
    Ready,
    Backoff {
        until: Duration,
    },
    Stopping,
    Stopped,
}

#[derive(Debug)]
pub(crate) struct Machine {
    policy: Policy,
    phase: Phase,
    /// Attempts that failed since the last connection that was of use.
    failures: u32,
    /// Whether a connection since then was of no use, and did not count as a failure.
    spared: bool,
    /// When the last attempt began.
    began: Duration,
    /// When the last connection was set up.
    connected: Duration,
    /// Calls that wait for a connection.
    waiting: usize,
    pauses: usize,
    last_error: Option<ConnectError>,
    gave_up: bool,
    outputs: VecDeque<Output>,
}

impl Machine {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            policy,
            phase: Phase::Idle { again: None },
            failures: 0,
            spared: false,
            began: Duration::ZERO,
            connected: Duration::ZERO,
            waiting: 0,
            pauses: 0,
            last_error: None,
            gave_up: false,
            outputs: VecDeque::new(),
        }
    }

    /// The next thing to do; asked until there is none.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timer`](Self::handle_timer) is to be called, if nothing happens before.
    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        match self.phase {
            Phase::Idle { again } => again,
            Phase::Backoff { until } => Some(until),
            Phase::Connecting | Phase::Ready | Phase::Stopping | Phase::Stopped => None,
        }
    }

    pub(crate) fn state(&self) -> State {
        match self.phase {
            Phase::Idle { .. } => State::Idle,
            Phase::Connecting => State::Connecting {
                attempt: self.failures + 1,
            },
            Phase::Ready if self.pauses > 0 => State::Paused,
            Phase::Ready => State::Ready,
            Phase::Backoff { .. } => State::Backoff {
                attempt: self.failures,
            },
            Phase::Stopping => State::Stopping,
            Phase::Stopped => State::Stopped,
        }
    }

    /// Why the last attempt failed; nothing once one has succeeded.
    pub(crate) fn last_error(&self) -> Option<&ConnectError> {
        self.last_error.as_ref()
    }

    /// Why the machine stopped by itself, if it did.
    pub(crate) fn gave_up(&self) -> Option<&ConnectError> {
        self.last_error.as_ref().filter(|_| self.gave_up)
    }

    /// Time for which no attempt is begun; nothing when a call may begin one.
    pub(crate) fn backoff_left(&self, now: Duration) -> Option<Duration> {
        match self.phase {
            Phase::Backoff { until } if until > now => Some(until - now),
            Phase::Idle { .. }
            | Phase::Connecting
            | Phase::Ready
            | Phase::Backoff { .. }
            | Phase::Stopping
            | Phase::Stopped => None,
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.pauses > 0
    }

    /// Calls that wait for a connection.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// A call waits for a connection from now on.
    pub(crate) fn handle_wait(&mut self, now: Duration) {
        self.waiting += 1;
        self.handle_demand(now);
    }

    /// A call waits no longer, for whatever reason.
    pub(crate) fn handle_wait_over(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// Something wants a connection now.
    fn handle_demand(&mut self, now: Duration) {
        match self.phase {
            Phase::Idle { .. } => self.begin(now),
            Phase::Backoff { until } if now >= until => self.begin(now),
            Phase::Backoff { .. }
            | Phase::Connecting
            | Phase::Ready
            | Phase::Stopping
            | Phase::Stopped => {}
        }
    }

    /// HTTP/2 is set up. The caller tells the observers, who want to know more than is known here.
    pub(crate) fn handle_connected(&mut self, now: Duration) {
        if self.phase == Phase::Connecting {
            self.phase = Phase::Ready;
            self.connected = now;
            self.last_error = None;
        }
    }

    /// The attempt failed. `chance` is of [0, 1).
    pub(crate) fn handle_failed(&mut self, now: Duration, error: ConnectError, chance: f64) {
        if self.phase != Phase::Connecting {
            return;
        }
        if self.back_off(now, error, chance) {
            // No connection is left to wait for.
            self.handle_stopped();
        }
    }

    /// Waits for the next attempt. Answers whether there is none, after too many failures.
    fn back_off(&mut self, now: Duration, error: ConnectError, chance: f64) -> bool {
        self.failures = self.failures.saturating_add(1);
        let asked_for = error.retry_after().unwrap_or_default();
        let until = (self.began + self.spacing(chance)).max(now + asked_for);
        self.outputs.push_back(Output::Tell(Event::Backoff {
            attempt: self.failures,
            delay: until.saturating_sub(now),
            error: error.clone(),
        }));
        self.last_error = Some(error);
        let gives_up = |max: NonZeroU32| self.failures >= max.get();
        self.gave_up = self.policy.attempts_max.is_some_and(gives_up);
        if self.gave_up {
            self.handle_stop();
        } else {
            self.phase = Phase::Backoff { until };
        }
        self.gave_up
    }

    /// Time between the beginnings of the attempt that failed and the next one.
    fn spacing(&self, chance: f64) -> Duration {
        let backoff = &self.policy.backoff;
        let max = backoff.max.as_secs_f64();
        let exponent = i32::try_from(self.failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = backoff.initial.as_secs_f64() * backoff.factor.powi(exponent);
        let spread = 1.0 + backoff.jitter * (2.0 * chance - 1.0);
        Duration::from_secs_f64(grown.min(max) * spread)
    }

    /// The connection takes no more calls, or is gone. `fruitless` says why, if it answered no call
    /// and its end was the server's doing; `chance` is of [0, 1).
    ///
    /// Such a connection counts as an attempt that failed, or a server that accepts and hangs up would
    /// be called without a pause. Two do not: one that lasted, and the first in a row, since a
    /// server that drains may well take one connection more. grpc-core sets the count back whenever a
    /// connection was set up, and calls such a server as often as it is called itself.
    pub(crate) fn handle_lost(
        &mut self,
        now: Duration,
        fruitless: Option<ConnectError>,
        chance: f64,
    ) {
        if self.phase != Phase::Ready {
            return;
        }
        let lasted = now.saturating_sub(self.connected) >= LASTING.min(self.policy.backoff.initial);
        match fruitless.filter(|_| !lasted) {
            Some(error) if self.spared => {
                self.back_off(now, error, chance);
            }
            Some(_) => {
                self.spared = true;
                self.idle_after_loss(now);
            }
            None => {
                self.handle_use();
                self.idle_after_loss(now);
            }
        }
    }

    fn idle_after_loss(&mut self, now: Duration) {
        // Whoever calls does not wait: it is not more than one attempt for one call.
        if self.waiting > 0 {
            return self.begin(now);
        }
        let due = now.max(self.began + self.policy.backoff.initial);
        let again = self.policy.keep_connected.then_some(due);
        self.phase = Phase::Idle { again };
        if again.is_some_and(|again| again <= now) {
            self.begin(now);
        }
    }

    /// A connection was of use: what failed before does not count.
    fn handle_use(&mut self) {
        self.failures = 0;
        self.spared = false;
    }

    /// The connection was closed because nobody used it.
    pub(crate) fn handle_unused(&mut self, now: Duration) {
        if self.phase == Phase::Ready {
            self.handle_use();
            self.phase = Phase::Idle { again: None };
            if self.waiting > 0 {
                self.begin(now);
            }
        }
    }

    /// The time of [`poll_timeout`](Self::poll_timeout) has come.
    pub(crate) fn handle_timer(&mut self, now: Duration) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        if self.waiting > 0 || self.policy.keep_connected {
            self.begin(now);
        } else {
            self.phase = Phase::Idle { again: None };
        }
    }

    /// The network may be there again: what was learned before does not count.
    pub(crate) fn handle_network(&mut self, now: Duration) {
        if matches!(
            self.phase,
            Phase::Backoff { .. } | Phase::Idle { again: Some(_) }
        ) {
            self.handle_use();
            self.phase = Phase::Idle { again: Some(now) };
            self.handle_timer(now);
        }
    }

    pub(crate) fn handle_pause(&mut self) {
        self.pauses += 1;
        if self.pauses == 1 && self.phase != Phase::Stopped {
            self.outputs.push_back(Output::Tell(Event::Paused));
        }
    }

    pub(crate) fn handle_resume(&mut self) {
        if self.pauses == 1 && self.phase != Phase::Stopped {
            self.outputs.push_back(Output::Tell(Event::Resumed));
        }
        self.pauses = self.pauses.saturating_sub(1);
    }

    /// No more calls from now on.
    pub(crate) fn handle_stop(&mut self) {
        if !self.has_ended() {
            self.phase = Phase::Stopping;
            self.outputs.push_back(Output::Tell(Event::Stopping));
        }
    }

    /// The last connection has ended.
    pub(crate) fn handle_stopped(&mut self) {
        if self.phase == Phase::Stopping {
            self.phase = Phase::Stopped;
            self.outputs.push_back(Output::Tell(Event::Stopped));
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Stopping | Phase::Stopped)
    }

    fn begin(&mut self, now: Duration) {
        self.phase = Phase::Connecting;
        self.began = now;
        let attempt = self.failures.saturating_add(1);
        self.outputs
            .push_back(Output::Tell(Event::Connecting { attempt }));
        self.outputs.push_back(Output::Connect);
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
