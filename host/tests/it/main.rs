//! The host with real components over real sockets. One file for each guest and each feature.

mod cancel;
mod deadline;
mod echo;
mod greeter;
mod host_service;
mod inbound;
mod interop;
mod metadata;
mod native;
mod protocol;
mod seed_faults;
mod sizes;
mod streams;
mod testservice;
