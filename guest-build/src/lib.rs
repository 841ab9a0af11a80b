//! From `.proto` to message types and typed service traits, in the build script of a Switchboard
//! guest.
//!
//! ```no_run
//! // build.rs
//! fn main() -> Result<(), switchboard_guest_build::Error> {
//!     switchboard_guest_build::compile(&["proto/helloworld.proto"], &["proto"])
//! }
//! ```
//!
//! For each package it writes one file into `OUT_DIR`, named after the package. The guest includes it
//! in a module of its own:
//!
//! ```text
//! pub mod helloworld {
//!     switchboard_guest::include_proto!("helloworld");
//! }
//! use helloworld::greeter_server::{Greeter, GreeterServer};
//! use helloworld::{HelloReply, HelloRequest};
//! ```
//!
//! Messages come from prost. A service `Greeter` becomes a module `greeter_server` with a trait
//! `Greeter` to implement and a `GreeterServer` that decodes, dispatches and encodes; it carries the
//! descriptors of the files and all they import, so that the host can offer reflection. Services
//! come from the files that are named; files that are only imported give their messages.
//!
//! Compiles by itself (protox): `protoc` need not be installed. The guest needs `prost`, and
//! `prost-types` if it uses well-known types other than wrappers and `Empty`. This crate runs at
//! build time and knows nothing of WebAssembly; the code it writes meets the host only through
//! `switchboard-guest`.

mod builder;
mod error;
mod names;
mod service;

pub use builder::{Builder, configure};
pub use error::Error;

use std::path::Path;

/// Compiles `protos`, looking for them and their imports in `includes`, with the default options.
///
/// The same as `configure().compile(protos, includes)`.
///
/// # Errors
///
/// See [`Error`]. End the build script's `main` with it: cargo prints what is wrong and where.
pub fn compile(protos: &[impl AsRef<Path>], includes: &[impl AsRef<Path>]) -> Result<(), Error> {
    configure().compile(protos, includes)
}
