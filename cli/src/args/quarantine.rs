//! Quarantine on the command line of `switchboard serve`. Called by nobody: clap fills it in,
//! `cmd::serve` reads it.

use std::time::Duration;

/// When a plugin that keeps failing is left alone.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Plugins that keep failing")]
pub(crate) struct Quarantine {
    /// Failures (traps, instances that do not start) after which a plugin is left alone, unless more
    /// calls went well meanwhile [default: 10].
    #[arg(long, value_name = "COUNT")]
    pub quarantine_faults: Option<u32>,

    /// Time within which they count [default: 1min].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub quarantine_window: Option<Duration>,

    /// How long it is left alone the first time; doubled each time after [default: 1s].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub quarantine_min: Option<Duration>,

    /// How long at most [default: 1min].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub quarantine_max: Option<Duration>,

    /// Try every call of a plugin, however often it fails.
    #[arg(long, conflicts_with_all = [
        "quarantine_faults", "quarantine_window", "quarantine_min", "quarantine_max",
    ])]
    pub quarantine_off: bool,
}
