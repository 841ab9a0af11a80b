//! The pool with instances that are only numbers: limits, order, retirement, under paused time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{FutureExt, join_all};
use proptest::prelude::*;
use tokio::time::Instant;

use super::*;
use crate::config::{Mode, QuarantineConfig};

mod quarantine;

const UNARY: Want = Want {
    kind: Kind::Unary,
    priority: Priority::Normal,
};
const HIGH: Want = Want {
    kind: Kind::Unary,
    priority: Priority::High,
};
const STREAM: Want = Want {
    kind: Kind::Stream,
    priority: Priority::Normal,
};

#[derive(Debug, Default)]
struct Numbers {
    next: AtomicU64,
    fail: AtomicBool,
    /// That none is made is the plugin's fault.
    broken: AtomicBool,
}

#[derive(Debug)]
struct Number {
    id: u64,
    calls: u64,
    clean: bool,
    memory_bytes: usize,
    born: Instant,
    outcome: Outcome,
}

impl Source for Numbers {
    type Item = Number;

    fn label(&self) -> &str {
        "numbers"
    }

    async fn make(&self) -> Result<Number, CallError> {
        if self.fail.load(Ordering::SeqCst) {
            return Err(CallError::EngineFull);
        }
        if self.broken.load(Ordering::SeqCst) {
            return Err(CallError::Instantiate("as asked".into()));
        }
        let id = self.next.fetch_add(1, Ordering::SeqCst);
        Ok(Number {
            id,
            calls: 0,
            clean: true,
            memory_bytes: 0,
            born: Instant::now(),
            outcome: Outcome::None,
        })
    }
}

impl Item for Number {
    fn usage(&self) -> Usage {
        Usage {
            calls: self.calls,
            age: self.born.elapsed(),
            memory_bytes: self.memory_bytes,
            overrun: 0,
            clean: self.clean,
        }
    }

    fn take_outcome(&mut self) -> Outcome {
        std::mem::take(&mut self.outcome)
    }
}

fn pool(edit: impl FnOnce(&mut PoolConfig)) -> Arc<Pool<Numbers>> {
    let mut config = PoolConfig::default();
    edit(&mut config);
    Pool::new(Numbers::default(), config)
}

fn stores(count: u32) -> std::num::NonZeroU32 {
    std::num::NonZeroU32::new(count).expect("not zero")
}

