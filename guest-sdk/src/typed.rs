//! Typed handlers over bytes: requests, responses and streams of messages.
//!
//! Used by the code that `guest-build` generates, which hands in a [`Codec`] for each message
//! type; this file knows no serialization. The four functions at the end turn a typed handler
//! into what [`crate::Service`] wants.
//!
//! A message that does not decode ends the call with `INTERNAL`, as in tonic and grpc-go: caller
//! and plugin do not speak the same schema.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::service::only_request;
use crate::{Context, Incoming, Metadata, Outgoing, Receive, Status};

/// How messages of one type become bytes and come from bytes.
pub struct Codec<T> {
    encode: fn(&T) -> Vec<u8>,
    decode: fn(Vec<u8>) -> Result<T, String>,
}

impl<T> Codec<T> {
    /// A codec of two functions; the text of a decoding error reaches the caller.
    pub const fn new(encode: fn(&T) -> Vec<u8>, decode: fn(Vec<u8>) -> Result<T, String>) -> Self {
        Self { encode, decode }
    }

    /// The bytes of a message.
    pub fn encode(&self, message: &T) -> Vec<u8> {
        (self.encode)(message)
    }

    /// The message in these bytes.
    ///
    /// # Errors
    /// `INTERNAL` when they do not decode.
    pub fn decode(&self, bytes: Vec<u8>) -> Result<T, Status> {
        (self.decode)(bytes).map_err(|error| {
            Status::internal(alloc::format!("request message does not decode: {error}"))
        })
    }
}

impl<T> Clone for Codec<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Codec<T> {}

impl<T> fmt::Debug for Codec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec").finish_non_exhaustive()
    }
}

/// A request message (or a [`Streaming`] of them) with its call.
///
/// In native tests, [`crate::testing::request`] makes one.
#[derive(Clone, Debug)]
pub struct Request<T> {
    context: Context,
    message: T,
}

impl<T> Request<T> {
    /// A request of the call that `context` stands for.
    pub fn with_context(context: Context, message: T) -> Self {
        Self { context, message }
    }

    /// The message.
    pub fn get_ref(&self) -> &T {
        &self.message
    }

    /// The message, to change it.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.message
    }

    /// The message alone.
    pub fn into_inner(self) -> T {
        self.message
    }

    /// The call and the message.
    pub fn into_parts(self) -> (Context, T) {
        (self.context, self.message)
    }

    /// The call: headers and trailers are set there.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The whole request metadata; see [`Context::metadata`].
    pub fn metadata(&self) -> Metadata {
        self.context.metadata()
    }

    /// Who calls; see [`Context::peer`].
    pub fn peer(&self) -> String {
        self.context.peer()
    }

    /// How long until the deadline; see [`Context::time_left`].
    pub fn time_left(&self) -> Option<Duration> {
        self.context.time_left()
    }
}

/// A response message with response headers and trailers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response<T> {
    message: T,
    headers: Metadata,
    trailers: Metadata,
}

impl<T> Response<T> {
    /// A response without metadata.
    pub const fn new(message: T) -> Self {
        Self {
            message,
            headers: Metadata::new(),
            trailers: Metadata::new(),
        }
    }

    /// The message.
    pub fn get_ref(&self) -> &T {
        &self.message
    }

    /// The message, to change it.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.message
    }

    /// The message alone.
    pub fn into_inner(self) -> T {
        self.message
    }

    /// The response headers.
    pub fn metadata(&self) -> &Metadata {
        &self.headers
    }

    /// The response headers, to change them.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.headers
    }

    /// The trailers.
    pub fn trailers(&self) -> &Metadata {
        &self.trailers
    }

    /// The trailers, to change them.
    pub fn trailers_mut(&mut self) -> &mut Metadata {
        &mut self.trailers
    }

    /// Hands headers and trailers to the host and gives the message out.
    fn announce(self, context: &Context) -> Result<T, Status> {
        for (key, value) in self.headers.iter() {
            context.set_header(key, value)?;
        }
        for (key, value) in self.trailers.iter() {
            context.set_trailer(key, value)?;
        }
        Ok(self.message)
    }
}

impl<T> From<T> for Response<T> {
    fn from(message: T) -> Self {
        Self::new(message)
    }
}

/// The messages that the caller sends, decoded.
///
/// As an iterator it yields each message and ends after the last one or the first error.
#[derive(Debug)]
pub struct Streaming<T> {
    incoming: Incoming,
    codec: Codec<T>,
    /// Only for the iterator, which must end after an error.
    ended: bool,
}

