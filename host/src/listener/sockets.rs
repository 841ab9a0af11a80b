//! The sockets that a host listens on, TCP and Unix, accepted from as if they were one.
//!
//! Used by `listener`. One loop accepts from all of them: a place among the connections is taken before
//! anything is accepted, so a loop for each would keep places that another needs. Invariant: none of them
//! is passed over for ever, because each look begins behind the one that gave something last.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::tcp;
use super::unix::UnixListener;

/// Where a host listens: one socket or several.
#[derive(Debug)]
pub struct Listeners {
    all: Vec<Listener>,
    /// Where the next look begins.
    next: usize,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection that was accepted.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Socket {
    /// The address it comes from; none if it is this machine's.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(_, addr) => Some(addr.ip()),
            Self::Unix(_) => None,
        }
    }
}

/// Who it comes from, as the log names it.
impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(_, addr) => addr.fmt(f),
            Self::Unix(_) => f.write_str("unix"),
        }
    }
}

impl Listeners {
    /// These and more.
    #[must_use]
    pub fn and(mut self, more: impl Into<Self>) -> Self {
        self.all.extend(more.into().all);
        self
    }

    /// The next connection of any of them.
    ///
    /// # Errors
    /// Those of the socket that is looked at; the next look begins behind it.
    ///
    /// # Cancel safety
    /// No connection is lost.
    pub(super) async fn accept(&mut self) -> io::Result<Socket> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        let count = self.all.len();
        for step in 0..count {
            let at = (self.next + step) % count;
            if let Poll::Ready(accepted) = self.all[at].poll_accept(cx) {
                self.next = at + 1;
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    }

    /// Takes the sockets out of sight that have a name of their own: who comes now finds nobody. Those who
    /// came before can still be accepted.
    pub(super) fn hide(&mut self) {
        for listener in &mut self.all {
            match listener {
                // Its port is closed with it.
                Listener::Tcp(_) => {}
                Listener::Unix(unix) => unix.hide(),
            }
        }
    }
}

impl Listener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        match self {
            Self::Tcp(tcp) => {
                let accepted = tcp.poll_accept(cx);
                accepted.map_ok(|(socket, addr)| Socket::Tcp(socket, addr))
            }
            Self::Unix(unix) => unix.poll_accept(cx).map_ok(Socket::Unix),
        }
    }
}

impl From<TcpListener> for Listeners {
    fn from(tcp: TcpListener) -> Self {
        tcp::keep_alive(&tcp);
        Self::one(Listener::Tcp(tcp))
    }
}

impl From<UnixListener> for Listeners {
    fn from(unix: UnixListener) -> Self {
        Self::one(Listener::Unix(unix))
    }
}

impl Listeners {
    fn one(listener: Listener) -> Self {
        Self {
            all: vec![listener],
            next: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn none_is_passed_over_for_another() {
        let bind = || TcpListener::bind("127.0.0.1:0");
        let (first, second) = (bind().await.expect("a port"), bind().await.expect("a port"));
        let of = |listener: &TcpListener| listener.local_addr().expect("bound");
        let addrs = [of(&first), of(&second)];
        let mut listeners = Listeners::from(first).and(second);
        // Two wait at the first, and one at the second.
        let mut waiting = Vec::new();
        for addr in [addrs[0], addrs[0], addrs[1]] {
            waiting.push(TcpStream::connect(addr).await.expect("it listens"));
        }
        let mut came = Vec::new();
        for _ in 0..3 {
            match listeners.accept().await.expect("a connection") {
                Socket::Tcp(socket, _) => came.push(socket.local_addr().expect("connected")),
                Socket::Unix(_) => panic!("there is none"),
            }
        }
        assert_eq!(came, [addrs[0], addrs[1], addrs[0]]);
        assert!(listeners.accept().now_or_never().is_none(), "that was all");
    }
}
