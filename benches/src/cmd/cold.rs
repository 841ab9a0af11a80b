//! `cold`: a host with one guest, made from nothing; says when it gave its first answer, and serves on.
//!
//! Called by `main`; started by `guests` as a process of its own, so that nothing is warm but the kernel's caches.
//! Ends with whoever started it.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use switchboard_benches::guests::{self, Started};
use switchboard_benches::plugin::Plugin;
use switchboard_benches::process;
use switchboard_benches::server::guests_dir;

/// What `cold` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Cold {
    /// Which guest.
    #[arg(long)]
    guest: String,
    /// Folder with its file.
    #[arg(long, default_value_os_t = guests_dir())]
    guests: PathBuf,
    /// Folder where compiled code is kept; nowhere without.
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Instances made in advance.
    #[arg(long, default_value_t = 1)]
    warm: u32,
}

/// Runs the command.
pub(crate) fn run(args: &Cold) -> Result<()> {
    process::end_with_parent()?;
    let guest = guests::of(&args.guest)?;
    let plugin = Plugin {
        file: args.guests.join(format!("{}.wasm", guest.name)),
        cache: args.cache.clone(),
        warm: Some(args.warm),
    };
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting threads")?
        .block_on(async {
            let (running, first) = plugin.first_answer(&guest.call).await?;
            say(&Started {
                addr: running.addr(),
                first_us: first.as_secs_f64() * 1e6,
            })?;
            running.ended().await
        })
}

#[expect(clippy::print_stdout, reason = "the line that `guests` waits for")]
fn say(started: &Started) -> Result<()> {
    println!("{}", serde_json::to_string(started)?);
    std::io::stdout().flush().context("saying so")
}
