//! The host with real components over real sockets. One file for each guest and each feature.

mod cancel;
mod connection;
mod deadline;
mod drain;
mod echo;
mod faulty;
mod greeter;
mod host_service;
mod inbound;
mod interop;
mod lanes;
mod load;
mod metadata;
mod native;
mod pool;
mod protocol;
mod seed_faults;
mod sizes;
mod streams;
mod testservice;
mod tls;
mod tunnel;
mod tunnel_refused;
