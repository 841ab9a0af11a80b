//! What HTTP/1.1 on the port may cost, and which proxies are believed.
//!
//! Read by `listener`; checked by [`HostConfig::check`](super::HostConfig::check). HTTP/1.1 is only the
//! way to the tunnel and to short answers: gRPC itself needs HTTP/2.

use std::time::Duration;

use super::Network;

/// Limits of a connection that speaks HTTP/1.1, until it becomes a tunnel.
#[derive(Clone, Debug)]
pub struct Http1Config {
    /// Time for a request's head to arrive, from the connection's first byte or the end of the
    /// answer before it. Default 10 s. Beyond it the connection is closed, so this is also how long
    /// an idle one is kept.
    pub head_timeout: Duration,
    /// A request's line and headers, in bytes. Default 16 KiB, as much as browsers and proxies send
    /// at worst. More is answered with 431.
    pub head_bytes_max: usize,
    /// Headers of a request. Count; default 64. More is answered with 431.
    pub headers_max: usize,
    /// Time in which no byte went either way while a request is answered. Default 30 s. Beyond it
    /// (and before twice of it) the connection is closed: its peer does not read.
    pub stall_timeout: Duration,
    /// Proxies whose `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host` are believed.
    /// Default: none, so nobody can claim another address or host.
    pub trusted_proxies: Vec<Network>,
}

impl Default for Http1Config {
    fn default() -> Self {
        Self {
            head_timeout: Duration::from_secs(10),
            head_bytes_max: 16 << 10,
            headers_max: 64,
            stall_timeout: Duration::from_secs(30),
            trusted_proxies: Vec::new(),
        }
    }
}

impl Http1Config {
    /// What [`HostConfig::check`](super::HostConfig::check) finds wrong here.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = super::above_zero(&[
            ("http1 head_timeout", self.head_timeout),
            ("http1 stall_timeout", self.stall_timeout),
        ]);
        // hyper needs room for at least 8 KiB; a browser's upgrade alone may take 4 KiB of cookies.
        if !(8 << 10..=1 << 20).contains(&self.head_bytes_max) {
            let bytes = self.head_bytes_max;
            faults.push(format!(
                "head_bytes_max must be {} to {} bytes, not {bytes}",
                8 << 10,
                1 << 20
            ));
        }
        if !(16..=1024).contains(&self.headers_max) {
            let count = self.headers_max;
            faults.push(format!("headers_max must be 16 to 1024, not {count}"));
        }
        faults
    }
}
