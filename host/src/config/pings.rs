//! How often a peer may ask for a sign of life. Read by `grpc::flood`; a part of
//! [`ConnectionConfig`](super::ConnectionConfig), which has how often we ask.

use std::time::Duration;

/// Which pings of HTTP/2 a peer may send.
///
/// Three that are too early, without an answer of ours between them, end the connection with
/// `ENHANCE_YOUR_CALM` and `too_many_pings`. Those that measure the line (BDP) follow answers, so they are
/// never too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingConfig {
    /// Least time between two. Default 5 s: half of the shortest keepalive time that gRPC clients can be
    /// told to have (gRFC A8), because lines are not even. Servers of other gRPC implementations ask for
    /// 5 min, and clients that were tuned for other servers meet that as connections that break.
    pub interval_min: Duration,
    /// Whether they may come while there are no calls. Default: yes, many clients do so. If not, one in
    /// two hours is allowed, as other gRPC servers have it.
    pub without_calls: bool,
}

impl Default for PingConfig {
    fn default() -> Self {
        Self {
            interval_min: Duration::from_secs(5),
            without_calls: true,
        }
    }
}