async fn lease(pool: &Arc<Pool<Numbers>>, want: Want) -> Lease<Numbers> {
    pool.lease(want).await.expect("a lease")
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_lent_again() {
    let pool = pool(|_| {});
    let first = lease(&pool, UNARY).await.id;
    let second = lease(&pool, STREAM).await.id;
    assert_eq!(first, second);
    assert_eq!(pool.stats().made, 1);
}

#[tokio::test(start_paused = true)]
async fn an_unclean_instance_is_never_lent_again() {
    let pool = pool(|_| {});
    let mut trapped = lease(&pool, UNARY).await;
    let id = trapped.id;
    trapped.clean = false;
    drop(trapped);
    assert_ne!(lease(&pool, UNARY).await.id, id);
    assert_eq!(pool.stats().retired_unclean, 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_line_refuses_at_once() {
    let pool = pool(|config| {
        config.stores_max = stores(1);
        config.waiting_max = 2;
    });
    let held = lease(&pool, UNARY).await;
    let mut first = Box::pin(pool.lease(UNARY));
    let mut second = Box::pin(pool.lease(UNARY));
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    assert!(matches!(
        pool.lease(UNARY).await,
        Err(CallError::PoolFull { waiting: 2 })
    ));
    // The line was full of unary calls; it is one line, so a stream that may run still does.
    drop(lease(&pool, STREAM).await);
    drop(held);
    drop(first.await.expect("first in line"));
    drop(second.await.expect("second in line"));
    assert_eq!(pool.stats().refused, 1);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_wait_max() {
    let pool = pool(|config| {
        config.stores_max = stores(1);
        config.wait_max = Duration::from_millis(300);
    });
    let _held = lease(&pool, UNARY).await;
    let begun = Instant::now();
    let waited = pool.lease(UNARY).await.expect_err("nobody returns one");
    assert!(matches!(waited, CallError::WaitedTooLong(_)));
    assert_eq!(begun.elapsed(), Duration::from_millis(300));
    assert_eq!(pool.stats().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_leaves_the_line_and_loses_nothing() {
    let pool = pool(|config| config.stores_max = stores(1));
    let held = lease(&pool, UNARY).await;
    let mut gone = Box::pin(pool.lease(UNARY));
    let mut next = Box::pin(pool.lease(UNARY));
    assert!(gone.as_mut().now_or_never().is_none());
    assert!(next.as_mut().now_or_never().is_none());
    // The first waiter is granted the instance, and leaves without looking.
    drop(held);
    drop(gone);
    drop(next.await.expect("the second gets it"));
    assert_eq!(pool.stats().leased.total(), 0);
    assert_eq!(pool.stats().idle, 1);
}

#[tokio::test(start_paused = true)]
async fn streams_do_not_starve_unary_calls() {
    let pool = pool(|config| {
        config.streams_max = 2;
        config.waiting_max = 0;
    });
    let _streams = [lease(&pool, STREAM).await, lease(&pool, STREAM).await];
    assert!(pool.lease(STREAM).await.is_err());
    drop(lease(&pool, UNARY).await);
}

#[tokio::test(start_paused = true)]
async fn priority_goes_first_and_has_stores_of_its_own() {
    let pool = pool(|config| {
        config.stores_max = stores(2);
        config.priority_stores = 1;
    });
    let normal = lease(&pool, UNARY).await;
    let mut waiting = Box::pin(pool.lease(UNARY));
    assert!(
        waiting.as_mut().now_or_never().is_none(),
        "the last store is for priority"
    );
    let high = lease(&pool, HIGH).await;
    let mut high_waiting = Box::pin(pool.lease(HIGH));
    assert!(high_waiting.as_mut().now_or_never().is_none());
    drop(normal);
    assert!(
        waiting.as_mut().now_or_never().is_none(),
        "priority came later and goes first"
    );
    drop(
        high_waiting
            .as_mut()
            .now_or_never()
            .expect("granted")
            .expect("a lease"),
    );
    drop(high);
    drop(waiting.await.expect("at last"));
}

#[tokio::test(start_paused = true)]
async fn fresh_never_lends_twice() {
    let pool = pool(|config| config.mode = Mode::Fresh);
    let mut first = lease(&pool, UNARY).await;
    first.calls = 1;
    let id = first.id;
    drop(first);
    assert_ne!(lease(&pool, UNARY).await.id, id);
    assert_eq!(pool.stats().retired_used, 1);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_gives_its_place_back() {
    let pool = pool(|config| config.stores_max = stores(1));
    pool.source.fail.store(true, Ordering::SeqCst);
    assert!(matches!(
        pool.lease(UNARY).await,
        Err(CallError::EngineFull)
    ));
    pool.source.fail.store(false, Ordering::SeqCst);
    drop(lease(&pool, UNARY).await);
}

#[tokio::test(start_paused = true)]
async fn warming_keeps_the_minimum_and_age_ends_it() {
    let pool = pool(|config| {
        config.warm_min = 3;
        config.age_max = Duration::from_secs(60);
    });
    pool.warm().await.expect("warm");
    assert_eq!(pool.stats().idle, 3);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(pool.sweep(), 3);
    assert_eq!(pool.stats().retired_age, 3);
    pool.warm().await.expect("warm again");
    assert_eq!(pool.stats().idle, 3);
}

#[tokio::test(start_paused = true)]
async fn what_was_used_is_lent_before_what_was_made_in_advance() {
    let pool = pool(|config| config.warm_min = 2);
    let used = lease(&pool, UNARY).await.id;
    pool.warm().await.expect("warm");
    assert_eq!(pool.stats().idle, 2);
    assert_eq!(lease(&pool, UNARY).await.id, used);
}

#[tokio::test(start_paused = true)]
async fn warming_beside_leases_never_holds_more_than_the_limits() {
    let pool = pool(|config| {
        config.stores_max = stores(2);
        config.streams_max = 0;
        config.warm_min = 2;
    });
    let (leases, warmed) = tokio::join!(
        join_all([pool.lease(UNARY), pool.lease(UNARY)]),
        pool.warm()
    );
    warmed.expect("warm");
    drop(leases);
    let stats = pool.stats();
    assert!(stats.idle <= 2, "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_needs_is_dropped_and_what_is_needed_stays() {
    let pool = pool(|config| config.warm_min = 1);
    let burst = [
        lease(&pool, UNARY).await,
        lease(&pool, UNARY).await,
        lease(&pool, UNARY).await,
    ];
    drop(burst);
    assert_eq!(pool.sweep(), 0, "they were needed since the last sweep");
    drop([lease(&pool, UNARY).await, lease(&pool, UNARY).await]);
    assert_eq!(pool.sweep(), 1, "two of three were needed");
    assert_eq!(pool.sweep(), 1, "none was, and one is kept warm");
    assert_eq!(pool.sweep(), 0);
    assert_eq!((pool.stats().idle, pool.stats().retired_idle), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_allows_no_streams_says_so_at_once() {
    let pool = pool(|config| config.streams_max = 0);
    assert!(matches!(
        pool.lease(STREAM).await,
        Err(CallError::PoolFull { waiting: 0 })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_crowd_in_one_lane_keeps_nobody_out_of_another() {
    let pool = pool(|config| {
        config.stores_max = stores(1);
        config.waiting_max = 1;
    });
    let held = lease(&pool, UNARY).await;
    let mut crowd = Box::pin(pool.lease(UNARY));
    assert!(crowd.as_mut().now_or_never().is_none());
    assert!(pool.lease(UNARY).await.is_err(), "its own lane is full");
    let mut high = Box::pin(pool.lease(HIGH));
    assert!(
        high.as_mut().now_or_never().is_none(),
        "it waits, it is not refused"
    );
    drop(held);
    drop(high.await.expect("it goes first"));
    drop(crowd.await.expect("then the other"));
}

#[derive(Clone, Debug)]
enum Step {
    Lease(Want),
    Return {
        at: usize,
        clean: bool,
        calls: u64,
        outcome: Outcome,
    },
    GiveUp(usize),
    Pass(Duration),
}

fn step() -> impl Strategy<Value = Step> {
    let want = prop_oneof![Just(UNARY), Just(HIGH), Just(STREAM)];
    let outcome = prop_oneof![
        1 => Just(Outcome::None),
        2 => Just(Outcome::Good),
        1 => Just(Outcome::Fault),
    ];
    prop_oneof![
        3 => want.prop_map(Step::Lease),
        2 => (any::<usize>(), any::<bool>(), 1_u64..4, outcome)
            .prop_map(|(at, clean, calls, outcome)| Step::Return { at, clean, calls, outcome }),
        1 => any::<usize>().prop_map(Step::GiveUp),
        1 => (0_u64..1500).prop_map(|ms| Step::Pass(Duration::from_millis(ms))),
    ]
}

type Waiting = std::pin::Pin<Box<dyn Future<Output = Result<Lease<Numbers>, CallError>>>>;

/// Moves every wait that has been granted to the leases.
fn collect(waits: &mut Vec<Waiting>, leases: &mut Vec<Lease<Numbers>>) {
    waits.retain_mut(|wait| match wait.as_mut().now_or_never() {
        None => true,
        Some(granted) => {
            leases.extend(granted.ok());
            false
        }
    });
}

proptest! {
    /// Any order of leases, returns, failures and waiters who leave keeps every limit and loses no instance.
    #[test]
    fn limits_hold_whatever_happens(
        steps in prop::collection::vec(step(), 1..200),
        stores_max in 1_u32..5,
        streams_max in 0_u32..3,
        waiting_max in 0_u32..6,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let pool = pool(|config| {
                config.stores_max = stores(stores_max);
                config.streams_max = streams_max;
                config.waiting_max = waiting_max;
                config.calls_max = 3;
                config.priority_stores = stores_max / 2;
                let faults_max = 3;
                config.quarantine = Some(QuarantineConfig { faults_max, ..Default::default() });
            });
            let mut leases: Vec<Lease<Numbers>> = Vec::new();
            let mut waits: Vec<Waiting> = Vec::new();
            let mut unclean = std::collections::HashSet::new();
            for step in steps {
                match step {
                    Step::Lease(want) => {
                        let pool = Arc::clone(&pool);
                        waits.push(Box::pin(async move { pool.lease(want).await }));
                    }
                    Step::Return { at, clean, calls, outcome } if !leases.is_empty() => {
                        let mut lease = leases.remove(at % leases.len());
                        lease.outcome = outcome;
                        lease.clean = clean;
                        lease.calls += calls;
                        if !clean {
                            unclean.insert(lease.id);
                        }
                    }
                    Step::GiveUp(at) if !waits.is_empty() => {
                        drop(waits.remove(at % waits.len()));
                    }
                    Step::Return { .. } | Step::GiveUp(_) => {}
                    Step::Pass(time) => tokio::time::advance(time).await,
                }
                collect(&mut waits, &mut leases);
                let stats = pool.stats();
                assert!(stats.leased.unary <= stores_max && stats.leased.streams <= streams_max);
                assert!(stats.idle + stats.leased.total() <= stores_max + streams_max);
                assert!(stats.waiting <= 3 * waiting_max, "three lanes are used here");
                assert_eq!(stats.leased.total() as usize, leases.len());
                assert_eq!(stats.waiting as usize, waits.len());
                assert!(leases.iter().all(|lease| !unclean.contains(&lease.id)));
            }
            waits.clear();
            leases.clear();
            let stats = pool.stats();
            assert_eq!((stats.leased.total(), stats.waiting), (0, 0));
            // However it failed, it comes back.
            tokio::time::advance(QuarantineConfig::default().backoff_max).await;
            let mut trial = pool.lease(UNARY).await.expect("on trial, or well");
            trial.outcome = Outcome::Good;
            drop(trial);
            assert!(!pool.stats().quarantined);
        });
    }
}
