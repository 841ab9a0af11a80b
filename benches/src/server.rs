//! Starts one of the kinds on a listener.
//!
//! Called by `cmd::serve` and by the benches that run in one process. Every kind gets the same
//! runtime, allocator and profile; what each is configured with beyond its defaults is said here.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use switchboard_host::{
    CacheConfig, Host, HostBuilder, HostConfig, Mode, PluginConfig, PoolArgs, PoolConfig, Tls,
    TunnelConfig,
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

/// Longest wait for an instance where a scenario has fewer of them than calls. None may be refused,
/// however busy the machine is: what is measured is calls that wait.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Tunnels from the one address that all loads have.
const TUNNELS_MAX: u32 = 5_000;

/// Instances over all plugins, beyond those that are asked for: the pools of the plugin beside, with
/// their default of 64 for unary calls and 64 for streams, and some that are being made.
const INSTANCES_TO_SPARE: u32 = 200;

/// Instances that each of many plugins may come to have: calls are answered where they are read, so
/// there are about as many at once as threads.
const INSTANCES_OF_MANY: u32 = 4;

/// Where `make guests` leaves plugins.
#[must_use]
pub fn guests_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guests")
}

/// What a server is given beyond its kind; the flags of `serve`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Setup {
    /// Folder with echo.wasm.
    #[arg(long, default_value_os_t = guests_dir())]
    pub guests: PathBuf,
    /// Folder with certificate.pem and key.pem; plain TCP without.
    #[arg(long)]
    pub tls: Option<PathBuf>,
    /// Keep to this core.
    #[arg(long)]
    pub core: Option<usize>,
    /// Instances that the plugin may have for unary calls; more of them wait.
    #[arg(long, default_value_t = INSTANCES)]
    pub instances: u32,
    /// Instances that it may have for streams.
    #[arg(long, default_value_t = INSTANCES)]
    pub streams: u32,
    /// Another plugin to serve beside it, with default settings.
    #[arg(long)]
    pub beside: Option<PathBuf>,
    /// Serve all plugins of this folder instead of echo.wasm, none with an instance ready.
    #[arg(long)]
    pub plugins: Option<PathBuf>,
    /// Folder of compiled plugins.
    #[arg(long)]
    pub cache: Option<PathBuf>,
}

impl Setup {
    /// Of a server that gets its plugin from this folder and nothing else that is not usual.
    #[must_use]
    pub fn of(guests: &Path) -> Self {
        Self {
            guests: guests.to_owned(),
            tls: None,
            core: None,
            instances: INSTANCES,
            streams: INSTANCES,
            beside: None,
            plugins: None,
            cache: None,
        }
    }

    /// As `serve` wants it.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        let path = |path: &PathBuf| path.clone().into_os_string();
        let number = |number: u32| number.to_string().into();
        let flags = [
            ("--guests", Some(path(&self.guests))),
            ("--tls", self.tls.as_ref().map(path)),
            ("--core", self.core.map(|core| core.to_string().into())),
            ("--instances", Some(number(self.instances))),
            ("--streams", Some(number(self.streams))),
            ("--beside", self.beside.as_ref().map(path)),
            ("--plugins", self.plugins.as_ref().map(path)),
            ("--cache", self.cache.as_ref().map(path)),
        ];
        let given = flags
            .into_iter()
            .filter_map(|(flag, value)| Some([flag.into(), value?]));
        given.flatten().collect()
    }

    /// What a host of this kind is configured with.
    fn config(&self, mode: Mode, plugins: usize) -> Result<HostConfig> {
        let mut config = HostConfig {
            cache: self.cache.as_ref().map(CacheConfig::new),
            ..HostConfig::default()
        };
        config.plugin.pool = PoolConfig::try_from(PoolArgs {
            mode: Some(mode),
            stores_max: Some(self.instances),
            streams_max: Some(self.streams),
            wait_max: Some(WAIT_MAX),
            warm_min: self.plugins.is_some().then_some(0),
            ..PoolArgs::default()
        })?;
        let many = u32::try_from(plugins)?.saturating_mul(INSTANCES_OF_MANY);
        let wanted = [self.instances, self.streams, many, INSTANCES_TO_SPARE];
        let wanted = wanted.into_iter().fold(0, u32::saturating_add);
        let engine = &mut config.engine;
        engine.instances_max = engine
            .instances_max
            .max(NonZeroU32::new(wanted).context("none")?);
        Ok(config)
    }

    /// The plugins to serve.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let Some(folder) = &self.plugins else {
            let echo = self.guests.join("echo.wasm");
            return Ok(std::iter::once(echo).chain(self.beside.clone()).collect());
        };
        let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
        let files = entries.map(|entry| Ok(entry?.path()));
        files.collect()
    }
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
        Self::with(kind, &Setup::of(guests), tls).await
    }

    /// The same with more that is not usual. What `setup` says of TLS and cores is its caller's to do.
    ///
    /// # Errors
    /// When a plugin is not there or is refused, or the certificate is not usable.
    ///
    /// # Cancel safety
    /// Dropping the future drops what was loaded.
    pub async fn with(kind: Kind, setup: &Setup, tls: Option<&Pem>) -> Result<Self> {
        let native = matches!(kind, Kind::Stock | Kind::Front);
        let plugins = setup.beside.is_some() || setup.plugins.is_some();
        ensure!(!(native && plugins), "a native server has no plugins");
        let mode = match kind {
            Kind::Stock => return stock(tls),
            Kind::Front => {
                let host = HostBuilder::new(HostConfig::default()).native(FrontEcho);
                return Ok(Self::Host(Box::new(host.build(&[]).await?), host_tls(tls)?));
            }
            Kind::Reuse | Kind::Tunnel => Mode::Reuse,
            Kind::Fresh => Mode::Fresh,
        };
        let files = setup.files()?;
        let mut config = setup.config(mode, files.len())?;
        if kind == Kind::Tunnel {
            let tunnels_max = NonZeroU32::new(TUNNELS_MAX).context("none")?;
            config.tunnel = Some(TunnelConfig {
                tunnels_max,
                tunnels_per_peer_max: tunnels_max,
                ..TunnelConfig::default()
            });
        }
        let mut builder = HostBuilder::new(config);
        if let Some(name) = setup.beside.as_ref().and_then(|path| path.file_stem()) {
            builder = builder.plugin(name.to_string_lossy(), PluginConfig::default());
        }
        let built = builder.build(&files).await;
        let host = built
            .with_context(|| format!("{}: `make guests` builds it", setup.guests.display()))?;
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        setup: Setup,
    }

    #[test]
    fn a_setup_is_what_its_flags_say() {
        let usual = Setup::of(Path::new("guests"));
        let unusual = Setup {
            tls: Some("tls".into()),
            core: Some(1),
            instances: 2,
            streams: 12_000,
            beside: Some("faulty.wasm".into()),
            plugins: Some("plugins".into()),
            cache: Some("cache".into()),
            ..usual.clone()
        };
        for setup in [usual, unusual] {
            let typed = std::iter::once("serve".into()).chain(setup.arguments());
            assert_eq!(Flags::parse_from(typed).setup, setup);
        }
    }
}
