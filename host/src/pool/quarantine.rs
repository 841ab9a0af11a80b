//! Decides when a plugin that keeps failing is left alone, and when it is tried again. Pure: the time
//! is an argument, and asked for only when something failed or the plugin is not well.
//!
//! Called by `pool` under its lock, at every call: a call that goes well costs one addition.
//!
//! - *Well*: calls are let in. After `faults_max` failures within `window`, with no more calls between
//!   them that went well than failures, the plugin is
//! - *out*: every call is refused, for a time that doubles from one quarantine to the next. Then it is
//! - *on trial*: one call at a time is let in. If it goes well, or runs for [`TRIAL_TIME`] without
//!   failing, the plugin is well; if it fails, it is out again.
//!
//! Invariants, property-tested in `quarantine/tests.rs`: a plugin of whose calls more go well than fail is never
//! out; one that fails every call is, after `faults_max` of them; being out always ends. What was
//! begun before a quarantine says nothing about the plugin after it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::QuarantineConfig;

/// How long a call on trial may run before it counts as gone well: streams run for hours, and a plugin
/// that serves nothing else must come back too. Traps that are there for every call show in milliseconds.
pub(super) const TRIAL_TIME: Duration = Duration::from_secs(1);

/// How a call ended, as far as it says something about its plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing: it was cancelled, ran out of time, or never reached the plugin.
    #[default]
    None,
    /// The plugin answered, be it with an error.
    Good,
    /// It trapped, did not start, or broke the contract.
    Fault,
}

/// What a call was let in as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pass {
    /// The number of the trial that it is; none for usual calls.
    trial: Option<u64>,
    /// How many quarantines there were before it.
    era: u64,
}

/// What changed, for the log and for those who watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Left alone for so long.
    Out(Duration),
    /// Its time is over: it is tried again.
    OnTrial,
    /// It serves again.
    Well,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Well,
    Out {
        until: Instant,
        backoff: Duration,
    },
    Trial {
        /// When the call on trial was let in; none if there is none.
        since: Option<Instant>,
        backoff: Duration,
    },
}

/// What is known of one plugin.
#[derive(Debug)]
pub(super) struct Quarantine {
    /// None: never.
    config: Option<QuarantineConfig>,
    state: State,
    /// The newest failures, `faults_max` at most, each with the calls that went well since the one before.
    faults: VecDeque<(Instant, u64)>,
    /// Calls that went well since the newest failure.
    good: u64,
    /// Trials so far.
    trials: u64,
    /// Quarantines so far.
    pub(super) count: u64,
    /// When the last quarantine ended, and how long the plugin was left alone.
    last: Option<(Instant, Duration)>,
}

impl Quarantine {
    /// Of a plugin that has done nothing yet.
    #[must_use]
    pub(super) fn new(config: Option<QuarantineConfig>) -> Self {
        Self {
            config,
            state: State::Well,
            faults: VecDeque::new(),
            good: 0,
            trials: 0,
            count: 0,
            last: None,
        }
    }

    /// Whether its services are said to be served: they are while it is on trial too, or whoever sends
    /// calls only where they are would never send the one that is to be tried.
    #[must_use]
    pub(super) fn is_serving(&self) -> bool {
        !matches!(self.state, State::Out { .. })
    }

    /// Whether calls are let in as usual.
    #[must_use]
    pub(super) fn is_well(&self) -> bool {
        self.state == State::Well
    }

    /// When something changes by itself.
    #[must_use]
    pub(super) fn until(&self) -> Option<Instant> {
        match self.state {
            State::Well | State::Trial { .. } => None,
            State::Out { until, .. } => Some(until),
        }
    }

    /// Lets time have its effect.
    pub(super) fn pass_time(&mut self, now: impl FnOnce() -> Instant) -> Option<Change> {
        match self.state {
            State::Well => None,
            State::Out { until, backoff } => {
                if now() < until {
                    return None;
                }
                let since = None;
                self.state = State::Trial { since, backoff };
                Some(Change::OnTrial)
            }
            State::Trial { since, backoff } => {
                let (since, now) = (since?, now());
                let long = now.saturating_duration_since(since) >= TRIAL_TIME;
                long.then(|| self.recover(now, backoff))
            }
        }
    }

    /// Lets a call in, or says after what time another one has a chance. Time must have had its effect.
    ///
    /// # Errors
    /// The time, if it is not let in.
    pub(super) fn admit(&mut self, now: impl FnOnce() -> Instant) -> Result<Pass, Duration> {
        let trial = match &mut self.state {
            State::Well => None,
            State::Out { until, .. } => return Err(until.saturating_duration_since(now())),
            State::Trial { since: Some(_), .. } => return Err(TRIAL_TIME),
            State::Trial { since, .. } => {
                *since = Some(now());
                self.trials += 1;
                Some(self.trials)
            }
        };
        let usual = self.usual();
        Ok(Pass { trial, ..usual })
    }

    /// What a call is let in as while all is well.
    #[must_use]
    pub(super) fn usual(&self) -> Pass {
        let (trial, era) = (None, self.count);
        Pass { trial, era }
    }

    /// Takes note of how a call ended that was let in.
    pub(super) fn ended(
        &mut self,
        pass: Pass,
        outcome: Outcome,
        now: impl FnOnce() -> Instant,
    ) -> Option<Change> {
        match self.state {
            State::Well if pass.era == self.count => match outcome {
                Outcome::None => None,
                Outcome::Good => {
                    self.good = self.good.saturating_add(1);
                    None
                }
                Outcome::Fault => self.fault(now()),
            },
            // Begun before a quarantine, or too late for one.
            State::Well | State::Out { .. } => None,
            State::Trial { .. } if pass.era != self.count || pass.trial != Some(self.trials) => {
                None
            }
            State::Trial { backoff, .. } => match outcome {
                Outcome::None => {
                    let since = None;
                    self.state = State::Trial { since, backoff };
                    None
                }
                Outcome::Good => Some(self.recover(now(), backoff)),
                Outcome::Fault => {
                    let longest = self.config?.backoff_max;
                    Some(self.leave_alone(now(), backoff.saturating_mul(2).min(longest)))
                }
            },
        }
    }

    fn recover(&mut self, now: Instant, backoff: Duration) -> Change {
        self.state = State::Well;
        self.last = Some((now, backoff));
        self.faults.clear();
        self.good = 0;
        Change::Well
    }

    fn fault(&mut self, now: Instant) -> Option<Change> {
        let config = self.config?;
        let most = usize::try_from(config.faults_max).unwrap_or(usize::MAX);
        self.faults.push_back((now, std::mem::take(&mut self.good)));
        if self.faults.len() > most {
            self.faults.pop_front();
        }
        let (oldest, _) = *self.faults.front()?;
        let recent = now.saturating_duration_since(oldest) <= config.window;
        let between = self.faults.iter().skip(1);
        let good = between.fold(0, |sum: u64, (_, good)| sum.saturating_add(*good));
        if self.faults.len() < most || !recent || good > u64::from(config.faults_max) {
            return None;
        }
        let backoff = match self.last {
            Some((ended, backoff)) if now.saturating_duration_since(ended) < config.backoff_max => {
                backoff.saturating_mul(2).min(config.backoff_max)
            }
            Some(_) | None => config.backoff_min,
        };
        Some(self.leave_alone(now, backoff))
    }

    fn leave_alone(&mut self, now: Instant, backoff: Duration) -> Change {
        self.count += 1;
        self.faults.clear();
        self.good = 0;
        let until = now + backoff;
        self.state = State::Out { until, backoff };
        Change::Out(backoff)
    }
}

#[cfg(test)]
mod tests;
