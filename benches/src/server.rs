//! Starts one of the kinds on a listener.
//!
//! Called by `cmd::serve` and by the benches that run in one process. Every kind gets the same
//! runtime, allocator and profile; what each is configured with beyond its defaults is said here.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use switchboard_host::{
    Host, HostBuilder, HostConfig, Mode, PoolArgs, PoolConfig, Tls, TunnelConfig,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};

use crate::kind::Kind;
use crate::peers::front::FrontEcho;
use crate::peers::stock::StockEcho;
use crate::tls::Pem;

/// Instances for unary calls and for streams: more than any scenario has in flight, so that no
/// call waits in a pool's line.
const INSTANCES: u32 = 300;

/// Where `make guests` leaves plugins.
#[must_use]
pub fn guests_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guests")
}

/// A server that is ready to serve.
#[derive(Debug)]
pub enum Ready {
    /// Stock tonic.
    Stock(Box<Server>),
    /// A host, with or without the plugin.
    Host(Box<Host>, Option<Tls>),
}

impl Ready {
    /// Prepares a server of this kind. What takes long, compiling the plugin, is done after it.
    ///
    /// # Errors
    /// When the plugin is not there or is refused, or the certificate is not usable.
    ///
    /// # Cancel safety
    /// Dropping the future drops what was loaded.
    pub async fn new(kind: Kind, guests: &Path, tls: Option<&Pem>) -> Result<Self> {
        let mode = match kind {
            Kind::Stock => return stock(tls),
            Kind::Front => {
                let host = HostBuilder::new(HostConfig::default()).native(FrontEcho);
                return Ok(Self::Host(Box::new(host.build(&[]).await?), host_tls(tls)?));
            }
            Kind::Reuse | Kind::Tunnel => Mode::Reuse,
            Kind::Fresh => Mode::Fresh,
        };
        let mut config = HostConfig::default();
        if kind == Kind::Tunnel {
            config.tunnel = Some(TunnelConfig::default());
        }
        config.plugin.pool = PoolConfig::try_from(PoolArgs {
            mode: Some(mode),
            stores_max: Some(INSTANCES),
            streams_max: Some(INSTANCES),
            ..PoolArgs::default()
        })?;
        let path = guests.join("echo.wasm");
        let built = HostBuilder::new(config).build(std::slice::from_ref(&path));
        let host = built
            .await
            .with_context(|| format!("{}: `make guests` builds it", path.display()))?;
        ensure!(host.refused().is_empty(), "refused: {:?}", host.refused());
        Ok(Self::Host(Box::new(host), host_tls(tls)?))
    }

    /// Serves until `stop` is cancelled.
    ///
    /// # Errors
    /// When the listener fails.
    ///
    /// # Cancel safety
    /// Dropping the future stops accepting.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> Result<()> {
        match self {
            Self::Stock(mut server) => {
                // What `Server::serve` sets as well.
                let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
                server
                    .add_service(StockEcho)
                    .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
                    .await
                    .context("serving with tonic")
            }
            Self::Host(host, tls) => {
                host.serve(listener, tls, stop).await;
                Ok(())
            }
        }
    }
}

fn stock(tls: Option<&Pem>) -> Result<Ready> {
    let mut server = Server::builder();
    if let Some(pem) = tls {
        let identity = Identity::from_pem(&pem.certificate, &pem.key);
        server = server
            .tls_config(ServerTlsConfig::new().identity(identity))
            .context("tonic's TLS")?;
    }
    Ok(Ready::Stock(Box::new(server)))
}

fn host_tls(tls: Option<&Pem>) -> Result<Option<Tls>> {
    let tls = tls.map(|pem| Tls::from_pem(pem.certificate.as_bytes(), pem.key.as_bytes()));
    Ok(tls.transpose()?)
}
