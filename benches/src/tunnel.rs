//! The load's end of a WebSocket tunnel, over a connection that is set up already.
//!
//! Called by `client`. The upgrade is hyper's, the stream behind it `switchboard-tunnel`'s, as in the
//! product's own client; the upgrade is over before anything is measured.

use std::net::SocketAddr;

use anyhow::{Context, Result, anyhow, ensure};
use http::Uri;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use switchboard_tunnel::handshake::{check_response, request};
use switchboard_tunnel::{Config, Role, SUBPROTOCOL, TunnelStream, random_key};
use tokio::io::{AsyncRead, AsyncWrite};

/// Where a host has its tunnel if nobody says otherwise.
const PATH: &str = "/tunnel";

/// Asks for a tunnel.
///
/// # Errors
/// When the server does not open one of ours.
///
/// # Cancel safety
/// Dropping the future drops the connection.
pub(crate) async fn open<S>(stream: S, addr: SocketAddr) -> Result<TunnelStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let key = random_key().context("random bytes")?;
    let uri = Uri::try_from(format!("ws://{addr}{PATH}"))?;
    let subprotocols = [SUBPROTOCOL];
    let asked = request(&uri, &subprotocols, key)?.map(|()| String::new());
    let (mut send, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .context("HTTP/1.1")?;
    // Ends with the upgrade, or with the error that the request reports too.
    #[expect(clippy::disallowed_methods, reason = "not the host's task")]
    tokio::spawn(async move { drop(connection.with_upgrades().await) });
    let response = send.send_request(asked).await.context("asking")?;
    let agreed = check_response(&response, &subprotocols, key)?;
    ensure!(agreed.ours, "the server does not speak {SUBPROTOCOL}");
    let upgraded = hyper::upgrade::on(response).await.context("the upgrade")?;
    let parts = upgraded
        .downcast::<TokioIo<S>>()
        .map_err(|_upgraded| anyhow!("hyper gave back another stream"))?;
    Ok(TunnelStream::new(
        parts.io.into_inner(),
        Role::Client,
        parts.read_buf,
        &Config::default(),
    ))
}
