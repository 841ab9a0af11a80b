//! Scenarios of the client inside a browser: each exported function is one, and returns JSON.
//!
//! | file | owns |
//! |---|---|
//! | `channels.rs` | the page's channels, by name, and what happens to them |
//! | `kinds.rs` | calls of each kind, metadata, errors |
//! | `held.rs` | calls that a test holds open, by name |
//! | `cancel.rs` | deadlines, and calls that are dropped |
//! | `load.rs` | many calls at once, many bytes |
//! | `bench.rs` | how long calls take |
//!
//! Called by the tests in `web/tests/tests/browser` through `page.js`. They say what has to come out;
//! here is only what a page would do. Invariant: an outcome that a server or a network may cause is
//! returned, not thrown; what is thrown is a fault of the scenario.
#![cfg(target_family = "wasm")]
#![allow(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::expect_used,
    reason = "wasm-bindgen's exports have no callers in Rust; a panic is how a failure is said"
)]

pub mod bench;
pub mod cancel;
pub mod channels;
pub mod held;
pub mod kinds;
pub mod load;
mod outcome;

use wasm_bindgen::prelude::wasm_bindgen;

/// Clients that tonic generated from `proto/`.
#[allow(
    clippy::allow_attributes_without_reason,
    unnameable_types,
    unreachable_pub,
    unused_qualifications,
    reason = "generated"
)]
mod proto {
    pub(crate) mod helloworld {
        tonic::include_proto!("helloworld");
    }
    pub(crate) mod echo {
        tonic::include_proto!("echo");
    }
    pub(crate) mod testservice {
        tonic::include_proto!("testservice");
    }
}

#[wasm_bindgen]
extern "C" {
    /// Fails whoever waits for a scenario; see `files/scenarios.js`.
    fn panicked(text: &str);
}

/// Runs once, when the page is loaded.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|panic| panicked(&panic.to_string())));
}
