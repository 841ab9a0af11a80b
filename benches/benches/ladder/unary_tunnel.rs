//! Rung 7, `unary_tunnel`: unary calls as in `unary_tcp`, through a WebSocket tunnel.
//!
//! What is said there holds here; the difference to `unary_tcp/reuse` is the price of the tunnel, both ends.

use criterion::{BenchmarkId, Criterion, Throughput};
use switchboard_benches::client::Frame;
use switchboard_benches::kind::Kind;
use switchboard_benches::load::unary_batch;
use switchboard_benches::local::Local;

use crate::unary_tcp::CALLS_PER_CALLER;

pub(crate) fn unary_tunnel(criterion: &mut Criterion) {
    let local = Local::start(Kind::Tunnel).expect("the server starts");
    let mut group = criterion.benchmark_group("unary_tunnel");
    for (size, bytes) in [("16 B", 16), ("1 KiB", 1 << 10)] {
        let frame = Frame::new(bytes);
        for in_flight in [1, 64] {
            let calls = in_flight * CALLS_PER_CALLER;
            group.throughput(Throughput::Elements(calls as u64));
            let id = BenchmarkId::new(size, in_flight);
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    let batch = unary_batch(local.connection(), &frame, in_flight, calls);
                    local.wait(batch).expect("every answer is the echo");
                });
            });
        }
    }
    group.finish();
}
