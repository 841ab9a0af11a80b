//! Who is asked when several plugins carry things of one name, what is sent once, and what is said when
//! there is nothing to send.

use prost::Message as _;
use switchboard_test_support::proto::reflection as wire;
use wire::server_reflection_request::MessageRequest as Ask;
use wire::server_reflection_response::MessageResponse as Answer;

use super::*;

/// A file: its name, what it imports, and a message `pkg.NAME`; padding makes it large.
fn file(name: &str, imports: &[&str], declares: &str, padding: usize) -> Vec<u8> {
    let mut file = Message::default();
    file.bytes(1, name.as_bytes());
    file.bytes(2, b"pkg");
    for import in imports {
        file.bytes(3, import.as_bytes());
    }
    let mut declared = Message::default();
    declared.bytes(1, declares.as_bytes());
    // A service and a message look alike from outside.
    file.bytes(6, declared.as_bytes());
    file.bytes(999, &vec![0; padding]);
    file.as_bytes().to_vec()
}

fn set(files: &[Vec<u8>]) -> Bytes {
    let mut set = Message::default();
    for file in files {
        set.bytes(1, file);
    }
    set.into()
}

fn empty() -> Arc<Reflection> {
    let drain = CancellationToken::new();
    Reflection::new(&ReflectionConfig::default(), 4 << 20, drain)
}

impl Reflection {
    fn plugin(&self, name: &str, service: &str, files: &[Vec<u8>]) {
        self.set(&name.into(), vec![service.to_owned()], Some(&set(files)));
    }
}

/// A caller with a stream.
struct Caller<'a>(&'a Reflection, Stream);

impl<'a> Caller<'a> {
    fn of(reflection: &'a Reflection) -> Self {
        Self(reflection, Stream::default())
    }

    fn ask(&mut self, ask: Ask) -> Answer {
        let request = wire::ServerReflectionRequest {
            host: "here".to_owned(),
            message_request: Some(ask),
        };
        let bytes = request.encode_to_vec();
        let answer = self.0.answer(&mut self.1, &bytes).expect("a request");
        assert!(
            answer.len() <= self.0.answer_bytes_max,
            "{} bytes",
            answer.len()
        );
        let answer = wire::ServerReflectionResponse::decode(answer).expect("a response");
        assert_eq!(answer.valid_host, "here");
        assert_eq!(answer.original_request, Some(request));
        answer.message_response.expect("something")
    }

    fn files(&mut self, ask: Ask) -> Vec<Vec<u8>> {
        let answer = self.ask(ask);
        let Answer::FileDescriptorResponse(files) = answer else {
            panic!("files: {answer:?}");
        };
        files.file_descriptor_proto
    }

    fn error(&mut self, ask: Ask) -> (i32, String) {
        let answer = self.ask(ask);
        let Answer::ErrorResponse(error) = answer else {
            panic!("an error: {answer:?}");
        };
        (error.error_code, error.error_message)
    }
}

fn symbol(name: &str) -> Ask {
    Ask::FileContainingSymbol(name.to_owned())
}

fn named(name: &str) -> Ask {
    Ask::FileByFilename(name.to_owned())
}

const NOT_FOUND: i32 = 5;
const RESOURCE_EXHAUSTED: i32 = 8;

#[test]
fn files_of_one_name_and_different_content_do_not_mix() {
    let reflection = empty();
    let a = [
        file("a", &["common"], "A", 0),
        file("common", &[], "Common", 1),
    ];
    let b = [
        file("b", &["common"], "B", 0),
        file("common", &[], "Common", 2),
    ];
    reflection.plugin("a", "pkg.A", &a);
    reflection.plugin("b", "pkg.B", &b);
    let mut caller = Caller::of(&reflection);
    assert_eq!(
        caller.files(named("common")),
        [&a[1][..]],
        "the first loaded"
    );
    assert_eq!(
        caller.files(symbol("pkg.B")),
        b,
        "its own import, although one of that name was sent"
    );
    assert_eq!(
        caller.files(named("common")),
        [&b[1][..]],
        "from then on that of b"
    );
    assert_eq!(caller.files(symbol("pkg.Common")), [&b[1][..]]);
    assert_eq!(
        caller.files(symbol("pkg.A")),
        [&a[0][..]],
        "its import was sent before"
    );
    assert_eq!(caller.files(symbol("pkg.Common")), [&a[1][..]]);
}

