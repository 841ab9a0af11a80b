//! `switchboard-bench`: serves, loads and compares; see `docs/benchmarks.md`.
//!
//! Calls `cmd`, one file for each command. The allocator is the product's, for all commands.

mod cmd;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures what a plugin costs.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve echo.Echo in one of several ways.
    Serve(cmd::serve::Serve),
    /// Call echo.Echo and say how it went.
    Load(cmd::load::Load),
    /// Be a server's neighbour, until told to go.
    Hold(cmd::hold::Hold),
    /// Compare the ways: servers and loads in processes of their own, in turns.
    Compare(cmd::compare::Compare),
    /// Run the ladder of benches and say what each rung costs.
    Ladder(cmd::ladder::Args),
    /// Start a host with one guest, say when it first answered, serve on.
    Cold(cmd::cold::Cold),
    /// Measure the sample plugins side by side.
    Guests(cmd::guests::Guests),
    /// Measure short calls beside other things that go on in the same server.
    Mixed(cmd::mixed::Args),
    /// Measure what one more instance, stream, tunnel or plugin costs.
    Scale(cmd::scale::Args),
    /// Draw the newest results.
    Plot(cmd::plot::Plot),
}

fn main() -> Result<ExitCode> {
    match Args::parse().command {
        Command::Serve(args) => cmd::serve::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Load(args) => cmd::load::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Hold(args) => cmd::hold::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Compare(args) => cmd::compare::run(&args),
        Command::Ladder(args) => cmd::ladder::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Cold(args) => cmd::cold::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Guests(args) => cmd::guests::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Scale(args) => cmd::scale::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Mixed(args) => cmd::mixed::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Plot(args) => cmd::plot::run(&args).map(|()| ExitCode::SUCCESS),
    }
}
