//! TCP sockets: what is set on each, and which accept errors are only one connection's.
//!
//! Called by `listener` for every socket it accepts. Knows nothing of what the bytes mean.

use std::io;

use tokio::net::TcpStream;

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

    #[test]
    fn errors_of_one_connection_are_told_from_those_of_the_machine() {
        assert!(is_of_one_connection(
            &io::ErrorKind::ConnectionAborted.into()
        ));
        // EMFILE, "too many open files": waiting helps, going on at once does not.
        assert!(!is_of_one_connection(&io::Error::from_raw_os_error(24)));
    }
}
