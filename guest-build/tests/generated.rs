//! The generated code: that it is what `golden/` shows, that it compiles (here), and that it serves.
//!
//! `golden/` is also the code to read before changing the generator. After a change, run this test
//! with `UPDATE_GOLDEN=1` and read the difference.

use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message;
use switchboard_guest::testing::Call;
use switchboard_guest::{Code, MethodKind, Request, Response, Sender, Service, Status, Streaming};

#[allow(
    missing_docs,
    unreachable_pub,
    reason = "what prost writes is documented by the .proto, and public for a library"
)]
mod generated {
    pub mod odd {
        pub mod names {
            pub mod v1 {
                include!("golden/odd.names.v1.rs.txt");
            }
        }
        pub mod shared {
            include!("golden/odd.shared.rs.txt");
        }
    }
}

use generated::odd::names::v1::nothing_server::{Nothing, NothingServer};
use generated::odd::names::v1::outer::Inner;
use generated::odd::names::v1::result_server::{Result as OddService, ResultServer};
use generated::odd::names::v1::{Outer, Request as OddRequest};
use generated::odd::shared::Unit;

struct Odd;

impl OddService for Odd {
    fn r#type(&self, request: Request<Inner>) -> Result<Response<Unit>, Status> {
        let name = format!("unit {}", request.get_ref().value);
        Ok(Response::new(Unit { name }))
    }

    fn self_(&self, _request: Request<()>) -> Result<Response<()>, Status> {
        Ok(Response::new(()))
    }

    fn r#match(&self, request: Request<Streaming<String>>) -> Result<Response<u64>, Status> {
        let mut bytes = 0;
        for text in request.into_inner() {
            bytes += text?.len() as u64;
        }
        Ok(Response::new(bytes))
    }

    fn r#loop(
        &self,
        request: Request<prost_types::Timestamp>,
        replies: Sender<Inner>,
    ) -> Result<(), Status> {
        for value in 0..request.get_ref().nanos {
            replies.send(Inner { value })?;
        }
        Ok(())
    }

    fn r#async(
        &self,
        request: Request<Streaming<Outer>>,
        replies: Sender<Outer>,
    ) -> Result<(), Status> {
        for outer in request.into_inner() {
            replies.send(outer?)?;
        }
        Err(Status::aborted("after the last"))
    }
}

impl Nothing for Odd {}

const ODD: ResultServer<Odd> = ResultServer::new(Odd);

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

/// prost formats its output or not by features that other crates of the build choose.
fn without_layout(code: &str) -> String {
    code.chars()
        .filter(|c| !c.is_whitespace() && *c != ',')
        .collect()
}

#[test]
fn golden_code_is_current() {
    let out = tempfile::tempdir().expect("a temporary folder");
    switchboard_guest_build::configure()
        .out_dir(out.path())
        .descriptors(false)
        .leave_out("odd.names.v1.Result.Absent")
        .compile(&[folder("proto/odd/odd.proto")], &[folder("proto")])
        .expect("the sample compiles");
    for name in ["odd.names.v1.rs", "odd.shared.rs"] {
        let fresh = fs::read_to_string(out.path().join(name)).expect("generated file");
        let golden = folder("golden").join(format!("{name}.txt"));
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &fresh).expect("golden file written");
        }
        let old = fs::read_to_string(&golden).expect("golden file");
        assert_eq!(
            without_layout(&fresh),
            without_layout(&old),
            "{name} is not what the generator writes; run this test with UPDATE_GOLDEN=1"
        );
    }
}

#[test]
fn describes_itself_as_the_proto_does() {
    assert_eq!(ODD.name(), "odd.names.v1.Result");
    let methods = ODD.methods();
    assert_eq!(ODD.method_count(), methods.len());
    let described: Vec<_> = methods
        .iter()
        .map(|method| (method.name, method.kind, method.idempotent))
        .collect();
    assert_eq!(
        described,
        [
            ("Type", MethodKind::Unary, false),
            ("Self", MethodKind::Unary, true),
            ("Match", MethodKind::ClientStreaming, false),
            ("Loop", MethodKind::ServerStreaming, true),
            ("Async", MethodKind::BidiStreaming, false),
        ]
    );
    assert!(NothingServer::new(Odd).methods().is_empty());
    assert_eq!(OddRequest::default(), OddRequest {});
}

#[test]
fn unary_crosses_packages() {
    let answer = Call::to(&ODD, "Type")
        .message(Inner { value: 7 }.encode_to_vec())
        .run();
    assert_eq!(answer.status, Ok(()));
    let unit = Unit::decode(answer.messages[0].as_slice()).expect("a unit");
    assert_eq!(unit.name, "unit 7");
}

#[test]
fn empty_messages_are_no_bytes() {
    let answer = Call::to(&ODD, "Self").message([]).run();
    assert_eq!(answer.status, Ok(()));
    assert_eq!(answer.messages, [b""]);
}

#[test]
fn client_streaming_of_wrappers() {
    let texts = ["ab", "", "cde"].map(|text| text.to_owned().encode_to_vec());
    let answer = Call::to(&ODD, "Match").messages(texts).run();
    assert_eq!(answer.status, Ok(()));
    assert_eq!(answer.messages, [5_u64.encode_to_vec()]);
}

#[test]
fn server_streaming_of_a_well_known_type() {
    let request = prost_types::Timestamp {
        seconds: 0,
        nanos: 3,
    };
    let answer = Call::to(&ODD, "Loop")
        .message(request.encode_to_vec())
        .run();
    let values: Vec<_> = answer
        .messages
        .iter()
        .map(|bytes| Inner::decode(bytes.as_slice()).expect("an inner").value)
        .collect();
    assert_eq!(values, [0, 1, 2]);
}

#[test]
fn bidi_ends_with_the_status_of_the_handler() {
    let outer = Outer {
        inner: Some(Inner { value: -1 }),
    };
    let answer = Call::to(&ODD, "Async")
        .messages([outer.encode_to_vec()])
        .run();
    assert_eq!(answer.messages, [outer.encode_to_vec()]);
    assert_eq!(answer.status, Err(Status::aborted("after the last")));
}

#[test]
fn request_that_does_not_decode_is_internal() {
    let answer = Call::to(&ODD, "Type").message([0xff]).run();
    let status = answer.status.expect_err("no message in these bytes");
    assert_eq!(status.code(), Code::Internal);
    assert!(status.message().contains("does not decode"), "{status}");
}
