//! From a byte stream to an HTTP/2 connection whose server has sent its settings.
//!
//! Called by `hub` for each attempt, under its timeout. Invariants: what comes out has heard the
//! server's SETTINGS, so the limit of concurrent calls is known. The
//! settings keep clear of two traps of the HTTP/2 library in browsers, described at `builder`.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use h2::client::{self, Connection, SendRequest};

use super::frames::GoAwayCell;
use super::wire::{Fate, Wire, WireIo};
use crate::config::Config;
use crate::error::ConnectError;
use crate::platform;
use crate::transport::{BoxIo, Connected, EndText, Transport};

/// What the library may hold for small DATA frames that nobody has read yet, in bytes as it counts them:
/// some 256 for each. A paused reader of small messages must not cost the connection; beyond this
/// it does.
const SMALL_FRAMES_BUDGET_BYTES: usize = 32 << 20;

/// A connection that is ready for calls.
pub(crate) struct Established {
    pub(crate) sender: SendRequest<Bytes>,
    pub(crate) connection: Connection<WireIo<BoxIo>, Bytes>,
    pub(crate) wire: Wire<BoxIo>,
    pub(crate) go_away: GoAwayCell,
    pub(crate) transport: Transport,
    pub(crate) subprotocol: Option<String>,
    pub(crate) end_text: Option<EndText>,
}

/// Sets up HTTP/2 over a byte stream.
///
/// # Errors
/// [`ConnectError::NotHttp2`] and [`ConnectError::Ended`].
///
/// # Cancel safety
/// Dropping the future drops the byte stream.
pub(crate) async fn set_up(
    connected: Connected,
    config: &Config,
) -> Result<Established, ConnectError> {
    let Connected {
        io,
        transport,
        subprotocol,
        end_text,
    } = connected;
    let go_away = GoAwayCell::default();
    let (wire, wire_io) = Wire::split(io, go_away.clone());
    let cell = go_away.clone();
    let failed = |error: Option<h2::Error>| match cell.last() {
        // With its settings, as a server that is being stopped does. Another one may be there soon.
        Some(go_away) => ConnectError::Ended(go_away.reason().to_string()),
        None => describe(&wire, error, end_text.as_ref()),
    };
    let (sender, mut connection) = builder(config)
        .handshake(wire_io)
        .await
        .map_err(|error| failed(Some(error)))?;
    poll_fn(|cx| {
        if let Poll::Ready(ended) = std::pin::Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(Err(failed(ended.err())));
        }
        // An error of sending reaches the library at its next read, and us above.
        if let Poll::Ready(Err(_)) = wire.poll_send(cx) {
            cx.waker().wake_by_ref();
        }
        if wire.take_news().settings {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    })
    .await?;
    Ok(Established {
        sender,
        connection,
        wire,
        go_away,
        transport,
        subprotocol,
        end_text,
    })
}

fn builder(config: &Config) -> client::Builder {
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(config.stream_window_bytes)
        .initial_connection_window_size(config.connection_window_bytes)
        .max_frame_size(config.frame_bytes_max)
        .max_header_list_size(config.header_list_bytes_max)
        .data_frame_budget(SMALL_FRAMES_BUDGET_BYTES)
        // The library remembers streams that it reset together with the time, and asking for the
        // time panics in browsers: there it must remember none.
        .max_concurrent_reset_streams(platform::RESETS_REMEMBERED)
        // Frames that the server sent before it knew of a reset count as errors of its own once the
        // stream is forgotten; a thousand in the life of a connection would end it.
        .max_local_error_reset_streams(None);
    builder
}

fn describe(
    wire: &Wire<BoxIo>,
    error: Option<h2::Error>,
    end_text: Option<&EndText>,
) -> ConnectError {
    let fate = wire.fate();
    if let Fate::Foreign(text) = fate {
        return ConnectError::NotHttp2(text);
    }
    // It said too little to be sure, and broke HTTP/2 or hung up.
    if let Some(beginning) = wire.beginning() {
        return ConnectError::NotHttp2(beginning);
    }
    let end_text = end_text.and_then(|end_text| end_text());
    match fate {
        Fate::Failed(text) => ConnectError::Ended(end_text.unwrap_or(text)),
        Fate::Ended => {
            ConnectError::Ended(end_text.unwrap_or_else(|| "the server closed it".to_owned()))
        }
        Fate::Foreign(text) => ConnectError::NotHttp2(text),
        Fate::Open => ConnectError::NotHttp2(match error {
            Some(error) => error.to_string(),
            None => "it closed the connection in good order".to_owned(),
        }),
    }
}
