//! The command line, as clap sees it, and nothing else: values are checked by `switchboard-host`.

mod call;
mod compression;
mod connection;
mod forward;
mod health;
mod listen;
mod messages;
mod quarantine;
mod tls;
mod tunnel;
mod web;

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Parser, Subcommand, ValueEnum};

pub(crate) use call::{Call, Inspect};
pub(crate) use compression::Compression;
pub(crate) use connection::{Connections, Limit};
pub(crate) use forward::Forward;
pub(crate) use health::Health;
pub(crate) use listen::{Listen, twice, unix_path};
pub(crate) use messages::Messages;
pub(crate) use quarantine::Quarantine;
pub(crate) use tls::{Tls, TlsClient, TlsMin};
pub(crate) use tunnel::{DrainClose, Tunnel};
pub(crate) use web::Web;

/// What is served if nothing is named.
pub(crate) const DEFAULT_FOLDER: &str = "plugins";

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
    Serve(Box<Serve>),
    Forward(Box<Forward>),
    Call(Box<Call>),
    Inspect(Inspect),
}

/// Loads plugins and serves their gRPC services.
///
/// Prints `ready grpc HOST:PORT` on stdout once it serves, and `ready grpc unix:PATH` for a Unix socket, a
/// line for each address; everything else goes to stderr.
/// SIGTERM, SIGINT and SIGHUP drain: no new calls, running ones end. A second signal does not wait.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 stopped cleanly, 1 could not start, 2 calls were cut short at \
                        the end of the drain, 64 wrong command line.\n\
                        Durations are like 300ms, 5s, 2min, 1h; sizes like 512KiB, 16MiB."
)]
pub(crate) struct Serve {
    /// Plugin files, or folders of which every .wasm file is a plugin.
    #[arg(default_value = DEFAULT_FOLDER)]
    pub paths: Vec<PathBuf>,

    #[command(flatten)]
    pub listen: Listen,

    /// Serves the files of a folder to browsers, as /PATH/=FOLDER; repeat for more. Off by default.
    #[arg(long, value_name = "PATH=FOLDER", value_parser = files)]
    pub files: Vec<(String, PathBuf)>,

    #[command(flatten)]
    pub tls: Tls,

    #[command(flatten)]
    pub pool: Pool,

    #[command(flatten)]
    pub quarantine: Quarantine,

    #[command(flatten)]
    pub limits: Limits,

    #[command(flatten)]
    pub messages: Messages,

    #[command(flatten)]
    pub connections: Connections,

    #[command(flatten)]
    pub compression: Compression,

    #[command(flatten)]
    pub health: Health,

    #[command(flatten)]
    pub tunnel: Tunnel,

    #[command(flatten)]
    pub web: Web,

    /// Threads for connections and short calls [default: the machine's cores].
    #[arg(long, value_name = "COUNT", help_heading = "Process")]
    pub workers: Option<std::num::NonZeroU32>,

    /// What to log: error, warn, info, debug, trace, or per module like `info,guest=debug`.
    #[arg(
        long,
        value_name = "FILTER",
        env = "SWITCHBOARD_LOG",
        default_value = "info",
        help_heading = "Process"
    )]
    pub log: String,
}

/// Limits of each plugin's pool.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Pool of each plugin")]
pub(crate) struct Pool {
    /// Whether an instance serves one call after the other, or every call gets a new one.
    #[arg(long, value_enum, default_value_t = Mode::Reuse)]
    pub mode: Mode,

    /// Unary calls at once [default: 64].
    #[arg(long, value_name = "COUNT")]
    pub stores_max: Option<u32>,

    /// Streaming calls at once, counted apart [default: 64].
    #[arg(long, value_name = "COUNT")]
    pub streams_max: Option<u32>,

    /// Of stores-max, how many only priority methods may use [default: 0].
    #[arg(long, value_name = "COUNT")]
    pub priority_stores: Option<u32>,

