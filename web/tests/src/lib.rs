//! What tests in a browser need: the browser, its pages, and servers that a page can talk to.
//!
//! | file | owns |
//! |---|---|
//! | `browser.rs` | the process: its start, its end, who may use it at a time |
//! | `devtools.rs` | its debugging protocol: commands, answers, events |
//! | `page.rs` | one tab: runs scenarios of the page crate, keeps what its console says |
//! | `files.rs` | serves the page |
//! | `relay.rs` | a network between browser and server that can be cut |
//! | `peers/` | a raw echo, a bridge to any gRPC server, servers that misbehave |
//!
//! Used by `tests/browser` and by the browser's benchmark. Knows no host: both bring their own.
//! Invariants: no fixed port, no waiting for a fixed time; whatever is started ends with its owner,
//! and with the process at the latest.
#![allow(
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    clippy::expect_used,
    reason = "in tests a panic is how a failure is said"
)]

mod browser;
mod devtools;
mod files;
mod page;
pub mod peers;
mod relay;

use std::time::Duration;

pub use browser::Browser;
pub use files::{Files, built};
pub use page::{Page, Running, Thrown};
pub use relay::Relay;

/// How long a test waits for a browser: for its start, a page, a scenario. Longer than tests of the
/// host wait, because a browser is many processes and a scenario many calls.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for `future`, but no longer than [`PATIENCE`].
pub async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_elapsed) => panic!("{what}: not within {PATIENCE:?}"),
    }
}
