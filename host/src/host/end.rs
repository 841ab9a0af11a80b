//! From being told to stop to the end: say so, drain, cut.
//!
//! Called by `Host::serve`. In order: health says NOT_SERVING; for as long as the notice is, everything goes on;
//! no new connections, GOAWAY on the open ones, and the host's own streams end; running calls have until
//! the end of the drain, then they are cancelled. Invariant: each step has a limit.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Drained;
use crate::grpc::{Connections, Health};
use crate::telemetry::{Readiness, Telemetry};

/// How long calls that were cancelled at the end of a drain may take to end: their grace, the tick
/// and the way out, generously.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);

/// How a host that was told to stop comes to its end.
pub(super) struct End {
    /// Between being told and draining; zero for none.
    pub(super) notice: Duration,
    /// How long the drain may take.
    pub(super) timeout: Duration,
    /// Told first.
    pub(super) health: Option<Arc<Health>>,
    /// For the host's own services.
    pub(super) drain: CancellationToken,
    /// For connections.
    pub(super) until: Connections,
    /// Told of each step.
    pub(super) telemetry: Telemetry,
}

impl End {
    /// Serves until `stop`, says so, and drains.
    pub(super) async fn of(
        self,
        mut serving: Pin<&mut impl Future<Output = ()>>,
        stop: CancellationToken,
    ) -> Drained {
        let mut ended = tokio::select! {
            () = serving.as_mut() => true,
            () = stop.cancelled() => false,
        };
        self.telemetry.set_readiness(Readiness::Stopping);
        if let Some(health) = self.health {
            health.stop();
        }
        if !ended && !self.notice.is_zero() {
            tracing::info!(notice = ?self.notice, "stopping soon: until then only health says so");
            ended = timeout(self.notice, serving.as_mut()).await.is_ok();
        }
        self.telemetry.set_readiness(Readiness::Draining);
        self.drain.cancel();
        self.until.drain.cancel();
        // Said also when there was nothing left to wait for.
        tracing::info!(timeout = ?self.timeout, "draining");
        if !ended {
            ended = timeout(self.timeout, serving.as_mut()).await.is_ok();
        }
        if !ended {
            self.until.cut.cancel();
            if timeout(CUT_TIMEOUT, serving).await.is_err() {
                tracing::warn!("connections did not end, leaving them");
            }
        }
        self.telemetry.set_readiness(Readiness::Stopped);
        match self.until.cut_calls.load(Ordering::Relaxed) {
            0 => {
                tracing::info!("stopped, every call ended");
                Drained::Clean
            }
            calls => {
                let what = if calls == 1 { "call was" } else { "calls were" };
                tracing::warn!("stopped, {calls} {what} cut at the end of the drain");
                Drained::Cut
            }
        }
    }
}
