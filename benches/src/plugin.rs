//! A host with one plugin, and the time from its file to the first answer.
//!
//! Called by `cmd::cold`, which is a process of its own for that, and by the benches `cold_start` and
//! `streams_tcp`. What is not said here is at its default, as in `switchboard serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use switchboard_host::{CacheConfig, HostBuilder, HostConfig, PoolArgs, PoolConfig};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::{Connection, Target};
use crate::messages::Call;
use crate::server::guests_dir;

/// A plugin to serve.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// Its file.
    pub file: PathBuf,
    /// Where compiled code is kept, if it is.
    pub cache: Option<PathBuf>,
    /// Instances made in advance; none for the default.
    pub warm: Option<u32>,
}

/// A plugin that is being served. Dropping it stops that.
#[derive(Debug)]
pub struct Running {
    addr: SocketAddr,
    stop: DropGuard,
    serving: JoinHandle<()>,
}

impl Plugin {
    /// The guest of this name as `make guests` leaves it.
    #[must_use]
    pub fn guest(name: &str) -> Self {
        Self {
            file: guests_dir().join(format!("{name}.wasm")),
            cache: None,
            warm: None,
        }
    }

    /// Starts a host and serves the plugin on a free port.
    ///
    /// # Errors
    /// When the host does not start, or refuses the plugin.
    ///
    /// # Cancel safety
    /// Dropping the future drops what was loaded.
    pub async fn serve(&self) -> Result<Running> {
        let mut config = HostConfig {
            cache: self.cache.clone().map(CacheConfig::new),
            ..HostConfig::default()
        };
        if let Some(warm) = self.warm {
            config.plugin.pool = PoolConfig::try_from(PoolArgs {
                warm_min: Some(warm),
                // More than its limits allow, a pool does not keep.
                stores_max: Some(warm.max(PoolConfig::default().stores_max.get())),
                ..PoolArgs::default()
            })?;
        }
        let built = HostBuilder::new(config).build(std::slice::from_ref(&self.file));
        let host = built
            .await
            .with_context(|| format!("{}: `make guests` builds it", self.file.display()))?;
        ensure!(host.refused().is_empty(), "refused: {:?}", host.refused());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        #[expect(clippy::disallowed_methods, reason = "not the host's task")]
        let serving = tokio::spawn(async move {
            host.serve(listener, None, stopped).await;
        });
        Ok(Running {
            addr,
            stop: stop.drop_guard(),
            serving,
        })
    }

    /// Starts a host, calls the plugin once and says how long it took, from the file to the answer. The host
    /// serves on.
    ///
    /// # Errors
    /// When the host does not start, or the answer is wrong.
    ///
    /// # Cancel safety
    /// Dropping the future stops the host.
    pub async fn first_answer(&self, call: &Call) -> Result<(Running, Duration)> {
        let begun = Instant::now();
        let running = self.serve().await?;
        let connection = running.connect().await?;
        connection.caller().call(call).await?;
        Ok((running, begun.elapsed()))
    }
}

impl Running {
    /// Where it is served.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connects to it.
    ///
    /// # Errors
    /// When the host does not answer.
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection.
    pub async fn connect(&self) -> Result<Connection> {
        let target = Target {
            addr: self.addr,
            tls: None,
            tunnel: false,
        };
        Connection::open(&target).await
    }

    /// Waits until it has ended by itself, which it does only by an error.
    ///
    /// # Errors
    /// When it had panicked.
    ///
    /// # Cancel safety
    /// Dropping the future stops it.
    pub async fn ended(self) -> Result<()> {
        self.serving.await.context("the host panicked")
    }

    /// Stops it and waits until it is gone with all it held.
    ///
    /// # Errors
    /// When it had panicked.
    ///
    /// # Cancel safety
    /// Dropping the future stops it all the same.
    pub async fn stop(self) -> Result<()> {
        let Self { stop, serving, .. } = self;
        drop(stop);
        serving.await.context("the host panicked")
    }
}
