//! Rung 2, `route`: from a path to the method behind it, in tables of several sizes.
//!
//! The table is that of a host, in force as it is while it serves. Paths are looked up in an order that has no
//! neighbours, as the calls of many callers have none.

use std::sync::Arc;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use switchboard_host::ladder::find;
use switchboard_host::{
    Code, Exchange, Host, HostBuilder, HostConfig, MethodKind, NativeFuture, NativeMethod,
    NativeService, Status,
};
use tokio::runtime::Builder;

/// Methods of one service: no real one has more, and a large table is one of many services.
const PER_SERVICE: usize = 100;

/// From one path to the next that is looked up: shares no factor with the sizes of the tables.
const STRIDE: usize = 37;

/// Has many methods, and none does anything.
struct Many {
    name: String,
    methods: Vec<NativeMethod>,
}

impl NativeService for Many {
    fn name(&self) -> &str {
        &self.name
    }

    fn methods(&self) -> Vec<NativeMethod> {
        self.methods.clone()
    }

    fn unary(&self, _: usize, _: Arc<dyn Exchange>, _: Bytes) -> NativeFuture<Bytes> {
        Box::pin(async { Err(Status::new(Code::Unimplemented, "only looked up")) })
    }

    fn stream(&self, _: usize, _: Arc<dyn Exchange>) -> NativeFuture<()> {
        Box::pin(async { Err(Status::new(Code::Unimplemented, "only looked up")) })
    }
}

pub(crate) fn route(criterion: &mut Criterion) {
    let names: Vec<&'static str> = (0..PER_SERVICE)
        .map(|method| &*format!("Method{method}").leak())
        .collect();
    let mut group = criterion.benchmark_group("route");
    for size in [1, 100, 10_000] {
        let (host, paths) = table(size, &names);
        let mut at = 0;
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                at = (at + STRIDE) % paths.len();
                let found = find(&host, &paths[at]).expect("every method is served");
                assert_eq!(found.id() as usize, at % PER_SERVICE);
                found
            });
        });
    }
    group.finish();
}

/// A host with this many methods, and their paths.
fn table(size: usize, names: &[&'static str]) -> (Host, Vec<String>) {
    let mut builder = HostBuilder::new(HostConfig::default());
    let mut paths = Vec::with_capacity(size);
    while paths.len() < size {
        let name = format!("measured.v1.Service{}", paths.len() / PER_SERVICE);
        let names = &names[..PER_SERVICE.min(size - paths.len())];
        paths.extend(names.iter().map(|method| format!("/{name}/{method}")));
        let methods = names.iter().map(|name| NativeMethod {
            name,
            kind: MethodKind::Unary,
        });
        let methods = methods.collect();
        builder = builder.native(Many { name, methods });
    }
    let runtime = Builder::new_current_thread().enable_all().build();
    let host = runtime.expect("a runtime").block_on(builder.build(&[]));
    (host.expect("a host without plugins"), paths)
}
