//! The ladder: what a call costs, layer by layer. One file for each rung, from the lowest up; each adds a layer to
//! those before, so that a difference is a price. `switchboard-bench ladder` gathers what comes out.
//!
//! One program, because linking takes minutes when it optimises. Every rung asserts its answer and says what the
//! throughput is of. `cargo bench -p switchboard-benches -- FILTER` runs some; tests run each once.

mod cold_start;
mod frame;
mod instance_call;
mod instantiate;
mod lease;
mod route;
mod streams_tcp;
mod unary_tcp;
mod unary_tunnel;

use criterion::{criterion_group, criterion_main};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion_group!(
    ladder,
    frame::frame,
    route::route,
    lease::lease,
    instance_call::instance_call,
    instantiate::instantiate,
    unary_tcp::unary_tcp,
    unary_tunnel::unary_tunnel,
    streams_tcp::bidi,
    streams_tcp::one_way,
    cold_start::cold_start,
);
criterion_main!(ladder);
