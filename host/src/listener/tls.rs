//! TLS around a socket, with HTTP/2 or HTTP/1.1 agreed by ALPN.
//!
//! Called by `listener` in a connection's own task; each handshake takes what is current when it begins.
//! `material` makes it of files and PEM, `reload` puts new in its place when the files change. Invariant:
//! what was resumed from an older connection was verified by the same CAs, because every new material
//! begins with an empty store of sessions.

mod material;
mod reload;

use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate;
use super::first_bytes::Protocol;
use super::seldom::Seldom;
use crate::config::TlsConfig;
use crate::error::{ConfigError, TlsError};
use crate::peer::Client;
use crate::telemetry::Telemetry;
use material::{HTTP1, HTTP2, Material};
use reload::Watched;

/// The host's side of TLS: TLS 1.2 and 1.3, with HTTP/2, and HTTP/1.1 for tunnels.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    current: RwLock<Arc<ServerConfig>>,
    /// None if it was not made of files.
    watched: Option<Watched>,
    /// Whether peers are asked for a certificate.
    asks: bool,
    refused: Seldom,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// From files, which are looked at again for as long as a host serves with this.
    ///
    /// # Errors
    /// [`TlsError`] naming the file and what is wrong with it.
    pub fn open(config: TlsConfig) -> Result<Self, TlsError> {
        if config.reload_interval.is_zero() {
            let fault = "tls reload_interval must be above zero".to_owned();
            return Err(TlsError::Config(ConfigError(vec![fault])));
        }
        let material = Material::read(&config);
        let (watched, made) = Watched::begin(config, material);
        let made = made?;
        made.tell(&watched.config, "connections are encrypted");
        Ok(Self(Arc::new(Shared {
            current: RwLock::new(made.config),
            asks: watched.config.client_ca.is_some(),
            watched: Some(watched),
            refused: Seldom::default(),
        })))
    }

    /// From a certificate chain and its private key, both PEM, that stay as they are.
    ///
    /// # Errors
    /// [`ConfigError`] saying which of the two is not usable, and why.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, ConfigError> {
        let made = Material::of_pem(certificates, key).make(&TlsConfig::new("", ""));
        let made = made.map_err(|error| ConfigError(vec![error.to_string()]))?;
        Ok(Self(Arc::new(Shared {
            current: RwLock::new(made.config),
            watched: None,
            asks: false,
            refused: Seldom::default(),
        })))
    }

    /// Takes new files when there are some; never ends.
    ///
    /// # Cancel safety
    /// Dropping the future leaves what is current.
    pub(crate) async fn keep_up(self, telemetry: Telemetry) {
        let Some(watched) = &self.0.watched else {
            return std::future::pending().await;
        };
        loop {
            let made = watched.next(&telemetry).await;
            let config = Arc::clone(&made.config);
            *self
                .0
                .current
                .write()
                .unwrap_or_else(PoisonError::into_inner) = config;
            made.tell(
                &watched.config,
                "the TLS files have changed and were read again",
            );
        }
    }

    pub(super) async fn accept(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let current = Arc::clone(
            &self
                .0
                .current
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        );
        TlsAcceptor::from(current).accept(socket).await
    }

    /// Says that a handshake failed: where certificates are asked for, somebody may be looking for the
    /// reason.
    pub(super) fn failed(&self, peer: std::net::SocketAddr, error: &io::Error) {
        if !self.0.asks {
            tracing::debug!(%peer, %error, "TLS was not set up");
        } else if let Some(left_out) = self.0.refused.now() {
            tracing::info!(%peer, %error, left_out, "TLS was not set up");
        }
    }
}

/// What both ends agreed to speak; none if the peer named nothing.
pub(super) fn agreed(stream: &TlsStream<TcpStream>) -> Option<Protocol> {
    match stream.get_ref().1.alpn_protocol()? {
        HTTP2 => Some(Protocol::Http2),
        HTTP1 => Some(Protocol::Http1),
        // rustls agrees to nothing that was not offered.
        _ => Some(Protocol::Unknown),
    }
}

/// Who the peer is; none if it sent no certificate. What it sent was verified.
pub(super) fn client(stream: &TlsStream<TcpStream>) -> Option<Client> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    // One that rustls took and we cannot read has no name here.
    Some(certificate::client(certificate).unwrap_or_default())
}
