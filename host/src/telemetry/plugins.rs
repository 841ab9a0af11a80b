//! Plugins and their pools, as numbers.
//!
//! Told by `grpc::route` of each pool that is served, by `plugin` and `host` of files that were loaded or
//! refused. A pool counts for itself anyway, so it is asked when somebody scrapes ([`Pooled`]). Invariants: a pool
//! that is gone is forgotten; while two versions of a plugin serve, their numbers are one series, added up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::labelled::Labelled;
use super::metrics::{Counter, Histogram, Metric, Samples, Seen};

/// A pool that says how it is doing.
pub(crate) trait Pooled: Send + Sync {
    /// Name of its plugin.
    fn plugin(&self) -> &Arc<str>;

    /// Adds its numbers.
    fn numbers(&self, out: &mut PoolNumbers);
}

/// The numbers of one plugin, over all its pools.
#[derive(Debug, Default)]
pub(crate) struct PoolNumbers {
    counts: BTreeMap<(usize, &'static str), (Metric, u64)>,
    lease_wait: Seen,
}

impl PoolNumbers {
    /// Adds to a metric whose only label is the plugin.
    pub(crate) fn add(&mut self, metric: Metric, count: u64) {
        self.add_of(metric, "", count);
    }

    /// Adds to a metric with one more label.
    pub(crate) fn add_of(&mut self, metric: Metric, label: &'static str, count: u64) {
        let (_, sum) = self
            .counts
            .entry((metric as usize, label))
            .or_insert((metric, 0));
        *sum += count;
    }

    /// Adds times that calls have waited.
    pub(crate) fn waited(&mut self, seen: &Seen) {
        self.lease_wait.merge(seen);
    }

    fn write(&self, plugin: &str, out: &mut Samples) {
        for ((_, label), (metric, count)) in &self.counts {
            match *label {
                "" => out.count(*metric, &[plugin], *count),
                label => out.count(*metric, &[plugin, label], *count),
            }
        }
        out.times(Metric::LeaseWait, &[plugin], &self.lease_wait);
    }
}

/// What is known of all plugins of a host.
pub(crate) struct Plugins {
    pools: Mutex<Vec<Weak<dyn Pooled>>>,
    refused: Counter,
    swaps: Labelled,
    compile: Histogram,
}

impl Default for Plugins {
    fn default() -> Self {
        Self {
            pools: Mutex::default(),
            refused: Counter::default(),
            swaps: Labelled::new(&["added", "swapped", "refused", "removed"]),
            compile: Histogram::default(),
        }
    }
}

impl Plugins {
    /// Asks this pool from now on, as long as it lives; once, however often it is named.
    pub(crate) fn watch(&self, pool: &Arc<impl Pooled + 'static>) {
        let pool = Arc::downgrade(pool);
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|known| known.strong_count() > 0);
        let same = |known: &Weak<dyn Pooled>| std::ptr::addr_eq(known.as_ptr(), pool.as_ptr());
        if !pools.iter().any(same) {
            pools.push(pool);
        }
    }

    /// A file was compiled, in this time.
    pub(crate) fn compiled(&self, time: Duration) {
        self.compile.observe(time);
    }

    /// A file was refused.
    pub(crate) fn refused(&self) {
        self.refused.add_one();
    }

    /// What became of a change of a file while the host serves: `added`, `swapped`, `refused`
    /// or `removed`.
    pub(crate) fn changed(&self, outcome: &'static str) {
        self.swaps.add(outcome);
    }

    pub(super) fn write(&self, out: &mut Samples) {
        let pools: Vec<_> = {
            let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
            pools.iter().filter_map(Weak::upgrade).collect()
        };
        let mut plugins: BTreeMap<&str, PoolNumbers> = BTreeMap::new();
        for pool in &pools {
            pool.numbers(plugins.entry(pool.plugin()).or_default());
        }
        for (plugin, numbers) in &plugins {
            numbers.write(plugin, out);
        }
        out.size(Metric::PluginsLoaded, &[], plugins.len());
        out.count(Metric::PluginsRefused, &[], self.refused.get());
        self.swaps.write(Metric::PluginSwaps, out);
        out.times(Metric::Compile, &[], &self.compile.seen());
    }
}

#[cfg(test)]
mod tests {
    use super::super::Telemetry;
    use super::super::metrics::MetricsFormat;
    use super::*;

    struct Fake(Arc<str>, u64);

    impl Pooled for Fake {
        fn plugin(&self) -> &Arc<str> {
            &self.0
        }

        fn numbers(&self, out: &mut PoolNumbers) {
            out.add(Metric::Made, self.1);
            out.add_of(Metric::Leased, "unary", self.1);
        }
    }

    #[test]
    fn two_versions_of_a_plugin_are_one_series() {
        let telemetry = Telemetry::new();
        let pools = [("a", 1), ("a", 2), ("b", 4)];
        let mut pools = pools
            .map(|(name, count)| Arc::new(Fake(name.into(), count)))
            .to_vec();
        for pool in pools.iter().chain(&pools) {
            telemetry.plugins().watch(pool);
        }
        let lines = |telemetry: &Telemetry| {
            let text = telemetry.metrics(MetricsFormat::Prometheus);
            let of_pools = |line: &&str| line.starts_with("switchboard_pool_made_total");
            text.lines()
                .filter(of_pools)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let made = |plugin: &str, count| {
            format!("switchboard_pool_made_total{{plugin=\"{plugin}\"}} {count}")
        };
        assert_eq!(lines(&telemetry), [made("a", 3), made("b", 4)]);
        drop(pools.remove(0));
        assert_eq!(lines(&telemetry), [made("a", 2), made("b", 4)]);
    }
}
