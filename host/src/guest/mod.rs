//! Runs WebAssembly: the engine, checked components, instances of them and their state.
//!
//! Called by `pool` (to make instances), `grpc::call` (to enter one) and `plugin` (to load one);
//! calls `imports`. The only place besides `imports` that names wasmtime: its errors become
//! `CallError` and `PluginError` here. Knows no pool, no gRPC and no socket.

mod compiler;
mod component;
mod cpu;
mod engine;
mod failure;
mod instance;
mod outline;
mod state;
mod terms;
mod ticker;

pub(crate) use compiler::COMPILE_AT_ONCE;
pub(crate) use component::Component;
pub use component::{Description, Method, MethodKind, Service};
pub(crate) use engine::GuestEngine;
pub use engine::HostService;
pub(crate) use instance::{Ended, Instance};
pub use state::GuestState;
