//! `mixed`: short calls beside other things that go on in the same server; writes results.
//!
//! Called by `main`, for `make bench`; `docs/benchmarks.md` says what the numbers mean.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use switchboard_benches::kept::Kept;
use switchboard_benches::machine::{Machine, Source};
use switchboard_benches::mixed::{self, Beside, CALLS, Mixed, Plan, SHELF, WARM};
use switchboard_benches::server::guests_dir;

use super::keep::Keep;
use super::progress;

/// What `mixed` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only what has this in its name.
    #[arg(long)]
    only: Option<String>,
    #[command(flatten)]
    keep: Keep,
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds that each measurement takes.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Folder with echo.wasm and faulty.wasm.
    #[arg(long, default_value_os_t = guests_dir())]
    guests: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let keep = &args.keep;
    keep.run(&SHELF, || measure(args), mixed::markdown, mixed::section)
}

fn measure(args: &Args) -> Result<Kept<Mixed>> {
    let (source, machine) = (Source::this(), Machine::this());
    let mut all = Beside::all();
    all.retain(|beside| {
        let part = args.only.as_deref().unwrap_or_default();
        beside.name.contains(part)
    });
    ensure!(!all.is_empty(), "nothing is named so");
    let plan = Plan {
        program: std::env::current_exe().context("asking where this program is")?,
        guests: args.guests.clone(),
        rounds: args.rounds,
        warm: WARM,
        measured: Duration::try_from_secs_f64(args.seconds).context("--seconds")?,
        calls: CALLS,
    };
    let mixed = plan.measure(&all, progress)?;
    Ok(Kept::new(source, machine, mixed))
}
