//! The tunnel beside tungstenite, a WebSocket implementation that shares no line with ours.
//!
//! Both are put to the two ends of one connection, in both roles, and to the same wires. Where
//! the two may differ is written down where they are compared. Natively only: the oracle needs
//! sockets of tokio.
#![cfg(not(target_family = "wasm"))]

mod connections;
mod upgrades;
mod wires;
