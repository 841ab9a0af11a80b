//! Lends running instances to calls: one call per lease.
//!
//! Called by `grpc::call`; calls its [`Source`] (in production `guest::component`) to make
//! instances. Knows no gRPC and no bytes. Who may have an instance is `policy`'s to say, who goes
//! next is `queue`'s, and whether a plugin that keeps failing is left alone is `quarantine`'s. What is
//! done between calls is in `upkeep`.
//!
//! Invariants, asserted on every lease and return:
//! - at most `stores_max` leases for unary calls, at most `streams_max` for streams;
//! - leased and idle together never exceed the two limits together;
//! - an instance that trapped, or whose call was cut short, is never lent again.
//!
//! Cost: one short lock to lend and one to return; nothing is made or dropped under it.

mod instances;
mod lease;
mod policy;
mod quarantine;
mod queue;
mod upkeep;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use crate::config::PoolConfig;
use crate::error::CallError;
use crate::telemetry::{Histogram, Metric, PoolNumbers};
pub(crate) use lease::Lease;
pub use policy::Leased;
pub(crate) use policy::{Kind, Priority, Retire, Usage, Want};
pub(crate) use quarantine::Outcome;
use quarantine::{Change, Pass, Quarantine, TRIAL_TIME};
use queue::{Ticket, WaitingLine};

/// Makes instances.
pub(crate) trait Source: Send + Sync + 'static {
    /// What is lent.
    type Item: Item;

    /// What it is called in the log.
    fn label(&self) -> &str;

    /// Makes one that has served no call.
    ///
    /// # Cancel safety
    /// Dropping the future drops what was made so far.
    fn make(&self) -> impl Future<Output = Result<Self::Item, CallError>> + Send;
}

/// What a pool must know of an instance.
pub(crate) trait Item: std::fmt::Debug + Send + 'static {
    /// What it has been through.
    fn usage(&self) -> Usage;

    /// How its last call ended; asked once for each.
    fn take_outcome(&mut self) -> Outcome;
}

/// How a pool is doing. Counters only ever grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Lent now.
    pub leased: Leased,
    /// Ready to be lent.
    pub idle: u32,
    /// Calls that wait now.
    pub waiting: u32,
    /// Instances made so far.
    pub made: u64,
    /// Retired because a call trapped or was cut short.
    pub retired_unclean: u64,
    /// Retired by mode `fresh`.
    pub retired_used: u64,
    /// Retired by `calls_max`.
    pub retired_calls: u64,
    /// Retired by `age_max`.
    pub retired_age: u64,
    /// Retired by `memory_retire_bytes`.
    pub retired_memory: u64,
    /// Retired because the pool held enough.
    pub retired_surplus: u64,
    /// Retired because another version of the plugin took its place.
    pub retired_replaced: u64,
    /// Retired because nobody needed them for a while.
    pub retired_idle: u64,
    /// Calls refused because the line was full.
    pub refused: u64,
    /// Calls that waited for `wait_max` in vain.
    pub gave_up: u64,
    /// Calls that trapped or broke the contract, and instances that did not start.
    pub faults: u64,
    /// Most ticks of the engine that an instance computed on after its call was over. Above some ten, the machine has
    /// too much to do.
    pub overrun_max: u32,
    /// How often the plugin was left alone because it kept failing.
    pub quarantines: u64,
    /// Whether it is left alone now, or has been and still has to show that it serves.
    pub quarantined: bool,
}

impl PoolStats {
    fn count_in(&self, out: &mut PoolNumbers) {
        out.add_of(Metric::Leased, "unary", self.leased.unary.into());
        out.add_of(Metric::Leased, "stream", self.leased.streams.into());
        for (reason, count) in [
            ("unclean", self.retired_unclean),
            ("used", self.retired_used),
            ("calls", self.retired_calls),
            ("age", self.retired_age),
            ("memory", self.retired_memory),
            ("surplus", self.retired_surplus),
            ("replaced", self.retired_replaced),
            ("idle", self.retired_idle),
        ] {
            out.add_of(Metric::Retired, reason, count);
        }
        for (metric, count) in [
            (Metric::Idle, self.idle.into()),
            (Metric::Waiting, self.waiting.into()),
            (Metric::Made, self.made),
            (Metric::PoolRefused, self.refused),
            (Metric::GaveUp, self.gave_up),
            (Metric::Faults, self.faults),
            (Metric::Quarantines, self.quarantines),
            (Metric::Quarantined, self.quarantined.into()),
        ] {
            out.add(metric, count);
        }
    }
}

