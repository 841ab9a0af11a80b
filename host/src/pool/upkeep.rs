//! What a pool does between calls: instances in advance, instances that nobody needs, and the end of a
//! quarantine.
//!
//! Run by `host` as one task for each plugin while it serves; `plugin` fills the pool at load. Calls are
//! served without it too, only that they may have to wait for an instance to be made. Invariant: what
//! changes a plugin's health goes through `Pool::ended` and `Pool::pass_time`, so that everybody who
//! watches it learns of it, in order.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::quarantine::Pass;
use super::{Change, Item, News, Outcome, Pool, Retire, Source, State, policy};
use crate::error::{CallError, chain};

/// Time after which an instance that nobody needed is dropped, at the earliest; twice that at the
/// latest. Long enough that calls which come in bursts a few seconds apart find it.
const IDLE_INTERVAL: Duration = Duration::from_secs(30);

impl<S: Source> Pool<S> {
    /// Makes instances until there are `warm_min`; none for a plugin that is left alone.
    ///
    /// # Errors
    /// What [`Source::make`] fails with; the pool works on without.
    ///
    /// # Cancel safety
    /// Dropping the future keeps what was made.
    pub(crate) async fn warm(&self) -> Result<(), CallError> {
        loop {
            let mut warming = {
                let mut state = self.lock();
                if !state.lacks(&self.config) {
                    return Ok(());
                }
                let Ok(pass) = state.quarantine.admit(Instant::now) else {
                    return Ok(());
                };
                state.warming += 1;
                Warming {
                    pool: self,
                    pass,
                    outcome: Outcome::None,
                }
            };
            let item = match self.source.make().await {
                Ok(item) => item,
                Err(error) => {
                    warming.outcome = Outcome::of_making(&error);
                    return Err(error);
                }
            };
            drop(warming);
            let mut state = self.lock();
            state.stats.made += 1;
            let retired = state.keep_new(&self.config, item);
            drop(state);
            if retired.is_some() {
                // Too old before it was used, or not needed any more: another would be no better.
                return Ok(());
            }
        }
    }

    /// Drops idle instances that are too old, and those that nobody needed since the last sweep, down
    /// to `warm_min`: what a burst left behind must not keep other plugins out of the engine. Returns
    /// how many.
    pub(crate) fn sweep(&self) -> usize {
        let mut state = self.lock();
        let mut gone = Vec::new();
        for item in std::mem::take(&mut state.idle) {
            match policy::retire(&self.config, item.usage()) {
                Some(reason) => {
                    state.count(reason);
                    gone.push(item);
                }
                None => state.idle.push(item),
            }
        }
        let keep = usize::try_from(self.config.warm_min).unwrap_or(usize::MAX);
        let unneeded = state.unneeded.min(state.idle.len().saturating_sub(keep));
        // The bottom of the stack is what was lent last the longest ago.
        let unneeded: Vec<_> = state.idle.drain(..unneeded).collect();
        for _ in &unneeded {
            state.count(Retire::Idle);
        }
        state.unneeded = state.idle.len();
        drop(state);
        gone.len() + unneeded.len()
    }

    /// Keeps no instance for later from now on: calls that found this pool are served as before, and no
    /// others will come.
    pub(crate) fn replace(&self) {
        let gone = {
            let mut state = self.lock();
            state.replaced = true;
            let gone = std::mem::take(&mut state.idle);
            for _ in &gone {
                state.count(Retire::Replaced);
            }
            state.unneeded = 0;
            gone
        };
        // The upkeep finds that there is nothing left to do.
        self.lacking.notify_one();
        drop(gone);
    }

    /// Keeps `warm_min` instances ready and drops those that are too old, until the pool is gone.
    ///
    /// # Cancel safety
    /// Dropping the future ends the upkeep; calls are served all the same.
    pub(crate) async fn upkeep(pool: Weak<Self>) {
        let Some((lacking, interval)) = pool.upgrade().map(|pool| {
            // Often enough that nothing lives a quarter too long.
            let interval = (pool.config.age_max / 4).max(Duration::from_millis(100));
            let interval = interval.min(IDLE_INTERVAL);
            (Arc::clone(&pool.lacking), interval)
        }) else {
            return;
        };
        while let Some(pool) = pool.upgrade() {
            let news = pool.pass_time(&mut pool.lock());
            pool.tell(news);
            pool.sweep();
            if let Err(error) = pool.warm().await {
                tracing::warn!(
                    error = chain(&error),
                    "no instance could be made in advance"
                );
            }
            let until = pool.lock().quarantine.until();
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            drop(pool);
            let interval = left.unwrap_or(interval).min(interval);
            // Whether it was told or the time is up, the same is looked at.
            drop(tokio::time::timeout(interval, lacking.notified()).await);
        }
    }

    /// Lets time have its effect on a quarantine.
    pub(super) fn pass_time(&self, state: &mut State<S>) -> Option<News<S>> {
        let change = state.quarantine.pass_time(Instant::now);
        self.changed(state, change)
    }

    /// Takes note of how a call, or the making of an instance, ended.
    pub(super) fn ended(
        &self,
        state: &mut State<S>,
        pass: Pass,
        outcome: Outcome,
    ) -> Option<News<S>> {
        state.stats.faults += u64::from(outcome == Outcome::Fault);
        let change = state.quarantine.ended(pass, outcome, Instant::now);
        self.changed(state, change)
    }

    /// Tells those who watch, under the lock: in the order of the changes.
    fn changed(&self, state: &mut State<S>, change: Option<Change>) -> Option<News<S>> {
        let change = change?;
        let serving = state.quarantine.is_serving();
        self.serving.send_if_modified(|served| {
            let changed = *served != serving;
            *served = serving;
            changed
        });
        let mut waiters = Vec::new();
        if let Change::Out(_) = change {
            while let Some((_, waiter)) = state.line.pop(|_| true) {
                waiters.push(waiter);
            }
            // The upkeep has to know when it ends.
            self.lacking.notify_one();
        }
        Some(News { change, waiters })
    }

    /// Says in the log what changed, and sends those away who waited. Not under the lock.
    pub(super) fn tell(&self, news: Option<News<S>>) {
        let Some(News { change, waiters }) = news else {
            return;
        };
        let plugin = self.source.label();
        match change {
            Change::Out(backoff) => {
                let waited = waiters.len();
                drop(waiters);
                tracing::warn!(
                    plugin,
                    ?backoff,
                    waited,
                    "the plugin keeps failing: its calls are refused for a while"
                );
            }
            Change::OnTrial => tracing::info!(plugin, "the plugin is tried again"),
            Change::Well => tracing::info!(plugin, "the plugin serves again"),
        }
    }
}

/// One instance in the making.
struct Warming<'a, S: Source> {
    pool: &'a Pool<S>,
    pass: Pass,
    outcome: Outcome,
}

impl<S: Source> Drop for Warming<'_, S> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.warming -= 1;
        let news = self.pool.ended(&mut state, self.pass, self.outcome);
        drop(state);
        self.pool.tell(news);
    }
}

impl Outcome {
    /// What an error of [`Source::make`] says about the plugin: that the engine is full is not its fault.
    pub(super) fn of_making(error: &CallError) -> Self {
        if matches!(error, CallError::Instantiate(_)) {
            Self::Fault
        } else {
            Self::None
        }
    }
}
