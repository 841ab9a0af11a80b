//! Answers over HTTP/2 that are not gRPC: pages, for browsers that agreed on HTTP/2 by TLS.
//!
//! Called by `grpc::connection` for a request that no gRPC client sends; asks [`Pages`], which `listener`
//! implements and which knows what is behind a path. Invariants: an answer is handed to HTTP/2 only as
//! flow control takes it; a peer that takes nothing for [`STALL_TIMEOUT`] loses its answer, in a drain one
//! that takes nothing for the grace that all have then.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{HeaderMap, Method, Request, Response, Uri};
use tokio::time::timeout;

use super::connection::Connections;
use super::web::{self, Origins};
use crate::imports::call::Outbound;
use crate::peer::Peer;

/// Time in which a peer must take some of an answer. Source: as long as HTTP/1.1 on the same port has it
/// (`Http1Config::stall_timeout`).
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// What is served beside gRPC.
pub(crate) trait Pages: std::fmt::Debug + Send + Sync {
    /// The answer to a request; none if its path is nothing of ours.
    fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Response<Bytes>>;

    /// Where there is a page to look at, if anywhere.
    fn index(&self) -> Option<&str> {
        None
    }
}

/// The answer to a request that is not gRPC, or may not be, if there is one. Every gRPC request is a POST.
pub(super) fn answer<B>(
    pages: &dyn Pages,
    origins: Option<&dyn Origins>,
    request: &Request<B>,
    peer: &Peer,
) -> Option<Response<Bytes>> {
    if let Some(origins) = origins
        && let Some(answer) = web::answer(origins, request, peer)
    {
        return Some(answer);
    }
    if *request.method() == Method::POST {
        return None;
    }
    pages.answer(request.method(), request.uri(), request.headers())
}

/// Sends an answer, as long as the peer takes it and the host has time.
///
/// # Cancel safety
/// Dropping the future resets the stream.
pub(super) async fn send(
    answer: Response<Bytes>,
    mut respond: SendResponse<Outbound>,
    until: Connections,
) {
    let (head, mut body) = answer.into_parts();
    let head = Response::from_parts(head, ());
    let Ok(mut stream) = respond.send_response(head, body.is_empty()) else {
        return;
    };
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let room = tokio::select! {
            room = timeout(STALL_TIMEOUT, room(&mut stream)) => room.ok().flatten(),
            // Begun anew for each part: one that moves is let go on, up to the cut.
            () = until.grace() => None,
            () = until.cut.cancelled() => None,
        };
        let Some(room) = room else {
            return stream.send_reset(Reason::CANCEL);
        };
        if room == 0 {
            // What there was went to another stream meanwhile.
            continue;
        }
        let part = body.split_to(room.min(body.len()));
        if stream
            .send_data(Outbound::framed(part), body.is_empty())
            .is_err()
        {
            return;
        }
    }
}

/// Bytes that may be sent now; none when nobody wants them any more.
async fn room(stream: &mut SendStream<Outbound>) -> Option<usize> {
    poll_fn(|cx| {
        if stream.poll_reset(cx).is_ready() {
            return std::task::Poll::Ready(None);
        }
        stream.poll_capacity(cx).map(|room| room?.ok())
    })
    .await
}