/// The instances of one plugin.
#[derive(Debug)]
pub(crate) struct Pool<S: Source> {
    source: S,
    config: PoolConfig,
    state: Mutex<State<S>>,
    /// Told when an instance was retired and fewer than `warm_min` are left, and at a quarantine.
    lacking: Arc<Notify>,
    /// Whether the plugin is served, which it is not in quarantine.
    serving: watch::Sender<bool>,
    /// How long calls have waited in line.
    waits: Histogram,
}

#[derive(Debug)]
struct State<S: Source> {
    /// Last in, first out: the one used last is the one still in the cache.
    idle: Vec<S::Item>,
    line: WaitingLine<oneshot::Sender<Lease<S>>>,
    quarantine: Quarantine,
    stats: PoolStats,
    /// Instances that [`Pool::warm`] makes at the moment.
    warming: u32,
    /// Another version of the plugin took its place: nothing is kept for later.
    replaced: bool,
    /// Fewest idle instances since the last sweep: so many nobody needed.
    unneeded: usize,
}

/// What a wish for an instance leads to.
enum Admission<S: Source> {
    Lent(Lease<S>),
    Waiting(oneshot::Receiver<Lease<S>>, Ticket),
    Full(u32),
    /// The plugin is left alone; after this time another call has a chance.
    Quarantined(Duration),
}

/// What a change of the plugin's health leads to, once the lock is free.
struct News<S: Source> {
    change: Change,
    /// Who waited when it was left alone. Dropping these tells them.
    waiters: Vec<oneshot::Sender<Lease<S>>>,
}

impl<S: Source> Pool<S> {
    /// An empty pool; [`Pool::warm`] fills it.
    #[must_use]
    pub(crate) fn new(source: S, config: PoolConfig) -> Arc<Self> {
        let state = State {
            idle: Vec::new(),
            line: WaitingLine::new(config.waiting_max),
            quarantine: Quarantine::new(config.quarantine),
            stats: PoolStats::default(),
            warming: 0,
            replaced: false,
            unneeded: 0,
        };
        let lacking = Arc::new(Notify::new());
        Arc::new(Self {
            source,
            config,
            state: Mutex::new(state),
            lacking,
            serving: watch::Sender::new(true),
            waits: Histogram::default(),
        })
    }

    /// What the pool lends from.
    pub(crate) fn source(&self) -> &S {
        &self.source
    }

    /// Whether the plugin is served, and every change of that: it is not while it is left alone.
    #[must_use]
    pub(crate) fn serving(&self) -> watch::Receiver<bool> {
        self.serving.subscribe()
    }

    /// How the pool is doing.
    #[must_use]
    pub(crate) fn stats(&self) -> PoolStats {
        self.lock().stats()
    }

    /// Adds what the pool counts to the numbers of its plugin.
    pub(crate) fn count_in(&self, out: &mut PoolNumbers) {
        self.stats().count_in(out);
        out.waited(&self.waits.seen());
    }

    /// Lends an instance: an idle one, else a new one, else waits for one.
    ///
    /// # Errors
    /// [`CallError::Quarantined`] and [`CallError::PoolFull`] at once when the plugin is left alone or
    /// the line is full, [`CallError::WaitedTooLong`] after `wait_max`, and what [`Source::make`] fails with. The caller's deadline is the caller's to
    /// watch: it drops this future.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line; an instance on its way goes to the next waiter.
    pub(crate) async fn lease(self: &Arc<Self>, want: Want) -> Result<Lease<S>, CallError> {
        let mut lease = match self.admit(want) {
            Admission::Lent(lease) => lease,
            Admission::Full(waiting) => return Err(CallError::PoolFull { waiting }),
            Admission::Quarantined(retry_after) => {
                return Err(CallError::Quarantined { retry_after });
            }
            Admission::Waiting(granted, ticket) => self.wait(want, granted, ticket).await?,
        };
        if !lease.has_item() {
            // On failure the lease drops, and its place goes to the next waiter.
            match self.source.make().await {
                Ok(item) => {
                    self.lock().stats.made += 1;
                    lease.fill(item);
                }
                Err(error) => {
                    lease.failed(&error);
                    return Err(error);
                }
            }
        }
        Ok(lease)
    }

