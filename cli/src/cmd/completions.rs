//! `switchboard completions`: what a shell needs to complete commands and flags.
//!
//! Called by `main`. Made from the command line as clap sees it, so it has every flag.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::args::{Args, Completions};

/// Runs the command.
pub(crate) fn run(args: &Completions) -> Result<ExitCode> {
    let mut command = Args::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    let mut stdout = std::io::stdout();
    stdout
        .write_all(&script)
        .and_then(|()| stdout.flush())
        .context("printing")?;
    Ok(ExitCode::SUCCESS)
}
