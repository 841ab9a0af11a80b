//! One file for each command. A command parses nothing and exits nowhere: `main` does both.

pub(crate) mod call;
pub(crate) mod check;
pub(crate) mod compile;
pub(crate) mod completions;
pub(crate) mod config;
mod explain;
pub(crate) mod forward;
pub(crate) mod inspect;
mod json_log;
mod observe;
mod open_files;
mod prepare;
mod process;
pub(crate) mod say;
pub(crate) mod serve;
mod systemd;
