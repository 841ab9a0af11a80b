//! One file for each command. A command parses nothing and exits nowhere: `main` does both.

pub(crate) mod forward;
mod open_files;
mod process;
pub(crate) mod serve;
