//! `switchboard config`: the schema and a sample of the configuration file, and what is in force.
//!
//! Called by `main`. All of it is the table of `settings`, written one way or another.

use std::process::ExitCode;

use anyhow::Result;

use super::say;
use crate::args::ConfigCommand;
use crate::settings::{Sources, sample, schema};

/// Runs the command.
pub(crate) fn run(command: ConfigCommand) -> Result<ExitCode> {
    let text = match command {
        ConfigCommand::Schema => format!("{:#}\n", schema()),
        ConfigCommand::Sample => sample(),
        ConfigCommand::Show(show) => {
            let sources = Sources::new(show.flags);
            let text = sources.text()?;
            sources.load(text.as_deref())?.shown()
        }
    };
    say::print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
