//! The native handlers that a plugin is compared with: one behind stock tonic, one behind our front.
//!
//! Called by `server`. Both work on raw bytes and copy nothing, so that what differs is the server.

pub mod front;
pub mod stock;
