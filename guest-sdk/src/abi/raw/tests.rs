//! Compares each layout with what `wit/` asks for, as a memory with pointers of 64 bits has it.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a kind of type not listed fails the test"
)]

use core::mem::offset_of;
use std::path::Path;
use std::vec::Vec;

use wit_parser::{Resolve, SizeAlign, Type, TypeDefKind};

use super::*;

struct Wit {
    resolve: Resolve,
    sizes: SizeAlign,
}

impl Wit {
    fn new() -> Self {
        let mut resolve = Resolve::default();
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
        resolve.push_dir(wit).expect("wit/ parses");
        let mut sizes = SizeAlign::default();
        sizes.fill(&resolve).expect("every type has a size");
        Self { resolve, sizes }
    }

    fn interface(&self, name: &str) -> &wit_parser::Interface {
        let named =
            |(_, interface): &(_, &wit_parser::Interface)| interface.name.as_deref() == Some(name);
        self.resolve
            .interfaces
            .iter()
            .find(named)
            .expect("the interface exists")
            .1
    }

    /// A type of `types`.
    fn named(&self, name: &str) -> Type {
        Type::Id(self.interface("types").types[name])
    }

    /// What a function answers.
    fn result(&self, interface: &str, function: &str) -> Type {
        let function = &self.interface(interface).functions[function];
        function.result.expect("the function answers")
    }

    fn size_and_align(&self, ty: Type) -> (usize, usize) {
        (
            self.sizes.size(&ty).size_wasm64(),
            self.sizes.align(&ty).align_wasm64(),
        )
    }

    fn kind(&self, ty: Type) -> &TypeDefKind {
        let Type::Id(mut id) = ty else {
            panic!("{ty:?} has no parts")
        };
        loop {
            match &self.resolve.types[id].kind {
                TypeDefKind::Type(Type::Id(alias)) => id = *alias,
                kind => return kind,
            }
        }
    }

    /// Where the fields of a record or a tuple are, and where the payload of a variant is.
    fn offsets(&self, ty: Type) -> Vec<usize> {
        let variant = |tag, cases: &[Option<&Type>]| {
            let payload = self.sizes.payload_offset(tag, cases.iter().copied());
            Vec::from([0, payload.size_wasm64()])
        };
        let fields = |types: Vec<&Type>| {
            self.sizes
                .field_offsets(types)
                .iter()
                .map(|(at, _)| at.size_wasm64())
                .collect()
        };
        match self.kind(ty) {
            TypeDefKind::Record(record) => fields(record.fields.iter().map(|f| &f.ty).collect()),
            TypeDefKind::Tuple(tuple) => fields(tuple.types.iter().collect()),
            TypeDefKind::Option(some) => variant(wit_parser::Int::U8, &[None, Some(some)]),
            TypeDefKind::Result(result) => variant(
                wit_parser::Int::U8,
                &[result.ok.as_ref(), result.err.as_ref()],
            ),
            TypeDefKind::Variant(of) => {
                let cases: Vec<_> = of.cases.iter().map(|case| case.ty.as_ref()).collect();
                variant(of.tag(), &cases)
            }
            kind => panic!("{kind:?} is not expected here"),
        }
    }

    fn is<T>(&self, ty: Type, offsets: &[usize]) {
        assert_eq!((size_of::<T>(), align_of::<T>()), self.size_and_align(ty));
        assert_eq!(offsets, self.offsets(ty));
    }
}

