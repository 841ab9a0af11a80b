//! `load`: calls `echo.Echo` and says in one line of JSON what came of it.
//!
//! Called by `main`. One thread, plain `h2`; every answer is checked, and a wrong one ends it with an error.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use switchboard_benches::client::Target;
use switchboard_benches::copies;
use switchboard_benches::load::{self, Plan, Shape};
use switchboard_benches::outcome::Outcome;
use switchboard_benches::process;
use switchboard_benches::tls::Pem;

/// What `load` takes.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Address of the server.
    #[arg(long)]
    addr: SocketAddr,
    /// Its process, for its CPU time.
    #[arg(long)]
    server_pid: u32,
    /// Folder with the server's certificate.pem; plain TCP without.
    #[arg(long)]
    tls: Option<PathBuf>,
    /// Through the server's WebSocket tunnel.
    #[arg(long)]
    tunnel: bool,
    /// Keep to this core.
    #[arg(long)]
    core: Option<usize>,
    /// Seconds before it is measured.
    #[arg(long, default_value_t = 0.2)]
    warm: f64,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Unary calls, each caller waits for its answer.
    Unary {
        #[command(flatten)]
        common: Common,
        /// Callers on each connection.
        #[arg(long, default_value_t = 1)]
        in_flight: usize,
        /// Copies of the plugin that are called in turns, instead of the plugin.
        #[arg(long)]
        copies: Option<usize>,
    },
    /// Unary calls that begin on time, answered or not.
    Open {
        #[command(flatten)]
        common: Common,
        /// Calls a second.
        #[arg(long)]
        rate: u32,
    },
    /// Messages back and forth on streams.
    Stream {
        #[command(flatten)]
        common: Common,
        /// Streams on each connection.
        #[arg(long, default_value_t = 1)]
        streams: usize,
        /// Messages on each stream that are not answered yet.
        #[arg(long, default_value_t = 1)]
        window: usize,
    },
    /// Nothing.
    Idle,
}

impl What {
    /// The paths of the copies that are called, if any.
    fn paths(&self) -> Vec<String> {
        match self {
            Self::Unary { copies, .. } => copies::paths(copies.unwrap_or(0)),
            Self::Open { .. } | Self::Stream { .. } | Self::Idle => Vec::new(),
        }
    }
}

#[derive(Debug, Args)]
struct Common {
    /// HTTP/2 connections.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Size of a message.
    #[arg(long, default_value_t = 16)]
    bytes: usize,
}

impl What {
    fn shape(&self) -> Shape {
        match self {
            Self::Unary {
                common: Common { connections, bytes },
                in_flight,
                ..
            } => Shape::Unary {
                connections: *connections,
                in_flight: *in_flight,
                bytes: *bytes,
            },
            Self::Open {
                common: Common { connections, bytes },
                rate,
            } => Shape::Open {
                connections: *connections,
                rate: *rate,
                bytes: *bytes,
            },
            Self::Stream {
                common: Common { connections, bytes },
                streams,
                window,
            } => Shape::Stream {
                connections: *connections,
                streams: *streams,
                window: *window,
                bytes: *bytes,
            },
            Self::Idle => Shape::Idle,
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &Load) -> Result<()> {
    if let Some(core) = args.core {
        process::stay_on(core)?;
    }
    let tls = args.tls.as_deref().map(Pem::read).transpose()?;
    let target = Target {
        addr: args.addr,
        tls: tls.map(|pem| pem.client(args.tunnel)).transpose()?,
        tunnel: args.tunnel,
    };
    let plan = Plan {
        shape: args.what.shape(),
        warm: Duration::try_from_secs_f64(args.warm).context("--warm")?,
        measured: Duration::try_from_secs_f64(args.seconds).context("--seconds")?,
        server: args.server_pid,
    };
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting")?
        .block_on(load::run_over(&target, &plan, &args.what.paths()))?;
    say(&outcome)
}

#[expect(clippy::print_stdout, reason = "what `compare` reads")]
fn say(outcome: &Outcome) -> Result<()> {
    println!("{}", serde_json::to_string(outcome)?);
    Ok(())
}
