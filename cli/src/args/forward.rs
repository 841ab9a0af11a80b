//! The command line of `switchboard forward`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

/// Forwards a local TCP port through a WebSocket tunnel.
///
/// Any gRPC client (grpcurl, a service in any language) that connects to the port reaches the services
/// behind URL, also through an ingress that knows only WebSockets. Each connection gets a tunnel of its
/// own; one that breaks ends its connection, and the client's next one opens another. Prints
/// `ready forward HOST:PORT` on stdout once it listens; everything else goes to stderr.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 stopped and nothing was connected, 1 could not start or the server \
                  refuses tunnels for good, 2 connections were cut at the end, 64 wrong command line.\n\
                  Durations are like 300ms, 5s, 2min, 1h."
)]
pub(crate) struct Forward {
    /// The tunnel: ws://HOST/PATH or wss://HOST/PATH; a host serves it at /tunnel unless told otherwise.
    #[arg(value_name = "URL")]
    pub url: String,

    /// Where to listen; port 0 picks a free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9000")]
    pub listen: String,

    /// File with the token that the server wants, alone on its first line.
    #[arg(long, value_name = "FILE")]
    pub token: Option<PathBuf>,

    /// Trusts the certificates of this PEM file instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// One more header of the upgrade, as `NAME: VALUE`; repeat for more.
    #[arg(long, value_name = "HEADER", value_parser = header)]
    pub header: Vec<(String, String)>,

    /// Connections at once; above it the next ones wait in the kernel's backlog.
    #[arg(long, value_name = "COUNT", default_value = "256")]
    pub connections_max: NonZeroU32,

    /// How long a new connection waits for its tunnel, all attempts together; then its calls are told
    /// why there is none. 20 s is what gRPC clients give a connection.
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = humantime::parse_duration)]
    pub connect_timeout: Duration,

    /// Silence after which the server is sent a WebSocket ping.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub ping: Duration,

    /// Silence after which the server is dead, and the connections of its tunnels end.
    #[arg(long, value_name = "TIME", default_value = "50s", value_parser = humantime::parse_duration)]
    pub dead_after: Duration,

    /// How long connections may go on after a signal before they are cut.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    pub drain_timeout: Duration,

    /// What to log: error, warn, info, debug, trace, or per module.
    #[arg(
        long,
        value_name = "FILTER",
        env = "SWITCHBOARD_LOG",
        default_value = "info"
    )]
    pub log: String,
}

/// A name and a value, with a colon between.
pub(super) fn header(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text
        .split_once(':')
        .ok_or("write NAME: VALUE, as in origin: https://example.test")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_a_name_and_a_value() {
        let found = header("origin: https://example.test:8080").expect("both");
        let expected = ("origin".to_owned(), "https://example.test:8080".to_owned());
        assert_eq!(found, expected);
        header("origin").expect_err("no value");
    }
}