impl<T> Streaming<T> {
    /// Decodes what comes in.
    pub fn new(incoming: Incoming, codec: Codec<T>) -> Self {
        Self {
            incoming,
            codec,
            ended: false,
        }
    }

    /// Waits for the next message; none once the caller has sent its last.
    ///
    /// # Errors
    /// `INTERNAL` when the message does not decode; `CANCELLED`, `DEADLINE_EXCEEDED` or
    /// `UNAVAILABLE` once the call is over.
    pub fn message(&self) -> Result<Option<T>, Status> {
        self.incoming
            .receive()?
            .map(|bytes| self.codec.decode(bytes))
            .transpose()
    }

    /// Waits for the next message for at most `timeout`; zero asks without waiting.
    ///
    /// # Errors
    /// As [`Streaming::message`].
    pub fn message_timeout(&self, timeout: Duration) -> Result<Receive<T>, Status> {
        Ok(match self.incoming.receive_timeout(timeout)? {
            Receive::Message(bytes) => Receive::Message(self.codec.decode(bytes)?),
            Receive::End => Receive::End,
            Receive::Timeout => Receive::Timeout,
        })
    }

    /// The same messages as bytes, for what this type does not offer.
    pub fn incoming(&self) -> &Incoming {
        &self.incoming
    }
}

impl<T> Iterator for Streaming<T> {
    type Item = Result<T, Status>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.message().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// The way back to the caller, for messages of one type.
#[derive(Debug)]
pub struct Sender<T> {
    outgoing: Outgoing,
    codec: Codec<T>,
}

impl<T> Sender<T> {
    /// Encodes what goes out.
    pub fn new(outgoing: Outgoing, codec: Codec<T>) -> Self {
        Self { outgoing, codec }
    }

    /// Sends a message; returns when there is room for the next one, which is the back-pressure.
    ///
    /// # Errors
    /// As [`Outgoing::send`].
    pub fn send(&self, message: T) -> Result<(), Status> {
        self.outgoing.send(self.codec.encode(&message))
    }
}

/// Serves a unary call with a typed handler.
///
/// # Errors
/// The handler's status, or `INTERNAL` when the request does not decode.
pub fn unary<Q, R>(
    context: &Context,
    request: Vec<u8>,
    decode: Codec<Q>,
    encode: Codec<R>,
    handler: impl FnOnce(Request<Q>) -> Result<Response<R>, Status>,
) -> Result<Vec<u8>, Status> {
    let request = Request::with_context(context.clone(), decode.decode(request)?);
    let message = handler(request)?.announce(context)?;
    Ok(encode.encode(&message))
}

/// Serves a client-streaming call with a typed handler.
///
/// # Errors
/// The handler's status, or why its message could not be sent.
pub fn client_streaming<Q, R>(
    context: &Context,
    incoming: Incoming,
    outgoing: Outgoing,
    decode: Codec<Q>,
    encode: Codec<R>,
    handler: impl FnOnce(Request<Streaming<Q>>) -> Result<Response<R>, Status>,
) -> Result<(), Status> {
    let requests = Streaming::new(incoming, decode);
    let response = handler(Request::with_context(context.clone(), requests))?;
    let message = response.announce(context)?;
    outgoing.send(encode.encode(&message))
}

/// Serves a server-streaming call with a typed handler.
///
/// # Errors
/// The handler's status, or `INTERNAL` when the request does not decode.
pub fn server_streaming<Q, R>(
    context: &Context,
    incoming: Incoming,
    outgoing: Outgoing,
    decode: Codec<Q>,
    encode: Codec<R>,
    handler: impl FnOnce(Request<Q>, Sender<R>) -> Result<(), Status>,
) -> Result<(), Status> {
    let request = decode.decode(only_request(&incoming)?)?;
    handler(
        Request::with_context(context.clone(), request),
        Sender::new(outgoing, encode),
    )
}

/// Serves a bidirectional call with a typed handler.
///
/// # Errors
/// The handler's status.
pub fn bidi_streaming<Q, R>(
    context: &Context,
    incoming: Incoming,
    outgoing: Outgoing,
    decode: Codec<Q>,
    encode: Codec<R>,
    handler: impl FnOnce(Request<Streaming<Q>>, Sender<R>) -> Result<(), Status>,
) -> Result<(), Status> {
    let requests = Streaming::new(incoming, decode);
    handler(
        Request::with_context(context.clone(), requests),
        Sender::new(outgoing, encode),
    )
}
