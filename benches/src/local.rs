//! A server and a connection to it in this process.
//!
//! For the criterion benches and the tests. Server and client have runtimes of their own, as they
//! would in processes of their own.

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use crate::client::{Connection, Target};
use crate::kind::Kind;
use crate::server::{Ready, guests_dir};
use crate::tls::Pem;

/// A server of one kind, and one connection to it. Dropping it ends both.
#[derive(Debug)]
pub struct Local {
    connection: Connection,
    target: Target,
    client: Runtime,
    _server: Runtime,
}

impl Local {
    /// Starts a server and connects to it.
    ///
    /// # Errors
    /// When either fails.
    pub fn start(kind: Kind) -> Result<Self> {
        Self::start_with(kind, None)
    }

    /// The same over TLS.
    ///
    /// # Errors
    /// When either fails.
    pub fn start_tls(kind: Kind) -> Result<Self> {
        Self::start_with(kind, Some(&Pem::generate()?))
    }

    fn start_with(kind: Kind, tls: Option<&Pem>) -> Result<Self> {
        let tunnel = kind == Kind::Tunnel;
        let server = Builder::new_multi_thread().enable_all().build()?;
        let ready = server.block_on(Ready::new(kind, &guests_dir(), tls))?;
        let listener = server.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let target = Target {
            addr: listener.local_addr()?,
            tls: tls.map(|pem| pem.client(tunnel)).transpose()?,
            tunnel,
        };
        server
            .handle()
            .spawn(ready.serve(listener, CancellationToken::new()));
        let client = Builder::new_current_thread().enable_all().build()?;
        let connection = client
            .block_on(Connection::open(&target))
            .with_context(|| format!("connecting to {}", kind.name()))?;
        Ok(Self {
            connection,
            target,
            client,
            _server: server,
        })
    }

    /// The connection.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whom to connect to for another one.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Runs a future on the client's runtime.
    pub fn wait<F: Future>(&self, future: F) -> F::Output {
        self.client.block_on(future)
    }
}
