//! `ladder`: runs the ladder of criterion's benches and gathers what each rung takes.
//!
//! Called by `main`; `make ladder` runs it. The benches are a program of their own, which cargo builds; what criterion
//! leaves of them in its folder is read here, and what is older than this run is not.

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use switchboard_benches::kept::Kept;
use switchboard_benches::ladder::{self, Ladder, SHELF};
use switchboard_benches::machine::{Machine, Source};

use super::keep::Keep;

/// Seconds before each measurement: as long as caches and branch predictors need, not criterion's three.
const WARM_UP_SECONDS: f64 = 0.3;

/// What `ladder` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only benches whose ids contain this.
    #[arg(long)]
    only: Option<String>,
    #[command(flatten)]
    keep: Keep,
    /// Seconds that each measurement takes.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let printed = |measured: &Ladder| ladder::prices(measured) + "\n" + &ladder::all(measured);
    let keep = &args.keep;
    keep.run(&SHELF, || measure(args), printed, ladder::section)
}

fn measure(args: &Args) -> Result<Kept<Ladder>> {
    // Before the benches load the machine, and before anybody changes the sources.
    let (source, machine, begun) = (Source::this(), Machine::this(), SystemTime::now());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let criterion = target.join("criterion");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(&root)
        .env("CRITERION_HOME", &criterion)
        .args([
            "bench",
            "-p",
            "switchboard-benches",
            "--bench",
            "ladder",
            "--",
        ])
        .args(["--noplot", "--warm-up-time", &WARM_UP_SECONDS.to_string()])
        .args(["--measurement-time", &args.seconds.to_string()])
        .args(&args.only);
    let status = cargo.status().context("cargo")?;
    ensure!(status.success(), "cargo bench: {status}");
    let ladder = Ladder::gather(&criterion, begun, args.seconds)?;
    Ok(Kept::new(source, machine, ladder))
}
