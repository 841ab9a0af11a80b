//! The host with real components over real sockets. One file for each guest and each feature.

mod deadline;
mod echo;
mod greeter;
mod inbound;
mod interop;
mod metadata;
mod testservice;
