//! Starts tasks. Every task of the host is named and starts here, so that a stray one is found by
//! reading one file's callers.
//!
//! A leaf. A panic in a task ends that task; tokio catches it, and the panic hook has logged it.

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::Instrument;

/// Starts a task on the current runtime.
///
/// # Panics
/// Outside of a tokio runtime.
#[expect(clippy::disallowed_methods, reason = "the one place that starts tasks")]
pub(crate) fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(future.instrument(tracing::trace_span!("task", name)))
}

/// Starts a task on the runtime of `handle`, without a span: for calls, whose lines say whose they are.
pub(crate) fn spawn_on<F>(handle: &Handle, future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    handle.spawn(future)
}
