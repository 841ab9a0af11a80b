//! The end of a host: no call that was taken is lost, no new one is taken, and nobody holds it up for
//! longer than the operator allows.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use switchboard_host::{
    Drained, Exchange, MethodKind, NativeFuture, NativeMethod, NativeService, Received,
};
use switchboard_test_support::proto::testservice::probe_client::ProbeClient;
use switchboard_test_support::proto::testservice::{InstanceRequest, SleepRequest};
use switchboard_test_support::{
    PATIENCE, RawClient, Setup, TestHost, eventually, frame, frames, guest, log, patiently,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tonic::{Code, Status};

const BIDI: &str = "/echo.Echo/Bidi";
const WAIT: &str = "/testservice.Probe/Wait";

#[expect(clippy::disallowed_methods, reason = "a test's own task")]
fn begin<T: Send + 'static>(call: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(call)
}

/// The ways in which the stock client says that a request found no connection to leave on: it had
/// none, its connection closed while the request waited, or was told to take no more (GOAWAY).
fn assert_not_sent(status: &Status) {
    let not_sent = [Code::Unavailable, Code::Cancelled].contains(&status.code())
        || format!("{status:?}").contains("GoAway(b\"\", NO_ERROR, Remote)");
    assert!(not_sent && status.metadata().is_empty(), "{status:?}");
}

/// A stream of echo that has answered once.
async fn open_stream(client: &RawClient) -> (h2::RecvStream, h2::SendStream<Bytes>) {
    let mut call = client.begin(RawClient::head(BIDI)).await;
    call.send(b"before");
    let (_, mut answers, body) = call.headers().await.expect("headers");
    let answer = patiently("an answer", answers.data())
        .await
        .expect("one")
        .expect("no reset");
    assert_eq!(frames(answer), ["before"]);
    (answers, body)
}

