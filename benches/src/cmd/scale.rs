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

use super::{print, progress};

/// What `scale` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write results under this name and the commit.
    #[arg(long, value_name = "NAME")]
    write: Option<String>,
    /// Take results from this file instead of measuring.
    #[arg(long, value_name = "FILE")]
    show: Option<PathBuf>,
    /// Show what was written, or the file of `--show`, in this document.
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
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
    let (kept, path) = match &args.show {
        Some(path) => (Kept::read(path)?, Some(path.clone())),
        None => {
            let kept = measure(args)?;
            let name = args.write.as_ref();
            let path = name.map(|name| kept.write(&SHELF, name)).transpose()?;
            (kept, path)
        }
    };
    print(&scale::markdown(&kept.measured));
    if let (Some(path), Some(document)) = (&path, &args.document) {
        kept.show(&SHELF, path, document, scale::section)?;
    }
    Ok(())
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
