//! Writes the code of one service: its trait, and the server that decodes, dispatches and encodes.
//!
//! prost calls `generate` of [`Generator`] for each service of the files that [`crate::builder`] hands
//! it, after the messages of the same package. The code stands in a module of its own, so that no
//! name of it can meet a message's; inside it every path is spelled out, because a service may be
//! called `Result` or `Service`. It works without std and names only `switchboard-guest` and prost.

use prost_build::{Comments, Method, Service};
use prost_types::method_options::IdempotencyLevel;

use crate::names;

const RESULT: &str = "::core::result::Result";
const VEC: &str = "::prost::alloc::vec::Vec";

/// The service generator handed to prost.
pub(crate) struct Generator {
    /// Name of the descriptor file, beside the generated code.
    descriptors: Option<String>,
    left_out: Vec<String>,
    extern_paths: Vec<(String, String)>,
}

impl Generator {
    pub(crate) fn new(
        descriptors: Option<String>,
        left_out: Vec<String>,
        extern_paths: Vec<(String, String)>,
    ) -> Self {
        Self {
            descriptors,
            left_out,
            extern_paths,
        }
    }

    fn is_left_out(&self, name: &str) -> bool {
        self.left_out.iter().any(|left_out| left_out == name)
    }

    /// The path of a message type, seen from the service's module.
    fn path(&self, rust_type: &str, proto_type: &str) -> String {
        let elsewhere = self.extern_paths.iter().any(|(proto_path, _)| {
            proto_type
                .strip_prefix(proto_path.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        // prost writes well-known types as absolute paths or as types of the language.
        let language = matches!(
            rust_type,
            "()" | "bool" | "f32" | "f64" | "i32" | "i64" | "u32" | "u64"
        );
        if elsewhere || language || rust_type.starts_with("::") {
            rust_type.to_owned()
        } else {
            format!("super::{rust_type}")
        }
    }

    fn method(&self, method: &Method) -> MethodCode {
        let request = self.path(&method.input_type, &method.input_proto_type);
        let reply = self.path(&method.output_type, &method.output_proto_type);
        let (kind, call) = match (method.client_streaming, method.server_streaming) {
            (false, false) => ("Unary", "unary"),
            (true, false) => ("ClientStreaming", "client_streaming"),
            (false, true) => ("ServerStreaming", "server_streaming"),
            (true, true) => ("BidiStreaming", "bidi_streaming"),
        };
        let request = if method.client_streaming {
            format!("sdk::Request<sdk::Streaming<{request}>>")
        } else {
            format!("sdk::Request<{request}>")
        };
        let signature = if method.server_streaming {
            format!(
                "&self, request: {request}, replies: sdk::Sender<{reply}>) -> {RESULT}<(), sdk::Status>"
            )
        } else {
            format!("&self, request: {request}) -> {RESULT}<sdk::Response<{reply}>, sdk::Status>")
        };
        MethodCode {
            name: method.name.clone(),
            proto_name: method.proto_name.clone(),
            comments: method.comments.clone(),
            signature: format!("fn {}({signature}", method.name),
            kind,
            call,
            replies: method.server_streaming,
            idempotent: matches!(
                method.options.idempotency_level(),
                IdempotencyLevel::Idempotent | IdempotencyLevel::NoSideEffects
            ),
        }
    }
}

impl prost_build::ServiceGenerator for Generator {
    fn generate(&mut self, service: Service, buf: &mut String) {
        let full_name = names::qualified(&service.package, &service.proto_name);
        if self.is_left_out(&full_name) {
            return;
        }
        let methods: Vec<MethodCode> = service
            .methods
            .iter()
            .filter(|method| !self.is_left_out(&format!("{full_name}.{}", method.proto_name)))
            .map(|method| self.method(method))
            .collect();
        let module = names::module_of(&service.proto_name);
        buf.push_str(&format!(
            "/// The service `{full_name}`, to be implemented.\n\
             #[allow(dead_code, missing_docs, clippy::missing_errors_doc, reason = \"generated from a .proto\")]\n\
             pub mod {module} {{\n    use ::switchboard_guest as sdk;\n\n"
        ));
        write_trait(&service, &full_name, &methods, buf);
        self.write_server(&service.name, &full_name, &methods, buf);
        write_methods(&methods, buf);
        buf.push_str(SHARED);
        buf.push_str("}\n");
    }
}

/// What the templates need of one method.
struct MethodCode {
    name: String,
    proto_name: String,
    comments: Comments,
    signature: String,
    /// Variant of `MethodKind`.
    kind: &'static str,
    /// Function of `switchboard_guest::typed`.
    call: &'static str,
    replies: bool,
    idempotent: bool,
}

impl MethodCode {
    fn is_unary(&self) -> bool {
        self.call == "unary"
    }

    fn arm(&self, index: usize) -> String {
        let Self { name, call, .. } = self;
        let messages = if self.is_unary() {
            "request"
        } else {
            "incoming, outgoing"
        };
        let arguments = if self.replies {
            "request, replies"
        } else {
            "request"
        };
        format!(
            "                {index} => sdk::typed::{call}(context, {messages}, codec(), codec(), \
             |{arguments}| self.inner.{name}({arguments})),\n"
        )
    }
}

fn write_trait(service: &Service, full_name: &str, methods: &[MethodCode], buf: &mut String) {
    if service.comments.leading.is_empty() && service.comments.trailing.is_empty() {
        buf.push_str(&format!("    /// The methods of `{full_name}`.\n"));
    }
    service.comments.append_with_indent(1, buf);
    buf.push_str(&format!("    pub trait {} {{\n", service.name));
    for method in methods {
        method.comments.append_with_indent(2, buf);
        buf.push_str(&format!("        {};\n", method.signature));
    }
    buf.push_str("    }\n\n");
}

/// The server. No name has an `@` in it, so nothing is replaced twice.
const SERVER: &str =
    "    /// Serves [`@NAME@`]: decodes requests, calls it and encodes what it answers.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct @NAME@Server<T> {
        inner: T,
    }

    impl<T: @NAME@> @NAME@Server<T> {
        /// Serves with this implementation.
        pub const fn new(inner: T) -> Self {
            Self { inner }
        }
    }

    impl<T: @NAME@> sdk::Service for @NAME@Server<T> {
        fn name(&self) -> &str {
            \"@FULL_NAME@\"
        }

        fn methods(&self) -> ::prost::alloc::vec::Vec<sdk::MethodDescription> {
            METHODS.to_vec()
        }

        fn method_count(&self) -> usize {
            METHODS.len()
        }

        fn file_descriptor_set(&self) -> ::core::option::Option<&'static [u8]> {
            ::core::option::Option::@DESCRIPTORS@
        }

";

/// What all methods share.
const SHARED: &str = "
    const fn codec<M: ::prost::Message + ::core::default::Default>() -> sdk::Codec<M> {
        sdk::Codec::new(
            |message| ::prost::Message::encode_to_vec(message),
            |bytes| {
                <M as ::prost::Message>::decode(bytes.as_slice())
                    .map_err(|error| ::prost::alloc::string::ToString::to_string(&error))
            },
        )
    }

    fn no_such_method() -> sdk::Status {
        sdk::Status::unimplemented(\"the service has no such method of this kind\")
    }
";

impl Generator {
    /// The server and its implementation of the SDK's `Service`.
    fn write_server(&self, name: &str, full_name: &str, methods: &[MethodCode], buf: &mut String) {
        let descriptors = match &self.descriptors {
            Some(file) => format!("Some(include_bytes!({file:?}))"),
            None => "None".to_owned(),
        };
        let server = SERVER
            .replace("@FULL_NAME@", full_name)
            .replace("@DESCRIPTORS@", &descriptors)
            .replace("@NAME@", name);
        buf.push_str(&server);
        write_dispatch(
            "unary",
            &[("request", &format!("{VEC}<u8>"))],
            &format!("{RESULT}<{VEC}<u8>, sdk::Status>"),
            &arms(methods, MethodCode::is_unary),
            buf,
        );
        buf.push('\n');
        write_dispatch(
            "stream",
            &[("incoming", "sdk::Incoming"), ("outgoing", "sdk::Outgoing")],
            &format!("{RESULT}<(), sdk::Status>"),
            &arms(methods, |method| !method.is_unary()),
            buf,
        );
        buf.push_str("    }\n\n");
    }
}

/// A method's index is its place among all methods, whatever their kind.
fn arms(methods: &[MethodCode], wanted: impl Fn(&MethodCode) -> bool) -> String {
    methods
        .iter()
        .enumerate()
        .filter(|(_, method)| wanted(method))
        .map(|(index, method)| method.arm(index))
        .collect()
}

fn write_dispatch(
    name: &str,
    messages: &[(&str, &str)],
    returns: &str,
    arms: &str,
    buf: &mut String,
) {
    // Without arms nothing is used, and rustc would say so.
    let unused = if arms.is_empty() { "_" } else { "" };
    buf.push_str(&format!(
        "        fn {name}(&self, {unused}method: usize, {unused}context: &sdk::Context"
    ));
    for (argument, rust_type) in messages {
        buf.push_str(&format!(", {unused}{argument}: {rust_type}"));
    }
    buf.push_str(&format!(") -> {returns} {{\n"));
    if arms.is_empty() {
        buf.push_str("            ::core::result::Result::Err(no_such_method())\n");
    } else {
        buf.push_str(&format!(
            "            match method {{\n{arms}                \
             _ => ::core::result::Result::Err(no_such_method()),\n            }}\n"
        ));
    }
    buf.push_str("        }\n");
}

fn write_methods(methods: &[MethodCode], buf: &mut String) {
    buf.push_str("    const METHODS: &[sdk::MethodDescription] = &[\n");
    for method in methods {
        let idempotent = if method.idempotent {
            ".idempotent()"
        } else {
            ""
        };
        buf.push_str(&format!(
            "        sdk::MethodDescription::new({:?}, sdk::MethodKind::{}){idempotent},\n",
            method.proto_name, method.kind
        ));
    }
    buf.push_str("    ];\n");
}
