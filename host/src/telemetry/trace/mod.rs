//! Traces: a span for each call that is sampled, from the caller's context to the collector.
//!
//! A part of the leaf `telemetry`. `context` reads and writes W3C Trace Context, `span` is one call, `otlp` its bytes,
//! `export` sends them. Begun by `grpc::call` for each call; without a [`Tracer`] that is one look at a pointer.
//!
//! Invariants: what is wrong in a caller's context is never passed on; nobody waits for the collector: spans for
//! which there is no room are dropped and counted; a caller who asks for a sample has one, anybody else by chance.

mod collector;
mod context;
mod export;
mod otlp;
mod span;

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use http::HeaderMap;

pub use collector::TraceConfig;
pub use context::TraceContext;
pub(crate) use context::passed_on;
use context::{Ids, Sampled};
use export::Queue;
pub use export::Tracing;
pub(super) use export::start;
pub(crate) use span::{CallSpan, SpanOf};

/// Decides which calls have a span, and takes it when it is ended.
#[derive(Debug)]
pub(crate) struct Tracer {
    /// Of the calls that nobody decided about, those whose number is below this have a span.
    sampled_below: u64,
    queue: Queue,
}

impl Tracer {
    /// For this part of the calls, 0 to 1.
    fn new(sample: f64, queue: Queue) -> Self {
        // A float that is too large for the number becomes the largest one: 1 is all of them.
        let sampled_below = (sample.clamp(0.0, 1.0) * 2.0_f64.powi(64)) as u64;
        Self {
            sampled_below,
            queue,
        }
    }

    /// The span of a call with these headers, if it has one.
    pub(crate) fn begin(
        self: &Arc<Self>,
        headers: &HeaderMap,
        of: SpanOf<'_>,
    ) -> Option<Arc<CallSpan>> {
        let parent = context::parent(headers);
        let sampled = match &parent {
            Some(parent) => parent.ids.sampled == Sampled::Yes,
            None => self.sampled_below == u64::MAX || random() < self.sampled_below,
        };
        sampled.then(|| {
            let trace_id = parent.as_ref().map_or_else(
                || (u128::from(random()) << 64 | u128::from(random())).max(1),
                |parent| parent.ids.trace_id,
            );
            let ids = Ids {
                trace_id,
                span_id: random().max(1),
                sampled: Sampled::Yes,
            };
            Arc::new(CallSpan::begin(Arc::clone(self), ids, parent, of))
        })
    }

    /// A span has ended; these are its bytes.
    fn take(&self, span: Vec<u8>) {
        self.queue.push(span);
    }
}

/// A number that nobody foresees: from the keyed hash of the standard library, whose key the system gives to each
/// thread. It names spans and draws lots; no secret depends on it.
fn random() -> u64 {
    thread_local!(static KEY: (RandomState, Cell<u64>) = (RandomState::new(), Cell::new(0)));
    KEY.with(|(key, count)| {
        count.set(count.get().wrapping_add(1));
        key.hash_one(count.get())
    })
}

#[cfg(test)]
mod tests;
