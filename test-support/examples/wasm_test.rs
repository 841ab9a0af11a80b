//! Runs a test binary that was built for wasm32-wasip2, so that `cargo test --target wasm32-wasip2`
//! needs nothing but what this workspace builds anyway: `make test-wasm` makes it cargo's runner.
//!
//! Usage: `wasm_test FILE.wasm ARGS...`. The tests get the arguments, the environment, the clock,
//! random bytes and the terminal; no folder and no network.
#![allow(
    clippy::exit,
    reason = "cargo wants to know from the exit code whether the tests passed"
)]

use std::env;
use std::process;

use anyhow::Context as _;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Config, Engine, Store};
use wasmtime_wasi::p2::add_to_linker_sync;
use wasmtime_wasi::p2::bindings::sync::Command;
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxView, WasiView};

struct State {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

fn main() -> anyhow::Result<()> {
    let file = env::args()
        .nth(1)
        .context("usage: wasm_test FILE.wasm ARGS...")?;
    let passed = run(&file).with_context(|| format!("running {file}"))?;
    process::exit(if passed { 0 } else { 1 });
}

/// Whether the tests passed.
fn run(file: &str) -> anyhow::Result<bool> {
    let engine = Engine::new(&Config::new())?;
    let component = Component::from_file(&engine, file)?;
    let mut linker = Linker::new(&engine);
    add_to_linker_sync(&mut linker)?;
    let arguments: Vec<String> = env::args().skip(1).collect();
    let wasi = WasiCtx::builder()
        .inherit_stdio()
        .inherit_env()
        .args(&arguments)
        .build();
    let state = State {
        wasi,
        table: ResourceTable::new(),
    };
    let mut store = Store::new(&engine, state);
    let command = Command::instantiate(&mut store, &component, &linker)?;
    match command.wasi_cli_run().call_run(&mut store) {
        Ok(result) => Ok(result.is_ok()),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(exit) => Ok(exit.0 == 0),
            // A failed test is a panic, and a panic is a trap here.
            None => Err(error.into()),
        },
    }
}
