//! `http` and `https`: TCP to the first address that answers, and TLS over it.
//!
//! Used by the channel directly and, without HTTP/2's name in ALPN, by `tunnel`. Addresses are tried
//! one after the other, each a moment after the one before, so that a dead IPv6 route costs a moment
//! and not the timeout. Source: RFC 8305, happy eyeballs.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::TcpStream;

use super::{BoxFuture, BoxIo, Connected, Connector, Transport};
use crate::channel::TlsOptions;
use crate::error::{ConfigError, ConnectError};
use crate::target::Target;

/// Head start of an address before the next one is tried too. Source: RFC 8305 section 5.
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects by TCP, with TLS or without.
pub(crate) struct TcpConnector {
    target: Arc<Target>,
    secure: Secure,
}

/// What is laid over TCP.
#[derive(Clone)]
pub(crate) enum Secure {
    Plain,
    #[cfg(feature = "tls")]
    Tls(super::tls::TlsClient),
}

impl TcpConnector {
    pub(crate) fn new(target: &Target, options: &TlsOptions) -> Result<Self, ConfigError> {
        Ok(Self {
            target: Arc::new(target.clone()),
            secure: Secure::new(target, options, b"h2")?,
        })
    }
}

impl Connector for TcpConnector {
    fn connect(&self) -> BoxFuture<Result<Connected, ConnectError>> {
        let (target, secure) = (Arc::clone(&self.target), self.secure.clone());
        Box::pin(async move {
            let socket = dial(&target).await?;
            match secure {
                Secure::Plain => Ok(Connected::new(socket, Transport::Tcp)),
                #[cfg(feature = "tls")]
                Secure::Tls(tls) => {
                    let stream = tls.handshake(&target, socket).await?;
                    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                        return Err(ConnectError::NoHttp2OverTls {
                            host: target.authority().to_string(),
                        });
                    }
                    Ok(Connected::new(stream, Transport::Tls))
                }
            }
        })
    }
}

impl Secure {
    /// # Errors
    /// [`ConfigError::NoTls`] without the feature, [`ConfigError::Certificate`].
    #[cfg_attr(
        not(feature = "tls"),
        expect(unused_variables, reason = "both are for TLS")
    )]
    pub(crate) fn new(
        target: &Target,
        options: &TlsOptions,
        protocol: &'static [u8],
    ) -> Result<Self, ConfigError> {
        if !target.scheme().is_tls() {
            return Ok(Self::Plain);
        }
        #[cfg(feature = "tls")]
        return Ok(Self::Tls(super::tls::TlsClient::new(options, protocol)?));
        #[cfg(not(feature = "tls"))]
        return Err(ConfigError::NoTls(target.scheme().name()));
    }

    #[cfg_attr(
        not(feature = "tls"),
        expect(unused_variables, reason = "the name is for TLS")
    )]
    /// Lays it over a socket; what comes out is the server's, whatever HTTP version it speaks.
    pub(crate) async fn over(
        &self,
        target: &Target,
        socket: TcpStream,
    ) -> Result<BoxIo, ConnectError> {
        match self {
            Self::Plain => Ok(Box::new(socket)),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => Ok(Box::new(tls.handshake(target, socket).await?)),
        }
    }
}

/// A TCP connection to the target, with small writes sent at once.
///
/// # Errors
/// [`ConnectError::Lookup`] and [`ConnectError::Unreachable`].
///
/// # Cancel safety
/// Dropping the future ends the attempt.
pub(crate) async fn dial(target: &Target) -> Result<TcpStream, ConnectError> {
    let place = (target.host(), target.port());
    let lookup = |error: Option<io::Error>| ConnectError::Lookup {
        host: target.host().to_owned(),
        text: error.map_or_else(|| "no address".to_owned(), |error| error.to_string()),
    };
    let found = tokio::net::lookup_host(place).await;
    let addresses = interleave(found.map_err(|error| lookup(Some(error)))?.collect());
    if addresses.is_empty() {
        return Err(lookup(None));
    }
    let socket = first_of(addresses)
        .await
        .map_err(|error| ConnectError::Unreachable {
            address: target.authority().to_string(),
            text: error.to_string(),
        })?;
    // Without it a small request may wait for the answer to the one before. Not worth failing for.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    Ok(socket)
}

/// Both families in turn, beginning with the one the system put first.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv6) else {
        return addresses;
    };
    let (mut preferred, mut other): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first);
    preferred.reverse();
    other.reverse();
    let mut order = Vec::with_capacity(preferred.len() + other.len());
    loop {
        let pair = [preferred.pop(), other.pop()];
        if pair == [None, None] {
            return order;
        }
        order.extend(pair.into_iter().flatten());
    }
}

async fn first_of(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last_error = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        match waiting.next() {
            Some(address) => attempts.push(TcpStream::connect(address)),
            None if attempts.is_empty() => return Err(last_error),
            None => {}
        }
        let ended = if waiting.len() == 0 {
            attempts.next().await
        } else {
            match tokio::time::timeout(HEAD_START, attempts.next()).await {
                Ok(ended) => ended,
                Err(_) => continue,
            }
        };
        match ended {
            Some(Ok(socket)) => return Ok(socket),
            Some(Err(error)) => last_error = error,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        let parse = |text: &&str| text.parse().expect("an address");
        texts.iter().map(parse).collect()
    }

    #[test]
    fn families_take_turns() {
        let found = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1"]);
        let expected = addresses(&["[::1]:1", "10.0.0.1:1", "[::2]:1", "[::3]:1"]);
        assert_eq!(interleave(found), expected);
        assert_eq!(interleave(Vec::new()), Vec::new());
    }

    #[tokio::test]
    async fn an_address_that_refuses_does_not_hide_the_next() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("bound");
        let there = listener.local_addr().expect("an address");
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        first_of(vec![nobody, there]).await.expect("the second one");
        first_of(vec![nobody]).await.expect_err("refused");
    }
}
