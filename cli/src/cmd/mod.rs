//! One file for each command. A command parses nothing and exits nowhere: `main` does both.

pub(crate) mod serve;
