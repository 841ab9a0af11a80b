//! Messages on one stream over TCP: the plugin beside the same handler in native code, in one
//! process. What is said in `unary_tcp` holds here. Every answer is checked.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use switchboard_benches::client::Frame;
use switchboard_benches::kind::Kind;
use switchboard_benches::load::stream_batch;
use switchboard_benches::local::Local;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Messages of one measured step, so that opening and ending the stream does not show.
const MESSAGES: usize = 512;

fn streams_tcp(criterion: &mut Criterion) {
    for kind in Kind::ALL {
        let local = Local::start(kind).expect("the server starts");
        let mut group = criterion.benchmark_group(format!("streams_tcp/{}", kind.name()));
        for bytes in [16, 1024, 65_536] {
            let frame = Frame::new(bytes);
            group.throughput(Throughput::Elements(MESSAGES as u64));
            for window in [1, 16] {
                let id = BenchmarkId::new(format!("{bytes} B"), window);
                group.bench_function(id, |bencher| {
                    bencher.iter(|| {
                        let batch = stream_batch(local.connection(), &frame, window, MESSAGES);
                        local.wait(batch).expect("every answer is the echo");
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, streams_tcp);
criterion_main!(benches);
