//! A pool whose plugin keeps failing: who is refused, who is told, and that it comes back by itself,
//! under paused time.

use super::*;

const BACKOFF: Duration = Duration::from_secs(1);

fn failing(edit: impl FnOnce(&mut PoolConfig)) -> Arc<Pool<Numbers>> {
    pool(|config| {
        config.quarantine = Some(QuarantineConfig {
            faults_max: 3,
            ..QuarantineConfig::default()
        });
        edit(config);
    })
}

async fn call(pool: &Arc<Pool<Numbers>>, outcome: Outcome) {
    let mut lease = lease(pool, UNARY).await;
    lease.outcome = outcome;
    lease.clean = outcome == Outcome::Good;
}

/// How long the refusal says to wait.
async fn refused(pool: &Arc<Pool<Numbers>>) -> Duration {
    match pool.lease(UNARY).await {
        Err(CallError::Quarantined { retry_after }) => retry_after,
        other => panic!("refused: {other:?}"),
    }
}

async fn fail(pool: &Arc<Pool<Numbers>>) {
    for _ in 0..3 {
        call(pool, Outcome::Fault).await;
    }
}

#[tokio::test(start_paused = true)]
async fn calls_are_refused_at_once_until_one_on_trial_goes_well() {
    let pool = failing(|_| {});
    let serving = pool.serving();
    assert!(*serving.borrow());
    fail(&pool).await;
    assert!(!*serving.borrow());
    assert_eq!(refused(&pool).await, BACKOFF);
    tokio::time::advance(BACKOFF / 2).await;
    assert_eq!(refused(&pool).await, BACKOFF / 2);
    tokio::time::advance(BACKOFF / 2).await;
    let mut trial = lease(&pool, UNARY).await;
    assert!(
        *serving.borrow(),
        "or nobody would send the call to be tried"
    );
    assert_eq!(refused(&pool).await, TRIAL_TIME, "one at a time");
    trial.outcome = Outcome::Good;
    drop(trial);
    drop(lease(&pool, UNARY).await);
    let stats = pool.stats();
    assert_eq!(
        (stats.faults, stats.quarantines, stats.quarantined),
        (3, 1, false)
    );
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_sent_away_at_once() {
    let pool = failing(|config| config.stores_max = stores(1));
    call(&pool, Outcome::Fault).await;
    call(&pool, Outcome::Fault).await;
    let held = lease(&pool, UNARY).await;
    let mut waiting = Box::pin(pool.lease(UNARY));
    assert!(waiting.as_mut().now_or_never().is_none());
    let mut stream = lease(&pool, STREAM).await;
    stream.outcome = Outcome::Fault;
    drop(stream);
    match waiting.as_mut().now_or_never() {
        Some(Err(CallError::Quarantined { retry_after })) => assert_eq!(retry_after, BACKOFF),
        other => panic!("refused: {other:?}"),
    }
    drop(held);
    let stats = pool.stats();
    assert_eq!((stats.waiting, stats.leased.total()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_does_not_start_is_a_failure_and_a_full_engine_is_none() {
    let pool = failing(|_| {});
    pool.source.fail.store(true, Ordering::SeqCst);
    for _ in 0..20 {
        assert!(matches!(
            pool.lease(UNARY).await,
            Err(CallError::EngineFull)
        ));
    }
    pool.source.fail.store(false, Ordering::SeqCst);
    pool.source.broken.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert!(matches!(
            pool.lease(UNARY).await,
            Err(CallError::Instantiate(_))
        ));
    }
    assert_eq!(refused(&pool).await, BACKOFF);
    assert_eq!((pool.stats().faults, pool.stats().leased.total()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn calls_that_were_cut_short_are_no_failures() {
    let pool = failing(|_| {});
    for _ in 0..100 {
        call(&pool, Outcome::None).await;
    }
    assert_eq!((pool.stats().faults, pool.stats().quarantined), (0, false));
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_is_given_up_leaves_its_place_to_the_next() {
    let pool = failing(|_| {});
    fail(&pool).await;
    tokio::time::advance(BACKOFF).await;
    drop(lease(&pool, UNARY).await);
    drop(lease(&pool, UNARY).await);
    assert!(pool.stats().quarantined, "neither said anything");
    call(&pool, Outcome::Good).await;
    assert!(!pool.stats().quarantined);
}

#[tokio::test(start_paused = true)]
async fn a_trial_never_waits_behind_calls_from_before() {
    let pool = failing(|config| config.streams_max = 1);
    let before = lease(&pool, STREAM).await;
    fail(&pool).await;
    tokio::time::advance(BACKOFF).await;
    let none = pool.lease(STREAM).await;
    assert!(
        matches!(none, Err(CallError::Quarantined { .. })),
        "{none:?}"
    );
    call(&pool, Outcome::Good).await;
    assert!(!pool.stats().quarantined);
    drop(before);
}

#[tokio::test(start_paused = true)]
async fn the_upkeep_ends_a_quarantine_by_itself_and_tries_an_instance_first() {
    let pool = failing(|config| config.warm_min = 1);
    let mut serving = pool.serving();
    pool.source.broken.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert!(pool.lease(UNARY).await.is_err());
    }
    assert!(!*serving.borrow_and_update());
    let begun = Instant::now();
    let upkeep = Pool::upkeep(Arc::downgrade(&pool));
    let watched = async {
        // On trial, and out again: the instance that is made in advance does not start.
        while begun.elapsed() < BACKOFF * 3 {
            serving.changed().await.expect("the pool is there");
            assert!(
                !*serving.borrow_and_update(),
                "no caller was needed to find out"
            );
        }
        pool.source.broken.store(false, Ordering::SeqCst);
        serving
            .wait_for(|serving| *serving)
            .await
            .expect("the pool is there");
        call(&pool, Outcome::Good).await;
    };
    tokio::select! {
        () = upkeep => panic!("the pool is there"),
        () = watched => {}
    }
    assert!(!pool.stats().quarantined);
    assert_eq!(pool.stats().quarantines, 3);
}
