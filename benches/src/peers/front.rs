//! `echo.Echo` as a native service of the host: our front without WebAssembly.
//!
//! Called through the host by `server`. The difference to the plugin is the price of the plugin.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use switchboard_host::{
    Code, Exchange, MethodKind, NativeFuture, NativeMethod, NativeService, Received, Status, send,
};

/// Gives back what it gets.
#[derive(Clone, Copy, Debug)]
pub struct FrontEcho;

impl NativeService for FrontEcho {
    fn name(&self) -> &str {
        "echo.Echo"
    }

    fn methods(&self) -> Vec<NativeMethod> {
        vec![
            NativeMethod {
                name: "Unary",
                kind: MethodKind::Unary,
            },
            NativeMethod {
                name: "Bidi",
                kind: MethodKind::BidiStreaming,
            },
        ]
    }

    fn unary(
        &self,
        _method: usize,
        _call: Arc<dyn Exchange>,
        request: Bytes,
    ) -> NativeFuture<Bytes> {
        Box::pin(async move { Ok(request) })
    }

    fn stream(&self, _method: usize, call: Arc<dyn Exchange>) -> NativeFuture<()> {
        Box::pin(async move {
            loop {
                match poll_fn(|cx| call.poll_receive(cx)).await {
                    Received::Message(message) => {
                        send(&*call, message).await.map_err(|_| gone())?;
                    }
                    Received::End => return Ok(()),
                    Received::Cancelled(_) => return Err(gone()),
                }
            }
        })
    }
}

fn gone() -> Status {
    Status::new(Code::Cancelled, "the caller is gone")
}
