//! What a plugin serves: the [`Service`] trait, and services made of functions on bytes.
//!
//! `guest-build` generates typed implementations of [`Service`]; [`ByteService`] is the one for
//! guests that want bytes. Called by [`crate::Plugin`], which turns the host's method ids into a
//! service and the index of a method. Knows no ABI and no serialization.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::{Context, Incoming, Outgoing, Status};

/// Which side of a method sends one message, and which sends many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodKind {
    /// One message each way.
    Unary,
    /// Many in, one out.
    ClientStreaming,
    /// One in, many out.
    ServerStreaming,
    /// Many each way, in any order.
    BidiStreaming,
}

/// What a plugin tells the host about one method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MethodDescription {
    /// The name without service and slash, as in `SayHello`.
    pub name: &'static str,
    /// Which side streams.
    pub kind: MethodKind,
    /// Whether a call may be made twice without harm.
    pub idempotent: bool,
}

impl MethodDescription {
    /// A method that is not idempotent.
    pub const fn new(name: &'static str, kind: MethodKind) -> Self {
        Self {
            name,
            kind,
            idempotent: false,
        }
    }

    /// The same method; a call may be made twice without harm.
    #[must_use]
    pub const fn idempotent(self) -> Self {
        Self {
            idempotent: true,
            ..self
        }
    }
}

/// A gRPC service. Handlers run one at a time in an instance, so state needs no lock: a `Cell` or
/// `RefCell` in `self` will do. It is the state of one instance, of which the host runs many and
/// drops some; what all calls must see belongs outside.
pub trait Service {
    /// The fully qualified name, as in `helloworld.Greeter`.
    fn name(&self) -> &str;

    /// The methods. Must answer the same every time.
    fn methods(&self) -> Vec<MethodDescription>;

    /// How many methods there are. Worth implementing where [`Service::methods`] allocates: with
    /// several services in a plugin it is asked at each call.
    fn method_count(&self) -> usize {
        self.methods().len()
    }

    /// A serialized `google.protobuf.FileDescriptorSet` that describes the service, for server
    /// reflection.
    fn file_descriptor_set(&self) -> Option<&'static [u8]> {
        None
    }

    /// Serves a unary call. `method` is an index into [`Service::methods`].
    ///
    /// # Errors
    /// The status for the caller.
    fn unary(&self, method: usize, context: &Context, request: Vec<u8>) -> Result<Vec<u8>, Status>;

    /// Serves a call of the three streaming kinds. `method` is an index into
    /// [`Service::methods`]. Ok ends the call with status OK; of a client-streaming method, one
    /// message must have been sent before.
    ///
    /// # Errors
    /// The status for the caller.
    fn stream(
        &self,
        method: usize,
        context: &Context,
        incoming: Incoming,
        outgoing: Outgoing,
    ) -> Result<(), Status>;
}

macro_rules! forward_service {
    ($($pointer:ty),*) => {$(
        impl<S: Service + ?Sized> Service for $pointer {
            fn name(&self) -> &str {
                (**self).name()
            }

            fn methods(&self) -> Vec<MethodDescription> {
                (**self).methods()
            }

            fn method_count(&self) -> usize {
                (**self).method_count()
            }

            fn file_descriptor_set(&self) -> Option<&'static [u8]> {
                (**self).file_descriptor_set()
            }

            fn unary(
                &self,
                method: usize,
                context: &Context,
                request: Vec<u8>,
            ) -> Result<Vec<u8>, Status> {
                (**self).unary(method, context, request)
            }

            fn stream(
                &self,
                method: usize,
                context: &Context,
                incoming: Incoming,
                outgoing: Outgoing,
            ) -> Result<(), Status> {
                (**self).stream(method, context, incoming, outgoing)
            }
        }
    )*};
}

forward_service!(&S, Box<S>);

type UnaryFn = fn(&Context, Vec<u8>) -> Result<Vec<u8>, Status>;
type ClientStreamFn = fn(&Context, Incoming) -> Result<Vec<u8>, Status>;
type ServerStreamFn = fn(&Context, Vec<u8>, Outgoing) -> Result<(), Status>;
type BidiFn = fn(&Context, Incoming, Outgoing) -> Result<(), Status>;

