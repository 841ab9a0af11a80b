//! The host with real components over real sockets. One file for each guest and each feature.

mod connection;
mod drain;
mod echo;
mod faulty;
mod greeter;
mod lanes;
mod load;
mod pool;
mod tls;