    /// Calls that may wait for an instance; more are refused at once [default: 1024].
    #[arg(long, value_name = "COUNT")]
    pub waiting_max: Option<u32>,

    /// Longest wait for an instance [default: 1s].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub wait_max: Option<Duration>,

    /// Instances kept ready [default: 1, with mode fresh 0].
    #[arg(long, value_name = "COUNT")]
    pub warm_min: Option<u32>,

    /// Calls after which an instance is retired [default: 1000000].
    #[arg(long, value_name = "COUNT")]
    pub calls_max: Option<u64>,

    /// Age at which an instance is retired [default: 1h].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub age_max: Option<Duration>,

    /// Memory above which an instance is retired after its call [default: 16MiB].
    #[arg(long, value_name = "SIZE")]
    pub memory_retire: Option<ByteSize>,

    /// A method that goes first and may use priority-stores, as /package.Service/Method; repeat
    /// for more.
    #[arg(long, value_name = "PATH")]
    pub priority_method: Vec<String>,

    /// A method whose calls take long, as /package.Service/Method; repeat for more. Others are
    /// found out by measuring them.
    #[arg(long, value_name = "PATH")]
    pub long_method: Vec<String>,
}

/// Limits of calls, instances and connections.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct Limits {
    /// Instances alive at once over all plugins [default: 1000].
    #[arg(long, value_name = "COUNT")]
    pub instances_max: Option<std::num::NonZeroU32>,

    /// Memory of one instance [default: 64MiB].
    #[arg(long, value_name = "SIZE")]
    pub memory_max: Option<ByteSize>,

    /// Largest request message [default: 4MiB].
    #[arg(long, value_name = "SIZE")]
    pub request_max: Option<ByteSize>,

    /// Largest response message [default: 4MiB].
    #[arg(long, value_name = "SIZE")]
    pub response_max: Option<ByteSize>,

    /// Metadata of a call in each direction [default: 16KiB].
    #[arg(long, value_name = "SIZE")]
    pub metadata_max: Option<ByteSize>,

    /// Longest time a call may take, if its caller allows more [default: none].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub timeout_max: Option<Duration>,

    /// Bytes of requests that have begun and are not whole, or wait for an instance, over all
    /// connections [default: 32MiB].
    #[arg(long, value_name = "SIZE")]
    pub unread_max: Option<ByteSize>,

    /// Bytes of unary replies that callers do not take, over all connections [default: 32MiB].
    #[arg(long, value_name = "SIZE")]
    pub unsent_max: Option<ByteSize>,

    /// The same on one connection, whose further unary calls wait then [default: 4MiB].
    #[arg(long, value_name = "SIZE")]
    pub connection_unsent_max: Option<ByteSize>,

    /// Connections at once [default: 10000].
    #[arg(long, value_name = "COUNT")]
    pub connections_max: Option<std::num::NonZeroU32>,

    /// Calls at once on a connection [default: 256].
    #[arg(long, value_name = "COUNT")]
    pub connection_calls_max: Option<std::num::NonZeroU32>,

    /// How long running calls may take to end once the host stops [default: 30s].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub drain_timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Mode {
    /// An instance serves one call after the other.
    Reuse,
    /// Every call gets an instance that has served none before.
    Fresh,
}

/// A path and a folder, with `=` between.
fn files(text: &str) -> Result<(String, PathBuf), &'static str> {
    let (path, folder) = text
        .split_once('=')
        .filter(|(_, folder)| !folder.is_empty())
        .ok_or("write PATH=FOLDER, as in /demo/=target/web/demo")?;
    Ok((path.to_owned(), folder.into()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn files_are_a_path_and_a_folder() {
        let found = files("/demo/=a=b").expect("both");
        assert_eq!(found, ("/demo/".to_owned(), "a=b".into()));
        for text in ["", "/demo/", "/demo/="] {
            assert!(files(text).is_err(), "{text}");
        }
    }
}
