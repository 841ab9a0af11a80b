//! What `switchboard serve` may be told about connections. Called by nobody: clap fills it in,
//! `cmd::serve` reads it.

use std::num::NonZeroU32;
use std::time::Duration;

use bytesize::ByteSize;

/// How long connections last, and what they may cost before they have calls.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connections")]
pub(crate) struct Connections {
    /// Connections at once from one address; trusted proxies and Unix sockets are not counted
    /// [default: none].
    #[arg(long, value_name = "COUNT")]
    pub connections_per_peer_max: Option<NonZeroU32>,

    /// Time for each step of a connection's beginning: TLS, the first bytes, the set-up of HTTP/2
    /// [default: 10s].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub handshake_timeout: Option<Duration>,

    /// Time for the first request once HTTP/2 is set up, or `never` [default: 1min].
    #[arg(long, value_name = "TIME", value_parser = time_or_never)]
    pub first_request_timeout: Option<Limit>,

    /// Time without a call after which a connection is told to end, or `never` [default: never].
    #[arg(long, value_name = "TIME", value_parser = time_or_never)]
    pub idle_timeout: Option<Limit>,

    /// Silence after which a peer is sent a PING [default: 30s].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub keepalive_time: Option<Duration>,

    /// Time to answer it, or the peer is dead [default: 20s].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub keepalive_timeout: Option<Duration>,

    /// Time in which a peer must take a byte of what waits for it, or it is dead [default: 1min].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub send_stall_timeout: Option<Duration>,

    /// Send PINGs only on connections that have calls.
    #[arg(long)]
    pub keepalive_only_with_calls: bool,

    /// Least time between PINGs that a peer sends; three sooner ones without an answer between them
    /// end the connection [default: 5s].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub ping_interval_min: Option<Duration>,

    /// Let peers send PINGs only while they have calls.
    #[arg(long)]
    pub ping_only_with_calls: bool,

    /// Age at which a connection is told to end, give or take a tenth, or `never` [default: never].
    #[arg(long, value_name = "TIME", value_parser = time_or_never)]
    pub connection_age_max: Option<Limit>,

    /// Time for its calls to end then, before they are cut [default: 30s].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub connection_age_grace: Option<Duration>,

    /// Largest header block that is read at all [default: 64KiB, or twice metadata-max].
    #[arg(long, value_name = "SIZE")]
    pub header_list_max: Option<ByteSize>,

    /// Time for the head of a request over HTTP/1.1, and how long an idle connection is kept
    /// [default: 10s].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub http1_head_timeout: Option<Duration>,

    /// Time in which no byte of an answer over HTTP/1.1 moves [default: 30s].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub http1_stall_timeout: Option<Duration>,

    /// Head of a request over HTTP/1.1 [default: 16KiB].
    #[arg(long, value_name = "SIZE")]
    pub http1_head_max: Option<ByteSize>,

    /// Headers of a request over HTTP/1.1 [default: 64].
    #[arg(long, value_name = "COUNT")]
    pub http1_headers_max: Option<usize>,
}

/// A time, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit(pub Option<Duration>);

/// A time, or `never`.
fn time_or_never(text: &str) -> Result<Limit, humantime::DurationError> {
    if text == "never" {
        return Ok(Limit(None));
    }
    humantime::parse_duration(text).map(|time| Limit(Some(time)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_time_or_never() {
        assert_eq!(time_or_never("never"), Ok(Limit(None)));
        let five = Duration::from_secs(5);
        assert_eq!(time_or_never("5s"), Ok(Limit(Some(five))));
        time_or_never("soon").expect_err("no time");
    }
}
