//! `ws` and `wss`, natively: a WebSocket as the byte stream of a channel.
//!
//! Adds to `tunnel::connect` what a channel wants to know: how the tunnel ended. Each attempt takes
//! the token as it is then.

use switchboard_tunnel::{Ending, TunnelHandle};

use super::{BoxFuture, Connected, Connector, Transport};
use crate::channel::{TlsOptions, TunnelOptions};
use crate::error::{ConfigError, ConnectError};
use crate::target::{Scheme, Target};
use crate::tunnel::{Tunnel, TunnelTarget, upgrade};

/// Opens WebSockets.
pub(crate) struct TunnelConnector(TunnelTarget);

impl TunnelConnector {
    pub(crate) fn new(
        target: &Target,
        options: TunnelOptions,
        tls: &TlsOptions,
    ) -> Result<Self, ConfigError> {
        TunnelTarget::of(target.clone(), options, tls).map(Self)
    }
}

impl Connector for TunnelConnector {
    fn connect(&self) -> BoxFuture<Result<Connected, ConnectError>> {
        let target = self.0.clone();
        Box::pin(async move {
            let Tunnel {
                stream,
                subprotocol,
            } = upgrade(&target).await?;
            let handle = stream.handle();
            let transport = match target.target().scheme() {
                Scheme::Wss => Transport::WebSocketTls,
                Scheme::Ws | Scheme::Http | Scheme::Https => Transport::WebSocket,
            };
            Ok(Connected::new(stream, transport)
                .with_subprotocol(subprotocol)
                .with_end_text(Box::new(move || end_text(&handle))))
        })
    }
}

fn end_text(handle: &TunnelHandle) -> Option<String> {
    match handle.ending()? {
        Ending::ClosedByPeer(close) => Some(format!("the server closed the tunnel with {close}")),
        Ending::ClosedByUs(_) => None,
        Ending::Failed(error) => Some(error.to_string()),
    }
}
