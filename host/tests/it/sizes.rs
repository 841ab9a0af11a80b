//! Limits in bytes, each at its last allowed byte and one beyond: what is too large is refused
//! before the plugin is entered, and costs nobody else anything.

use prost::Message;
use switchboard_test_support::proto::testservice::{
    DecorateRequest, DecorateResponse, FloodRequest, InstanceRequest, InstanceResponse, Metadata,
};
use switchboard_test_support::{RawAnswer, RawClient, TestHost, eventually, faulty, frame, log};

use crate::inbound::Inbound;

const UNARY: &str = "/echo.Echo/Unary";
const BIDI: &str = "/echo.Echo/Bidi";
const EXHAUSTED: u16 = 8;

/// What HTTP/2 counts for a header besides name and value.
const OVERHEAD: usize = 32;

async fn start(guest: &str, request_max: usize, response_max: usize) -> (TestHost, RawClient) {
    let host = TestHost::start_with(guest, |setup| {
        setup.config.call.request_bytes_max = request_max;
        setup.config.call.response_bytes_max = response_max;
    })
    .await;
    let client = host.raw().await;
    (host, client)
}

/// How many calls the instance has served, this one included.
async fn calls(client: &RawClient) -> u64 {
    let request = InstanceRequest {}.encode_to_vec();
    let answer = client.unary("/testservice.Probe/Instance", &request).await;
    assert_eq!(answer.code(), 0, "{}", answer.message());
    let answer = InstanceResponse::decode(answer.messages().remove(0));
    answer.expect("an answer").calls
}

fn assert_exhausted(answer: &RawAnswer, text: &str) {
    assert_eq!(answer.status, 200);
    assert_eq!(answer.code(), EXHAUSTED, "{}", answer.message());
    assert_eq!(answer.message(), text);
}

