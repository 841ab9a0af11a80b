//! The tunnel's part of `switchboard serve`. Called by nobody: clap fills it in, `cmd::serve` reads it.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::ValueEnum;
use switchboard_host::{Network, OriginRule};

/// gRPC through a WebSocket, for browsers and for proxies without HTTP/2.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Tunnel: gRPC through a WebSocket, on the same port")]
pub(crate) struct Tunnel {
    /// Where the tunnel is [default: /tunnel].
    #[arg(long, value_name = "PATH")]
    pub tunnel_path: Option<String>,

    /// Serve no tunnel.
    #[arg(long, conflicts_with = "tunnel_path")]
    pub tunnel_off: bool,

    /// Whose pages may open a tunnel: an origin like `https://app.example`, `same` for pages of this
    /// host, `*` for any; repeat for more [default: same].
    #[arg(long, value_name = "ORIGIN")]
    pub tunnel_origin: Vec<OriginRule>,

    /// Ask for a token, one of those in this file: lines of `NAME TOKEN`. Guards the tunnel only,
    /// not gRPC without one on the same port.
    #[arg(long, value_name = "FILE")]
    pub tunnel_tokens: Option<PathBuf>,

    /// A cookie that may carry the token, beside subprotocol and Authorization header.
    #[arg(long, value_name = "NAME", requires = "tunnel_tokens")]
    pub tunnel_cookie: Option<String>,

    /// Tunnels at once [default: 5000].
    #[arg(long, value_name = "COUNT")]
    pub tunnels_max: Option<NonZeroU32>,

    /// Tunnels at once from one address [default: 128].
    #[arg(long, value_name = "COUNT")]
    pub tunnels_per_peer_max: Option<NonZeroU32>,

    /// Calls at once in a tunnel [default: 100].
    #[arg(long, value_name = "COUNT")]
    pub tunnel_calls_max: Option<NonZeroU32>,

    /// Silence after which a peer is pinged [default: 30s].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub tunnel_ping: Option<Duration>,

    /// Silence after which a peer is dead [default: 50s].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub tunnel_dead_after: Option<Duration>,

    /// Time without a call after which a tunnel is closed [default: 10min].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub tunnel_idle: Option<Duration>,

    /// Time for a peer to answer the frame that closes its tunnel [default: 1s].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub tunnel_close_timeout: Option<Duration>,

    /// Largest WebSocket frame [default: 16MiB].
    #[arg(long, value_name = "SIZE")]
    pub tunnel_frame_max: Option<ByteSize>,

    /// What tunnels are told when the host stops.
    #[arg(long, value_enum, default_value_t = DrainClose::GoingAway)]
    pub tunnel_drain_close: DrainClose,

    /// A proxy that is believed about address, host and scheme of a request, as 10.0.0.0/8 or a
    /// single address; repeat for more [default: none].
    #[arg(long, value_name = "RANGE")]
    pub trusted_proxy: Vec<Network>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DrainClose {
    /// Close code 1001.
    GoingAway,
    /// Close code 1012.
    Restart,
}
