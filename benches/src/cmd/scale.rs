//! `scale`: what one more instance, stream, tunnel or plugin costs; writes results.
//!
//! Called by `main`, for `make bench`; `docs/benchmarks.md` says what the numbers mean.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use switchboard_benches::kept::Kept;
use switchboard_benches::machine::{Machine, Source};
use switchboard_benches::scale::{self, CALLS, Counts, Plan, SHELF, Scale, WARM};
use switchboard_benches::server::guests_dir;

use super::keep::Keep;
use super::progress;

/// What `scale` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    keep: Keep,
    /// Rounds over what is compared by time.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds that each measurement of calls takes.
    #[arg(long, default_value_t = 0.8)]
    seconds: f64,
    /// Folder with echo.wasm.
    #[arg(long, default_value_os_t = guests_dir())]
    guests: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let keep = &args.keep;
    keep.run(&SHELF, || measure(args), scale::markdown, scale::section)
}

fn measure(args: &Args) -> Result<Kept<Scale>> {
    ensure!(args.rounds > 0, "--rounds must be 1 or more");
    let (source, machine) = (Source::this(), Machine::this());
    let plan = Plan {
        program: std::env::current_exe().context("asking where this program is")?,
        guests: args.guests.clone(),
        rounds: args.rounds,
        warm: WARM,
        measured: Duration::try_from_secs_f64(args.seconds).context("--seconds")?,
        calls: CALLS,
        counts: Counts::all(),
        apart: machine.cores > 1,
    };
    let scale = plan.measure(progress)?;
    Ok(Kept::new(source, machine, scale))
}
