//! Rung 9, `cold_start`: from a plugin's file to the first byte of its first answer, over TCP.
//!
//! All of a host is made each time: engine, plugin, instance, listener, connection. `compiled` compiles the file;
//! `cached` finds what was compiled before. What a process takes to start is not in it.

use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput};
use switchboard_benches::messages::Call;
use switchboard_benches::plugin::Plugin;
use tokio::runtime::Builder;

pub(crate) fn cold_start(criterion: &mut Criterion) {
    let runtime = Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let cached = Plugin {
        cache: Some(folder.path().to_owned()),
        ..Plugin::guest("echo")
    };
    runtime.block_on(first_byte(&cached));
    let mut group = criterion.benchmark_group("cold_start");
    group
        .sampling_mode(SamplingMode::Flat)
        .sample_size(20)
        .throughput(Throughput::Elements(1));
    for (name, plugin) in [("compiled", Plugin::guest("echo")), ("cached", cached)] {
        group.bench_function(name, |bencher| {
            bencher.to_async(&runtime).iter_custom(|starts| {
                let plugin = &plugin;
                async move {
                    let mut took = Duration::ZERO;
                    for _ in 0..starts {
                        took += first_byte(plugin).await;
                    }
                    took
                }
            });
        });
    }
    group.finish();
}

/// How long it took; the host has ended when this has.
async fn first_byte(plugin: &Plugin) -> Duration {
    let call = Call::raw("/echo.Echo/Unary", b"first", b"first");
    let (running, took) = plugin.first_answer(&call).await.expect("it answers");
    running.stop().await.expect("it stops");
    took
}
