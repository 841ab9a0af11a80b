//! Health and reflection on the command line of `switchboard serve`. Called by nobody: clap fills it in,
//! `cmd::serve` reads it.

use std::num::NonZeroU32;
use std::time::Duration;

use bytesize::ByteSize;

/// What the host says of itself: grpc.health.v1, and grpc.reflection v1 and v1alpha.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Health and reflection")]
pub(crate) struct Health {
    /// Serve no grpc.health.v1.
    #[arg(long)]
    pub health_off: bool,

    /// Callers that may watch health at once [default: 1000].
    #[arg(long, value_name = "COUNT", conflicts_with = "health_off")]
    pub health_watches_max: Option<NonZeroU32>,

    /// How long the host goes on after a signal and says that it is not serving, before it drains: so
    /// long balancers may take to notice [default: 0s].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub drain_notice: Option<Duration>,

    /// Serve no reflection: nobody is told what the services and their messages are.
    #[arg(long)]
    pub reflection_off: bool,

    /// Largest descriptor set of a plugin [default: 4MiB].
    #[arg(long, value_name = "SIZE", conflicts_with = "reflection_off")]
    pub reflection_set_max: Option<ByteSize>,
}
