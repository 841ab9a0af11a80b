//! What the tests of all crates share: a host on a free port, clients of the sample services, a
//! client that speaks raw HTTP/2, another for HTTP/1.1 and tunnels, the log, and where the built guests are.
//!
//! Used by tests only. Nothing here waits for a fixed time: waiting is [`eventually`], with one
//! patience for all tests, or a notification.
#![allow(
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    clippy::expect_used,
    reason = "in tests a panic is how a failure is said"
)]

mod certificates;
mod guests;
mod host;
mod http1;
mod log;
mod raw;
mod tunnel;

use std::time::Duration;

pub use certificates::{Authority, Issued};
pub use guests::{faulty, granted, guest, guests_folder, root};
pub use host::{Setup, TestHost};
pub use http1::{HttpAnswer, http1, rest_of};
pub use log::{Log, log};
pub use raw::{RawAnswer, RawCall, RawClient, frame, frames};
pub use tunnel::{Ask, WebSocketByHand, WebSocketFrame, channel_over};

/// How long a test waits for something that should be there in milliseconds. Long enough for a
/// machine that is busy with something else.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
///
/// # Panics
/// If it does not within [`PATIENCE`].
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(
            begun.elapsed() < PATIENCE,
            "{what}: not within {PATIENCE:?}"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits for `future`, but no longer than [`PATIENCE`]: a call that hangs is a failed test, not a
/// test that hangs.
///
/// # Panics
/// If it does not end within [`PATIENCE`].
pub async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_elapsed) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// Clients that tonic generated from `proto/`.
#[allow(clippy::allow_attributes_without_reason, reason = "generated")]
#[allow(
    missing_docs,
    unused_qualifications,
    reason = "generated from proto/, whose comments are the documentation"
)]
pub mod proto {
    /// `helloworld.Greeter`.
    pub mod helloworld {
        tonic::include_proto!("helloworld");
    }
    /// `echo.Echo`.
    pub mod echo {
        tonic::include_proto!("echo");
    }
    /// `testservice.TestService` and `testservice.Probe`.
    pub mod testservice {
        tonic::include_proto!("testservice");
    }
    /// `grpc.health.v1.Health`.
    pub mod health {
        tonic::include_proto!("grpc.health.v1");
    }
    /// `switchboard.admin.v1.Admin`.
    pub mod admin {
        tonic::include_proto!("switchboard.admin.v1");
    }
    /// `grpc.reflection.v1.ServerReflection`.
    pub mod reflection {
        tonic::include_proto!("grpc.reflection.v1");
    }
    /// `grpc.reflection.v1alpha.ServerReflection`.
    pub mod reflection_v1alpha {
        tonic::include_proto!("grpc.reflection.v1alpha");
    }
    /// Descriptor sets, comments left out, of the services that the host itself serves.
    pub const BUILT_IN: [(&str, &[u8]); 4] = [
        (
            "admin",
            include_bytes!(concat!(env!("OUT_DIR"), "/admin.bin")),
        ),
        (
            "health",
            include_bytes!(concat!(env!("OUT_DIR"), "/health.bin")),
        ),
        (
            "reflection_v1",
            include_bytes!(concat!(env!("OUT_DIR"), "/reflection_v1.bin")),
        ),
        (
            "reflection_v1alpha",
            include_bytes!(concat!(env!("OUT_DIR"), "/reflection_v1alpha.bin")),
        ),
    ];
    /// `grpc.testing.TestService`.
    pub mod grpc_testing {
        tonic::include_proto!("grpc.testing");
    }
}
