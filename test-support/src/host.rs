//! A real host on a free port, with real guests, in one line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use switchboard_host::{
    Drained, Handle, Host, HostBuilder, HostConfig, Listeners, PluginConfig, PoolStats, Refused,
    Tls,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::{Channel, Endpoint};

use crate::{PATIENCE, RawClient, guest, log, patiently};

/// What a test may change before the host starts. Plugin files are not watched, unless that is the test.
#[derive(Debug)]
pub struct Setup {
    /// Limits and times.
    pub config: HostConfig,
    /// Files and folders to load.
    pub paths: Vec<PathBuf>,
    /// Configurations of single plugins.
    pub plugins: Vec<(String, PluginConfig)>,
    /// TLS, if the test is about it.
    pub tls: Option<Tls>,
    /// Where it listens beside its port.
    pub also: Vec<Listeners>,
}

impl Default for Setup {
    fn default() -> Self {
        let config = HostConfig {
            // A system gives a user only so many watches, and tests run many hosts at once.
            watch: None,
            ..HostConfig::default()
        };
        Self {
            config,
            paths: Vec::new(),
            plugins: Vec::new(),
            tls: None,
            also: Vec::new(),
        }
    }
}

/// A host that serves until it is dropped or finished.
pub struct TestHost {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The plugins it refused, as lines.
    pub refused: Vec<Arc<Refused>>,
    /// The services it offers.
    pub services: Vec<String>,
    handle: Handle,
    task: JoinHandle<Drained>,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl std::fmt::Debug for TestHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestHost")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

impl TestHost {
    /// A host with one guest.
    pub async fn start(name: &str) -> Self {
        Self::start_with(name, |_| {}).await
    }

    /// A host with one guest; `edit` changes what the test is about.
    pub async fn start_with(name: &str, edit: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup {
            paths: vec![guest(name)],
            ..Setup::default()
        };
        edit(&mut setup);
        Self::build(setup, |builder| builder).await
    }

    /// A host as `setup` says; `extend` adds native and host services.
    pub async fn build(mut setup: Setup, extend: impl FnOnce(HostBuilder) -> HostBuilder) -> Self {
        log();
        if setup.config.engine.instances_max.get() == 1000 {
            // Tests run side by side in one process and share its address space.
            let few = std::num::NonZeroU32::new(200).expect("not zero");
            setup.config.engine.instances_max = few;
        }
        // By the clock, and tests keep the machine busy. What tests this limit builds its own host.
        setup.config.engine.describe_timeout = PATIENCE;
        let mut builder = HostBuilder::new(setup.config);
        for (name, config) in setup.plugins {
            builder = builder.plugin(name, config);
        }
        let host = extend(builder)
            .build(&setup.paths)
            .await
            .expect("the host starts");
        Self::serve(host, setup.tls, setup.also).await
    }

    async fn serve(host: Host, tls: Option<Tls>, also: Vec<Listeners>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let services = host
            .services()
            .into_iter()
            .map(|(name, _)| name.to_owned())
            .collect();
        let handle = host.handle();
        let refused = host.refused();
        let stop = CancellationToken::new();
        let own = Listeners::from(listener);
        let listeners = also.into_iter().fold(own, Listeners::and);
        #[expect(clippy::disallowed_methods, reason = "a test's own task")]
        let task = tokio::spawn(host.serve(listeners, tls, stop.clone()));
        // The port listens already: nobody has to wait.
        Self {
            addr,
            refused,
            services,
            handle,
            task,
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        }
    }

    /// How the pool of a plugin is doing.
    #[must_use]
    pub fn stats(&self, plugin: &str) -> PoolStats {
        let stats = self.handle.stats(plugin);
        stats.expect("a plugin that this host serves")
    }

    /// For looking after it while it serves.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// A tonic channel to it, connected at the first call.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.endpoint().connect_lazy()
    }

    /// For a channel with settings of its own.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(format!("http://{}", self.addr)).expect("an address is a valid URI")
    }

    /// A client that speaks HTTP/2 by itself.
    pub async fn raw(&self) -> RawClient {
        RawClient::connect(self.addr).await
    }

    /// Begins the drain and goes on.
    pub fn drain(&self) {
        self.stop.cancel();
    }

    /// Stops the host and returns how serving ended.
    pub async fn finish(self) -> Drained {
        self.stop.cancel();
        patiently("the host drains", self.task)
            .await
            .expect("the host did not panic")
    }
}
