//! Host side of `wit/trace.wit`: where a call stands in a trace, and what its plugin adds to it.
//!
//! Called by the guest; asks the [`Exchange`](super::call::Exchange) that the call brought. Invariant: a handle is
//! good only for the call it was made for, as in `imports::call`. Knows no span: `telemetry` has them.

use wasmtime::component::Resource;

use super::bindings::switchboard::grpc::trace as wit;
use super::call::{CallHandle, CallView};

impl wit::Host for CallView<'_> {
    fn current(&mut self, handle: Resource<CallHandle>) -> wasmtime::Result<Option<wit::Context>> {
        let context = self.call.of(&handle)?.trace_context();
        Ok(context.map(|context| wit::Context {
            traceparent: context.traceparent,
            tracestate: context.tracestate,
        }))
    }

    fn add_event(
        &mut self,
        handle: Resource<CallHandle>,
        name: String,
        attributes: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        self.call.of(&handle)?.add_event(&name, &attributes);
        Ok(())
    }
}
