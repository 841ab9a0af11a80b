//! One HTTP request over a connection of its own: connect, TLS, the exchange.
//!
//! Called by `imports::http` with addresses that were checked. HTTP/1.1, as WASI's own implementation speaks.
//! Every wait has its limit. What a plugin is told of a failure is the kind of it; the rest is in the log at
//! level debug.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::client::conn::http1::Builder;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::Connection;
use super::body::Incoming;

/// Largest head of a response, in bytes. As large as other clients take.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// How long each may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    connect: Duration,
    first_byte: Duration,
    between_bytes: Duration,
}

impl Times {
    /// What the plugin asks for, where that is less than it may have.
    pub(super) fn new(most: Duration, asked: RequestOptions) -> Self {
        let within = |asked: Option<Duration>| asked.map_or(most, |asked| asked.min(most));
        Self {
            connect: within(asked.connect_timeout),
            first_byte: within(asked.first_byte_timeout),
            between_bytes: within(asked.between_bytes_timeout),
        }
    }
}

/// Connects to the first address that answers.
pub(super) async fn connect(addresses: &[SocketAddr], times: Times) -> Result<TcpStream, Error> {
    let tries = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut failure = Error::DestinationUnavailable;
    for address in addresses {
        match timeout(times.connect / tries, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // A head and a body that are written apart must not wait for each other.
                drop(stream.set_nodelay(true));
                return Ok(stream);
            }
            Ok(Err(error)) => {
                tracing::debug!(%address, %error, "a plugin's request does not connect");
                failure = Error::ConnectionRefused;
            }
            Err(_elapsed) => failure = Error::ConnectionTimeout,
        }
    }
    Err(failure)
}

/// TLS over it, with a certificate for `host`.
pub(super) async fn secure(
    stream: TcpStream,
    config: Arc<ClientConfig>,
    host: &str,
    times: Times,
) -> Result<TlsStream<TcpStream>, Error> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::HttpRequestUriInvalid)?;
    let secured = TlsConnector::from(config).connect(name, stream);
    match timeout(times.connect, secured).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            tracing::debug!(host, %error, "a plugin's request finds no TLS that it trusts");
            let tls = error.get_ref().and_then(|source| source.downcast_ref());
            Err(match tls {
                Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
                _ => Error::TlsProtocolError,
            })
        }
        Err(_elapsed) => Err(Error::ConnectionTimeout),
    }
}

/// Sends the request and waits for the response's head; its body keeps `place`.
pub(super) async fn exchange<S>(
    stream: S,
    request: Request<WasiBody>,
    times: Times,
    place: OwnedSemaphorePermit,
) -> Result<(Response<WasiBody>, Connection), Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let mut connection = Box::pin(connection);
    let mut done = false;
    let response = {
        let mut response = std::pin::pin!(sender.send_request(request));
        // Nobody else drives the connection until there is a response.
        let both = poll_fn(|cx| {
            if !done && let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                done = true;
                if let Err(error) = ended {
                    return Poll::Ready(Err(Error::from(error)));
                }
            }
            response.as_mut().poll(cx).map_err(Error::from)
        });
        let response = timeout(times.first_byte, both).await;
        response.map_err(|_elapsed| Error::HttpResponseTimeout)??
    };
    let response =
        response.map(|body| Incoming::new(body, times.between_bytes, place).boxed_unsync());
    let drive: Connection = Box::new(async move {
        // What is wrong with it, the body tells.
        if !done {
            drop(connection.await);
        }
        Ok(())
    });
    Ok((response, drive))
}
