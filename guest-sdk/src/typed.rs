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

    /// Whether the message came compressed; see [`Context::received_compressed`].
    pub fn received_compressed(&self) -> bool {
        self.context.received_compressed()
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
    /// None leaves it to the operator.
    compression: Option<bool>,
}

impl<T> Response<T> {
    /// A response without metadata.
    pub const fn new(message: T) -> Self {
        Self {
            message,
            headers: Metadata::new(),
            trailers: Metadata::new(),
            compression: None,
        }
    }

    /// The same response, compressed or not, whatever the operator's setting is. It stays
    /// uncompressed if the caller takes no encoding that the operator allows.
    #[must_use]
    pub fn compressed(self, on: bool) -> Self {
        Self {
            compression: Some(on),
            ..self
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

    /// Hands headers, trailers and the wish for compression to the host and gives the message out.
    fn announce(self, context: &Context) -> Result<T, Status> {
        for (key, value) in self.headers.iter() {
            context.set_header(key, value)?;
        }
        for (key, value) in self.trailers.iter() {
            context.set_trailer(key, value)?;
        }
        if let Some(on) = self.compression {
            // Whether the caller takes it is not the handler's concern any more.
            context.set_compression(on);
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

    /// Whether the message that was received last came compressed; see
    /// [`Context::received_compressed`].
    pub fn received_compressed(&self) -> bool {
        self.incoming.received_compressed()
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

    /// Switches compression of the messages sent from now on; see [`Context::set_compression`],
    /// also for what it answers.
    pub fn set_compression(&self, on: bool) -> bool {
        self.outgoing.set_compression(on)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Call};
    use crate::{CancelReason, Code, MethodDescription, MethodKind, Service};

    /// Messages are numbers in text.
    const NUMBER: Codec<u32> = Codec::new(
        |number| number.to_string().into_bytes(),
        |bytes| {
            let text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
            text.parse()
                .map_err(|_| alloc::format!("{text:?} is not a number"))
        },
    );

    /// A service as generated code makes it.
    struct Sums;

    fn double(request: Request<u32>) -> Result<Response<u32>, Status> {
        let mut response = Response::new(request.get_ref() * 2);
        response.metadata_mut().append("from", request.peer());
        response.trailers_mut().append("t", "1");
        Ok(response)
    }

    fn sum(request: Request<Streaming<u32>>) -> Result<Response<u32>, Status> {
        let numbers: Result<Vec<u32>, Status> = request.into_inner().collect();
        Ok(numbers?.iter().sum::<u32>().into())
    }

    fn count(request: Request<u32>, numbers: Sender<u32>) -> Result<(), Status> {
        (1..=request.into_inner()).try_for_each(|number| numbers.send(number))
    }

    fn sums(request: Request<Streaming<u32>>, sums: Sender<u32>) -> Result<(), Status> {
        let (context, numbers) = request.into_parts();
        let mut sum = 0;
        loop {
            match numbers.message_timeout(Duration::from_secs(1))? {
                Receive::Message(number) => sum += number,
                Receive::Timeout => sums.send(sum)?,
                Receive::End => break,
            }
        }
        context.set_trailer("last", "1")?;
        sums.send(sum)
    }

    impl Service for Sums {
        fn name(&self) -> &str {
            "sample.Sums"
        }
        fn methods(&self) -> Vec<MethodDescription> {
            alloc::vec![
                MethodDescription::new("Double", MethodKind::Unary),
                MethodDescription::new("Sum", MethodKind::ClientStreaming),
                MethodDescription::new("Count", MethodKind::ServerStreaming),
                MethodDescription::new("Sums", MethodKind::BidiStreaming),
            ]
        }
        fn unary(&self, _: usize, context: &Context, request: Vec<u8>) -> Result<Vec<u8>, Status> {
            unary(context, request, NUMBER, NUMBER, double)
        }
        fn stream(&self, m: usize, c: &Context, i: Incoming, o: Outgoing) -> Result<(), Status> {
            match m {
                1 => client_streaming(c, i, o, NUMBER, NUMBER, sum),
                2 => server_streaming(c, i, o, NUMBER, NUMBER, count),
                _ => bidi_streaming(c, i, o, NUMBER, NUMBER, sums),
            }
        }
    }

    #[test]
    fn the_four_kinds() {
        let double = Call::to(&Sums, "Double").peer("unix").message("21").run();
        assert_eq!(double.message(), b"42");
        assert_eq!(double.headers.get_str("from"), Some("unix"));
        assert_eq!(double.trailers.get_str("t"), Some("1"));
        assert_eq!(
            Call::to(&Sums, "Sum")
                .messages(["1", "2", "3"])
                .run()
                .message(),
            b"6"
        );
        assert_eq!(Call::to(&Sums, "Sum").run().message(), b"0");
        assert_eq!(
            Call::to(&Sums, "Count").message("3").run().messages,
            [b"1", b"2", b"3"]
        );
        let sums = Call::to(&Sums, "Sums")
            .messages(["1", "2"])
            .silence()
            .message("3")
            .run();
        assert_eq!(sums.messages, [b"3", b"6"]);
        assert_eq!(sums.trailers.get_str("last"), Some("1"));
    }

    #[test]
    fn what_does_not_decode_is_internal_and_says_why() {
        for method in ["Double", "Sum", "Count", "Sums"] {
            let answer = Call::to(&Sums, method).message("many").run();
            let status = answer.status.expect_err("it does not decode");
            assert_eq!(status.code(), Code::Internal, "{method}");
            let text = "request message does not decode: \"many\" is not a number";
            assert_eq!(status.message(), text, "{method}");
        }
    }

    #[test]
    fn cancellation_ends_every_stream() {
        for method in ["Sum", "Sums"] {
            let call = Call::to(&Sums, method)
                .message("1")
                .cancel(CancelReason::Deadline);
            assert_eq!(call.run().code(), Code::DeadlineExceeded, "{method}");
        }
        let call = Call::to(&Sums, "Count").message("9");
        let answer = call.cancel_after_sent(2, CancelReason::Shutdown).run();
        assert_eq!(
            (answer.code(), answer.messages.len()),
            (Code::Unavailable, 2)
        );
    }

    #[test]
    fn a_stream_ends_after_its_first_error() {
        let call = testing::fake::Call::new({
            let mut state = testing::fake::State::new(MethodKind::BidiStreaming);
            state.cancel(CancelReason::ClientGone);
            state
        });
        let numbers = Streaming::new(Incoming::new(call.clone()), NUMBER);
        assert_eq!(
            numbers.map(|number| number.is_err()).collect::<Vec<_>>(),
            [true]
        );
        assert_eq!(Incoming::new(call).count(), 1);
    }

    #[test]
    fn refused_metadata_fails_the_call() {
        let mut response = Response::new(1);
        response.metadata_mut().append("grpc-status", "0");
        let refused = response.announce(&testing::context());
        assert_eq!(refused.map_err(|status| status.code()), Err(Code::Internal));
    }

    #[test]
    fn a_response_says_whether_it_is_compressed() {
        fn mirror(request: Request<u32>) -> Result<Response<u32>, Status> {
            let compressed = request.received_compressed();
            Ok(Response::new(request.into_inner()).compressed(compressed))
        }
        struct Mirror;
        impl Service for Mirror {
            fn name(&self) -> &str {
                "sample.Mirror"
            }
            fn methods(&self) -> Vec<MethodDescription> {
                alloc::vec![MethodDescription::new("Mirror", MethodKind::Unary)]
            }
            fn unary(&self, _: usize, c: &Context, request: Vec<u8>) -> Result<Vec<u8>, Status> {
                unary(c, request, NUMBER, NUMBER, mirror)
            }
            fn stream(
                &self,
                _: usize,
                _: &Context,
                _: Incoming,
                _: Outgoing,
            ) -> Result<(), Status> {
                Err(Status::unimplemented("no stream"))
            }
        }
        let call = || Call::to(&Mirror, "Mirror").takes_compressed();
        assert_eq!(call().compressed_message("1").run().compressed, [true]);
        assert_eq!(call().message("1").run().compressed, [false]);
    }

    #[test]
    fn a_handler_is_called_directly() {
        let response = double(testing::request(4)).expect("it is a number");
        assert_eq!(response.into_inner(), 8);
    }
}
