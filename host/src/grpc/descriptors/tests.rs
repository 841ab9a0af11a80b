//! Descriptor sets as they should be, and as strangers may make them.

use proptest::prelude::*;

use super::*;
use crate::grpc::protobuf::Message;

const MAX: usize = 4 << 20;

/// Descriptors made by hand: fields and what they hold.
fn message(fields: &[(u32, &[u8])]) -> Vec<u8> {
    let mut message = Message::default();
    for (number, bytes) in fields {
        message.bytes(*number, bytes);
    }
    message.as_bytes().to_vec()
}

fn named(name: &str) -> Vec<u8> {
    message(&[(1, name.as_bytes())])
}

fn extension(name: &str, extended: &str, number: i32) -> Vec<u8> {
    let mut field = Message::default();
    field.bytes(1, name.as_bytes());
    field.bytes(2, extended.as_bytes());
    field.varint(3, i64::from(number).cast_unsigned());
    field.as_bytes().to_vec()
}

fn file(name: &str, imports: &[&str], more: &[(u32, &[u8])]) -> Vec<u8> {
    let imports = imports.iter().map(|import| (3, import.as_bytes()));
    let fields: Vec<_> = std::iter::once((1, name.as_bytes()))
        .chain(imports)
        .chain(more.iter().copied())
        .collect();
    message(&fields)
}

fn read(files: &[Vec<u8>]) -> Result<Set, Unusable> {
    let fields: Vec<_> = files.iter().map(|file| (1, &file[..])).collect();
    Set::read(&message(&fields).into(), MAX)
}

fn names<'a>(files: impl Iterator<Item = &'a Arc<File>>) -> Vec<&'a str> {
    files.map(|file| &*file.name).collect()
}

/// One file with one of everything.
fn everything() -> Vec<u8> {
    let value = named("RED");
    let color = message(&[(1, b"Color"), (2, &value)]);
    let inner = message(&[(1, b"Inner"), (2, &named("deep"))]);
    let nested_extension = extension("inside", ".a.Outer", -3);
    let outer = message(&[
        (1, b"Outer"),
        (2, &named("field")),
        (8, &named("choice")),
        (3, &inner),
        (4, &color),
        (6, &nested_extension),
    ]);
    let service = message(&[(1, b"Service"), (2, &named("Method"))]);
    let outside = extension("outside", ".google.protobuf.FieldOptions", 50_000);
    // The package stands last: order means nothing.
    file(
        "a.proto",
        &[],
        &[
            (4, &outer),
            (5, &color),
            (6, &service),
            (7, &outside),
            (2, b"a"),
        ],
    )
}

#[test]
fn everything_that_is_declared_is_found() {
    let set = read(&[file("other.proto", &[], &[]), everything()]).expect("sound");
    for symbol in [
        "a.Outer",
        "a.Outer.field",
        "a.Outer.choice",
        "a.Outer.Inner",
        "a.Outer.Inner.deep",
        "a.Outer.Color",
        "a.Outer.RED",
        "a.Outer.inside",
        "a.Color",
        "a.RED",
        "a.Service",
        "a.Service.Method",
        "a.outside",
    ] {
        assert_eq!(set.declares(symbol), Some(1), "{symbol}");
    }
    for symbol in [
        "",
        "a",
        "Outer",
        "a.Color.RED",
        "a.Outer.deep",
        ".a.Outer",
        "b.Outer",
    ] {
        assert_eq!(set.declares(symbol), None, "{symbol}");
    }
    let numbers = |message| {
        set.extensions(message)
            .map(|them| them.keys().copied().collect::<Vec<_>>())
    };
    assert_eq!(numbers("a.Outer"), Some(vec![-3]));
    assert_eq!(numbers("google.protobuf.FieldOptions"), Some(vec![50_000]));
    assert_eq!(numbers("a.Service"), None);
    assert_eq!(set.file("a.proto"), Some(1));
    assert_eq!(&set.files()[1].bytes[..], everything());
}

#[test]
fn imports_may_be_cyclic_shared_and_missing() {
    let set = read(&[
        file("a", &["b", "c", "gone"], &[]),
        file("b", &["d", "a"], &[]),
        file("c", &["d", "c", "d"], &[]),
        file("d", &["a", "gone"], &[]),
        file("alone", &[], &[]),
    ])
    .expect("as good as any");
    assert_eq!(names(set.with_imports(0)), ["a", "b", "c", "d"]);
    assert_eq!(names(set.with_imports(3)), ["d", "a", "b", "c"]);
    assert_eq!(names(set.with_imports(4)), ["alone"]);
    let missing: Vec<_> = set.missing().collect();
    assert_eq!(missing, [("gone", "a"), ("gone", "d")]);
}