#[test]
fn an_import_is_sent_once_in_a_stream_whoever_carries_it() {
    let reflection = empty();
    let common = file("common", &[], "Common", 0);
    let (a, b) = (
        file("a", &["common"], "A", 0),
        file("b", &["common"], "B", 0),
    );
    reflection.plugin("a", "pkg.A", &[a.clone(), common.clone()]);
    reflection.plugin("b", "pkg.B", &[common.clone(), b.clone()]);
    let mut caller = Caller::of(&reflection);
    assert_eq!(caller.files(symbol("pkg.A")), [a.clone(), common.clone()]);
    assert_eq!(caller.files(symbol("pkg.B")), [b], "the same bytes");
    assert_eq!(
        caller.files(symbol("pkg.A")),
        [&a[..]],
        "what is asked for is sent again"
    );
    assert_eq!(caller.files(named("common")), [&common[..]]);
    assert_eq!(
        Caller::of(&reflection).files(symbol(".pkg.A")),
        [a, common],
        "another stream"
    );
}

#[test]
fn nobody_describes_the_service_of_another() {
    let reflection = empty();
    let lie = file("lie", &[], "A", 0);
    let truth = file("truth", &[], "A", 0);
    reflection.plugin("b", "pkg.B", &[lie.clone(), file("b", &[], "B", 0)]);
    reflection.plugin("a", "pkg.A", std::slice::from_ref(&truth));
    let mut caller = Caller::of(&reflection);
    caller.files(symbol("pkg.B"));
    assert_eq!(caller.files(symbol("pkg.A")), [truth]);
    assert_eq!(caller.error(symbol("pkg.A.Method")).0, NOT_FOUND);
    // Also not of one that carries no descriptors.
    reflection.set(&"a".into(), vec!["pkg.A".to_owned()], None);
    for name in ["pkg.A", "pkg.A.Method"] {
        let (code, text) = caller.error(symbol(name));
        assert_eq!(code, NOT_FOUND);
        assert_eq!(
            text,
            "pkg.A cannot be described: the plugin that serves it carries no descriptors"
        );
    }
    // Nor of one whose descriptors are nonsense, nor of one that forgot it.
    let nonsense = Bytes::from_static(b"\xff\xff");
    assert!(!reflection.set(&"a".into(), vec!["pkg.A".to_owned()], Some(&nonsense)));
    assert!(caller.error(symbol("pkg.A")).1.contains("not usable"));
    reflection.plugin("a", "pkg.A", &[]);
    assert!(
        caller
            .error(symbol("pkg.A"))
            .1
            .contains("in the plugin's descriptors")
    );
    assert_eq!(
        caller.files(named("lie")),
        [lie],
        "it is a file as any other"
    );
}

#[test]
fn what_is_gone_is_not_known_any_more() {
    let reflection = empty();
    let a = file("a", &[], "A", 0);
    reflection.plugin("a", "pkg.A", std::slice::from_ref(&a));
    let mut caller = Caller::of(&reflection);
    assert_eq!(caller.files(symbol("pkg.A")), [a]);
    reflection.set(&"a".into(), Vec::new(), None);
    for ask in [
        symbol("pkg.A"),
        named("a"),
        Ask::AllExtensionNumbersOfType("pkg.A".into()),
    ] {
        assert_eq!(caller.error(ask).0, NOT_FOUND);
    }
    let Answer::ListServicesResponse(list) = caller.ask(Ask::ListServices(String::new())) else {
        panic!("a list");
    };
    assert_eq!(list.service, []);
    // In its place another, with other content under the same names.
    let again = file("a", &[], "A", 1);
    reflection.plugin("a", "pkg.A", std::slice::from_ref(&again));
    assert_eq!(caller.files(symbol("pkg.A")), [again]);
}

#[test]
fn an_answer_is_no_larger_than_clients_take() {
    let reflection = empty();
    let large = 1_700_000;
    let files = [
        file("a", &["b", "c", "d"], "A", large),
        file("b", &[], "B", large),
        file("c", &[], "C", 10),
        file("d", &["a"], "D", 4 << 20),
    ];
    reflection.plugin("p", "pkg.A", &files[..3]);
    let mut caller = Caller::of(&reflection);
    // What does not fit is left out, and asked for by its name as any import that is missing.
    assert_eq!(
        caller.files(symbol("pkg.A")),
        [files[0].clone(), files[2].clone()]
    );
    assert_eq!(caller.files(named("b")), [&files[1][..]]);
    let config = ReflectionConfig {
        set_bytes_max: 16 << 20,
    };
    let reflection = Reflection::new(&config, 4 << 20, CancellationToken::new());
    reflection.plugin("p", "pkg.A", &files);
    let mut caller = Caller::of(&reflection);
    let (code, text) = caller.error(named("d"));
    assert_eq!(code, RESOURCE_EXHAUSTED, "{text}");
    // A host may allow less than clients do.
    let reflection = Reflection::new(&config, 1000, CancellationToken::new());
    reflection.plugin("p", "pkg.C", &files);
    let mut caller = Caller::of(&reflection);
    assert_eq!(caller.files(symbol("pkg.C")), [&files[2][..]]);
    assert_eq!(caller.error(symbol("pkg.A")).0, RESOURCE_EXHAUSTED);
}

