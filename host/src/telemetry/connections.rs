//! Who is connected: sockets, HTTP/2 on them, and tunnels; how many there were, and how they ended.
//!
//! Told by `listener` and `grpc::connection`, once for each connection and never for a call but for a number that
//! is stored; read at scrape time and by the admin service, which also closes tunnels through what is kept here.
//! Invariants: an entry lives as long as its connection (it is a guard); the bytes of a tunnel are counted while it
//! is open, and stay counted when it is gone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Telemetry;
use super::labelled::Labelled;
use super::metrics::{Counter, Metric, Samples};
use crate::peer::{Peer, TunnelPeer};

/// Why a socket was closed before it asked anything.
const REFUSED: &[&str] = &["peer_full", "tls", "timeout", "unknown_protocol", "gone"];

/// How HTTP/2 ended.
const ENDED: &[&str] = &["not_set_up", "peer", "failed", "idle", "aged", "drained"];

/// Why a tunnel was refused.
const TUNNEL_REFUSED: &[&str] = &[
    "handshake",
    "origin",
    "full",
    "peer_full",
    "denied",
    "undecided",
    "draining",
    "no_random",
];

/// The close codes that this host sends, or tunnels of ours; `failed` without one. Peers may send any other.
const TUNNEL_CLOSED: &[&str] = &[
    "1000", "1001", "1002", "1003", "1005", "1007", "1008", "1009", "1011", "1012", "1013",
    "failed", "other",
];

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All connections of a host.
pub(crate) struct Connections {
    sockets: AtomicUsize,
    accepted: Counter,
    refused: Labelled,
    number: AtomicU64,
    http2: Mutex<BTreeMap<u64, Arc<ConnectionEntry>>>,
    ended: Labelled,
    tunnels: Mutex<BTreeMap<String, Arc<TunnelEntry>>>,
    tunnels_opened: Counter,
    tunnels_refused: Labelled,
    tunnels_closed: Labelled,
    /// Of tunnels that are gone.
    received_bytes: Counter,
    sent_bytes: Counter,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            sockets: AtomicUsize::new(0),
            accepted: Counter::default(),
            refused: Labelled::new(REFUSED),
            number: AtomicU64::new(0),
            http2: Mutex::default(),
            ended: Labelled::new(ENDED),
            tunnels: Mutex::default(),
            tunnels_opened: Counter::default(),
            tunnels_refused: Labelled::new(TUNNEL_REFUSED),
            tunnels_closed: Labelled::new(TUNNEL_CLOSED),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
        }
    }
}

/// A socket that is open, until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenSocket(Telemetry);

impl Drop for OpenSocket {
    fn drop(&mut self) {
        let connections = self.0.connections();
        connections.sockets.fetch_sub(1, Ordering::Relaxed);
    }
}

/// HTTP/2 with one peer, over a socket or in a tunnel.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Names it, as long as the host runs.
    pub id: u64,
    /// Address of the peer, or `unix`.
    pub peer: String,
    /// The tunnel that it is in.
    pub tunnel: Option<String>,
    /// Time since it began.
    pub age: Duration,
    /// Calls that are open.
    pub calls: u32,
}

/// An open tunnel.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TunnelInfo {
    /// Names it in logs and to plugins.
    pub id: String,
    /// Address of the peer.
    pub peer: String,
    /// The origin of the page that opened it.
    pub origin: Option<String>,
    /// Who it is, as the authoriser says.
    pub identity: Option<String>,
    /// Time since it was opened.
    pub age: Duration,
    /// Calls that are open.
    pub calls: u32,
    /// Bytes received in it, WebSocket framing left out.
    pub received_bytes: u64,
    /// The same for bytes sent.
    pub sent_bytes: u64,
}

#[derive(Debug)]
struct ConnectionEntry {
    id: u64,
    peer: Peer,
    since: Instant,
    calls: AtomicU32,
}

impl ConnectionEntry {
    fn info(&self) -> ConnectionInfo {
        ConnectionInfo {
            id: self.id,
            peer: self.peer.to_string(),
            tunnel: self.peer.tunnel_id().map(str::to_owned),
            age: self.since.elapsed(),
            calls: self.calls.load(Ordering::Relaxed),
        }
    }
}

/// A connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    telemetry: Telemetry,
    entry: Arc<ConnectionEntry>,
}

impl OpenConnection {
    /// So many calls are open now.
    pub(crate) fn set_calls(&self, calls: usize) {
        let calls = u32::try_from(calls).unwrap_or(u32::MAX);
        self.entry.calls.store(calls, Ordering::Relaxed);
    }

