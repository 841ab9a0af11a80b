//! What the messages of methods look like on the wire, and whether those of another version fit.
//!
//! Called by `plugin` with the descriptor sets of two versions of a plugin. Messages are compared as
//! protobuf reads them, by the numbers and types of their fields; names are not on the wire. A field that is
//! gone, or new, is none that breaks anybody. Sets come from strangers: nesting and messages have limits, and
//! a set that cannot be read has no schema.
//!
//! Source: "Updating A Message Type" of the protobuf documentation; field numbers of
//! google/protobuf/descriptor.proto. Knows no plugin and no call.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::protobuf::{Fields, Malformed};

/// How deep messages may lie in one another. protoc stops at 32.
const DEPTH_MAX: u32 = 32;

/// Most messages in a schema: as many as a set may have names.
const MESSAGES_MAX: usize = 200_000;

/// Differences that are told; who changed everything need not read everything.
const TOLD_MAX: usize = 10;

/// The messages and methods of one descriptor set.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    /// By full name.
    messages: HashMap<String, BTreeMap<i32, Field>>,
    /// Request and response, by `/package.Service/Method`.
    methods: HashMap<String, (String, String)>,
}

#[derive(Clone, Debug, Default)]
struct Field {
    name: String,
    repeated: bool,
    kind: i32,
    /// Full name of its message or enum.
    of: String,
}

/// `FieldDescriptorProto.Type`.
const TYPE_STRING: i32 = 9;
const TYPE_GROUP: i32 = 10;
const TYPE_MESSAGE: i32 = 11;
const TYPE_BYTES: i32 = 12;

/// `FieldDescriptorProto.Label`.
const LABEL_REPEATED: i32 = 3;

impl Schema {
    /// Of a serialized `google.protobuf.FileDescriptorSet`; none if it is no such thing.
    #[must_use]
    pub(crate) fn read(set: &[u8]) -> Option<Self> {
        let mut schema = Self::default();
        schema.add_files(set).ok()?;
        Some(schema)
    }

    /// What would break callers of this method if `new` took the place of this one; nothing if one of
    /// the two does not describe it.
    #[must_use]
    pub(crate) fn changes(&self, new: &Self, path: &str) -> Vec<String> {
        let (Some(before), Some(after)) = (self.methods.get(path), new.methods.get(path)) else {
            return Vec::new();
        };
        let mut open = vec![(&before.0, &after.0), (&before.1, &after.1)];
        let mut seen: HashSet<_> = open.iter().copied().collect();
        let mut told = Vec::new();
        while let Some((before, after)) = open.pop() {
            let (Some(fields), Some(other)) = (self.messages.get(before), new.messages.get(after))
            else {
                continue;
            };
            for (number, field) in fields {
                let Some(now) = other.get(number) else {
                    continue;
                };
                if let Some(change) = field.change(now) {
                    told.push(format!(
                        "field {number} ({}) of {before} {change}",
                        field.name
                    ));
                    if told.len() == TOLD_MAX {
                        return told;
                    }
                } else if is_message(field.kind) && seen.insert((&field.of, &now.of)) {
                    open.push((&field.of, &now.of));
                }
            }
        }
        told
    }

    fn add_files(&mut self, set: &[u8]) -> Result<(), Malformed> {
        for field in Fields::of(set) {
            if let (1, file) = field? {
                self.add_file(file.bytes()?)?;
            }
        }
        Ok(())
    }