/// The header of a message that is announced and never sent.
fn announced(len: u32) -> Vec<u8> {
    let mut head = vec![0];
    head.extend(len.to_be_bytes());
    head
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_at_the_limit_passes_and_one_beyond_does_not() {
    let (host, client) = start("echo", 1000, 4 << 20).await;
    for path in [UNARY, BIDI] {
        let answer = client.unary(path, &[7; 1000]).await;
        assert_eq!(answer.code(), 0, "{path}: {}", answer.message());
        assert_eq!(answer.messages(), [vec![7; 1000]]);
        let answer = client.unary(path, &[7; 1001]).await;
        let text = "request message of 1001 bytes is larger than the limit of 1000 bytes";
        assert_exhausted(&answer, text);
        assert!(answer.body.is_empty());
    }
    // The stream was running and is dropped; the unary call never had an instance.
    let dropped = || host.stats("echo").retired_unclean == 1;
    eventually("the stream's instance is dropped", dropped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_request_is_refused_by_its_length_before_the_plugin_is_entered() {
    let (host, client) = start("testservice", 1000, 4 << 20).await;
    for method in ["Context", "Flood"] {
        let head = RawClient::head(&format!("/testservice.Probe/{method}"));
        let mut call = client.begin(head).await;
        // Five bytes are enough; the rest is not waited for.
        let beginning = announced(u32::MAX).into();
        call.body.send_data(beginning, false).expect("open");
        let answer = call.answer().await.expect("a status, not a reset");
        let text = "request message of 4294967295 bytes is larger than the limit of 1000 bytes";
        assert_exhausted(&answer, text);
    }
    assert_eq!(calls(&client).await, 1, "only this one was served");
    assert_eq!(host.stats("testservice").made, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_keeps_what_it_had_sent_before_an_oversized_request() {
    let (_host, client) = start("echo", 1000, 4 << 20).await;
    let mut call = client.begin(RawClient::head(BIDI)).await;
    call.send(b"first");
    let (_, body, mut request) = call.headers().await.expect("headers");
    let mut answers = Inbound::new(body);
    let first = answers.next().await.expect("no reset");
    assert_eq!(first.as_deref(), Some(&b"first"[..]));
    let beginning = announced(1001).into();
    request.send_data(beginning, false).expect("open");
    assert_eq!(answers.next().await.expect("no reset"), None);
    let trailers = answers.trailers().await.expect("no reset");
    assert_eq!(trailers["grpc-status"], "8");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_may_lower_the_limit_for_requests_and_not_raise_it() {
    const RAW: &str = "/faulty.Raw/Echo";
    /// What `faulty-raw` says of itself.
    const ITS_OWN: usize = 64 << 10;
    for (of_host, expected) in [(4 << 20, ITS_OWN), (1000, 1000)] {
        let host = TestHost::start_with("faulty", |setup| {
            setup.paths = vec![faulty("raw")];
            setup.config.call.request_bytes_max = of_host;
        })
        .await;
        let client = host.raw().await;
        let answer = client.unary(RAW, &vec![7; expected]).await;
        assert_eq!(answer.code(), 0, "{}", answer.message());
        let answer = client.unary(RAW, &vec![7; expected + 1]).await;
        assert_eq!(answer.code(), EXHAUSTED, "{}", answer.message());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_may_have_limits_of_its_own() {
    let host = TestHost::start_with("echo", |setup| {
        setup.config.call.request_bytes_max = 1000;
        setup.config.call.response_bytes_max = 3000;
        let messages = &mut setup.config.plugin.messages;
        messages.all.request_bytes_max = Some(1500);
        let of = &mut messages.of;
        let service = of.entry("/echo.Echo/*".to_owned()).or_default();
        service.request_bytes_max = Some(4000);
        service.response_bytes_max = Some(2000);
        of.entry(UNARY.to_owned()).or_default().request_bytes_max = Some(500);
    })
    .await;
    let client = host.raw().await;
    // The nearest one counts, above or below those of all calls.
    for (path, max, text) in [
        (
            UNARY,
            500,
            "request message of 501 bytes is larger than the limit of 500 bytes",
        ),
        (BIDI, 2000, ""),
    ] {
        let answer = client.unary(path, &vec![7; max]).await;
        assert_eq!(answer.code(), 0, "{path}: {}", answer.message());
        let answer = client.unary(path, &vec![7; max + 1]).await;
        assert_eq!(answer.code(), EXHAUSTED, "{path}: {}", answer.message());
        assert!(answer.message().contains(text), "{}", answer.message());
    }
    let answer = client.unary(BIDI, &[7; 4001]).await;
    let text = "request message of 4001 bytes is larger than the limit of 4000 bytes";
    assert_eq!(answer.message(), text);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_message_of_any_method_finds_room() {
    const LARGE: usize = 300 << 10;
    let host = TestHost::start_with("echo", |setup| {
        // Less than the message for all that come slowly.
        setup.config.buffer.unread_bytes_max = 64 << 10;
        setup.config.call.request_bytes_max = 1000;
        let of = &mut setup.config.plugin.messages.of;
        of.entry(UNARY.to_owned()).or_default().request_bytes_max = Some(LARGE);
    })
    .await;
    let head = RawClient::head(UNARY);
    let mut call = host.raw().await.begin(head).await;
    let message = frame(&vec![7; LARGE]);
    // In pieces, so that it is not there at once.
    for piece in message.chunks(10_000) {
        let piece = bytes::Bytes::copy_from_slice(piece);
        call.body.send_data(piece, false).expect("open");
    }
    call.end();
    let answer = call.answer().await.expect("an answer");
    assert_eq!(answer.code(), 0, "{}", answer.message());
    assert_eq!(answer.messages(), [vec![7; LARGE]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_a_method_that_is_not_there_are_said_in_the_log() {
    let host = TestHost::start_with("echo", |setup| {
        let of = &mut setup.config.plugin.messages.of;
        for path in ["/sizes.NotHere/*", "/sizes.NotHere/Unary", "/echo.Echo/*"] {
            of.entry(path.to_owned()).or_default();
        }
        let own = setup.config.plugin.clone();
        setup.plugins.push(("other".to_owned(), own));
    })
    .await;
    assert_eq!(host.raw().await.unary(UNARY, b"").await.code(), 0);
    for path in ["/sizes.NotHere/*\"", "/sizes.NotHere/Unary\""] {
        log().wait_for(&["WARN", path, "is not served"]).await;
    }
    let said = log().find(&["WARN", "/sizes.NotHere/*\"", "is not served"]);
    assert_eq!(said.len(), 1, "once, not for each plugin: {said:?}");
    let served = log().find(&["WARN", "/echo.Echo/*\"", "is not served"]);
    assert_eq!(served, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_at_the_limit_passes_and_one_beyond_does_not() {
    let (host, client) = start("echo", 4 << 20, 1000).await;
    let answer = client.unary(UNARY, &[7; 1000]).await;
    assert_eq!(answer.code(), 0, "{}", answer.message());
    let answer = client.unary(UNARY, &[7; 1001]).await;
    let text = "response message of 1001 bytes is larger than the limit of 1000 bytes";
    assert_exhausted(&answer, text);
    assert!(answer.body.is_empty());
    let stats = host.stats("echo");
    assert_eq!((stats.made, stats.retired_unclean), (1, 0), "it is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_response_beyond_the_limit_is_the_plugins_to_handle() {
    let (host, client) = start("testservice", 4 << 20, 1000).await;
    let flood = |size_bytes| {
        FloodRequest {
            count: 3,
            size_bytes,
        }
        .encode_to_vec()
    };
    // A block of 995 bytes takes 3 bytes of protobuf, and two more from index 1 on.
    let path = "/testservice.Probe/Flood";
    let answer = client.unary(path, &flood(995)).await;
    assert_eq!(answer.code(), 0, "{}", answer.message());
    let sizes: Vec<_> = answer.messages().iter().map(|block| block.len()).collect();
    assert_eq!(sizes, [998, 1000, 1000]);
    let answer = client.unary(path, &flood(996)).await;
    assert_eq!(answer.code(), EXHAUSTED, "{}", answer.message());
    assert_eq!(answer.messages().len(), 1, "what was sent stays sent");
    assert_eq!(calls(&client).await, 3, "the instance is kept");
    assert_eq!(host.stats("testservice").retired_unclean, 0);
}

/// Bytes of metadata that every request of [`RawClient::head`] has.
fn bytes_of_head() -> usize {
    let head = RawClient::head("/").body(()).expect("a request");
    let pairs = head.headers().iter();
    pairs
        .map(|(name, value)| name.as_str().len() + value.len() + OVERHEAD)
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn request_metadata_at_the_limit_passes_and_one_byte_beyond_does_not() {
    let host = TestHost::start("testservice").await;
    let client = host.raw().await;
    let room = (16 << 10) - bytes_of_head() - "x-big".len() - OVERHEAD;
    for (len, code) in [(room, 0), (room + 1, EXHAUSTED), (24 << 10, EXHAUSTED)] {
        let head = RawClient::head("/testservice.Probe/Instance").header("x-big", "a".repeat(len));
        let answer = client.call(head, frame(b"")).await;
        assert_eq!(answer.code(), code, "{len} bytes: {}", answer.message());
    }
    assert_eq!(calls(&client).await, 2, "the others entered no plugin");
    // Far beyond, HTTP/2 itself answers; the connection goes on.
    let head = RawClient::head("/testservice.Probe/Instance").header("x-big", "a".repeat(70 << 10));
    let answer = client.begin(head).await.answer().await.expect("an answer");
    assert_eq!(answer.status, 431);
    assert_eq!(calls(&client).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn response_metadata_at_the_limit_passes_and_one_byte_beyond_does_not() {
    let host = TestHost::start("testservice").await;
    let client = host.raw().await;
    let room = (16 << 10) - "x-big".len() - OVERHEAD;
    let big = |len| Metadata {
        key: "x-big".to_owned(),
        value: vec![b'a'; len],
    };
    let request = DecorateRequest {
        headers: vec![big(room + 1), big(room), big(0)],
        trailers: vec![big(room + 1), big(room), big(0)],
        ..DecorateRequest::default()
    };
    let path = "/testservice.Probe/Decorate";
    let answer = client.unary(path, &request.encode_to_vec()).await;
    assert_eq!(answer.code(), 0, "{}", answer.message());
    assert_eq!(answer.headers["x-big"].len(), room);
    assert_eq!(answer.trailers["x-big"].len(), room);
    let refused = DecorateResponse::decode(answer.messages().remove(0)).expect("an answer");
    // Of each three, the first was too large and the last had no room left.
    let text = "x-big: response metadata is larger than the host's limit";
    assert_eq!(refused.refused, [text; 4]);
}
