//! HTTP/1.1 upgrades to our tunnel, in front of a server; and refusals of any kind.
//!
//! Made of hyper and the tunnel crate, without the host. A test changes what the door does at any
//! time; each attempt is answered as the door stands then.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use switchboard_client::transport::ByteStream;
use switchboard_tunnel::handshake::{self, Offer};
use switchboard_tunnel::{Config, Role, SUBPROTOCOL, TunnelHandle, TunnelStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What happens to whoever asks for a tunnel.
#[derive(Clone, Debug)]
pub enum Door {
    /// Opened, with our subprotocol if it was offered.
    Open,
    /// Opened, without any subprotocol.
    OpenWithout,
    /// Opened with a wrong `Sec-WebSocket-Accept`.
    WrongAccept,
    /// Refused with this.
    Refuse(StatusCode, &'static str, Option<&'static str>),
    /// Never answered.
    Silent,
}

/// A listener for tunnels.
#[derive(Debug)]
pub struct TunnelDoor {
    at: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    door: Mutex<Door>,
    seen: Mutex<Vec<Seen>>,
    feed: mpsc::Sender<Box<dyn ByteStream>>,
}

/// What an upgrade request had, and the tunnel it became.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its headers.
    pub headers: HeaderMap,
    /// The token among its subprotocols.
    pub token: Option<Vec<u8>>,
    /// Closes the tunnel, and tells how it ended.
    pub handle: Option<TunnelHandle>,
}

impl TunnelDoor {
    /// Listens on a port of its own, and feeds a server with the tunnels.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start(feed: mpsc::Sender<Box<dyn ByteStream>>) -> io::Result<Self> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let at = listener.local_addr()?;
        let shared = Arc::new(Shared {
            door: Mutex::new(Door::Open),
            seen: Mutex::default(),
            feed,
        });
        let serving = Arc::clone(&shared);
        crate::run(async move {
            while let Ok((socket, _)) = listener.accept().await {
                crate::run(answer(socket, Arc::clone(&serving)));
            }
        });
        Ok(Self { at, shared })
    }

    /// Where tunnels are asked for.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}/tunnel", self.at)
    }

    /// Does this from now on.
    pub fn set(&self, door: Door) {
        *lock(&self.shared.door) = door;
    }

    /// The upgrade requests so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(socket: TcpStream, shared: Arc<Shared>) {
    drop(socket.set_nodelay(true));
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(reply(request, shared).await) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    drop(connection.with_upgrades().await);
}

async fn reply(request: Request<Incoming>, shared: Arc<Shared>) -> Response<Full<Bytes>> {
    let offer = match handshake::check_request(&request) {
        Ok(offer) => offer,
        Err(error) => return error.to_response().map(Full::from),
    };
    let door = lock(&shared.door).clone();
    // Before the answer, so that it is there when a tunnel that comes of it is.
    lock(&shared.seen).push(Seen {
        headers: request.headers().clone(),
        token: offer.token.as_ref().map(|token| token.as_bytes().to_vec()),
        handle: None,
    });
    match door {
        Door::Open => open(request, &offer, shared.clone(), true),
        Door::OpenWithout => open(request, &offer, shared.clone(), false),
        Door::WrongAccept => {
            let mut response = open(request, &offer, shared.clone(), true);
            let wrong = http::HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
            response.headers_mut().insert("sec-websocket-accept", wrong);
            response
        }
        Door::Refuse(status, text, retry_after) => {
            let mut response = Response::new(Full::from(text));
            *response.status_mut() = status;
            let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, plain);
            if let Some(after) = retry_after {
                let after = http::HeaderValue::from_static(after);
                response.headers_mut().insert(RETRY_AFTER, after);
            }
            response
        }
        Door::Silent => std::future::pending().await,
    }
}

/// Opens the tunnel once the answer is out.
fn open(
    mut request: Request<Incoming>,
    offer: &Offer,
    shared: Arc<Shared>,
    with_subprotocol: bool,
) -> Response<Full<Bytes>> {
    let chosen = (offer.ours && with_subprotocol).then_some(SUBPROTOCOL);
    let response = handshake::response(offer, chosen);
    let config = Config::default().for_peer(chosen.is_some());
    let upgrade = hyper::upgrade::on(&mut request);
    crate::run(async move {
        let Ok(upgraded) = upgrade.await else {
            return;
        };
        let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
            return;
        };
        let io = parts.io.into_inner();
        let stream = TunnelStream::new(io, Role::Server, parts.read_buf, &config);
        let handle = stream.handle();
        if let Some(seen) = lock(&shared.seen).last_mut() {
            seen.handle = Some(handle);
        }
        drop(shared.feed.send(Box::new(stream)).await);
    });
    response.map(|()| Full::default())
}
