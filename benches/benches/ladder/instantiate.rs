//! Rung 5, `instantiate`: where the instance of a call comes from. One call each, then it is given back.
//!
//! `reuse` takes one that has served before, `fresh` makes one for every call, as mode `fresh` does under load;
//! `fresh on demand` does so without the pool of memory that is mapped already, to say what that is worth.

use std::sync::Arc;

use criterion::{Criterion, Throughput};
use switchboard_benches::nobody::Nobody;
use switchboard_benches::server::guests_dir;
use switchboard_host::ladder::{Found, find};
use switchboard_host::{Exchange, Host, HostBuilder, HostConfig, Mode, PoolArgs, PoolConfig};
use tokio::runtime::{Builder, Runtime};

const MESSAGE: [u8; 16] = *b"sixteen bytes it";

pub(crate) fn instantiate(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let nobody: Arc<dyn Exchange> = Arc::new(Nobody);
    let mut group = criterion.benchmark_group("instantiate");
    for (name, mode, on_demand) in [
        ("reuse", Mode::Reuse, false),
        ("fresh", Mode::Fresh, false),
        ("fresh on demand", Mode::Fresh, true),
    ] {
        let (host, echo) = pool(&runtime, mode, on_demand);
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| {
            bencher.to_async(&runtime).iter(|| one_call(&echo, &nobody));
        });
        let stats = host.plugins()[0].stats;
        match mode {
            // One more whenever one has served as many calls as it may.
            Mode::Reuse => assert_eq!(stats.made, 1 + stats.retired_calls),
            Mode::Fresh => assert_eq!(stats.made, stats.retired_used),
        }
    }
    group.finish();
}

async fn one_call(echo: &Found, nobody: &Arc<dyn Exchange>) {
    let mut lent = echo.lease().await.expect("an instance");
    let answered = lent.unary(Arc::clone(nobody), &MESSAGE).await;
    let reply = answered.expect("no trap").expect("status OK");
    assert_eq!(reply, MESSAGE);
}

fn pool(runtime: &Runtime, mode: Mode, on_demand: bool) -> (Host, Found) {
    let mut config = HostConfig::default();
    config.engine.on_demand = on_demand;
    let args = PoolArgs {
        mode: Some(mode),
        ..PoolArgs::default()
    };
    config.plugin.pool = PoolConfig::try_from(args).expect("a pool");
    let file = guests_dir().join("echo.wasm");
    let host = runtime.block_on(HostBuilder::new(config).build(&[file]));
    let host = host.expect("a host");
    let echo = find(&host, "/echo.Echo/Unary").expect("`make guests` builds the plugin");
    (host, echo)
}
