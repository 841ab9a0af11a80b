//! What the host says of itself over gRPC. A leaf; `grpc::health` and `grpc::reflection` go by it.

use std::num::NonZeroU32;

/// Limits of `grpc.health.v1.Health`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthConfig {
    /// Callers that may watch at once, over all connections. Count; default 1000: each is a stream that
    /// waits, takes no instance, and costs about 7 KiB (measured with 900 of a stock client). At the
    /// limit `RESOURCE_EXHAUSTED`; `Check` goes on.
    pub watches_max: NonZeroU32,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            watches_max: NonZeroU32::new(1000).expect("1000 is not zero"),
        }
    }
}

/// Limits of `grpc.reflection.v1` and `v1alpha`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReflectionConfig {
    /// Largest descriptor set of a plugin, in bytes. Default 4 MiB: those of whole companies are smaller
    /// without comments. A plugin with a larger one is served, and its services are not described. Memory:
    /// the set, and what finds things in it; with as many names as are allowed (16 MiB of them, in 200 000
    /// entries of some 70 bytes) 35 MiB for each plugin.
    pub set_bytes_max: usize,
}

impl Default for ReflectionConfig {
    fn default() -> Self {
        Self {
            set_bytes_max: 4 << 20,
        }
    }
}