/// A host, and a call of `Wait` that has answered its first event and gets no request.
async fn waiting_call(
    name: &str,
    drain_timeout: Duration,
) -> (TestHost, h2::RecvStream, h2::SendStream<Bytes>) {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join(format!("{name}.wasm"));
    std::fs::copy(guest("testservice"), &file).expect("a copy");
    let host = TestHost::start_with("echo", |setup| {
        setup.paths.push(file);
        setup.config.drain_timeout = drain_timeout;
        // On a busy machine the plugin may get its turn late; what it does with it is the test.
        setup.config.call.cancel_grace = PATIENCE;
    })
    .await;
    let call = host.raw().await.begin(RawClient::head(WAIT)).await;
    let (_, mut events, body) = call.headers().await.expect("headers");
    patiently("an event", events.data())
        .await
        .expect("one")
        .expect("no reset");
    (host, events, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_calls_ends_at_once() {
    let host =
        TestHost::start_with("echo", |setup| setup.config.drain_timeout = PATIENCE * 10).await;
    let client = host.raw().await;
    assert_eq!(client.unary("/echo.Echo/Unary", b"done").await.code(), 0);
    assert_eq!(host.finish().await, Drained::Clean);
    drop(client);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_run_come_to_their_end() {
    let host = TestHost::start_with("testservice", |setup| {
        setup.paths.push(guest("echo"));
        setup.config.drain_timeout = PATIENCE * 10;
    })
    .await;
    let (mut answers, mut body) = open_stream(&host.raw().await).await;
    let mut probe = ProbeClient::new(host.channel());
    let unary = begin(async move { probe.sleep(SleepRequest { duration_ms: 100 }).await });
    eventually("the call runs", || {
        host.stats("testservice").leased.unary == 1
    })
    .await;
    host.drain();
    assert_eq!(
        patiently("the unary call", unary)
            .await
            .expect("no panic")
            .expect("OK")
            .get_ref()
            .calls,
        1
    );
    for message in ["after", "the", "signal"] {
        body.send_data(frame(message.as_bytes()), false)
            .expect("open");
        let answer = patiently("an answer", answers.data())
            .await
            .expect("one")
            .expect("no reset");
        assert_eq!(frames(answer), [message]);
    }
    body.send_data(Bytes::new(), true).expect("open");
    assert!(patiently("the end", answers.data()).await.is_none());
    let trailers = answers
        .trailers()
        .await
        .expect("no reset")
        .expect("trailers");
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(host.finish().await, Drained::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_during_the_drain_is_refused_at_once() {
    let host = TestHost::start_with("testservice", |setup| {
        setup.paths.push(guest("echo"));
        setup.config.drain_timeout = PATIENCE * 10;
    })
    .await;
    let (mut answers, mut body) = open_stream(&host.raw().await).await;
    let mut old = ProbeClient::new(host.channel());
    old.instance(InstanceRequest {})
        .await
        .expect("before the drain");
    host.drain();
    eventually("the port is closed", || {
        std::net::TcpStream::connect(host.addr).is_err()
    })
    .await;
    let mut new = ProbeClient::new(host.channel());
    let refusal = patiently("a refusal", new.instance(InstanceRequest {})).await;
    assert_not_sent(&refusal.expect_err("nobody listens"));
    // Who is connected is served until the news arrive.
    let refusal = patiently("a refusal", async {
        loop {
            if let Err(status) = old.instance(InstanceRequest {}).await {
                return status;
            }
        }
    });
    assert_not_sent(&refusal.await);
    // All that time a call that was there before goes on.
    body.send_data(frame(b"still here"), true).expect("open");
    let answer = patiently("an answer", answers.data())
        .await
        .expect("one")
        .expect("no reset");
    assert_eq!(frames(answer), ["still here"]);
    drop((answers, body));
    assert_eq!(host.finish().await, Drained::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_drain_cancels_what_still_runs() {
    let (host, mut events, _body) = waiting_call("cut-short", Duration::from_millis(50)).await;
    assert_eq!(host.finish().await, Drained::Cut);
    assert!(patiently("the end", events.data()).await.is_none());
    let trailers = events
        .trailers()
        .await
        .expect("no reset")
        .expect("a status");
    assert_eq!(trailers["grpc-status"], "14", "UNAVAILABLE");
    assert_eq!(trailers["grpc-message"], "the host is shutting down");
    log()
        .wait_for(&[
            "plugin=\"cut-short\"",
            "wait: cancelled: the plugin is being shut down",
        ])
        .await;
}

/// Takes the end of its call, whatever the reason, for a success.
struct Content;

impl NativeService for Content {
    fn name(&self) -> &str {
        "test.Content"
    }

    fn methods(&self) -> Vec<NativeMethod> {
        let kind = MethodKind::BidiStreaming;
        vec![NativeMethod { name: "Wait", kind }]
    }

    fn unary(&self, _: usize, _: Arc<dyn Exchange>, _: Bytes) -> NativeFuture<Bytes> {
        let status = switchboard_host::Status::new(switchboard_host::Code::Unimplemented, "");
        Box::pin(async move { Err(status) })
    }

    fn stream(&self, _: usize, call: Arc<dyn Exchange>) -> NativeFuture<()> {
        Box::pin(async move {
            call.send_headers();
            while let Received::Message(_) = poll_fn(|cx| call.poll_receive(cx)).await {}
            Ok(())
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_cut_short_never_passes_for_a_whole_one() {
    let mut setup = Setup::default();
    setup.config.drain_timeout = Duration::from_millis(50);
    let host = TestHost::build(setup, |builder| builder.native(Content)).await;
    let call = host
        .raw()
        .await
        .begin(RawClient::head("/test.Content/Wait"))
        .await;
    let (_, mut answers, _body) = call.headers().await.expect("headers");
    assert_eq!(host.finish().await, Drained::Cut);
    assert!(patiently("the end", answers.data()).await.is_none());
    let trailers = answers
        .trailers()
        .await
        .expect("no reset")
        .expect("a status");
    assert_eq!(trailers["grpc-status"], "14", "UNAVAILABLE, not OK");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_computes_does_not_outlast_the_drain() {
    let host = TestHost::start_with("faulty", |setup| {
        setup.config.drain_timeout = Duration::from_millis(50);
    })
    .await;
    let mut call = host
        .raw()
        .await
        .begin(RawClient::head("/faulty.Faulty/Spin"))
        .await;
    call.body.send_data(frame(b""), true).expect("open");
    eventually("it computes", || host.stats("faulty").leased.unary == 1).await;
    assert_eq!(host.finish().await, Drained::Cut);
    assert_eq!(
        call.answer().await.expect("a status").code(),
        14,
        "UNAVAILABLE"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_do_not_hold_up_the_drain() {
    let host = TestHost::start_with("echo", |setup| {
        setup.config.drain_timeout = PATIENCE * 10;
        let connection = &mut setup.config.connection;
        connection.handshake_timeout = PATIENCE * 10;
        connection.keepalive_interval = PATIENCE * 10;
    })
    .await;
    let without_a_word = TcpStream::connect(host.addr).await.expect("a connection");
    // HTTP/2 is set up, and from then on nothing is read and no PING answered.
    let mut without_an_ear = TcpStream::connect(host.addr).await.expect("a connection");
    without_an_ear
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .expect("sent");
    without_an_ear
        .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
        .await
        .expect("sent");
    // Both were accepted before this one.
    assert_eq!(
        host.raw().await.unary("/echo.Echo/Unary", b"").await.code(),
        0
    );
    assert_eq!(host.finish().await, Drained::Clean);
    drop((without_a_word, without_an_ear));
}

/// Many clients call all the time while the host stops. One instance serves them all and counts the
/// calls it was entered for: each of them was answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_under_load_loses_no_call_that_was_taken() {
    let host = TestHost::start_with("testservice", |setup| {
        setup.config.plugin.pool.stores_max = 1.try_into().expect("not zero");
        setup.config.plugin.pool.wait_max = PATIENCE * 2;
        setup.config.drain_timeout = PATIENCE * 10;
    })
    .await;
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let mut probe = ProbeClient::new(host.channel());
        clients.spawn(async move {
            let (mut answered, mut highest) = (0_u64, 0);
            loop {
                match probe.instance(InstanceRequest {}).await {
                    Ok(answer) => {
                        answered += 1;
                        highest = answer.get_ref().calls.max(highest);
                    }
                    Err(status) => return (answered, highest, status),
                }
            }
        });
    }
    let stats = || host.stats("testservice");
    eventually("calls are served", || {
        stats().leased.unary == 1 && stats().waiting > 2
    })
    .await;
    assert_eq!(host.finish().await, Drained::Clean);
    let (mut answered, mut entered) = (0, 0);
    while let Some(client) = patiently("a client ends", clients.join_next()).await {
        let (count, highest, status) = client.expect("no panic");
        assert_not_sent(&status);
        answered += count;
        entered = highest.max(entered);
    }
    assert_eq!(answered, entered, "answered, and entered");
}