    /// It has ended, for this reason.
    pub(crate) fn ended(&self, reason: &'static str) {
        self.telemetry.connections().ended.add(reason);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        lock(&self.telemetry.connections().http2).remove(&self.entry.id);
    }
}

/// A tunnel, as itself and others see it.
pub(crate) struct TunnelEntry {
    peer: Arc<TunnelPeer>,
    since: Instant,
    /// Bytes received and sent so far.
    bytes: Box<dyn Fn() -> (u64, u64) + Send + Sync>,
    /// Ends it in order: no new calls, and the end once the running ones have ended.
    pub(crate) drain: CancellationToken,
    /// Ends it now.
    pub(crate) cut: CancellationToken,
}

impl TunnelEntry {
    fn bytes(&self) -> (u64, u64) {
        (self.bytes)()
    }
}

/// A tunnel, until it is dropped.
pub(crate) struct OpenTunnel {
    telemetry: Telemetry,
    entry: Arc<TunnelEntry>,
    code: Option<u16>,
}

impl OpenTunnel {
    /// What others ask of it.
    pub(crate) fn entry(&self) -> &Arc<TunnelEntry> {
        &self.entry
    }

    /// It was closed with this code; without one, it broke.
    pub(crate) fn closed(mut self, code: Option<u16>) {
        self.code = code;
    }
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        let connections = self.telemetry.connections();
        let (received, sent) = self.entry.bytes();
        {
            let mut tunnels = lock(&connections.tunnels);
            tunnels.remove(&self.entry.peer.id);
            // Under the lock: who scrapes finds them in the one place or the other.
            connections.received_bytes.add(received);
            connections.sent_bytes.add(sent);
        }
        let code = self
            .code
            .map_or_else(|| "failed".to_owned(), |code| code.to_string());
        let known = TUNNEL_CLOSED.contains(&&*code);
        let word = if known { &*code } else { "other" };
        connections.tunnels_closed.add(word);
    }
}

impl Connections {
    /// A socket was not served, for this reason.
    pub(crate) fn refused(&self, cause: &'static str) {
        self.refused.add(cause);
    }

    /// A tunnel was not opened, for this reason.
    pub(crate) fn tunnel_refused(&self, cause: &'static str) {
        self.tunnels_refused.add(cause);
    }

    pub(super) fn write(&self, out: &mut Samples) {
        let sockets = self.sockets.load(Ordering::Relaxed);
        out.size(Metric::ConnectionsOpen, &[], sockets);
        out.count(Metric::ConnectionsAccepted, &[], self.accepted.get());
        self.refused.write(Metric::ConnectionsRefused, out);
        self.ended.write(Metric::ConnectionsEnded, out);
        let (open, (received, sent)) = {
            let tunnels = lock(&self.tunnels);
            let gone = (self.received_bytes.get(), self.sent_bytes.get());
            let bytes = tunnels.values().map(|tunnel| tunnel.bytes());
            let sum = bytes.fold(gone, |sum, one| (sum.0 + one.0, sum.1 + one.1));
            (tunnels.len(), sum)
        };
        out.size(Metric::TunnelsOpen, &[], open);
        out.count(Metric::TunnelsOpened, &[], self.tunnels_opened.get());
        self.tunnels_refused.write(Metric::TunnelsRefused, out);
        self.tunnels_closed.write(Metric::TunnelsClosed, out);
        out.count(Metric::TunnelReceived, &[], received);
        out.count(Metric::TunnelSent, &[], sent);
    }
}

impl Telemetry {
    /// HTTP/2 that is open, oldest first: on sockets and in tunnels.
    #[must_use]
    pub fn open_connections(&self) -> Vec<ConnectionInfo> {
        let http2 = lock(&self.connections().http2);
        http2.values().map(|entry| entry.info()).collect()
    }

    /// Tunnels that are open.
    #[must_use]
    pub fn open_tunnels(&self) -> Vec<TunnelInfo> {
        let entries: Vec<_> = lock(&self.connections().tunnels)
            .values()
            .cloned()
            .collect();
        let inside = self.open_connections();
        let info = |entry: &Arc<TunnelEntry>| {
            let peer = &entry.peer;
            let (received_bytes, sent_bytes) = entry.bytes();
            let own = inside
                .iter()
                .find(|one| one.tunnel.as_ref() == Some(&peer.id));
            TunnelInfo {
                id: peer.id.clone(),
                peer: peer.addr.to_string(),
                origin: peer.origin.clone(),
                identity: peer.identity.clone(),
                age: entry.since.elapsed(),
                calls: own.map_or(0, |own| own.calls),
                received_bytes,
                sent_bytes,
            }
        };
        entries.iter().map(info).collect()
    }

