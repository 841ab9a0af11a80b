//! One call: from a request of a generated client to the head of its answer.
//!
//! | file | owns |
//! |---|---|
//! | `mod.rs` | the order of things: connection, request, answer, another try |
//! | `heading.rs` | what is sent as head: options of the call, headers, the deadline |
//! | `outgoing.rs` | the messages that the caller sends |
//! | `incoming.rs` | the answer's body |
//! | `answer.rs` | whether an answer is gRPC, and headers that must not be trusted |
//! | `timer.rs` | the deadline |
//!
//! Called by `channel`; calls `hub` for a place on a connection. Invariants: every failure is a
//! `tonic::Status`; the deadline covers everything up to the last trailer; a call is made again only
//! if the server has certainly not looked at it and nothing of its messages is gone.

mod answer;
mod heading;
mod incoming;
mod lifeline;
mod outgoing;
mod timer;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::ready;
use h2::Reason;
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;

pub(crate) use heading::Heading;
pub use heading::WaitForReady;
pub use incoming::ResponseBody;

use crate::connection::{Link, Ticket};
use crate::error::{CallError, CloseReason, reason_name};
use crate::hub::Hub;
use crate::platform;
use heading::Options;
use incoming::Incoming;
use lifeline::Lifeline;
use outgoing::{Outgoing, Pump};
use timer::{Late, Timer};

/// Times that a call which went out is made again by itself. The server says that nobody has looked
/// at it, but one that refuses everything must not be asked for ever. Tries that never left here are
/// not counted: each of them waits for another connection. Source: gRPC proposal A6, which has one
/// for calls that reached a server, and no limit for those that did not.
const REPLAYS_MAX: u32 = 3;

/// Makes a call.
///
/// # Errors
/// A `Status` for everything that [`CallError`] has.
///
/// # Cancel safety
/// Dropping the future cancels the call.
pub(crate) async fn make(
    hub: Arc<Hub>,
    heading: Arc<Heading>,
    request: Request<Body>,
) -> Result<Response<ResponseBody>, Status> {
    make_call(hub, &heading, request)
        .await
        .map_err(CallError::status)
}

async fn make_call(
    hub: Arc<Hub>,
    heading: &Heading,
    request: Request<Body>,
) -> Result<Response<ResponseBody>, CallError> {
    let (mut parts, body) = request.into_parts();
    let options = Options::take(&mut parts, &hub.config);
    let mut timer = options.deadline.map(|limit| Timer::new(hub.clock, limit));
    let head = heading.head(parts);
    let outgoing = Outgoing::new(body);
    let mut replays = 0;
    loop {
        let ticket = timer::race(&mut timer, hub.lease(options.wait_for_ready)).await;
        let ticket = ticket.map_err(|Late(limit)| CallError::Deadline {
            limit,
            waiting: Some(hub.last_error()),
        })??;
        let link = Arc::clone(ticket.link());
        let head = heading::with_time_left(head.clone(), timer.as_ref())?;
        let attempt = Attempt::new(head, ticket, &outgoing);
        let failed = match timer::race(&mut timer, attempt.run()).await {
            Err(late) => return Err(late.into()),
            Ok(Ok(answered)) => {
                outgoing.settle();
                let pass = hub.gate.pass();
                let opened = timer::race(&mut timer, poll_fn(|cx| pass.poll_open(cx))).await;
                opened?;
                return Ok(answered.map(|incoming| incoming.into_body(pass, timer)));
            }
            Ok(Err(failed)) => failed,
        };
        let Failed { error, reached } = failed;
        let again = match reached {
            Reached::Nobody => true,
            Reached::Http2 => replays < REPLAYS_MAX,
            Reached::Server => false,
        };
        if !again || !outgoing.reclaim() {
            return Err(timer::in_time(timer.as_ref(), error));
        }
        if let CallError::Lost(reason) = error {
            // Its driver tells that too, but when it has read all there is: until then we would be
            // given the same connection again and again.
            hub.retire(&link, reason);
        }
        if reached == Reached::Http2 {
            replays += 1;
        }
    }
}

/// One try of a call on one connection.
struct Attempt<'a> {
    head: Request<()>,
    ticket: Ticket,
    outgoing: &'a Outgoing,
}

/// Why a try failed, and how far it got.
struct Failed {
    error: CallError,
    reached: Reached,
}

/// How far a try may have got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    /// It never left here: its connection takes no more calls.
    Nobody,
    /// The server's HTTP/2, which says that nobody has looked at it.
    Http2,
    /// The server.
    Server,
}

