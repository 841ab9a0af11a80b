//! The channel against servers that are not ours: stock gRPC, a plain bridge, and single frames.
//!
//! One binary, a file for each matter. What needs time has paused time and a [`Line`], what needs
//! sockets has real ones on port 0; nothing sleeps.

mod calls;
mod connecting;
mod deadlines;
mod drains;
mod extremes;
mod fake;
mod hangups;
mod kinds;
mod lifecycle;
mod limits;
mod refused;
mod replays;
mod support;
#[cfg(feature = "tls")]
mod tls;
