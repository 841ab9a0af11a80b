//! Servers that a page can talk to and that are not the host, all with a stock WebSocket library.
//!
//! | file | owns |
//! |---|---|
//! | `echo.rs` | WebSocket messages back as they came: the limit that a benchmark compares with |
//! | `bridge.rs` | a WebSocket's bytes to a TCP port, and back: any gRPC server behind it |
//! | `flood.rs` | many messages one way, for the same purpose |
//! | `mute.rs` | HTTP/2 that takes every call and never answers |
//! | `rude.rs` | WebSockets that break the rules in one way each |
//!
//! Each listens on a free port until it is dropped, with its connections. None of them looks at
//! origins or tokens.

mod bridge;
mod echo;
mod flood;
mod mute;
mod rude;

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{
    Callback, ErrorResponse, Request, Response,
};

pub use bridge::bridge;
pub use echo::echo;
pub use flood::flood;
pub use mute::mute;
pub use rude::{Rudeness, rude};

/// A server of this folder.
#[derive(Debug)]
pub struct Peer {
    addr: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Peer {
    /// Runs `serve` for each connection to a free port.
    async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                // It fails when the connection is gone already, as the serving will.
                drop(socket.set_nodelay(true));
                connections.spawn(serve(socket));
            }
        });
        Self {
            addr,
            _tasks: tasks,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it listens, for a WebSocket.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}/", self.addr)
    }
}

/// The first of the subprotocols that a browser offers is agreed to: it insists on one of its own.
#[derive(Clone, Copy, Debug)]
struct FirstSubprotocol;

impl Callback for FirstSubprotocol {
    fn on_request(
        self,
        request: &Request,
        mut response: Response,
    ) -> Result<Response, ErrorResponse> {
        const NAME: &str = "sec-websocket-protocol";
        let offered = request
            .headers()
            .get(NAME)
            .and_then(|value| value.to_str().ok());
        if let Some(first) = offered.and_then(|list| list.split(',').next()) {
            let first = first.trim().parse().expect("what came as a header is one");
            response.headers_mut().insert(NAME, first);
        }
        Ok(response)
    }
}

/// The WebSocket that a browser opens on this connection, if it does.
async fn upgraded(socket: TcpStream) -> Option<WebSocketStream<TcpStream>> {
    tokio_tungstenite::accept_hdr_async(socket, FirstSubprotocol)
        .await
        .ok()
}
