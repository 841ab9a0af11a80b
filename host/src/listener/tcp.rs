//! TCP sockets: what is set on each, and which accept errors are only one connection's.
//!
//! Called by `listener` for the socket it listens on and for every one it accepts. Knows nothing of what the bytes mean.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};

/// Silence after which the kernel asks a peer whether it is there, and the pause between two such probes.
/// Nine without an answer (`tcp_keepalive_probes`) end the connection: a peer that vanished without a word
/// in a call over HTTP/1.1, where nothing else asks, is found out within three minutes. HTTP/2 and tunnels
/// have pings of their own, which come first.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_PAUSE: Duration = Duration::from_secs(10);

/// Has the kernel look after silent peers: sockets inherit it from the one they were accepted on.
pub(super) fn keep_alive(listener: &TcpListener) {
    let probes = TcpKeepalive::new()
        .with_time(PROBE_AFTER)
        .with_interval(PROBE_PAUSE);
    if let Err(error) = SockRef::from(listener).set_tcp_keepalive(&probes) {
        tracing::debug!(%error, "SO_KEEPALIVE was not set");
    }
}

/// Sets what every accepted socket needs: whole responses are written at once, so the kernel must
/// not wait for more.
pub(super) fn tune(socket: &TcpStream) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was not set");
    }
}

/// Whether an accept error says only that one peer was gone. Source: accept(2), "Error handling":
/// network errors of the new socket come as errors of accept.
pub(super) fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_accepted_socket_is_looked_after() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        keep_alive(&listener);
        let addr = listener.local_addr().expect("bound");
        let _client = TcpStream::connect(addr).await.expect("connected");
        let (accepted, _) = listener.accept().await.expect("a connection");
        let accepted = SockRef::from(&accepted);
        assert!(accepted.keepalive().expect("an option"));
    }

    #[test]
    fn errors_of_one_connection_are_told_from_those_of_the_machine() {
        assert!(is_of_one_connection(
            &io::ErrorKind::ConnectionAborted.into()
        ));
        // EMFILE, "too many open files": waiting helps, going on at once does not.
        assert!(!is_of_one_connection(&io::Error::from_raw_os_error(24)));
    }
}