    async fn wait(
        self: &Arc<Self>,
        want: Want,
        granted: oneshot::Receiver<Lease<S>>,
        ticket: Ticket,
    ) -> Result<Lease<S>, CallError> {
        let _place = Place {
            pool: self,
            want,
            ticket,
        };
        let begun = Instant::now();
        let waited = tokio::time::timeout(self.config.wait_max, granted).await;
        self.waits.observe(begun.elapsed());
        match waited {
            Ok(Ok(lease)) => Ok(lease),
            // The line was sent away.
            Ok(Err(_closed)) => {
                let until = self.lock().quarantine.until();
                let left = until.map(|until| until.saturating_duration_since(Instant::now()));
                let retry_after = left.unwrap_or(TRIAL_TIME);
                Err(CallError::Quarantined { retry_after })
            }
            Err(_elapsed) => {
                self.lock().stats.gave_up += 1;
                Err(CallError::WaitedTooLong(self.config.wait_max))
            }
        }
    }

    fn admit(self: &Arc<Self>, want: Want) -> Admission<S> {
        let mut state = self.lock();
        let news = self.pass_time(&mut state);
        let admission = self.admit_to(&mut state, want);
        drop(state);
        self.tell(news);
        admission
    }

    fn admit_to(self: &Arc<Self>, state: &mut State<S>, want: Want) -> Admission<S> {
        let pass = match state.quarantine.admit(Instant::now) {
            Ok(pass) => pass,
            Err(retry_after) => return Admission::Quarantined(retry_after),
        };
        let leased = state.stats.leased;
        if !state.line.is_anyone_ahead(want) && policy::admits(&self.config, leased, want) {
            let item = state.take_idle();
            state.stats.leased.add(want);
            state.check(&self.config);
            return Admission::Lent(Lease::new(Arc::clone(self), want, pass, item));
        }
        if !state.quarantine.is_well() {
            // Whoever is on trial does not wait: calls from before hold all that it might have.
            let _still_on_trial = state.quarantine.ended(pass, Outcome::None, Instant::now);
            return Admission::Quarantined(TRIAL_TIME);
        }
        if want.kind == Kind::Stream && self.config.streams_max == 0 {
            // None will ever come: waiting would only hold up the caller.
            state.stats.refused += 1;
            return Admission::Full(0);
        }
        let (grant, granted) = oneshot::channel();
        match state.line.push(want, grant) {
            Ok(ticket) => Admission::Waiting(granted, ticket),
            Err(_grant) => {
                state.stats.refused += 1;
                Admission::Full(state.line.len())
            }
        }
    }

    /// Takes back what a lease held, and serves whoever waits. Called by [`Lease`]'s drop only.
    fn take_back(
        self: &Arc<Self>,
        want: Want,
        pass: Pass,
        outcome: Outcome,
        item: Option<S::Item>,
    ) {
        let (retired, waiting, news) = {
            let mut state = self.lock();
            state.stats.leased.remove(want);
            let retired = item.and_then(|item| state.keep(&self.config, item));
            let news = self.ended(&mut state, pass, outcome);
            if retired.is_some() && state.lacks(&self.config) {
                self.lacking.notify_one();
            }
            (retired, state.line.len() > 0, news)
        };
        self.tell(news);
        // Dropping an instance takes microseconds: not under the lock.
        drop(retired);
        if !waiting {
            // Whoever comes from now on finds the place that has just become free.
            return;
        }
        while let Some((grant, lease)) = self.next_grant() {
            if let Err(lease) = grant.send(lease) {
                // The waiter left in this very moment. Its lease must not come back through here
                // again, or a line of leavers would recurse.
                let (want, item) = lease.dissolve();
                let mut state = self.lock();
                state.stats.leased.remove(want);
                state.idle.extend(item);
            }
        }
    }