    /// Ends a tunnel: `now`, which cancels its calls, or in order, once they have ended. Answers whether there is
    /// a tunnel of this id.
    #[must_use]
    pub fn close_tunnel(&self, id: &str, now: bool) -> bool {
        let entry = lock(&self.connections().tunnels).get(id).cloned();
        if let Some(entry) = &entry {
            entry.drain.cancel();
            if now {
                entry.cut.cancel();
            }
        }
        entry.is_some()
    }

    /// A socket was accepted; it is open until what this returns is dropped.
    pub(crate) fn accepted(&self) -> OpenSocket {
        let connections = self.connections();
        connections.accepted.add_one();
        connections.sockets.fetch_add(1, Ordering::Relaxed);
        OpenSocket(self.clone())
    }

    /// HTTP/2 begins with this peer.
    pub(crate) fn connected(&self, peer: &Peer) -> OpenConnection {
        let connections = self.connections();
        let entry = Arc::new(ConnectionEntry {
            id: connections.number.fetch_add(1, Ordering::Relaxed) + 1,
            peer: peer.clone(),
            since: Instant::now(),
            calls: AtomicU32::new(0),
        });
        lock(&connections.http2).insert(entry.id, Arc::clone(&entry));
        OpenConnection {
            telemetry: self.clone(),
            entry,
        }
    }

    /// A tunnel was opened by this peer; `bytes` says how many were received and sent in it.
    pub(crate) fn tunnel_opened(
        &self,
        peer: &Arc<TunnelPeer>,
        drain: CancellationToken,
        bytes: impl Fn() -> (u64, u64) + Send + Sync + 'static,
    ) -> OpenTunnel {
        let connections = self.connections();
        connections.tunnels_opened.add_one();
        let entry = Arc::new(TunnelEntry {
            peer: Arc::clone(peer),
            since: Instant::now(),
            bytes: Box::new(bytes),
            drain,
            cut: CancellationToken::new(),
        });
        lock(&connections.tunnels).insert(peer.id.clone(), Arc::clone(&entry));
        OpenTunnel {
            telemetry: self.clone(),
            entry,
            code: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::MetricsFormat;
    use super::*;

    fn has(telemetry: &Telemetry, line: &str) {
        let text = telemetry.metrics(MetricsFormat::Prometheus);
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }

    #[test]
    fn a_connection_is_known_as_long_as_it_lives() {
        let telemetry = Telemetry::new();
        let socket = telemetry.accepted();
        let connection = telemetry.connected(&Peer::Unix);
        connection.set_calls(3);
        let entries = telemetry.open_connections();
        assert_eq!((entries.len(), entries[0].calls), (1, 3));
        assert_eq!(entries[0].peer, "unix");
        has(&telemetry, "switchboard_connections 1");
        connection.ended("idle");
        drop((connection, socket));
        assert!(telemetry.open_connections().is_empty());
        has(&telemetry, "switchboard_connections 0");
        has(&telemetry, "switchboard_connections_accepted_total 1");
        has(
            &telemetry,
            "switchboard_http2_ended_total{reason=\"idle\"} 1",
        );
    }

    #[test]
    fn bytes_of_a_tunnel_stay_counted_and_codes_of_strangers_are_other() {
        let telemetry = Telemetry::new();
        let open = |id: &str| {
            let peer = Arc::new(TunnelPeer {
                addr: "192.0.2.1:1".parse().expect("an address"),
                id: id.to_owned(),
                origin: None,
                identity: None,
                client: None,
            });
            telemetry.tunnel_opened(&peer, CancellationToken::new(), || (5, 7))
        };
        let [one, two, three] = ["one", "two", "three"].map(open);
        has(&telemetry, "switchboard_tunnels 3");
        let (found, gone) = (
            telemetry.open_tunnels(),
            telemetry.close_tunnel("four", true),
        );
        assert_eq!((found.len(), found[0].received_bytes, gone), (3, 5, false));
        assert!(telemetry.close_tunnel("two", false));
        assert!(two.entry().drain.is_cancelled() && !two.entry().cut.is_cancelled());
        one.closed(Some(1000));
        two.closed(Some(4321));
        drop(three);
        has(&telemetry, "switchboard_tunnels 0");
        has(&telemetry, "switchboard_tunnel_received_bytes_total 15");
        has(&telemetry, "switchboard_tunnel_sent_bytes_total 21");
        for code in ["1000", "other", "failed"] {
            let line = format!("switchboard_tunnels_closed_total{{code=\"{code}\"}} 1");
            has(&telemetry, &line);
        }
    }
}
