//! Servers for the tests of the client: stock gRPC behind every kind of transport.
//!
//! | module | owns |
//! |---|---|
//! | [`service`] | the services: what a test asks for, and counts of what they saw |
//! | [`server`] | a tonic server over any stream of connections, which can be killed |
//! | [`tunnel`] | HTTP/1.1 upgrades to our tunnel, and refusals of any kind |
//! | [`bridge`] | a plain WebSocket-to-TCP bridge, made with a stock library |
//! | [`mod@line`] | a connector that a test cuts, mends and redirects |
//!
//! Nothing of Switchboard's host is in here. Every address is on port 0, and told.

pub mod bridge;
pub mod line;
pub mod server;
pub mod service;
pub mod tunnel;

/// Generated from `proto/peer.proto`.
#[allow(
    missing_docs,
    unnameable_types,
    unused_qualifications,
    reason = "generated"
)]
#[allow(
    clippy::all,
    clippy::missing_errors_doc,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod peer {
    tonic::include_proto!("peer");
}

/// Generated from the sample service's `.proto`, as an author of a plugin has it.
#[allow(
    missing_docs,
    unnameable_types,
    unused_qualifications,
    reason = "generated"
)]
#[allow(
    clippy::all,
    clippy::missing_errors_doc,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod testservice {
    tonic::include_proto!("testservice");
}

/// Runs a server's task.
#[expect(
    clippy::disallowed_methods,
    reason = "tests' own tasks, nothing to drain"
)]
fn run(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}
