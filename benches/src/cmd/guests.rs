//! `guests`: the sample plugins side by side, each served by a process of its own, in turns.
//!
//! Called by `main`; `make bench-guests` runs it. `docs/benchmarks.md` says what is called.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use switchboard_benches::guests::{self, SHELF};
use switchboard_benches::kept::Kept;
use switchboard_benches::machine::{Machine, Source};
use switchboard_benches::server::guests_dir;

use super::keep::Keep;
use super::progress;

/// What `guests` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Guests {
    /// Only guests whose names contain this.
    #[arg(long)]
    only: Option<String>,
    #[command(flatten)]
    keep: Keep,
    /// Rounds over all guests.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Seconds for which the CPU time of calls is measured, in each round.
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Folder with the plugins.
    #[arg(long, default_value_os_t = guests_dir())]
    guests: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: &Guests) -> Result<()> {
    let keep = &args.keep;
    keep.run(&SHELF, || measure(args), guests::table, guests::section)
}

fn measure(args: &Guests) -> Result<Kept<guests::Guests>> {
    let (source, machine) = (Source::this(), Machine::this());
    let mut chosen = guests::all();
    chosen.retain(|guest| {
        let only = args.only.as_ref();
        only.is_none_or(|part| guest.name.contains(part))
    });
    ensure!(!chosen.is_empty(), "no guest is named so");
    let measured = Duration::try_from_secs_f64(args.seconds).context("--seconds")?;
    let own = std::env::current_exe().context("this program")?;
    let measured = guests::measure(&own, &chosen, &args.guests, args.rounds, measured, progress)?;
    Ok(Kept::new(source, machine, measured))
}
