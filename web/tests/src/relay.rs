//! A network between the browser and a server, which a test can cut.
//!
//! Made by tests that kill or restart a server: its address stays the same whatever is behind
//! it. Bytes are passed on as they come. Invariants: after [`Relay::cut`]
//! returns, every connection is reset and new ones are refused by the system, until
//! [`Relay::connect`]; bytes of a connection keep their order.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, tcp};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// An address whose server can change.
#[derive(Debug)]
pub struct Relay {
    addr: SocketAddr,
    accepted: Arc<AtomicU64>,
    /// Where new connections lead to.
    server: watch::Sender<SocketAddr>,
    frozen: watch::Sender<bool>,
    /// None while the network is cut.
    tasks: Mutex<Option<JoinSet<()>>>,
}

impl Relay {
    /// A free port that leads to `server`.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let relay = Self {
            addr: listener.local_addr().expect("bound"),
            accepted: Arc::default(),
            server: watch::Sender::new(server),
            frozen: watch::Sender::new(false),
            tasks: Mutex::new(None),
        };
        relay.serve(listener);
        relay
    }

    /// Where the browser connects to.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Resets every connection and refuses new ones: the server is killed.
    pub async fn cut(&self) {
        let tasks = self.lock().take();
        if let Some(mut tasks) = tasks {
            tasks.shutdown().await;
        }
    }

    /// Leads to `server` from now on; the connections of before are reset.
    pub async fn connect(&self, server: SocketAddr) {
        self.cut().await;
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("a new socket");
        socket.bind(self.addr).expect("the port is still ours");
        self.redirect(server);
        self.serve(socket.listen(64).expect("bound"));
    }

    /// Leads new connections to `server`; those of before go on.
    pub fn redirect(&self, server: SocketAddr) {
        self.server.send_replace(server);
    }

    /// Passes nothing on any more; connections stay open, as those of a machine that lost its power.
    pub fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    fn serve(&self, listener: TcpListener) {
        let (accepted, server) = (Arc::clone(&self.accepted), self.server.subscribe());
        let frozen = self.frozen.subscribe();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((browser, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::Relaxed);
                let (server, frozen) = (*server.borrow(), frozen.clone());
                connections.spawn(async move {
                    if let Ok(server) = TcpStream::connect(server).await {
                        pass(browser, server, frozen).await;
                    }
                });
            }
        });
        *self.lock() = Some(tasks);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<JoinSet<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes bytes on both ways until both have ended; when dropped before, the browser gets a reset.
async fn pass(mut browser: TcpStream, mut server: TcpStream, frozen: watch::Receiver<bool>) {
    for socket in [&browser, &server] {
        // They fail when the connection is gone already, as the copying will.
        drop(socket.set_nodelay(true));
        // Lingering for no time is how a socket says that closing it resets its connection.
        drop(socket.set_zero_linger());
    }
    let (browser_in, browser_out) = browser.split();
    let (server_in, server_out) = server.split();
    tokio::join!(
        copy(browser_in, server_out, frozen.clone()),
        copy(server_in, browser_out, frozen),
    );
}

async fn copy(
    mut from: tcp::ReadHalf<'_>,
    mut to: tcp::WriteHalf<'_>,
    mut frozen: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        // It fails when the relay is gone, and this with it.
        drop(frozen.wait_for(|frozen| !frozen).await);
        if to.write_all(&bytes[..count]).await.is_err() {
            break;
        }
    }
    drop(to.shutdown().await);
}
