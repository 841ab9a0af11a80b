//! The `switchboard` binary: parse, run one command, exit with a code that scripts can rely on.
//!
//! Calls `args` and `cmd`. Exit codes: 0 a clean end, 1 could not start, 2 calls were cut short at
//! the end, 64 a wrong command line or wrong settings. stdout carries only what scripts read; everything else goes
//! to stderr.

mod args;
mod cmd;
mod settings;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Could not start.
const EXIT_FAILED: u8 = 1;
/// A wrong command line, or wrong settings. Source: sysexits.h, `EX_USAGE`.
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Prints help to stdout and faults to stderr; a closed stderr is nobody to tell.
            drop(error.print());
            return if error.use_stderr() {
                ExitCode::from(EXIT_USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let ended = match args.command {
        Command::Serve(serve) => cmd::serve::run(serve),
        Command::Check(check) => cmd::check::run(check),
        Command::Compile(compile) => cmd::compile::run(compile),
        Command::Config(config) => cmd::config::run(config.command),
        Command::Completions(completions) => cmd::completions::run(&completions),
        Command::Forward(forward) => cmd::forward::run(forward),
        Command::Call(call) => cmd::call::run(call),
        Command::Inspect(inspect) => cmd::inspect::run(&inspect),
    };
    ended.unwrap_or_else(|error| {
        if error.is::<cmd::say::NobodyReads>() {
            return ExitCode::from(EXIT_FAILED);
        }
        cmd::say::error(&format!("{error:#}"));
        let usage = error.is::<switchboard_host::ConfigError>() || error.is::<settings::Faults>();
        ExitCode::from(if usage { EXIT_USAGE } else { EXIT_FAILED })
    })
}
