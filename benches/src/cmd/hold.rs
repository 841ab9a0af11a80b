//! `hold`: is a server's neighbour, one that streams, computes or sends big messages, until told to go.
//!
//! Called by `main`. Prints a line once all of it is there, goes when its input ends, and says in one line of
//! JSON what it did.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use switchboard_benches::client::Target;
use switchboard_benches::neighbour::{HELD, Neighbour};
use switchboard_benches::process;
use switchboard_benches::tls::Pem;
use tokio::io::AsyncReadExt;

/// What `hold` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Hold {
    /// Address of the server.
    #[arg(long)]
    addr: SocketAddr,
    /// Folder with the server's certificate.pem; plain TCP without.
    #[arg(long)]
    tls: Option<PathBuf>,
    /// Through the server's WebSocket tunnel.
    #[arg(long)]
    tunnel: bool,
    #[command(subcommand)]
    neighbour: Neighbour,
}

/// Runs the command.
pub(crate) fn run(args: &Hold) -> Result<()> {
    process::raise_open_files()?;
    let tls = args.tls.as_deref().map(Pem::read).transpose()?;
    let target = Target {
        addr: args.addr,
        tls: tls.map(|pem| pem.client(args.tunnel)).transpose()?,
        tunnel: args.tunnel,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting")?;
    let leave = async {
        // Whatever it is told, an end is an end.
        drop(tokio::io::stdin().read_to_end(&mut Vec::new()).await);
    };
    let stayed = runtime.block_on(args.neighbour.stay(&target, || say(HELD), leave));
    // Standard input may still be waited for, on a thread that nobody can end.
    runtime.shutdown_background();
    say(&serde_json::to_string(&stayed?)?)
}

#[expect(clippy::print_stdout, reason = "what whoever started it waits for")]
fn say(line: &str) -> Result<()> {
    println!("{line}");
    std::io::stdout().flush().context("saying so")
}
