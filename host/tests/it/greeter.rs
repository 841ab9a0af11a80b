//! The guest of the README: one typed unary method.

use switchboard_test_support::TestHost;
use switchboard_test_support::proto::helloworld::HelloRequest;
use switchboard_test_support::proto::helloworld::greeter_client::GreeterClient;

#[tokio::test(flavor = "multi_thread")]
async fn greets_by_name() {
    let host = TestHost::start("greeter").await;
    let mut client = GreeterClient::new(host.channel());
    for name in ["you", "", "Zoë 🚀"] {
        let request = HelloRequest {
            name: name.to_owned(),
        };
        let reply = client
            .say_hello(request)
            .await
            .expect("a greeting")
            .into_inner();
        assert_eq!(reply.message, format!("Hello {name}"));
    }
    assert_eq!(host.services, ["helloworld.Greeter"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_no_protobuf_gets_a_status() {
    let host = TestHost::start("greeter").await;
    let answer = host
        .raw()
        .await
        .unary("/helloworld.Greeter/SayHello", b"\xff\xff\xff")
        .await;
    assert_eq!(answer.code(), 13, "{answer:?}");
    assert!(answer.messages().is_empty());
}
