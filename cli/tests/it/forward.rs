//! `switchboard forward`: any gRPC client through a WebSocket, and what it says when there is no way.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;
use switchboard_test_support::{RawClient, guest, patiently, root};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::serving::{Serving, run};
use crate::stock_client::python;

const UNARY: &str = "/echo.Echo/Unary";

/// What a client of HTTP/2 begins with, and its empty SETTINGS. Source: RFC 9113, section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// An answer to a PING that nobody sent, which asks for nothing. Source: RFC 9113, section 6.7.
const PING: &[u8] = b"\0\0\x08\x06\x01\0\0\0\0whatever";

/// Where the tunnel of a host is.
fn url(serving: &Serving) -> String {
    format!("ws://{}/tunnel", serving.addr)
}

/// A file with this text.
fn file(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_finds_nothing_to_complain_about_behind_a_tunnel() {
    let serving = Serving::start([guest("greeter"), guest("testservice")]).await;
    let forward = Serving::forward([url(&serving)]).await;
    let run = Command::new(python())
        .arg(root().join("test-support/peers/stock_client.py"))
        .arg(forward.addr.to_string())
        .arg(root().join("proto"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("Python starts");
    let said = String::from_utf8_lossy(&run.stdout);
    let complained = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{}\n{said}\n{complained}", run.status);
    assert!(said.contains(" passed, 0 failed"), "{said}");
    let ended = forward.stop().await;
    assert_eq!(
        (ended.code, &*ended.stdout),
        (Some(0), ""),
        "{}",
        ended.stderr
    );
    assert_eq!(serving.stop().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_finds_a_server_that_came_back() {
    let serving = Serving::start([guest("echo")]).await;
    let (addr, tunnel) = (serving.addr, url(&serving));
    let forward = Serving::forward([tunnel]).await;
    let answer = forward.client().await.unary(UNARY, b"before").await;
    assert_eq!(answer.messages(), ["before"]);
    serving.stop().await;
    // Nobody is there: the connection waits for its tunnel, and the server comes back meanwhile.
    let waiting = RawClient::connect(forward.addr);
    let (client, serving) = tokio::join!(
        async { waiting.await.unary(UNARY, b"after").await },
        async {
            forward.says("no tunnel yet").await;
            Serving::start_at(addr, [guest("echo")]).await
        }
    );
    assert_eq!(client.messages(), ["after"]);
    forward.says("the tunnel is there again").await;
    drop(serving);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_will_not_have_us_is_known_at_the_start() {
    let folder = TempDir::new().expect("a folder");
    let tokens = file(&folder, "tokens", "alice open-sesame-open-sesame\n");
    let wrong = file(&folder, "wrong", "abracadabra\n");
    let right = file(&folder, "right", "open-sesame-open-sesame\n");
    let mut args: Vec<OsString> = vec!["--tunnel-tokens".into(), tokens.into()];
    args.push(guest("echo").into());
    let serving = Serving::start(args).await;
    let tunnel = url(&serving);
    let elsewhere = format!("ws://{}/elsewhere", serving.addr);
    for (typed, expected) in [
        (vec![tunnel.clone()], "401"),
        (
            vec![
                tunnel.clone(),
                "--token".into(),
                wrong.display().to_string(),
            ],
            "give a valid token",
        ),
        (vec![elsewhere], "no tunnel at this path"),
    ] {
        let ended = run(["forward", "--listen", "127.0.0.1:0"]
            .map(String::from)
            .into_iter()
            .chain(typed))
        .await;
        assert_eq!(
            (ended.code, &*ended.stdout),
            (Some(1), ""),
            "{}",
            ended.stderr
        );
        assert!(
            ended.stderr.contains(expected),
            "{expected}: {}",
            ended.stderr
        );
        assert!(!ended.stderr.contains("abracadabra"), "{}", ended.stderr);
    }
    let forward = Serving::forward([tunnel, "--token".into(), right.display().to_string()]).await;
    let answer = forward.client().await.unary(UNARY, b"with a token").await;
    assert_eq!(answer.messages(), ["with a token"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_told_why_there_is_no_tunnel() {
    // Whoever was here has gone; nobody else gets the port while we hold no listener on it, but a
    // refused connection is all that is needed.
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let tunnel = format!("ws://{}/tunnel", gone.local_addr().expect("bound"));
    drop(gone);
    let forward = Serving::forward([tunnel, "--connect-timeout".into(), "300ms".into()]).await;
    let client = forward.client().await;
    // Both are on their way before either is answered.
    let (one, two) = tokio::join!(client.unary(UNARY, b"one"), client.unary(UNARY, b"two"));
    for answer in [one, two] {
        assert_eq!(answer.code(), 14, "{}", answer.message());
        let message = answer.message();
        assert!(message.contains("cannot connect to"), "{message}");
    }
    forward.says("no tunnel: ").await;
    assert_eq!(forward.stop().await.code, Some(0));
}

/// A server that answers every upgrade after the first, which it has no room for, like this; and how many
/// came so far.
async fn refusing(answer: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ws://{}/tunnel", listener.local_addr().expect("bound"));
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    #[expect(clippy::disallowed_methods, reason = "a test's own task")]
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n")
                && socket.read_buf(&mut head).await.is_ok_and(|n| n > 0)
            {}
            let answer = match count.fetch_add(1, Ordering::SeqCst) {
                0 => "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n",
                _ => answer,
            };
            drop(socket.write_all(answer.as_bytes()).await);
        }
    });
    (url, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_hears_the_reason_at_once_and_the_server_is_left_in_peace() {
    const CALLS: usize = 40;
    let (url, asked) = refusing(
        "HTTP/1.1 401 No\r\ncontent-type: text/plain\r\ncontent-length: 8\r\n\r\nwho now\n",
    )
    .await;
    let forward = Serving::forward([url]).await;
    let run = Command::new(python())
        .arg(root().join("test-support/peers/refused_client.py"))
        .args([forward.addr.to_string(), CALLS.to_string()])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let run = patiently("the client", run).await.expect("Python starts");
    let said = String::from_utf8_lossy(&run.stdout);
    assert_eq!(said.lines().count(), CALLS, "{said}");
    for line in said.lines() {
        for part in ["UNAUTHENTICATED ", "401", "who now", "give a valid token"] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
    // Pauses double from 0.2 s on, so this is how often it may be asked in more than a minute.
    let asked = asked.load(Ordering::SeqCst);
    assert!(asked <= 14, "{CALLS} calls made {asked} attempts");
    let ended = forward.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let told = ended.stderr.matches("no tunnel: ").count();
    assert!(told < asked, "one line for each attempt: {}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_has_its_code_and_says_what_to_do() {
    for (answer, code, says) in [
        (
            "HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n",
            7,
            "not allowed there",
        ),
        (
            "HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n",
            14,
            "no tunnel at this path",
        ),
        // More seconds than any clock counts: nobody waits for so long, and nothing breaks.
        (
            "HTTP/1.1 503 Busy\r\nretry-after: 18446744073709551615\r\ncontent-length: 0\r\n\r\n",
            14,
            "no room now",
        ),
    ] {
        let (url, asked) = refusing(answer).await;
        let forward = Serving::forward([url]).await;
        for _ in 0..2 {
            let answer = forward.client().await.unary(UNARY, b"").await;
            assert_eq!(answer.code(), code, "{}", answer.message());
            let message = answer.message();
            assert!(message.contains(says), "{message}");
        }
        assert!(asked.load(Ordering::SeqCst) >= 2);
        let ended = forward.stop().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_torn_away_leaves_a_tunnel_that_is_closed_in_order() {
    let serving = Serving::start([
        guest("echo").into(),
        "--log".into(),
        OsString::from("debug"),
    ])
    .await;
    let forward = Serving::forward([url(&serving)]).await;
    // The first one was opened to see whether it can be.
    serving
        .says_times("tunnel closed: by the peer with 1000", 1)
        .await;
    let socket = TcpStream::connect(forward.addr).await.expect("it listens");
    serving.says_times("tunnel opened", 2).await;
    socket.set_zero_linger().expect("a socket takes options");
    drop(socket);
    serving
        .says_times("tunnel closed: by the peer with 1000", 2)
        .await;
    forward.says("a tunnel or its connection broke").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_in_order_breaks_no_tunnel() {
    let serving = Serving::start([guest("echo")]).await;
    let forward = Serving::forward([url(&serving)]).await;
    let mut socket = TcpStream::connect(forward.addr).await.expect("it listens");
    socket.write_all(PREFACE).await.expect("the preface");
    // The host has set the tunnel up.
    let mut settings = [0; 9];
    patiently("SETTINGS", socket.read_exact(&mut settings))
        .await
        .expect("the tunnel is open");
    assert_eq!(serving.stop().await.code, Some(0));
    // A client that has not noticed goes on writing, and what it writes goes nowhere.
    let writes = async { while socket.write_all(PING).await.is_ok() {} };
    patiently("the end of the connection", writes).await;
    forward.says("the server closed a tunnel: 1001").await;
    let ended = forward.stop().await;
    assert!(!ended.stderr.contains("broke"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let serving = Serving::start([guest("echo")]).await;
    let limited = ["--connections-max", "1", "--log", "debug"].map(String::from);
    let forward = Serving::forward([url(&serving)].into_iter().chain(limited)).await;
    let first = forward.client().await;
    assert_eq!(first.unary(UNARY, b"first").await.messages(), ["first"]);
    // It is in the kernel's backlog now, and has sent its call.
    let second = RawClient::connect(forward.addr).await;
    let (answer, ()) = tokio::join!(
        patiently("a place", second.unary(UNARY, b"second")),
        async move {
            assert_eq!(first.unary(UNARY, b"still").await.messages(), ["still"]);
            drop(first);
        }
    );
    assert_eq!(answer.messages(), ["second"]);
    let ended = forward.stop().await;
    let moments: Vec<_> = ended
        .stderr
        .lines()
        .filter_map(|line| {
            let places = line.contains("switchboard::cmd::forward: ");
            ["connected", "ended peer"]
                .into_iter()
                .find(|moment| places && line.contains(&format!(": {moment}")))
        })
        .collect();
    let expected = ["connected", "ended peer", "connected"];
    assert_eq!(moments[..3], expected, "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_do_not_end_are_cut_and_the_exit_code_says_so() {
    let serving = Serving::start([guest("echo")]).await;
    let forward = Serving::forward([url(&serving), "--drain-timeout".into(), "50ms".into()]).await;
    let client = forward.client().await;
    assert_eq!(client.unary(UNARY, b"here").await.messages(), ["here"]);
    forward.signal(Signal::TERM);
    let ended = forward.ended().await;
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    drop(client);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_command_line_says_what_is_wrong() {
    for (typed, expected) in [
        (vec!["http://127.0.0.1:1/tunnel"], "ws://"),
        (vec!["nonsense"], "nonsense"),
        (
            vec![
                "ws://127.0.0.1:1/tunnel",
                "--header",
                "sec-websocket-key: x",
            ],
            "sec-websocket-key",
        ),
        (
            vec!["ws://127.0.0.1:1/tunnel", "--listen", "nowhere"],
            "nowhere",
        ),
        (
            vec!["ws://127.0.0.1:1/tunnel", "--ping", "50s"],
            "--dead-after must be above --ping",
        ),
        (vec![], "<URL>"),
    ] {
        let ended = run(std::iter::once("forward").chain(typed)).await;
        assert_eq!(
            (ended.code, &*ended.stdout),
            (Some(64), ""),
            "{}",
            ended.stderr
        );
        assert!(
            ended.stderr.contains(expected),
            "{expected}: {}",
            ended.stderr
        );
    }
    let folder = TempDir::new().expect("a folder");
    let ca = file(&folder, "ca.pem", "nothing\n").display().to_string();
    let ended = run(["forward", "wss://127.0.0.1:1/tunnel", "--ca", &ca]).await;
    assert_eq!(ended.code, Some(64));
    let expected = format!("--ca {ca} cannot be read: no certificate");
    assert!(ended.stderr.contains(&expected), "{}", ended.stderr);
    let ended = run(["forward", "ws://127.0.0.1:1/tunnel", "--token", "not-there"]).await;
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("cannot read the token in not-there"),
        "{}",
        ended.stderr
    );
}
