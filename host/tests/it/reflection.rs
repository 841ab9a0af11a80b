//! `grpc.reflection` on a real host: what tools are told about plugins that carry descriptors, about those
//! that do not, and about the host itself; in both versions, and through the tunnel.

use std::collections::BTreeMap;
use std::path::Path;

use prost::Message;
use switchboard_host::Drained;
use switchboard_test_support::proto::BUILT_IN;
use switchboard_test_support::proto::reflection::server_reflection_client::ServerReflectionClient;
use switchboard_test_support::proto::reflection::server_reflection_request::MessageRequest as Ask;
use switchboard_test_support::proto::reflection::server_reflection_response::MessageResponse as Answer;
use switchboard_test_support::proto::reflection::{
    ServerReflectionRequest, ServerReflectionResponse,
};
use switchboard_test_support::{
    PATIENCE, RawClient, TestHost, faulty, frame, frames, guest, log, patiently, root,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

const V1: &str = "grpc.reflection.v1.ServerReflection";
const V1ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";
const NOT_FOUND: i32 = 5;

/// A tool that has a stream open.
pub(crate) struct Tool {
    requests: mpsc::Sender<ServerReflectionRequest>,
    answers: Streaming<ServerReflectionResponse>,
}

impl Tool {
    pub(crate) async fn open(channel: Channel) -> Self {
        let (requests, stream) = mpsc::channel(1);
        let mut client = ServerReflectionClient::new(channel);
        let opened = client.server_reflection_info(ReceiverStream::new(stream));
        let opened = patiently("headers", opened)
            .await
            .expect("reflection is there");
        let answers = opened.into_inner();
        Self { requests, answers }
    }

    async fn ask(&mut self, ask: Ask) -> Answer {
        let request = ServerReflectionRequest {
            host: "any".to_owned(),
            message_request: Some(ask),
        };
        self.requests.send(request.clone()).await.expect("open");
        let answer = patiently("an answer", self.answers.message()).await;
        let answer = answer
            .expect("no status")
            .expect("an answer for each request");
        assert_eq!(answer.valid_host, "any");
        assert_eq!(answer.original_request, Some(request));
        answer.message_response.expect("something")
    }

    /// The names of all services.
    pub(crate) async fn services(&mut self) -> Vec<String> {
        let answer = self.ask(Ask::ListServices("*".to_owned())).await;
        let Answer::ListServicesResponse(list) = answer else {
            panic!("a list: {answer:?}");
        };
        let services = list.service.into_iter();
        services.map(|service| service.name).collect()
    }

    /// Files by their names.
    async fn files(&mut self, ask: Ask) -> Vec<(String, Vec<u8>)> {
        let answer = self.ask(ask).await;
        let Answer::FileDescriptorResponse(files) = answer else {
            panic!("files: {answer:?}");
        };
        let files = files.file_descriptor_proto.into_iter();
        files.map(|file| (name_of(&file), file)).collect()
    }

    async fn names(&mut self, ask: Ask) -> Vec<String> {
        let files = self.files(ask).await;
        files.into_iter().map(|(name, _)| name).collect()
    }

    async fn error(&mut self, ask: Ask) -> (i32, String) {
        let answer = self.ask(ask).await;
        let Answer::ErrorResponse(error) = answer else {
            panic!("an error: {answer:?}");
        };
        (error.error_code, error.error_message)
    }
}

/// The name of a file: its first field.
fn name_of(file: &[u8]) -> String {
    assert_eq!(file[0], 0x0a, "the name comes first");
    let len = usize::from(file[1]);
    String::from_utf8(file[2..2 + len].to_vec()).expect("text")
}

fn symbol(name: &str) -> Ask {
    Ask::FileContainingSymbol(name.to_owned())
}

fn named(name: &str) -> Ask {
    Ask::FileByFilename(name.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_is_listed_and_described_by_its_plugin() {
    let host = TestHost::start_with("echo", |setup| {
        setup.paths.push(guest("testservice"));
        setup.paths.push(guest("interop"));
        setup.paths.push(faulty("describe-descriptors"));
    })
    .await;
    let mut tool = Tool::open(host.channel()).await;
    let listed = tool.services().await;
    for service in [
        V1,
        V1ALPHA,
        "grpc.health.v1.Health",
        "echo.Echo",
        "faulty.Described",
    ] {
        assert!(
            listed.iter().any(|name| name == service),
            "{service}: {listed:?}"
        );
    }
    assert!(listed.is_sorted(), "{listed:?}");
    for (name, file) in [
        ("testservice.TestService", "testservice/testservice.proto"),
        (
            "testservice.TestService.Add",
            "testservice/testservice.proto",
        ),
        ("testservice.FloodRequest", "testservice/testservice.proto"),
        (
            "testservice.FloodRequest.size_bytes",
            "testservice/testservice.proto",
        ),
        (
            "testservice.WaitEvent.kind",
            "testservice/testservice.proto",
        ),
        ("grpc.health.v1.Health.Watch", "grpc/health/v1/health.proto"),
        (V1, "grpc/reflection/v1/reflection.proto"),
        (V1ALPHA, "grpc/reflection/v1alpha/reflection.proto"),
    ] {
        assert_eq!(tool.names(symbol(name)).await, [file], "{name}");
    }
    let with_imports = tool.names(symbol("grpc.testing.TestService")).await;
    assert_eq!(
        with_imports,
        [
            "grpc/testing/test.proto",
            "grpc/testing/empty.proto",
            "grpc/testing/messages.proto"
        ]
    );
    let again = tool.names(symbol("grpc.testing.TestService")).await;
    assert_eq!(again, ["grpc/testing/test.proto"], "imports were sent");
    let imported = tool.names(named("grpc/testing/messages.proto")).await;
    assert_eq!(imported[0], "grpc/testing/messages.proto");
    assert_eq!(
        tool.error(named("grpc/testing/no.proto")).await.0,
        NOT_FOUND
    );
    assert_eq!(tool.error(symbol("testservice.Nobody")).await.0, NOT_FOUND);
    // Those without descriptors say so, and nothing else suffers.
    let (code, text) = tool.error(symbol("echo.Echo")).await;
    assert_eq!(code, NOT_FOUND);
    assert!(
        text.contains("the plugin that serves it carries no descriptors"),
        "{text}"
    );
    let (code, text) = tool.error(symbol("faulty.Described")).await;
    assert!(code == NOT_FOUND && text.contains("not usable"), "{text}");
    log()
        .wait_for(&[
            "plugin=\"faulty-describe-descriptors\"",
            "descriptor set is not used",
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_version_is_the_same_but_for_its_name() {
    let host = TestHost::start("greeter").await;
    let client = host.raw().await;
    let request = ServerReflectionRequest {
        message_request: Some(symbol("helloworld.Greeter")),
        ..ServerReflectionRequest::default()
    };
    let mut answers = BTreeMap::new();
    for version in [V1, V1ALPHA] {
        let path = format!("/{version}/ServerReflectionInfo");
        let answer = client
            .call(RawClient::head(&path), frame(&request.encode_to_vec()))
            .await;
        assert_eq!(answer.code(), 0, "{}", answer.message());
        answers.insert(version, frames(answer.body));
    }
    assert_eq!(answers[V1], answers[V1ALPHA]);
    let nonsense = client
        .call(
            RawClient::head(&format!("/{V1}/ServerReflectionInfo")),
            frame(b"\x1a\x05a"),
        )
        .await;
    assert_eq!(nonsense.code(), 3, "{}", nonsense.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_keeps_its_stream_open_holds_up_no_drain() {
    let host = TestHost::start_with("greeter", |setup| {
        setup.config.drain_timeout = PATIENCE * 10;
        setup.config.plugin.pool.streams_max = 0;
    })
    .await;
    let mut tool = Tool::open(host.tunnel_channel().await).await;
    assert_eq!(tool.names(symbol("helloworld.Greeter")).await.len(), 1);
    assert_eq!(host.stats("greeter").leased.total(), 0);
    assert_eq!(host.finish().await, Drained::Clean);
    let end = patiently("the end", tool.answers.message()).await;
    assert_eq!(end.expect_err("a status").code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_does_not_read_holds_up_no_drain() {
    let host = TestHost::start_with("interop", |setup| {
        setup.config.drain_timeout = PATIENCE * 10;
    })
    .await;
    let mut settings = h2::client::Builder::new();
    settings.initial_window_size(100);
    let client = RawClient::connect_with(host.addr, &settings).await;
    let path = format!("/{V1}/ServerReflectionInfo");
    let mut call = client.begin(RawClient::head(&path)).await;
    let request = ServerReflectionRequest {
        message_request: Some(symbol("grpc.testing.TestService")),
        ..ServerReflectionRequest::default()
    };
    call.send(&request.encode_to_vec());
    let (_, mut answer, _body) = call.headers().await.expect("headers");
    patiently("as much as fits", answer.data())
        .await
        .expect("some")
        .expect("no reset");
    assert_eq!(host.finish().await, Drained::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn switched_off_it_is_not_there_and_a_set_may_be_too_large() {
    let host = TestHost::start_with("greeter", |setup| setup.config.reflection = None).await;
    let mut client = ServerReflectionClient::new(host.channel());
    let status = client.server_reflection_info(tokio_stream::empty()).await;
    assert_eq!(status.expect_err("off").code(), Code::Unimplemented);
    let host = TestHost::start_with("greeter", |setup| {
        let reflection = setup.config.reflection.as_mut().expect("on by default");
        reflection.set_bytes_max = 100;
    })
    .await;
    assert_eq!(
        host.raw()
            .await
            .unary("/helloworld.Greeter/SayHello", b"")
            .await
            .code(),
        0
    );
    let mut tool = Tool::open(host.channel()).await;
    let (code, text) = tool.error(symbol("helloworld.Greeter")).await;
    assert!(code == NOT_FOUND && text.contains("not usable"), "{text}");
    log()
        .wait_for(&["plugin=\"greeter\"", "more than the limit of 100 bytes"])
        .await;
}

/// What the host says of its own services is what `proto/` says. After a change there:
/// `SWITCHBOARD_BLESS=1 cargo test -p switchboard-host --test it reflection`.
#[test]
fn the_hosts_own_descriptors_are_what_proto_says() {
    for (name, expected) in BUILT_IN {
        let file = format!("host/src/grpc/descriptors/{name}.bin");
        let path = root().join(&file);
        if std::env::var_os("SWITCHBOARD_BLESS").is_some() {
            std::fs::write(&path, expected).expect("it can be written");
        }
        let kept = std::fs::read(Path::new(&path)).expect("it is in the repository");
        assert!(
            kept == expected,
            "{file} is not what proto/ says: see the comment above this test"
        );
    }
}
