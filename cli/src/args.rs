//! The command line, as clap sees it: commands, and what only they take. What can be set is in `settings`,
//! and is read there.

mod call;
mod forward;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Parser, Subcommand};

pub(crate) use call::{Call, Inspect};
pub(crate) use forward::Forward;

use crate::settings::{FORMS, Flags, hidden};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold());

/// Serves gRPC services from WebAssembly plugins.
#[derive(Debug, Parser)]
#[command(version, styles = STYLES, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(Serve),
    Check(Check),
    Compile(Compile),
    Config(Config),
    Forward(Box<Forward>),
    Call(Box<Call>),
    Inspect(Inspect),
    Completions(Completions),
}

/// Loads plugins and serves their gRPC services.
///
/// Prints `ready grpc HOST:PORT` on stdout once it serves, and `ready grpc unix:PATH` for a Unix socket, a
/// line for each address; everything else goes to stderr.
/// SIGTERM and SIGINT drain: no new calls, running ones end. A second signal does not wait. SIGHUP reads the
/// configuration file and the plugins again.
#[derive(Debug, clap::Args)]
#[command(
    after_help = format!(
        "Exit codes: 0 stopped cleanly, 1 could not start, 2 calls were cut short at the end of the drain, \
         64 wrong command line or settings.\n{FORMS}"
    )
)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub flags: Flags,
}

/// Says everything that is wrong with settings and plugins, without serving.
///
/// Takes what `serve` takes, all its flags included, reads the files that the settings name, loads every plugin
/// as `serve` would, and takes no port. Prints what each plugin offers on stdout; what is wrong goes to stderr.
#[derive(Debug, clap::Args)]
#[command(
    mut_args = hidden,
    after_help = "Exit codes: 0 all is right, 1 a plugin or a file is wrong, 64 wrong command line or settings.\n\
                  `switchboard serve --help` has the flags."
)]
pub(crate) struct Check {
    #[command(flatten)]
    pub flags: Flags,
}

/// Compiles plugins into the cache, so that they need not be compiled when they are served.
///
/// Takes what `serve` takes, all its flags included; `--cache` (`cache.folder`) says where. For images and deployments:
/// whoever serves with the same settings and the same version finds what was compiled here.
#[derive(Debug, clap::Args)]
#[command(
    mut_args = hidden,
    after_help = "Exit codes: 0 all plugins are in the cache, 1 a plugin or a file is wrong, 64 wrong command line or \
                  settings.\n`switchboard serve --help` has the flags."
)]
pub(crate) struct Compile {
    #[command(flatten)]
    pub flags: Flags,
}

/// The configuration: its schema, a sample, and what is in force.
#[derive(Debug, clap::Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Prints the JSON Schema of the configuration file, draft 2020-12.
    Schema,
    /// Prints a configuration file with every key, its default and its meaning.
    Sample,
    Show(Show),
}

/// Prints what is in force, as TOML, and beside each value that is no default who gave it.
///
/// Takes what `serve` takes, all its flags included. Secrets are in files, which are named and not read.
#[derive(Debug, clap::Args)]
#[command(
    mut_args = hidden,
    after_help = "Exit codes: 0 printed, 64 wrong command line or settings.\n\
                  `switchboard serve --help` has the flags."
)]
pub(crate) struct Show {
    #[command(flatten)]
    pub flags: Flags,
}

/// Prints completions for a shell, to be read by it at its start.
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// Which shell.
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