#[derive(Clone, Copy, Debug)]
enum Handler {
    Unary(UnaryFn),
    ClientStream(ClientStreamFn),
    ServerStream(ServerStreamFn),
    Bidi(BidiFn),
}

/// One method of a [`ByteService`]: a name and a function on bytes.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    description: MethodDescription,
    handler: Handler,
}

impl Method {
    /// One message in, one out.
    pub const fn unary(name: &'static str, handler: UnaryFn) -> Self {
        Self {
            description: MethodDescription::new(name, MethodKind::Unary),
            handler: Handler::Unary(handler),
        }
    }

    /// Many messages in, one out: what the function returns.
    pub const fn client_stream(name: &'static str, handler: ClientStreamFn) -> Self {
        Self {
            description: MethodDescription::new(name, MethodKind::ClientStreaming),
            handler: Handler::ClientStream(handler),
        }
    }

    /// One message in, many out.
    pub const fn server_stream(name: &'static str, handler: ServerStreamFn) -> Self {
        Self {
            description: MethodDescription::new(name, MethodKind::ServerStreaming),
            handler: Handler::ServerStream(handler),
        }
    }

    /// Many messages each way, in any order.
    pub const fn bidi(name: &'static str, handler: BidiFn) -> Self {
        Self {
            description: MethodDescription::new(name, MethodKind::BidiStreaming),
            handler: Handler::Bidi(handler),
        }
    }

    /// The same method; a call may be made twice without harm.
    #[must_use]
    pub const fn idempotent(self) -> Self {
        Self {
            description: self.description.idempotent(),
            ..self
        }
    }
}

/// A service made of functions on bytes. Made at compile time, so an instance starts with nothing
/// to do.
///
/// ```
/// use switchboard_guest::{ByteService, Method};
///
/// static UPPER: ByteService = ByteService::new(
///     "text.Upper",
///     &[Method::unary("Upper", |_context, request| Ok(request.to_ascii_uppercase())).idempotent()],
/// );
/// # assert_eq!(switchboard_guest::testing::Call::to(&UPPER, "Upper").message("a").run().messages, [b"A"]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ByteService {
    name: &'static str,
    methods: &'static [Method],
}

impl ByteService {
    /// A service with this fully qualified name and these methods.
    pub const fn new(name: &'static str, methods: &'static [Method]) -> Self {
        Self { name, methods }
    }

    fn handler(&self, method: usize) -> Result<Handler, Status> {
        self.methods
            .get(method)
            .map(|method| method.handler)
            .ok_or_else(wrong_method)
    }
}

/// The host routes by what `describe` answered, so only a broken host gets this.
pub(crate) fn wrong_method() -> Status {
    Status::unimplemented("the plugin has no such method of this kind")
}

impl Service for ByteService {
    fn name(&self) -> &str {
        self.name
    }

    fn methods(&self) -> Vec<MethodDescription> {
        self.methods
            .iter()
            .map(|method| method.description)
            .collect()
    }

    fn method_count(&self) -> usize {
        self.methods.len()
    }

    fn unary(&self, method: usize, context: &Context, request: Vec<u8>) -> Result<Vec<u8>, Status> {
        match self.handler(method)? {
            Handler::Unary(handler) => handler(context, request),
            Handler::ClientStream(_) | Handler::ServerStream(_) | Handler::Bidi(_) => {
                Err(wrong_method())
            }
        }
    }

    fn stream(
        &self,
        method: usize,
        context: &Context,
        incoming: Incoming,
        outgoing: Outgoing,
    ) -> Result<(), Status> {
        match self.handler(method)? {
            Handler::Unary(_) => Err(wrong_method()),
            Handler::ClientStream(handler) => outgoing.send(handler(context, incoming)?),
            Handler::ServerStream(handler) => {
                let request = only_request(&incoming)?;
                handler(context, request, outgoing)
            }
            Handler::Bidi(handler) => handler(context, incoming, outgoing),
        }
    }
}

/// The one request message of a server-streaming call.
///
/// # Errors
/// `UNIMPLEMENTED` when there is none, as gRPC has it for a "request cardinality violation"; the
/// host refuses such a call itself.
pub(crate) fn only_request(incoming: &Incoming) -> Result<Vec<u8>, Status> {
    incoming
        .receive()?
        .ok_or_else(|| Status::unimplemented("the caller sent no request message"))
}