#[test]
fn a_file_may_be_there_twice_if_it_is_the_same() {
    let set = read(&[everything(), everything()]).expect("the same");
    assert_eq!(set.files().len(), 1);
    let twice = read(&[everything(), file("a.proto", &["b"], &[])]);
    assert_eq!(
        twice.expect_err("different"),
        Unusable::TwoFiles("a.proto".into())
    );
}

#[test]
fn nothing_is_a_set_too_and_what_is_none_is_told() {
    assert!(
        Set::read(&Bytes::new(), MAX)
            .expect("empty")
            .files()
            .is_empty()
    );
    for nonsense in [
        &b"\xff\xff\xff\xff"[..],
        b"\x0a\x05a",
        b"\x08\x01\x0a",
        b"\x0a\x03\x0a\x01\xff",
    ] {
        let unusable = Set::read(&Bytes::copy_from_slice(nonsense), MAX);
        assert_eq!(
            unusable.expect_err("nonsense"),
            Unusable::Malformed,
            "{nonsense:?}"
        );
    }
    // A name that is a number.
    let unusable = read(&[vec![0x08, 0x01]]);
    assert_eq!(unusable.expect_err("nonsense"), Unusable::Malformed);
}

#[test]
fn every_limit_holds() {
    let len = MAX + 1;
    let unusable = Set::read(&vec![0; len].into(), MAX).expect_err("too large");
    assert_eq!(unusable, Unusable::TooLarge { len, max: MAX });

    let many: Vec<_> = (0..=FILES_MAX)
        .map(|at| file(&at.to_string(), &[], &[]))
        .collect();
    assert_eq!(
        read(&many).expect_err("too many"),
        Unusable::TooMany("files")
    );

    let nameless = named("");
    let many: Vec<(u32, &[u8])> = vec![(5, &nameless); NAMES_MAX];
    let unusable = read(&[file("a", &[], &many)]);
    assert_eq!(unusable.expect_err("too many"), Unusable::TooMany("names"));

    let imports = vec![""; NAMES_MAX + 1];
    let unusable = read(&[file("a", &imports, &[])]);
    assert_eq!(unusable.expect_err("too many"), Unusable::TooMany("names"));

    // A long package before each of many names: a hundred bytes on the wire would be a hundred MiB.
    let package = vec![b'p'; 1 << 20];
    let mut many: Vec<(u32, &[u8])> = vec![(5, &nameless); 100];
    many.push((2, &package));
    let unusable = read(&[file("a", &[], &many)]);
    assert_eq!(unusable.expect_err("too long"), Unusable::TooMany("names"));

    let nested = |depth| {
        let innermost = named("m");
        (1..depth).fold(innermost, |inner, _| message(&[(1, b"m"), (3, &inner)]))
    };
    let deepest = usize::try_from(DEPTH_MAX).expect("small");
    assert!(read(&[file("a", &[], &[(4, &nested(deepest))])]).is_ok());
    let unusable = read(&[file("a", &[], &[(4, &nested(deepest + 1))])]);
    let expected = Unusable::TooMany("messages inside one another");
    assert_eq!(unusable.expect_err("too deep"), expected);
}

proptest! {
    /// A set that was damaged anywhere is read or refused, and nothing else.
    #[test]
    fn damage_is_survived(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let other = file("b.proto", &["a.proto"], &[(2, b"b"), (4, &named("M"))]);
        let mut bytes = message(&[(1, &everything()), (1, &other)]);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        if let Ok(set) = Set::read(&bytes.into(), MAX) {
            for at in 0..set.files().len() {
                prop_assert!(set.with_imports(at).count() <= set.files().len());
            }
            prop_assert!(set.missing().count() <= NAMES_MAX);
        }
    }

    /// Files that import each other in any way: each comes once, the one asked for first.
    #[test]
    fn imports_of_any_shape_end(edges in prop::collection::vec((0_usize..12, 0_usize..14), 0..60)) {
        let name = |at: usize| at.to_string();
        let files: Vec<_> = (0..12)
            .map(|at| {
                let imports: Vec<_> =
                    edges.iter().filter(|edge| edge.0 == at).map(|edge| name(edge.1)).collect();
                let imports: Vec<_> = imports.iter().map(String::as_str).collect();
                file(&name(at), &imports, &[])
            })
            .collect();
        let set = read(&files).expect("sound");
        for at in 0..12 {
            let found = names(set.with_imports(at));
            prop_assert_eq!(found[0], name(at));
            let unique: HashSet<_> = found.iter().collect();
            prop_assert_eq!(unique.len(), found.len());
            // Nothing that is reachable is left out.
            for file in &found {
                for edge in edges.iter().filter(|edge| name(edge.0) == *file && edge.1 < 12) {
                    prop_assert!(found.contains(&name(edge.1).as_str()));
                }
            }
        }
    }
}