    /// The next waiter who may go, with its lease.
    fn next_grant(self: &Arc<Self>) -> Option<(oneshot::Sender<Lease<S>>, Lease<S>)> {
        let mut state = self.lock();
        let leased = state.stats.leased;
        let (want, grant) = state
            .line
            .pop(|want| policy::admits(&self.config, leased, want))?;
        let item = state.take_idle();
        state.stats.leased.add(want);
        state.check(&self.config);
        // Nobody waits but while all is well.
        let pass = state.quarantine.usual();
        Some((grant, Lease::new(Arc::clone(self), want, pass, item)))
    }

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Source> State<S> {
    fn stats(&self) -> PoolStats {
        PoolStats {
            idle: u32::try_from(self.idle.len()).unwrap_or(u32::MAX),
            waiting: self.line.len(),
            quarantines: self.quarantine.count,
            quarantined: !self.quarantine.is_well(),
            ..self.stats
        }
    }

    /// Keeps an instance that was lent for the next call, or gives it back to be dropped.
    fn keep(&mut self, config: &PoolConfig, item: S::Item) -> Option<S::Item> {
        if self.retired(config, &item) {
            return Some(item);
        }
        self.idle.push(item);
        None
    }

    /// The same for one that nobody has used: it comes after those that are in the cache.
    fn keep_new(&mut self, config: &PoolConfig, item: S::Item) -> Option<S::Item> {
        if self.retired(config, &item) {
            return Some(item);
        }
        self.idle.insert(0, item);
        None
    }

    /// Whether an instance is not to be kept; counted.
    fn retired(&mut self, config: &PoolConfig, item: &S::Item) -> bool {
        let total = usize::try_from(self.stats.leased.total()).unwrap_or(usize::MAX);
        let room = usize::try_from(config.stores_max.get().saturating_add(config.streams_max))
            .unwrap_or(usize::MAX)
            .saturating_sub(total);
        let usage = item.usage();
        self.stats.overrun_max = self.stats.overrun_max.max(usage.overrun);
        let reason = policy::retire(config, usage)
            .or_else(|| self.replaced.then_some(Retire::Replaced))
            .or_else(|| (self.idle.len() >= room).then_some(Retire::Surplus));
        if let Some(reason) = reason {
            self.count(reason);
        }
        reason.is_some()
    }

    /// The instance that was used last: the one still in the cache.
    fn take_idle(&mut self) -> Option<S::Item> {
        let item = self.idle.pop();
        self.unneeded = self.unneeded.min(self.idle.len());
        item
    }

    fn lacks(&self, config: &PoolConfig) -> bool {
        if self.replaced {
            return false;
        }
        let have = self.stats.leased.total() + self.warming;
        self.idle.len() + usize::try_from(have).unwrap_or(usize::MAX)
            < usize::try_from(config.warm_min).unwrap_or(usize::MAX)
    }

    fn count(&mut self, reason: Retire) {
        let counter = match reason {
            Retire::Unclean => &mut self.stats.retired_unclean,
            Retire::Used => &mut self.stats.retired_used,
            Retire::Calls => &mut self.stats.retired_calls,
            Retire::Age => &mut self.stats.retired_age,
            Retire::Memory => &mut self.stats.retired_memory,
            Retire::Surplus => &mut self.stats.retired_surplus,
            Retire::Replaced => &mut self.stats.retired_replaced,
            Retire::Idle => &mut self.stats.retired_idle,
        };
        *counter += 1;
    }

    fn check(&self, config: &PoolConfig) {
        let leased = self.stats.leased;
        assert!(
            leased.unary <= config.stores_max.get(),
            "unary leases within their limit"
        );
        assert!(
            leased.streams <= config.streams_max,
            "stream leases within their limit"
        );
    }
}

/// Leaves the line when a wait ends, however it ends.
struct Place<'a, S: Source> {
    pool: &'a Arc<Pool<S>>,
    want: Want,
    ticket: Ticket,
}

impl<S: Source> Drop for Place<'_, S> {
    fn drop(&mut self) {
        let left = self.pool.lock().line.remove(self.want, self.ticket);
        drop(left);
    }
}

#[cfg(test)]
mod tests;
