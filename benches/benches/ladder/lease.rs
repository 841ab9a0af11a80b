//! Rung 3, `lease`: an instance is taken from the pool for a call and given back, without a call.
//!
//! `idle` takes the one that was given back last. `in line of 64` is a pool of one instance and as many who want
//! it: each waits in line and gets it from the one before, timer and wake-up included; the price is for each.

use criterion::{Criterion, Throughput};
use futures_util::future::join_all;
use futures_util::poll;
use switchboard_benches::server::guests_dir;
use switchboard_host::ladder::{Found, find};
use switchboard_host::{Host, HostBuilder, HostConfig, PoolArgs, PoolConfig};
use tokio::runtime::{Builder, Runtime};

/// Who wait, at once.
const WAITERS: usize = 64;

pub(crate) fn lease(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let mut group = criterion.benchmark_group("lease");

    let (host, echo) = pool(&runtime, PoolArgs::default());
    group.throughput(Throughput::Elements(1));
    group.bench_function("idle", |bencher| {
        bencher.to_async(&runtime).iter(|| async {
            echo.lease().await.expect("an idle instance");
        });
    });
    assert_eq!(host.plugins()[0].stats.made, 1, "the one made in advance");

    let one = PoolArgs {
        stores_max: Some(1),
        ..PoolArgs::default()
    };
    let (host, echo) = pool(&runtime, one);
    group.throughput(Throughput::Elements(WAITERS as u64));
    group.bench_function(format!("in line of {WAITERS}"), |bencher| {
        bencher.to_async(&runtime).iter(|| pass_along(&host, &echo));
    });
    assert_eq!(host.plugins()[0].stats.made, 1, "the one made in advance");
    group.finish();
}

/// The only instance goes from hand to hand until everybody had it.
async fn pass_along(host: &Host, echo: &Found) {
    let first = echo.lease().await.expect("nobody is here yet");
    let turns = (0..WAITERS).map(|_| async {
        drop(echo.lease().await.expect("its turn comes"));
    });
    let mut line = std::pin::pin!(join_all(turns));
    assert!(poll!(&mut line).is_pending());
    assert_eq!(host.plugins()[0].stats.waiting as usize, WAITERS);
    drop(first);
    line.await;
}

fn pool(runtime: &Runtime, args: PoolArgs) -> (Host, Found) {
    let mut config = HostConfig::default();
    config.plugin.pool = PoolConfig::try_from(args).expect("a pool");
    let file = guests_dir().join("echo.wasm");
    let host = runtime.block_on(HostBuilder::new(config).build(&[file]));
    let host = host.expect("a host");
    let echo = find(&host, "/echo.Echo/Unary").expect("`make guests` builds the plugin");
    (host, echo)
}