    fn add_file(&mut self, file: &[u8]) -> Result<(), Malformed> {
        // The package may come after what is in it.
        let mut package = "";
        for field in Fields::of(file) {
            if let (2, name) = field? {
                package = name.text()?;
            }
        }
        for field in Fields::of(file) {
            match field? {
                (4, message) => self.add_message(package, message.bytes()?, 0)?,
                (6, service) => self.add_service(package, service.bytes()?)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn add_message(&mut self, within: &str, message: &[u8], depth: u32) -> Result<(), Malformed> {
        if depth >= DEPTH_MAX || self.messages.len() >= MESSAGES_MAX {
            return Err(Malformed);
        }
        let name = full(within, name(message)?);
        let mut fields = BTreeMap::new();
        for field in Fields::of(message) {
            match field? {
                (2, field) => {
                    let (number, field) = read_field(field.bytes()?)?;
                    fields.insert(number, field);
                }
                (3, nested) => self.add_message(&name, nested.bytes()?, depth + 1)?,
                _ => {}
            }
        }
        self.messages.insert(name, fields);
        Ok(())
    }

    fn add_service(&mut self, package: &str, service: &[u8]) -> Result<(), Malformed> {
        let service_name = full(package, name(service)?);
        for field in Fields::of(service) {
            let (2, method) = field? else {
                continue;
            };
            let method = method.bytes()?;
            let (mut request, mut response) = (String::new(), String::new());
            for field in Fields::of(method) {
                match field? {
                    (2, of) => request = absolute(of.text()?),
                    (3, of) => response = absolute(of.text()?),
                    _ => {}
                }
            }
            let path = format!("/{service_name}/{}", name(method)?);
            self.methods.insert(path, (request, response));
        }
        Ok(())
    }
}

impl Field {
    /// What changes for those who have this one, if messages come with `now` instead.
    fn change(&self, now: &Self) -> Option<String> {
        if self.repeated != now.repeated {
            let words = |repeated| if repeated { "repeated" } else { "single" };
            let (before, after) = (words(self.repeated), words(now.repeated));
            return Some(format!("was {before} and is {after}"));
        }
        // Text is bytes that are read more strictly, so it may become bytes.
        let loosened = self.kind == TYPE_STRING && now.kind == TYPE_BYTES;
        if loosened || on_wire(self.kind) == on_wire(now.kind) {
            return None;
        }
        let (before, after) = (type_name(self.kind), type_name(now.kind));
        Some(format!("was {before} and is {after}"))
    }
}

fn is_message(kind: i32) -> bool {
    matches!(kind, TYPE_MESSAGE | TYPE_GROUP)
}

/// Types that are read as one another have the same number here.
fn on_wire(kind: i32) -> i32 {
    match kind {
        // int64, uint64, int32, bool, uint32, enum.
        3 | 4 | 5 | 8 | 13 | 14 => 3,
        // fixed64, sfixed64.
        6 | 16 => 6,
        // fixed32, sfixed32.
        7 | 15 => 7,
        // sint32, sint64.
        17 | 18 => 17,
        other => other,
    }
}

fn type_name(kind: i32) -> &'static str {
    const NAMES: [&str; 19] = [
        "nothing", "double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool",
        "string", "group", "message", "bytes", "uint32", "enum", "sfixed32", "sfixed64", "sint32",
        "sint64",
    ];
    let at = usize::try_from(kind).ok();
    at.and_then(|at| NAMES.get(at)).unwrap_or(&"unknown")
}

fn read_field(bytes: &[u8]) -> Result<(i32, Field), Malformed> {
    let (mut number, mut read) = (0, Field::default());
    for field in Fields::of(bytes) {
        match field? {
            (1, name) => name.text()?.clone_into(&mut read.name),
            (3, value) => number = value.int32()?,
            (4, label) => read.repeated = label.int32()? == LABEL_REPEATED,
            (5, kind) => read.kind = kind.int32()?,
            (6, of) => read.of = absolute(of.text()?),
            _ => {}
        }
    }
    Ok((number, read))
}

/// The field `name`, which messages, services and methods have in common.
fn name(message: &[u8]) -> Result<&str, Malformed> {
    for field in Fields::of(message) {
        if let (1, name) = field? {
            return name.text();
        }
    }
    Err(Malformed)
}

fn full(within: &str, name: &str) -> String {
    if within.is_empty() {
        name.to_owned()
    } else {
        format!("{within}.{name}")
    }
}

/// What compilers write as `.package.Message`.
fn absolute(name: &str) -> String {
    name.strip_prefix('.').unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::{
        DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
        MethodDescriptorProto, ServiceDescriptorProto,
    };

    use super::*;

    const PATH: &str = "/a.b.S/M";

    fn field(name: &str, number: i32, kind: i32) -> FieldDescriptorProto {
        FieldDescriptorProto {
            name: Some(name.to_owned()),
            number: Some(number),
            label: Some(1),
            r#type: Some(kind),
            type_name: is_message(kind).then(|| ".a.b.M.Inner".to_owned()),
            ..FieldDescriptorProto::default()
        }
    }

    /// A service whose message `M` has these fields, and an inner message with those.
    fn schema(fields: Vec<FieldDescriptorProto>, inner: Vec<FieldDescriptorProto>) -> Schema {
        let inner = DescriptorProto {
            name: Some("Inner".to_owned()),
            field: inner,
            ..DescriptorProto::default()
        };
        let message = DescriptorProto {
            name: Some("M".to_owned()),
            field: fields,
            nested_type: vec![inner],
            ..DescriptorProto::default()
        };
        let method = MethodDescriptorProto {
            name: Some("M".to_owned()),
            input_type: Some(".a.b.M".to_owned()),
            output_type: Some(".a.b.M".to_owned()),
            ..MethodDescriptorProto::default()
        };
        let service = ServiceDescriptorProto {
            name: Some("S".to_owned()),
            method: vec![method],
            ..ServiceDescriptorProto::default()
        };
        let file = FileDescriptorProto {
            package: Some("a.b".to_owned()),
            message_type: vec![message],
            service: vec![service],
            ..FileDescriptorProto::default()
        };
        let set = FileDescriptorSet { file: vec![file] };
        Schema::read(&set.encode_to_vec()).expect("a set")
    }

    #[test]
    fn fields_may_come_go_and_get_other_names() {
        let before = schema(vec![field("a", 1, 9), field("b", 2, 5)], vec![]);
        let after = schema(vec![field("renamed", 1, 9), field("c", 3, 11)], vec![]);
        assert_eq!(before.changes(&after, PATH), Vec::<String>::new());
    }

    #[test]
    fn types_that_are_read_as_one_another_may_change_and_others_may_not() {
        for (before, after, fits) in [
            (5, 3, true),
            (8, 13, true),
            (14, 5, true),
            (9, 12, true),
            (12, 9, false),
            (5, 17, false),
            (6, 16, true),
            (6, 7, false),
            (9, 5, false),
            (11, 12, false),
        ] {
            let schemas = [before, after].map(|kind| schema(vec![field("f", 1, kind)], vec![]));
            let changes = schemas[0].changes(&schemas[1], PATH);
            assert_eq!(changes.is_empty(), fits, "{before} to {after}: {changes:?}");
        }
    }

    #[test]
    fn a_change_deep_inside_is_found_and_named() {
        let outer = vec![field("inner", 1, 11)];
        let before = schema(
            outer.clone(),
            vec![field("deep", 7, 9), field("self", 8, 11)],
        );
        let mut many = field("deep", 7, 9);
        many.label = Some(LABEL_REPEATED);
        let after = schema(outer.clone(), vec![many, field("self", 8, 11)]);
        assert_eq!(
            before.changes(&after, PATH),
            ["field 7 (deep) of a.b.M.Inner was single and is repeated"]
        );
        assert_eq!(before.changes(&after, "/a.b.S/Other"), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_set_or_nests_without_end_has_no_schema() {
        assert!(Schema::read(b"\xff\xff").is_none());
        let mut message = DescriptorProto {
            name: Some("M".to_owned()),
            ..DescriptorProto::default()
        };
        for _ in 0..DEPTH_MAX {
            message = DescriptorProto {
                name: Some("M".to_owned()),
                nested_type: vec![message],
                ..DescriptorProto::default()
            };
        }
        let file = FileDescriptorProto {
            message_type: vec![message],
            ..FileDescriptorProto::default()
        };
        let set = FileDescriptorSet { file: vec![file] };
        assert!(Schema::read(&set.encode_to_vec()).is_none());
    }
}
