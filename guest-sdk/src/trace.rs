//! Where a call stands in a trace.
//!
//! Given by [`crate::Context::trace_context`]; a guest that never asks does not import the interface.

use alloc::string::String;

/// Where a call stands in a trace, as the headers of W3C Trace Context have it: send both with calls of your own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceContext {
    /// `00-`, the trace's id, the span's, and flags: `01` if the call is sampled.
    pub traceparent: String,
    /// What tracing systems pass on beside it; often empty.
    pub tracestate: String,
}
