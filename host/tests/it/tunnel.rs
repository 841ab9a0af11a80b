//! gRPC through a tunnel: everything that works over a socket works here, a plugin learns by which
//! tunnel a call came, and nobody can tell it lies about that.

use std::net::SocketAddr;

use bytes::Bytes;
use switchboard_host::{AuthoriseFuture, Authoriser, Upgrade, Verdict};
use switchboard_test_support::proto::testservice::probe_client::ProbeClient;
use switchboard_test_support::proto::testservice::test_service_client::TestServiceClient;
use switchboard_test_support::proto::testservice::{
    AddRequest, ContextRequest, ContextResponse, CountRequest, Number, Total,
};
use switchboard_test_support::{
    RawClient, Setup, TestHost, channel_over, eventually, frame, frames, guest, log, patiently,
};
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tonic::{Code, Request};

const UNARY: &str = "/echo.Echo/Unary";
const BIDI: &str = "/echo.Echo/Bidi";

#[tokio::test(flavor = "multi_thread")]
async fn all_four_kinds() {
    let host = TestHost::start("testservice").await;
    let mut client = TestServiceClient::new(host.tunnel_channel().await);

    let sum = client.add(AddRequest { a: 2, b: 3 }).await.expect("OK");
    assert_eq!(sum.get_ref().value, 5);

    let numbers = || tokio_stream::iter([1, 2, 3].map(|value| Number { value }));
    let sum = client.sum(numbers()).await.expect("OK");
    assert_eq!(*sum.get_ref(), Total { count: 3, total: 6 });

    let wanted = CountRequest {
        from: 7,
        to: 9,
        pause_ms: 0,
    };
    let counted = client.count(wanted).await.expect("OK").into_inner();
    let counted: Vec<_> = counted
        .map(|number| number.expect("OK").value)
        .collect()
        .await;
    assert_eq!(counted, [7, 8, 9]);

    let running = client.running(numbers()).await.expect("OK").into_inner();
    let totals: Vec<_> = running
        .map(|total| total.expect("OK").total)
        .collect()
        .await;
    assert_eq!(totals, [1, 3, 6]);

    let too_large = AddRequest { a: i64::MAX, b: 1 };
    let refused = client.add(too_large).await.expect_err("it does not fit");
    assert_eq!(refused.code(), Code::OutOfRange);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_both_ways_and_many_calls_at_once() {
    let host = TestHost::start("echo").await;
    let (client, handle) = host.raw_tunnel().await;
    let message: Vec<u8> = (0..=250).cycle().take(1_000_000).collect();
    let mut calls = JoinSet::new();
    for number in 0..64_u8 {
        let client = client.clone();
        // Two of the calls take several windows each.
        let mut message = if number < 2 { message.clone() } else { vec![] };
        message.push(number);
        calls.spawn(async move {
            let answer = client.unary(UNARY, &message).await;
            assert_eq!(answer.code(), 0);
            assert!(answer.messages() == [message], "the answer is the message");
        });
    }
    while let Some(call) = patiently("a call", calls.join_next()).await {
        call.expect("no panic");
    }
    let carried = handle.activity();
    assert!(carried.received_bytes > 2_000_000 && carried.sent_bytes > 2_000_000);
}

/// What the plugin sees of a call over this channel.
async fn context(channel: tonic::transport::Channel, request: Request<()>) -> ContextResponse {
    let keys = ["tunnel-id", "origin", "identity", "anything"];
    let keys = keys.map(|key| format!("switchboard-{key}")).into();
    let request = request.map(|()| ContextRequest { keys });
    let seen = ProbeClient::new(channel).context(request).await;
    seen.expect("OK").into_inner()
}

/// The metadata under keys that only the host sets, asked for in either way.
fn of_the_host(context: &ContextResponse) -> Vec<(String, String)> {
    let pairs = |entries: &[switchboard_test_support::proto::testservice::Metadata]| {
        let ours = entries
            .iter()
            .filter(|entry| entry.key.starts_with("switchboard-"));
        ours.map(|entry| {
            let value = String::from_utf8(entry.value.clone()).expect("text");
            (entry.key.clone(), value)
        })
        .collect::<Vec<_>>()
    };
    let (listed, looked_up) = (pairs(&context.metadata), pairs(&context.looked_up));
    assert_eq!(listed, looked_up);
    listed
}

fn is_id(text: &str) -> bool {
    let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() == 32 && text.bytes().all(digit)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_sees_who_calls_and_by_which_tunnel() {
    let host = TestHost::start("testservice").await;
    let stream = host.ask().open().await;
    let addr = stream.get_ref().local_addr().expect("an address");
    let channel = channel_over(stream).await;
    let seen = context(channel.clone(), Request::new(())).await;
    assert_eq!(seen.peer, addr.to_string());
    let known = of_the_host(&seen);
    // No browser, nobody asked who it is: only the tunnel is known.
    assert_eq!(known.len(), 1, "{known:?}");
    assert_eq!(known[0].0, "switchboard-tunnel-id");
    assert!(is_id(&known[0].1), "{known:?}");
    // The next call comes by the same tunnel, another tunnel is another one.
    let again = context(channel, Request::new(())).await;
    assert_eq!(of_the_host(&again), known);
    let other = context(host.tunnel_channel().await, Request::new(())).await;
    assert_ne!(of_the_host(&other), known);
    log().wait_for(&["tunnel opened", &known[0].1]).await;

    let origin = format!("HTTP://{}", host.addr);
    let channel = channel_over(host.ask().origin(&origin).open().await).await;
    let known = of_the_host(&context(channel, Request::new(())).await);
    assert_eq!(known.len(), 2, "{known:?}");
    assert_eq!(known[1].0, "switchboard-origin");
    assert_eq!(known[1].1, format!("http://{}", host.addr));
}

/// Lets everybody in as whoever they say they are.
struct Believing;

impl Authoriser for Believing {
    fn authorise<'a>(&'a self, upgrade: &'a Upgrade<'a>) -> AuthoriseFuture<'a> {
        let name = upgrade.headers.get("x-name");
        let identity = name.map(|name| name.to_str().expect("text").to_owned());
        Box::pin(async move { Ok(Verdict::Allow { identity }) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_claim_what_only_the_host_knows() {
    let setup = Setup {
        paths: vec![guest("testservice")],
        ..Setup::default()
    };
    let host = TestHost::build(setup, |builder| builder.authoriser(Believing)).await;
    let claims = || {
        let mut request = Request::new(());
        for key in ["tunnel-id", "origin", "identity", "anything"] {
            let key =
                tonic::metadata::MetadataKey::from_bytes(format!("switchboard-{key}").as_bytes());
            request
                .metadata_mut()
                .insert(key.expect("a key"), "mallory".parse().expect("a value"));
        }
        let proof = "kept".parse().expect("a value");
        request.metadata_mut().insert("x-switchboard-origin", proof);
        request
    };
    let kept = |context: &ContextResponse| {
        let is_kept = |key: &str| key == "x-switchboard-origin";
        context.metadata.iter().any(|entry| is_kept(&entry.key))
    };
    // Over a socket nothing is known, and nothing can be claimed.
    let seen = context(host.channel(), claims()).await;
    assert_eq!(of_the_host(&seen), []);
    assert!(kept(&seen));
    // Through a tunnel the host's word stands alone.
    let tunnel = host.ask().header("x-name", "alice").open().await;
    let seen = context(channel_over(tunnel).await, claims()).await;
    let known = of_the_host(&seen);
    assert_eq!(known.len(), 2, "{known:?}");
    assert!(is_id(&known[0].1), "{known:?}");
    let identity = ("switchboard-identity".to_owned(), "alice".to_owned());
    assert_eq!(known[1], identity);
    assert!(kept(&seen));
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_come_from_trusted_proxies_only() {
    let peer = async |host: &TestHost, forwarded: &str| {
        let stream = host.ask().header("x-forwarded-for", forwarded).open().await;
        let own = stream.get_ref().local_addr().expect("an address");
        let seen = context(channel_over(stream).await, Request::new(())).await;
        (seen.peer, own)
    };
    let host = TestHost::start("testservice").await;
    let (seen, own) = peer(&host, "192.0.2.7").await;
    assert_eq!(seen, own.to_string(), "nobody is trusted");

    let host = TestHost::start_with("testservice", |setup| {
        let local = "127.0.0.0/8".parse().expect("a network");
        setup.config.http1.trusted_proxies = vec![local];
    })
    .await;
    let (seen, _) = peer(&host, "192.0.2.66, 192.0.2.7").await;
    assert_eq!(seen, "192.0.2.7:0");
    assert!(
        seen.parse::<SocketAddr>().is_ok(),
        "still an address and a port"
    );
    let (seen, _) = peer(&host, "192.0.2.7, 127.0.0.9").await;
    assert_eq!(seen, "192.0.2.7:0");
    let (seen, own) = peer(&host, "nonsense").await;
    assert_eq!(seen, own.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_gone_takes_its_calls_along() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("tunnel-gone.wasm");
    std::fs::copy(guest("testservice"), &file).expect("a copy");
    let host = TestHost::start_with("echo", |setup| setup.paths.push(file)).await;
    let (client, handle) = host.raw_tunnel().await;
    let call = client
        .begin(RawClient::head("/testservice.Probe/Wait"))
        .await;
    let (_, mut events, _body) = call.headers().await.expect("headers");
    patiently("an event", events.data())
        .await
        .expect("one")
        .expect("no reset");
    assert_eq!(host.stats("tunnel-gone").leased.streams, 1);
    // No close frame, no GOAWAY: the socket just ends.
    handle.close_now();
    log()
        .wait_for(&["plugin=\"tunnel-gone\"", "wait: cancelled: the caller"])
        .await;
    eventually("the instance is free", || {
        host.stats("tunnel-gone").leased.streams == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_back_and_forth() {
    let host = TestHost::start("echo").await;
    let (client, _handle) = host.raw_tunnel().await;
    let mut call = client.begin(RawClient::head(BIDI)).await;
    call.send(b"0");
    let (_, mut answers, mut body) = call.headers().await.expect("headers");
    for number in 1..200 {
        let answer = patiently("an answer", answers.data()).await;
        let answer = answer.expect("one").expect("no reset");
        let released = answers.flow_control().release_capacity(answer.len());
        released.expect("open");
        assert_eq!(frames(answer), [(number - 1).to_string()]);
        let next = frame(number.to_string().as_bytes());
        body.send_data(next, false).expect("open");
    }
    body.send_data(Bytes::new(), true).expect("open");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_about_calls_say_who_calls_on_either_lane() {
    const PANIC: &str = "/faulty.Faulty/Panic";
    for (name, long) in [("who-short", None), ("who-long", Some(PANIC.to_owned()))] {
        let folder = tempfile::TempDir::new().expect("a folder");
        let file = folder.path().join(format!("{name}.wasm"));
        std::fs::copy(guest("faulty"), &file).expect("a copy");
        let host = TestHost::start_with("echo", |setup| {
            setup.paths.push(file);
            setup.config.plugin.long_methods = long.into_iter().collect();
        })
        .await;
        let origin = format!("http://{}", host.addr);
        let stream = host.ask().origin(&origin).open().await;
        let tunnel = RawClient::over(stream, &h2::client::Builder::new()).await;
        assert_eq!(tunnel.unary(PANIC, b"").await.code(), 13);
        let plugin = format!("plugin=\"{name}\"");
        let failed = [&*plugin, "call failed: the plugin trapped"];
        let line = log().wait_for(&failed).await;
        let at = line.find(" tunnel=\"").expect(&line) + " tunnel=\"".len();
        let id = &line[at..at + 32];
        assert!(is_id(id), "{line}");
        // What it prints, too.
        let (tunnel, origin) = (format!("tunnel=\"{id}\""), format!("origin=\"{origin}\""));
        let panicked = [&*plugin, "panicked as asked"];
        for line in [line, log().wait_for(&panicked).await] {
            for part in ["peer=127.0.0.1:", &tunnel, &origin] {
                assert!(line.contains(part), "{part}: {line}");
            }
        }
        // Without a tunnel there is a peer all the same.
        let client = host.raw().await;
        assert_eq!(client.unary(PANIC, b"").await.code(), 13);
        let direct = || {
            let lines = log().find(&failed);
            lines
                .iter()
                .any(|line| line.contains("peer=127.0.0.1:") && !line.contains("tunnel"))
        };
        eventually("a line about the other call", direct).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_about_a_trap_begins_with_its_cause_and_has_few_frames() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("deep-trap.wasm");
    std::fs::copy(guest("faulty"), &file).expect("a copy");
    let host = TestHost::start_with("echo", |setup| setup.paths.push(file)).await;
    let answer = host.raw().await.unary("/faulty.Faulty/Recurse", b"").await;
    assert_eq!(
        (answer.code(), answer.message()),
        (8, "the plugin used up its stack")
    );
    let failed = [
        "plugin=\"deep-trap\"",
        "call failed: the plugin used up its stack",
    ];
    let line = log().wait_for(&failed).await;
    let cause = line.find("call stack exhausted").expect(&line);
    let frames = line.find("; in ").expect(&line);
    assert!(cause < frames, "{line}");
    assert_eq!(line[frames..].matches(" < ").count(), 12, "{line}");
    assert!(line.contains(" < 8 more"), "{line}");
}
