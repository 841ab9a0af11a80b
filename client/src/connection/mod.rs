//! One HTTP/2 connection: set up, driven, ended.
//!
//! | file | owns |
//! |---|---|
//! | `setup.rs` | from a byte stream to HTTP/2 whose settings have come |
//! | `driver.rs` | the task that moves its bytes, and ends it |
//! | `link.rs` | the connection as calls see it |
//! | `wire.rs` | the byte stream under HTTP/2: gathers writes, watches reads |
//! | `frames.rs` | what is watched for |
//!
//! Called by `hub`. Knows no gRPC, no waiting calls and no other connection.

mod driver;
mod frames;
mod link;
mod setup;
mod wire;

pub(crate) use driver::{Driver, Owner};
pub(crate) use link::{Link, Order, Ticket};
pub(crate) use setup::{Established, set_up};
