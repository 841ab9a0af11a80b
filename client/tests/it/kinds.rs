//! The four kinds of calls over each transport, by clients generated from a plugin's `.proto`.

use futures_util::{StreamExt, stream};
use switchboard_client_peer::peer::Ask;
use switchboard_client_peer::testservice::test_service_client::TestServiceClient;
use switchboard_client_peer::testservice::{AddRequest, CountRequest, Number};
use tonic::Code;

use crate::support::{Over, Rig, assert_status, echo, patiently};

/// One test for each transport.
macro_rules! over_each {
    ($($name:ident),* $(,)?) => {
        mod tcp { over_each!(@each Tcp $($name)*); }
        mod memory { over_each!(@each Memory $($name)*); }
        mod tunnel { over_each!(@each Tunnel $($name)*); }
        mod bridge { over_each!(@each Bridge $($name)*); }
    };
    (@each $over:ident $($name:ident)*) => {$(
        #[tokio::test]
        async fn $name() {
            let rig = super::Rig::start(super::Over::$over).await;
            super::patiently(super::$name(&rig)).await;
        }
    )*};
}

over_each!(
    unary,
    client_streaming,
    server_streaming,
    bidi,
    a_status_with_text_and_details,
    a_status_after_messages,
    large_messages_both_ways,
    metadata_of_an_interceptor,
);

fn numbers(values: impl IntoIterator<Item = i64>) -> Vec<Number> {
    values.into_iter().map(|value| Number { value }).collect()
}

async fn unary(rig: &Rig) {
    let mut client = TestServiceClient::new(rig.channel.clone());
    let sum = client.add(AddRequest { a: 2, b: 3 }).await.expect("a sum");
    assert_eq!(sum.into_inner().value, 5);
    let status = client.add(AddRequest { a: i64::MAX, b: 1 }).await;
    let status = status.expect_err("too large");
    assert_status(&status, Code::OutOfRange, "zu groß für 64 Bit");
}

async fn client_streaming(rig: &Rig) {
    let mut client = TestServiceClient::new(rig.channel.clone());
    let total = client.sum(stream::iter(numbers(1..=1000))).await;
    let total = total.expect("a total").into_inner();
    assert_eq!((total.count, total.total), (1000, 500_500));
    let nothing = client.sum(stream::empty()).await.expect("a total");
    assert_eq!(nothing.into_inner().count, 0);
}

async fn server_streaming(rig: &Rig) {
    let mut client = TestServiceClient::new(rig.channel.clone());
    let request = CountRequest {
        from: 1,
        to: 1000,
        ..CountRequest::default()
    };
    let numbers = client.count(request).await.expect("a stream").into_inner();
    let values: Vec<i64> = numbers
        .map(|number| number.expect("a number").value)
        .collect()
        .await;
    assert!(values.iter().copied().eq(1..=1000), "{values:?}");
}

async fn bidi(rig: &Rig) {
    let mut client = TestServiceClient::new(rig.channel.clone());
    let (send, sent) = tokio::sync::mpsc::channel(1);
    let sent = tokio_stream::wrappers::ReceiverStream::new(sent);
    let totals = client.running(sent).await.expect("a stream");
    let mut totals = totals.into_inner();
    for value in 1..=100 {
        send.send(Number { value }).await.expect("wanted");
        let total = totals.message().await.expect("no error").expect("a total");
        assert_eq!(total.total, value * (value + 1) / 2);
    }
    drop(send);
    assert_eq!(totals.message().await.expect("no error"), None);
}

async fn a_status_with_text_and_details(rig: &Rig) {
    let ask = Ask {
        code: Code::FailedPrecondition as u32,
        message: "nicht möglich: 100 % belegt \u{1f980}".to_owned(),
        details: vec![0, 1, 254, 255],
        ..Ask::default()
    };
    let status = rig.client().unary(ask).await.expect_err("asked for");
    let text = "nicht möglich: 100 % belegt \u{1f980}";
    assert_eq!(status.message(), text);
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.details(), [0, 1, 254, 255]);
}

async fn a_status_after_messages(rig: &Rig) {
    let ask = Ask {
        count: 3,
        code: Code::DataLoss as u32,
        message: "dann nicht mehr".to_owned(),
        ..Ask::default()
    };
    let answers = rig.client().produce(ask).await.expect("a stream");
    let mut answers: Vec<_> = answers.into_inner().collect().await;
    let last = answers.pop().expect("something");
    assert_eq!(answers.len(), 3);
    assert!(answers.iter().all(Result::is_ok));
    let status = last.expect_err("asked for");
    assert_status(&status, Code::DataLoss, "dann nicht mehr");
}

async fn large_messages_both_ways(rig: &Rig) {
    for size in [0, 1, 16 * 1024 - 1, 16 * 1024, 65 * 1024, 1 << 20, 3 << 20] {
        let payload: Vec<u8> = (0..=250).cycle().take(size).collect();
        let answer = rig.client().unary(echo(&payload)).await;
        let answer = answer.expect("an answer").into_inner();
        assert!(answer.payload == payload, "{size} bytes");
    }
}

async fn metadata_of_an_interceptor(rig: &Rig) {
    use switchboard_client_peer::peer::peer_client::PeerClient;
    let intercept = |mut request: tonic::Request<()>| {
        let token = "Bearer sesame".parse().expect("a value");
        request.metadata_mut().insert("authorization", token);
        Ok(request)
    };
    let mut client = PeerClient::with_interceptor(rig.channel.clone(), intercept);
    let answer = client.unary(echo(b"")).await.expect("an answer");
    assert_eq!(answer.into_inner().authorization, "Bearer sesame");
}
