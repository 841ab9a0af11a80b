//! `switchboard completions`: what a shell needs to complete commands and flags.
//!
//! Called by `main`. Made from the command line as clap sees it, so it has every flag.

use std::process::ExitCode;

use anyhow::Result;
use clap::CommandFactory;

use super::say;
use crate::args::{Args, Completions};

/// Runs the command.
pub(crate) fn run(args: &Completions) -> Result<ExitCode> {
    let mut command = Args::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    say::print(&script)?;
    Ok(ExitCode::SUCCESS)
}
