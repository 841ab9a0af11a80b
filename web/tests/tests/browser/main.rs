//! The client, and gRPC-Web, in a real browser: against a real host, other servers, and servers that misbehave.
//!
//! A file for each topic. What the page does is in `web/tests/page`, built by `make web-tests-page`;
//! what has to come out of it is here. No test waits for a fixed time, and none measures one.

mod cancel;
mod deadline;
mod demo;
mod drain;
mod grpc_web;
mod harness;
mod interop;
mod kinds;
mod load;
mod pause;
mod reconnect;
mod refused;
mod rude;
mod tab;
mod tls;
mod worker;
