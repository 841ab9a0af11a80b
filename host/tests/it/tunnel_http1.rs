//! HTTP/1.1 on the port of gRPC: how far a peer gets that is slow, large, silent or greedy, and that none
//! of it escapes the limit on connections or the drain.

use std::time::Duration;

use switchboard_host::{Drained, HostConfig};
use switchboard_test_support::{PATIENCE, RawClient, TestHost, http1, patiently, rest_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

async fn start(edit: impl FnOnce(&mut HostConfig)) -> TestHost {
    TestHost::start_with("echo", |setup| edit(&mut setup.config)).await
}

async fn connect(host: &TestHost) -> TcpStream {
    let stream = TcpStream::connect(host.addr).await;
    stream.expect("the host listens")
}

async fn assert_served(host: &TestHost) {
    let answer = host.raw().await.unary("/echo.Echo/Unary", b"next").await;
    assert_eq!(answer.messages(), ["next"]);
    host.ask().open().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_has_many_answers() {
    let host = start(|_| {}).await;
    let mut stream = connect(&host).await;
    for _ in 0..3 {
        let answer = http1(stream, GET).await;
        assert_eq!(answer.status, 404);
        assert!(answer.body.contains("needs HTTP/2"), "{}", answer.body);
        assert!(answer.body.contains("/tunnel"), "{}", answer.body);
        assert_eq!(answer.header("connection"), "");
        stream = answer.stream;
    }
    // A body that nobody wants does not hold anything up.
    let post = b"POST /x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\nsome of it";
    assert_eq!(http1(stream, post).await.status, 404);
    let old = b"GET / HTTP/1.0\r\n\r\n";
    let mut stream = connect(&host).await;
    stream.write_all(old).await.expect("sent");
    let said = rest_of(stream).await;
    assert!(
        said.starts_with(b"HTTP/1.0 404"),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_or_no_head_at_all() {
    let host = start(|_| {}).await;
    let large = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "a".repeat(20 << 10)
    );
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(70));
    for (head, status) in [
        (&*large, 431),
        (&many, 431),
        ("GET  two  spaces HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            400,
        ),
    ] {
        let answer = http1(connect(&host).await, head.as_bytes()).await;
        assert_eq!(answer.status, status, "{}", &head[..30]);
        assert_eq!(rest_of(answer.stream).await, b"", "it is closed");
    }
    // A browser's head with many cookies passes.
    host.ask()
        .header("cookie", &"c=d; ".repeat(2000))
        .open()
        .await;
    assert_served(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_or_silent_is_not_waited_for() {
    let host = start(|config| {
        config.connection.handshake_timeout = Duration::from_millis(200);
        config.http1.head_timeout = Duration::from_millis(200);
    })
    .await;
    let mut half = connect(&host).await;
    half.write_all(&GET[..20]).await.expect("sent");
    let silent = connect(&host).await;
    let mut undecided = connect(&host).await;
    undecided.write_all(b"PR").await.expect("sent");
    // One that had its answer and asks no more.
    let idle = http1(connect(&host).await, GET).await.stream;
    for stream in [half, silent, undecided, idle] {
        assert_eq!(rest_of(stream).await, b"");
    }
    // A tunnel in which HTTP/2 never begins.
    let mut socket = host.ask().by_hand().await;
    let (code, reason, _) = socket.closed().await;
    assert_eq!((code, &*reason), (1002, "HTTP/2 was not set up"));
    // A fresh one that speaks in time is served: the times are not the connection's life.
    let answer = http1(connect(&host).await, GET).await;
    assert_eq!(answer.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_the_answers_is_hung_up_on() {
    let host = start(|config| {
        config.http1.stall_timeout = Duration::from_millis(300);
        let tunnel = config.tunnel.as_mut().expect("there is one by default");
        tunnel.authorise_timeout = Duration::from_millis(200);
    })
    .await;
    let (read, mut write) = connect(&host).await.into_split();
    let asking = async {
        // Ends when the host has ended the connection: until then it is full.
        while write.write_all(&GET.repeat(100)).await.is_ok() {}
    };
    patiently("the end", asking).await;
    drop(read);
    assert_served(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_http1_are_connections() {
    let host = start(|config| {
        config.connection.connections_max = 1.try_into().expect("not zero");
    })
    .await;
    let mut first = http1(connect(&host).await, GET).await.stream;
    let mut second = connect(&host).await;
    second.write_all(GET).await.expect("sent");
    for _ in 0..100 {
        first = http1(first, GET).await.stream;
    }
    let unanswered = second.try_read(&mut [0]);
    assert!(
        unanswered.is_err(),
        "one connection at a time: {unanswered:?}"
    );
    drop(first);
    let first_byte = patiently("its turn", second.read_u8()).await;
    assert_eq!(first_byte.expect("an answer"), b'H');
    drop(second);
    // A tunnel is one too.
    let tunnel = host.ask().open().await;
    let mut second = connect(&host).await;
    second.write_all(GET).await.expect("sent");
    let client = RawClient::over(tunnel, &h2::client::Builder::new()).await;
    for _ in 0..100 {
        assert_eq!(client.unary("/echo.Echo/Unary", b"").await.code(), 0);
    }
    assert!(
        second.try_read(&mut [0]).is_err(),
        "the tunnel has the place"
    );
    drop(client);
    let first_byte = patiently("its turn", second.read_u8()).await;
    assert_eq!(first_byte.expect("an answer"), b'H');
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drain_waits_for_no_silent_connection() {
    let host = start(|config| {
        config.drain_timeout = PATIENCE * 10;
        config.http1.head_timeout = PATIENCE * 10;
        config.connection.handshake_timeout = PATIENCE * 10;
    })
    .await;
    let silent = connect(&host).await;
    let mut half = connect(&host).await;
    half.write_all(&GET[..20]).await.expect("sent");
    let idle = http1(connect(&host).await, GET).await.stream;
    // An idle one is told at once, and needs nothing for it.
    host.drain();
    assert_eq!(rest_of(idle).await, b"");
    assert_eq!(host.finish().await, Drained::Clean);
    drop((silent, half));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_during_the_drain_is_told_to_go_elsewhere() {
    let host = start(|config| config.drain_timeout = PATIENCE * 10).await;
    // Accepted before the drain, and nothing asked yet.
    let early = connect(&host).await;
    let other = connect(&host).await;
    assert_served(&host).await;
    let ask = host.ask();
    host.drain();
    let answer = http1(early, &ask.bytes()).await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.body.contains("shutting down"), "{}", answer.body);
    assert_eq!(answer.header("retry-after"), "5");
    assert_eq!(answer.header("connection"), "close");
    assert_eq!(rest_of(answer.stream).await, b"");
    let answer = http1(other, GET).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("connection")),
        (404, "close")
    );
    assert_eq!(host.finish().await, Drained::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_gets_an_answer_of_http() {
    let host = start(|_| {}).await;
    for (request, status, says) in [
        // The form that proxies get, and servers must take. Source: RFC 9112, section 3.2.2.
        (
            "GET http://localhost/ HTTP/1.1\r\nhost: localhost\r\n\r\n",
            404,
            "needs HTTP/2",
        ),
        (
            "GET http://localhost/tunnel HTTP/1.1\r\nhost: localhost\r\n\r\n",
            426,
            "WebSocket",
        ),
        (
            "CONNECT example.org:443 HTTP/1.1\r\nhost: example.org:443\r\n\r\n",
            405,
            "proxy",
        ),
        ("TRACE / HTTP/1.1\r\nhost: localhost\r\n\r\n", 405, "proxy"),
        ("OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n", 204, ""),
        (
            "DELETE / HTTP/1.1\r\nhost: localhost\r\n\r\n",
            404,
            "needs HTTP/2",
        ),
        (
            "POST /echo.Echo/Unary HTTP/1.1\r\nhost: localhost\r\n\
             content-type: application/grpc+proto\r\ncontent-length: 5\r\n\r\n\0\0\0\0\0",
            505,
            "gRPC needs HTTP/2, and this came over HTTP/1.1",
        ),
    ] {
        let answer = http1(connect(&host).await, request.as_bytes()).await;
        let line = request.lines().next().expect("a request line");
        assert_eq!(answer.status, status, "{line}: {}", answer.body);
        assert!(answer.body.contains(says), "{line}: {}", answer.body);
        if [204, 405].contains(&status) {
            assert_eq!(answer.header("allow"), "GET, HEAD, OPTIONS, POST", "{line}");
        }
    }
    // The beginning of HTTP/2 and no more of it, and a version of HTTP that begins alike.
    for request in [
        "PRI * HTTP/2.0\r\n\r\nNO\r\n\r\n",
        "PRI * HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        let mut stream = connect(&host).await;
        stream.write_all(request.as_bytes()).await.expect("sent");
        let said = rest_of(stream).await;
        assert!(!said.starts_with(b"HTTP/1"), "{request:?}");
    }
    assert_served(&host).await;
}
