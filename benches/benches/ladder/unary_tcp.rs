//! Rung 6, `unary_tcp`: unary calls over TCP: the plugin beside the same handler in native code, in one process.
//!
//! Client and server share the cores of the machine here, so this shows what changed between two
//! builds; what a server costs by itself is `make bench`'s to say. Every answer is checked.

use criterion::{BenchmarkId, Criterion, Throughput};
use switchboard_benches::client::Frame;
use switchboard_benches::kind::Kind;
use switchboard_benches::load::unary_batch;
use switchboard_benches::local::Local;

/// Calls of one measured step: many for each caller, so that starting them does not show.
pub(crate) const CALLS_PER_CALLER: usize = 16;

pub(crate) fn unary_tcp(criterion: &mut Criterion) {
    // Through a tunnel: rung 7.
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Tunnel) {
        let local = Local::start(kind).expect("the server starts");
        let mut group = criterion.benchmark_group(format!("unary_tcp/{}", kind.name()));
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
}
