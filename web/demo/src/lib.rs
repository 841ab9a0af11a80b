//! The demo page: a browser calls the sample plugins through the tunnel, all four kinds of calls.
//!
//! `page/index.html` is what it looks like, this crate is what it does; elements are found by their id,
//! and tests find what happened in their `data-` attributes. `make web` compiles it for
//! wasm32-unknown-unknown and puts both into one folder. The chart's arithmetic ([`latency`], [`scale`],
//! [`text`]) is pure and compiled natively too, for its tests; everything else needs a browser.
//!
//! The query of the page's address may have `calls=COUNT`, for another count than 8192 in the run of
//! calls, and `tunnel=/PATH`, for a tunnel elsewhere than at `/tunnel`.

pub mod latency;
pub mod scale;
pub mod text;

#[cfg(target_family = "wasm")]
mod bench;
#[cfg(target_family = "wasm")]
mod calls;
#[cfg(target_family = "wasm")]
mod card;
#[cfg(target_family = "wasm")]
mod chart;
#[cfg(target_family = "wasm")]
mod connection;
#[cfg(target_family = "wasm")]
mod dom;
#[cfg(target_family = "wasm")]
mod log;
#[cfg(target_family = "wasm")]
mod page;

/// Messages and clients that tonic generated from `proto/`.
#[cfg(target_family = "wasm")]
#[allow(clippy::allow_attributes_without_reason, reason = "generated")]
#[allow(
    missing_docs,
    dead_code,
    unnameable_types,
    unreachable_pub,
    unused_qualifications,
    reason = "generated from proto/, whose comments are the documentation"
)]
mod proto {
    /// `helloworld.Greeter`.
    pub mod helloworld {
        tonic::include_proto!("helloworld");
    }
    /// `testservice.TestService` and `testservice.Probe`.
    pub mod testservice {
        tonic::include_proto!("testservice");
    }
}

/// Starts the page's program. The browser calls it once the module is there.
#[cfg(target_family = "wasm")]
#[wasm_bindgen::prelude::wasm_bindgen(start)]
pub fn start() {
    page::start();
}
