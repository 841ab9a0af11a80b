//! What the host's own services share: how a stream of theirs sends, and how it ends in a drain.
//!
//! Called by `grpc::health` and `grpc::reflection`. Their callers keep such streams open for hours and send
//! nothing on them, so a drain must not wait for them as it waits for calls of plugins. Invariant: once the
//! drain has begun a stream is held for [`LAST_WORD`] at most, whether its caller reads or not.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::imports::call::{CancelReason, Exchange, send};
use crate::status::{Code, Status};

/// How long a drain waits for a caller to take what it is sent.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Sends a message and waits until it has been taken: nothing piles up for a caller that reads slowly.
pub(super) async fn deliver(
    call: &dyn Exchange,
    message: Bytes,
    drain: &CancellationToken,
) -> Result<(), Status> {
    let delivered = async {
        send(call, message).await?;
        poll_fn(|cx| call.poll_flush(cx)).await
    };
    let too_long = async {
        drain.cancelled().await;
        sleep(LAST_WORD).await;
    };
    tokio::select! {
        delivered = delivered => delivered.map_err(|error| {
            Status::new(Code::Cancelled, format!("nobody takes the answer: {error:?}"))
        }),
        () = too_long => {
            // Nor is what lies there waited for.
            call.cancel(CancelReason::Shutdown);
            Err(stops())
        }
    }
}

/// How such a stream ends in a drain.
pub(super) fn stops() -> Status {
    Status::new(Code::Unavailable, "the host is shutting down")
}
