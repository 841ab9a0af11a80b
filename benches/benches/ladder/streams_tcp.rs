//! Rung 8, `streams_tcp`: messages on one stream over TCP, each kind of stream, in one process. What is said in
//! `unary_tcp` holds here. Every answer is checked; the price is for each message.
//!
//! `bidi` is the echo, beside the same handler in native code and through a tunnel, with 1 or 16 messages on
//! their way. `server` and `client` are `Flood` and `Swallow` of `guests/testservice`, whose messages are protobuf
//! that the guest makes and reads: as many as flow control lets pass, in one direction.

use criterion::{BenchmarkId, Criterion, Throughput};
use switchboard_benches::client::Frame;
use switchboard_benches::kind::Kind;
use switchboard_benches::load::stream_batch;
use switchboard_benches::local::Local;
use switchboard_benches::messages::Call;
use switchboard_benches::plugin::Plugin;
use tokio::runtime::Builder;

const SIZES: [(&str, u32); 3] = [("16 B", 16), ("1 KiB", 1 << 10), ("64 KiB", 64 << 10)];

/// Messages of one measured step, so that opening and ending the stream does not show.
const MESSAGES: usize = 512;

/// Messages of one measured step in one direction: so many, but not more bytes than this.
const ONE_WAY_MESSAGES: u32 = 1024;
const ONE_WAY_BYTES: u32 = 4 << 20;

pub(crate) fn bidi(criterion: &mut Criterion) {
    for kind in Kind::ALL {
        let local = Local::start(kind).expect("the server starts");
        let mut group = criterion.benchmark_group(format!("streams_tcp/bidi/{}", kind.name()));
        for (size, bytes) in SIZES {
            let frame = Frame::new(bytes as usize);
            group.throughput(Throughput::Elements(MESSAGES as u64));
            for window in [1, 16] {
                let id = BenchmarkId::new(size, window);
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

pub(crate) fn one_way(criterion: &mut Criterion) {
    let server = Builder::new_multi_thread().enable_all().build();
    let server = server.expect("a runtime");
    let running = server.block_on(Plugin::guest("testservice").serve());
    let running = running.expect("the server starts");
    let client = Builder::new_current_thread().enable_all().build();
    let client = client.expect("a runtime");
    let connection = client.block_on(running.connect()).expect("it serves");
    type Direction = fn(u32, u32) -> Call;
    let directions: [(_, Direction); 2] = [("server", Call::flood), ("client", Call::swallow)];
    for (name, direction) in directions {
        let mut group = criterion.benchmark_group(format!("streams_tcp/{name}/reuse"));
        for (size, bytes) in SIZES {
            let messages = ONE_WAY_MESSAGES.min(ONE_WAY_BYTES / bytes);
            let call = direction(messages, bytes);
            group.throughput(Throughput::Elements(messages.into()));
            group.bench_function(size, |bencher| {
                bencher.iter(|| {
                    let answered = client.block_on(connection.caller().call(&call));
                    answered.expect("every message comes");
                });
            });
        }
        group.finish();
    }
}
