//! `serve`: `echo.Echo` in one of several ways, for `load` to call.
//!
//! Called by `main`. Prints `ready grpc HOST:PORT` once it serves; ends with whoever started it. The
//! allocator, the profile and the runtime are the same whatever is served, and the product's.

use std::io::Write;

use anyhow::{Context, Result};
use switchboard_benches::kind::Kind;
use switchboard_benches::process;
use switchboard_benches::server::{Ready, Setup};
use switchboard_benches::tls::Pem;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What `serve` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// Which way.
    #[arg(long, value_enum)]
    kind: Kind,
    #[command(flatten)]
    setup: Setup,
}

/// Runs the command.
pub(crate) fn run(args: &Serve) -> Result<()> {
    process::end_with_parent()?;
    process::raise_open_files()?;
    if let Some(core) = args.setup.core {
        process::stay_on(core)?;
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting threads")?
        .block_on(serve(args))
}

async fn serve(args: &Serve) -> Result<()> {
    let tls = args.setup.tls.as_deref().map(Pem::read).transpose()?;
    let ready = Ready::with(args.kind, &args.setup, tls.as_ref()).await?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    say_ready(&listener.local_addr()?.to_string())?;
    ready.serve(listener, CancellationToken::new()).await
}

#[expect(clippy::print_stdout, reason = "the line that `compare` waits for")]
fn say_ready(addr: &str) -> Result<()> {
    println!("ready grpc {addr}");
    std::io::stdout().flush().context("saying so")
}
