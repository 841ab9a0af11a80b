//! The ways to serve the same service that are compared.
//!
//! A leaf; `server` knows how each is started.

use serde::{Deserialize, Serialize};

/// One way to serve `echo.Echo`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A native handler in a tonic server with default settings.
    Stock,
    /// The same handler behind this project's own front, without WebAssembly.
    Front,
    /// The echo plugin, instances used again.
    Reuse,
    /// The echo plugin, an instance of its own for each call.
    Fresh,
    /// As `reuse`, but called through a WebSocket tunnel.
    Tunnel,
}

impl Kind {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 5] = [
        Self::Stock,
        Self::Front,
        Self::Reuse,
        Self::Fresh,
        Self::Tunnel,
    ];

    /// As typed on the command line and written in results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Front => "front",
            Self::Reuse => "reuse",
            Self::Fresh => "fresh",
            Self::Tunnel => "tunnel",
        }
    }
}
