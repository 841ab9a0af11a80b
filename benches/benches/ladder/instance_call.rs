//! Rung 4, `instance_call`: into the guest and out again, in an instance that is held, without any network.
//!
//! The guest is the smallest there is: it gives back the message as it came. What is paid for is the way across
//! the boundary and two copies of the message.

use std::sync::Arc;
use std::time::Instant;

use criterion::{Criterion, Throughput};
use switchboard_benches::nobody::Nobody;
use switchboard_benches::server::guests_dir;
use switchboard_host::ladder::{Lent, find};
use switchboard_host::{Exchange, HostBuilder, HostConfig};
use tokio::runtime::Builder;

pub(crate) fn instance_call(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let file = guests_dir().join("echo.wasm");
    let host = runtime.block_on(HostBuilder::new(HostConfig::default()).build(&[file]));
    let host = host.expect("a host");
    let echo = find(&host, "/echo.Echo/Unary").expect("`make guests` builds the plugin");
    let nobody: Arc<dyn Exchange> = Arc::new(Nobody);
    let mut group = criterion.benchmark_group("instance_call");
    for (name, len) in [
        ("empty", 0),
        ("16 B", 16),
        ("1 KiB", 1 << 10),
        ("64 KiB", 64 << 10),
    ] {
        let message: Vec<u8> = (0..251).cycle().take(len).collect();
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| {
            bencher.to_async(&runtime).iter_custom(|calls| {
                let (echo, nobody, message) = (&echo, &nobody, &message);
                async move {
                    let mut lent = echo.lease().await.expect("an instance");
                    assert_eq!(call(&mut lent, nobody, message).await, *message);
                    let begun = Instant::now();
                    for _ in 0..calls {
                        let reply = call(&mut lent, nobody, message).await;
                        // All of it was compared above; to do so each time would be part of the price.
                        assert_eq!((reply.len(), reply.last()), (len, message.last()));
                    }
                    begun.elapsed()
                }
            });
        });
    }
    group.finish();
}

async fn call(lent: &mut Lent, nobody: &Arc<dyn Exchange>, message: &[u8]) -> Vec<u8> {
    let answered = lent.unary(Arc::clone(nobody), message).await;
    answered.expect("no trap").expect("status OK")
}