impl<'a> Attempt<'a> {
    fn new(head: Request<()>, ticket: Ticket, outgoing: &'a Outgoing) -> Self {
        Self {
            head,
            ticket,
            outgoing,
        }
    }

    async fn run(self) -> Result<Response<Incoming>, Failed> {
        let certain = |error| Failed {
            error,
            reached: Reached::Server,
        };
        let first = poll_fn(|cx| Poll::Ready(self.outgoing.poll_first(cx)))
            .await
            .map_err(certain)?;
        let link = Arc::clone(self.ticket.link());
        let closed = || Failed {
            error: CallError::Lost(CloseReason::Replaced),
            reached: Reached::Nobody,
        };
        let mut sender = link.sender().ok_or_else(closed)?;
        let empty = first.data.is_none() && first.ended;
        let (mut response, mut stream) = match sender.send_request(self.head, empty) {
            Ok(sent) => sent,
            Err(error) => return Err(unsent(error, &link).await),
        };
        drop(sender);
        let stream_id = response.stream_id().as_u32();
        if let Some(data) = first.data {
            // The message is in memory already, so it goes out without waiting for flow control,
            // which holds it inside the library. A stream that was reset answers below.
            drop(stream.send_data(data, first.ended));
            self.outgoing.sent_first();
        }
        let lifeline = Lifeline::new();
        if !first.ended {
            let pump = Pump::new(stream, self.outgoing.clone(), lifeline.line());
            platform::spawn(pump).map_err(certain)?;
        }
        let response = poll_fn(|cx| match ready!(Pin::new(&mut response).poll(cx)) {
            Ok(response) => Poll::Ready(Ok(response)),
            Err(error) => {
                let reached = how_far(&error, stream_id, &link);
                poll_why(&error, stream_id, &link, &lifeline, cx)
                    .map(|error| Err(Failed { error, reached }))
            }
        })
        .await?;
        link.note_answer();
        answer::check(response, |body| {
            Incoming::new(body, stream_id, self.ticket, lifeline)
        })
        .map_err(certain)
    }
}

/// Why a request was not taken: the connection went a moment ago, or the request is no good.
async fn unsent(error: h2::Error, link: &Arc<Link>) -> Failed {
    let gone = error.is_io() || error.is_go_away() || error.is_reset();
    if !gone {
        return Failed {
            error: CallError::Request(error.to_string()),
            reached: Reached::Server,
        };
    }
    let reason = match link.go_away() {
        Some(go_away) => go_away.reason(),
        None => poll_fn(|cx| link.poll_end(cx)).await,
    };
    Failed {
        error: CallError::Lost(reason),
        reached: Reached::Nobody,
    }
}

/// Whether the server says that it has not looked at a stream. Source: RFC 9113 6.8, 8.7.
fn how_far(error: &h2::Error, stream_id: u32, link: &Link) -> Reached {
    let refused =
        error.is_reset() && error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM);
    let left_out = || {
        link.go_away()
            .is_some_and(|go_away| stream_id > go_away.last_stream)
    };
    if refused || left_out() {
        Reached::Http2
    } else {
        Reached::Server
    }
}

/// What an error of a stream means for its call. Waits, for a moment, until the connection's driver
/// knows why the connection ended.
fn poll_why(
    error: &h2::Error,
    stream_id: u32,
    link: &Link,
    lifeline: &Lifeline,
    cx: &mut Context<'_>,
) -> Poll<CallError> {
    if let Some(error) = lifeline.error() {
        return Poll::Ready(error);
    }
    let reason = error.reason().unwrap_or(Reason::INTERNAL_ERROR);
    if error.is_reset() && error.is_remote() {
        return Poll::Ready(CallError::Reset(reason));
    }
    if error.is_reset() {
        return Poll::Ready(CallError::Protocol(reason));
    }
    if error.is_go_away() && !error.is_remote() {
        let reason = CloseReason::Protocol(reason_name(reason));
        return Poll::Ready(CallError::Lost(reason));
    }
    let left_out = |last_stream| error.is_go_away() || stream_id > last_stream;
    match link.go_away() {
        Some(go_away) if left_out(go_away.last_stream) => {
            Poll::Ready(CallError::Lost(go_away.reason()))
        }
        _ if error.is_io() || error.is_go_away() => link.poll_end(cx).map(CallError::Lost),
        _ => Poll::Ready(CallError::Request(error.to_string())),
    }
}
