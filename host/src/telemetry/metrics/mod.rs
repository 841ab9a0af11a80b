//! Numbers for Prometheus: what is counted, where, and how it is written.
//!
//! A part of the leaf `telemetry`. Three ways to a number, by how often it changes: every call counts in cells of
//! its thread (`method`, `cells`); what happens seldom is an atomic (`number`); what somebody keeps anyway, such
//! as a pool its state, is asked for when it is scraped (`Collect`). `names` is the one list, `text` writes it,
//! `process` asks the kernel.
//!
//! Why no library: those there are keep a histogram behind a lock, look its labels up for each call, or write
//! one form of text only. What is needed of them is these files.

mod cells;
mod method;
mod names;
mod number;
mod process;
mod text;

pub(crate) use method::{GrpcType, MethodMetrics, Methods};
pub(crate) use names::Metric;
pub use names::{METRICS, MetricInfo, MetricKind};
pub(crate) use number::{Counter, Histogram, Seen};
pub use text::MetricsFormat;
pub(crate) use text::Samples;

/// Somebody who has numbers anyway and says them when asked.
pub(crate) trait Collect: Send + Sync {
    /// Says them. Must not wait for anything.
    fn collect(&self, out: &mut Samples);
}

/// Everything as text; `collectors` say what they have first.
pub(super) fn render(
    format: MetricsFormat,
    methods: &Methods,
    collectors: &[std::sync::Arc<dyn Collect>],
) -> String {
    let mut samples = Samples::new();
    methods.write(&mut samples);
    for collector in collectors {
        collector.collect(&mut samples);
    }
    process::write(&mut samples);
    samples.text(format)
}