#[test]
fn extensions_are_found_by_message_and_number() {
    let reflection = empty();
    let with = |name: &str, numbers: &[i32]| {
        let mut file = Message::default();
        file.bytes(1, name.as_bytes());
        for number in numbers {
            let mut field = Message::default();
            field.bytes(1, b"x");
            field.bytes(2, b".pkg.Extended");
            field.varint(3, i64::from(*number).cast_unsigned());
            file.bytes(7, field.as_bytes());
        }
        file.as_bytes().to_vec()
    };
    let (a, b) = (with("a", &[100, 7]), with("b", &[-1, 100]));
    reflection.plugin("a", "pkg.A", &[a.clone(), file("e", &[], "Extended", 0)]);
    reflection.plugin("b", "pkg.B", std::slice::from_ref(&b));
    let mut caller = Caller::of(&reflection);
    let extension = |containing_type: &str, extension_number| {
        Ask::FileContainingExtension(wire::ExtensionRequest {
            containing_type: containing_type.to_owned(),
            extension_number,
        })
    };
    assert_eq!(caller.files(extension("pkg.Extended", 100)), [a]);
    assert_eq!(caller.files(extension(".pkg.Extended", -1)), [b]);
    let (code, text) = caller.error(extension("pkg.Extended", 8));
    assert!(code == NOT_FOUND && text.contains("number 8"), "{text}");
    let numbers = |name: &str| Ask::AllExtensionNumbersOfType(name.to_owned());
    let Answer::AllExtensionNumbersResponse(all) = caller.ask(numbers("pkg.Extended")) else {
        panic!("numbers");
    };
    assert_eq!(all.base_type_name, "pkg.Extended");
    assert_eq!(all.extension_number, [-1, 7, 100]);
    assert_eq!(caller.error(numbers("pkg.Unknown")).0, NOT_FOUND);
}

#[test]
fn a_request_for_nothing_is_an_error_and_bytes_that_are_none_are_no_request() {
    let reflection = empty();
    let mut stream = Stream::default();
    let answer = reflection
        .answer(&mut stream, b"")
        .expect("an empty request");
    let answer = wire::ServerReflectionResponse::decode(answer).expect("a response");
    let Some(Answer::ErrorResponse(error)) = answer.message_response else {
        panic!("an error: {answer:?}");
    };
    assert_eq!(error.error_code, 3);
    for nonsense in [
        &b"\xff"[..],
        b"\x1a\x05a",
        b"\x1a\x01\xff",
        b"\x18\x01",
        b"\x2a\x02\x08\x01",
    ] {
        let answer = reflection.answer(&mut stream, nonsense);
        assert_eq!(answer, Err(Malformed), "{nonsense:?}");
    }
    // Long names come back cut.
    let long = "x".repeat(10_000);
    let (_, text) = Caller::of(&reflection).error(symbol(&long));
    assert!(text.len() < 300, "{} bytes", text.len());
}

#[tokio::test]
async fn large_answers_are_made_when_there_is_room_for_them() {
    use futures_util::FutureExt;

    let reflection = empty();
    reflection.plugin("a", "pkg.A", &[file("a", &[], "A", 2 << 20)]);
    reflection.plugin("b", "pkg.B", &[file("b", &[], "B", 0)]);
    let of = |name: &str| {
        let request = wire::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(symbol(name)),
        };
        request.encode_to_vec()
    };
    let mut streams: [Stream; 4] = std::array::from_fn(|_| Stream::default());
    let [first, second, third, fourth] = &mut streams;
    let large = of("pkg.A");
    let held = [
        reflection.make(first, &large).await.expect("a request"),
        reflection.make(second, &large).await.expect("a request"),
    ];
    let mut waits = Box::pin(reflection.make(third, &large));
    assert!(waits.as_mut().now_or_never().is_none(), "no room");
    let (small, place) = reflection
        .make(fourth, &of("pkg.B"))
        .await
        .expect("a request");
    assert!(place.is_none() && small.len() < FREE_BYTES_MAX);
    drop(held);
    let (answer, place) = waits.await.expect("a request");
    assert!(
        answer.len() > 2 << 20,
        "made as if nothing had been made before"
    );
    drop(place);
    assert_eq!(reflection.room.available_permits(), ANSWERS_BYTES_MAX);
}
