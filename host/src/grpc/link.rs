//! What the calls of one connection share: who is at its other end, and what it holds of the host.
//!
//! Made by `grpc::connection`, carried by every call of the connection.

use std::sync::Arc;

use super::sluice::Sluice;
use super::unread::Unread;
use super::unsent::{Share, Unsent};
use crate::config::BufferConfig;
use crate::peer::Peer;
use crate::telemetry::{Collect, Metric, Samples, Telemetry};

/// What waits in the host, over all connections.
#[derive(Clone, Debug)]
pub(crate) struct Buffers {
    unread: Arc<Unread>,
    unsent: Arc<Unsent>,
    connection_unsent_bytes_max: usize,
}

impl Buffers {
    pub(crate) fn new(config: &BufferConfig) -> Self {
        Self {
            unread: Unread::new(config.unread_bytes_max),
            unsent: Unsent::new(config.unsent_bytes_max),
            connection_unsent_bytes_max: config.connection_unsent_bytes_max,
        }
    }

    /// Makes room for the largest request message of all methods, so that it can ever have a place.
    pub(crate) fn fit(&self, request_bytes_max: usize) {
        self.unread.fit(request_bytes_max);
    }

    /// For a connection to this peer.
    pub(super) fn link(&self, peer: Peer, telemetry: Telemetry) -> Link {
        let share = Share::new(Arc::clone(&self.unsent), self.connection_unsent_bytes_max);
        Link {
            peer,
            telemetry,
            unread: Arc::clone(&self.unread),
            unsent: share,
            sluice: Sluice::default(),
        }
    }
}

impl Collect for Buffers {
    fn collect(&self, out: &mut Samples) {
        out.size(Metric::Unread, &[], self.unread.held_bytes());
        out.size(Metric::Unsent, &[], self.unsent.held_bytes());
    }
}

/// A connection, as its calls know it.
#[derive(Debug)]
pub(super) struct Link {
    /// Who is at the other end.
    pub peer: Peer,
    /// Where its calls are counted.
    pub telemetry: Telemetry,
    /// Where its requests find room.
    pub unread: Arc<Unread>,
    /// What its callers do not take.
    pub unsent: Arc<Share>,
    /// What its calls have handed over and it has not sent.
    pub sluice: Sluice,
}