#[test]
fn records_are_as_in_wit() {
    let wit = Wit::new();
    wit.is::<Status>(
        wit.named("status"),
        &[
            offset_of!(Status, code),
            offset_of!(Status, message),
            offset_of!(Status, details),
            offset_of!(Status, trailers),
        ],
    );
    wit.is::<Method>(
        wit.named("method"),
        &[
            offset_of!(Method, id),
            offset_of!(Method, name),
            offset_of!(Method, kind),
            offset_of!(Method, idempotent),
        ],
    );
    wit.is::<Service>(
        wit.named("service"),
        &[offset_of!(Service, name), offset_of!(Service, methods)],
    );
    wit.is::<Description>(
        wit.named("description"),
        &[
            offset_of!(Description, services),
            offset_of!(Description, file_descriptor_set),
            offset_of!(Description, max_request_message),
        ],
    );
    let TypeDefKind::List(entry) = wit.kind(wit.named("metadata")) else {
        panic!("metadata is a list")
    };
    wit.is::<Entry>(*entry, &[offset_of!(Entry, key), offset_of!(Entry, value)]);
    let context = Type::Id(wit.interface("trace").types["context"]);
    let (parent, state) = (
        offset_of!(Context, traceparent),
        offset_of!(Context, tracestate),
    );
    wit.is::<Context>(context, &[parent, state]);
    let strings = wit.size_and_align(wit.result("call", "[method]call.peer"));
    assert_eq!((size_of::<Slice>(), align_of::<Slice>()), strings);
    assert_eq!(
        wit.size_and_align(wit.result("handler", "describe")).0,
        size_of::<Description>()
    );
}

#[test]
fn answers_of_functions_are_as_in_wit() {
    let wit = Wit::new();
    let outcome = [0, offset_of!(Outcome, payload)];
    wit.is::<Outcome>(wit.result("handler", "unary"), &outcome);
    wit.is::<Outcome>(wit.result("handler", "stream"), &outcome);

    let call = |method: &str| wit.result("call", &format!("[method]call.{method}"));
    wit.is::<OptionSlice>(call("get"), &[0, offset_of!(OptionSlice, some)]);
    let context = wit.result("trace", "current");
    wit.is::<OptionContext>(context, &[0, offset_of!(OptionContext, some)]);
    wit.is::<OptionU64>(call("time-left"), &[0, offset_of!(OptionU64, some)]);
    let byte = [0, offset_of!(TaggedByte, value)];
    wit.is::<TaggedByte>(call("cancelled"), &byte);
    wit.is::<TaggedByte>(call("set-header"), &byte);
    wit.is::<TaggedByte>(call("set-trailer"), &byte);
    let received = [0, offset_of!(Received, payload)];
    wit.is::<Received>(call("receive"), &received);
    wit.is::<Received>(call("receive-timeout"), &received);
    wit.is::<Received>(call("receive-many"), &received);
    wit.is::<Sent>(call("send"), &[0, offset_of!(Sent, error)]);
    let TypeDefKind::Result(sent) = wit.kind(call("send")) else {
        panic!("send gives a result")
    };
    let error = sent.err.expect("send can fail");
    assert_eq!(
        wit.offsets(error),
        [0, offset_of!(Sent, reason) - offset_of!(Sent, error)]
    );
}

#[test]
fn cases_are_numbered_as_in_wit() {
    let wit = Wit::new();
    let names = |interface: &str, name: &str| -> Vec<String> {
        match wit.kind(Type::Id(wit.interface(interface).types[name])) {
            TypeDefKind::Enum(of) => of.cases.iter().map(|case| case.name.clone()).collect(),
            TypeDefKind::Variant(of) => of.cases.iter().map(|case| case.name.clone()).collect(),
            kind => panic!("{kind:?} has no cases"),
        }
    };
    // The order in which `call`, `lower` and `log` number them.
    assert_eq!(
        names("call", "cancel-reason"),
        ["client-gone", "deadline", "shutdown"]
    );
    assert_eq!(
        names("call", "received"),
        ["message", "end-of-stream", "cancelled", "timeout"]
    );
    assert_eq!(
        names("call", "received-many"),
        ["messages", "end-of-stream", "cancelled"]
    );
    assert_eq!(
        names("call", "send-error"),
        ["cancelled", "too-large", "closed"]
    );
    assert_eq!(
        names("call", "metadata-error"),
        [
            "invalid-key",
            "reserved-key",
            "invalid-value",
            "too-large",
            "already-sent"
        ]
    );
    assert_eq!(
        names("types", "method-kind"),
        [
            "unary",
            "client-streaming",
            "server-streaming",
            "bidi-streaming"
        ]
    );
    assert_eq!(
        names("log", "level"),
        ["trace", "debug", "info", "warn", "error"]
    );
}
