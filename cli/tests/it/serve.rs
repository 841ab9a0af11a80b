//! `switchboard serve`: one line on stdout, everything else on stderr, and exit codes to rely on.

use std::ffi::{OsStr, OsString};
use std::net::TcpListener;
use std::path::PathBuf;

use bytes::Bytes;
use rustix::process::Signal;
use switchboard_test_support::{RawClient, frame, frames, guest, patiently};
use tempfile::TempDir;

use crate::serving::{Serving, run};

const UNARY: &str = "/echo.Echo/Unary";

fn args(parts: &[&dyn AsRef<OsStr>]) -> Vec<OsString> {
    parts.iter().map(|part| part.as_ref().to_owned()).collect()
}

/// A stream of echo that is open and answers.
struct Open {
    answers: h2::RecvStream,
    body: h2::SendStream<Bytes>,
}

impl Open {
    async fn start(serving: &Serving) -> Self {
        let mut call = serving
            .client()
            .await
            .begin(RawClient::head("/echo.Echo/Bidi"))
            .await;
        call.send(b"first");
        let (_, answers, body) = call.headers().await.expect("headers");
        let mut this = Self { answers, body };
        this.answer("first").await;
        this
    }

    async fn answer(&mut self, expected: &str) {
        let answer = patiently("an answer", self.answers.data())
            .await
            .expect("one");
        assert_eq!(frames(answer.expect("no reset")), [expected.to_owned()]);
    }

    /// The status it ends with.
    async fn status(mut self) -> String {
        assert!(patiently("the end", self.answers.data()).await.is_none());
        let trailers = self
            .answers
            .trailers()
            .await
            .expect("no reset")
            .expect("trailers");
        trailers["grpc-status"].to_str().expect("ASCII").to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn says_where_it_serves_and_ends_cleanly() {
    for signal in [Signal::TERM, Signal::INT] {
        let serving = Serving::start([guest("echo"), guest("greeter")]).await;
        assert_ne!(serving.addr.port(), 0);
        let client = serving.client().await;
        assert_eq!(
            client.unary(UNARY, b"over the wire").await.messages(),
            ["over the wire"]
        );
        serving.signal(signal);
        // The client stays connected: it is told to go, and nobody waits for it.
        let ended = serving.ended().await;
        assert_eq!(
            (ended.code, &*ended.stdout),
            (Some(0), ""),
            "{}",
            ended.stderr
        );
        for part in [
            "plugin loaded",
            "echo.Echo",
            "helloworld.Greeter",
            "all else by default",
            "stopping",
            "draining",
            "stopped, every call ended",
        ] {
            assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_runs_when_it_is_stopped_comes_to_its_end() {
    let serving = Serving::start([guest("echo")]).await;
    let mut open = Open::start(&serving).await;
    serving.signal(Signal::TERM);
    serving.says("draining").await;
    open.body.send_data(frame(b"second"), true).expect("open");
    open.answer("second").await;
    assert_eq!(open.status().await, "0");
    assert_eq!(serving.ended().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_drain_is_an_exit_code_of_its_own() {
    let options = args(&[&guest("echo"), &"--drain-timeout", &"50ms"]);
    let serving = Serving::start(options).await;
    let open = Open::start(&serving).await;
    let ended = serving.stop().await;
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    for part in [
        "drain_timeout=50ms",
        "stopped, 1 call was cut at the end of the drain",
    ] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
    assert_eq!(open.status().await, "14", "UNAVAILABLE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_does_not_wait() {
    let serving = Serving::start([guest("echo")]).await;
    let _open = Open::start(&serving).await;
    serving.signal(Signal::TERM);
    serving.says("draining").await;
    serving.signal(Signal::INT);
    let ended = serving.ended().await;
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_plugin_is_named_and_the_good_one_served() {
    let folder = TempDir::new().expect("a folder");
    std::fs::copy(guest("echo"), folder.path().join("echo.wasm")).expect("a copy");
    std::fs::write(folder.path().join("bad.wasm"), "text").expect("a file");
    let serving = Serving::start([folder.path()]).await;
    assert_eq!(
        serving
            .client()
            .await
            .unary(UNARY, b"good")
            .await
            .messages(),
        ["good"]
    );
    let ended = serving.stop().await;
    assert_eq!(ended.code, Some(0));
    let bad = folder.path().join("bad.wasm").display().to_string();
    let lines: Vec<_> = ended
        .stderr
        .lines()
        .filter(|line| line.contains("ERROR"))
        .collect();
    let [line] = lines.as_slice() else {
        panic!("one error: {}", ended.stderr);
    };
    assert!(
        line.contains(&bad) && line.contains("not a WebAssembly component"),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_folder_may_be_empty_at_first() {
    let folder = TempDir::new().expect("a folder");
    let serving = Serving::start(args(&[&folder.path(), &"--listen", &"127.0.0.1:0"])).await;
    let client = serving.client().await;
    let call = || client.unary("/echo.Echo/Unary", b"hello");
    assert_eq!(call().await.code(), 12, "UNIMPLEMENTED");
    serving.says("waiting for one to be put there").await;
    let beside = folder.path().join(".echo.part");
    std::fs::copy(guest("echo"), &beside).expect("copied");
    std::fs::rename(beside, folder.path().join("echo.wasm")).expect("renamed");
    serving.says("plugin loaded").await;
    assert_eq!(call().await.messages(), ["hello"]);
    serving.signal(Signal::TERM);
    assert_eq!(serving.ended().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_ends_with_one_and_says_why() {
    let folder = TempDir::new().expect("a folder");
    let (empty, bad) = (folder.path().join("empty"), folder.path().join("bad.wasm"));
    std::fs::create_dir(&empty).expect("a folder");
    std::fs::write(&bad, "text").expect("a file");
    let missing = folder.path().join("missing");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken
        .local_addr()
        .map(|addr| (taken, addr.to_string()))
        .expect("bound");
    let free = "127.0.0.1:0";
    let text = |path: &PathBuf| path.display().to_string();
    let cases = [
        (
            args(&[&empty, &"--watch-off", &"--listen", &free]),
            vec!["nothing to serve".to_owned(), text(&empty)],
        ),
        (
            args(&[&"--listen", &free]),
            vec!["plugins is the default folder".to_owned()],
        ),
        (
            args(&[&guest("echo"), &"--listen", &"no.such.host.invalid:1"]),
            vec!["cannot find the host of --listen no.such.host.invalid:1".to_owned()],
        ),
        (
            args(&[&bad, &"--listen", &free]),
            vec!["nothing to serve".to_owned(), text(&bad)],
        ),
        (
            args(&[&missing, &"--listen", &free]),
            vec!["cannot load".to_owned(), text(&missing)],
        ),
        (
            args(&[&guest("echo"), &"--listen", &taken.1]),
            vec![format!("cannot listen on {}", taken.1), "in use".to_owned()],
        ),
        (
            args(&[
                &guest("echo"),
                &"--listen",
                &free,
                &"--tls-cert",
                &missing,
                &"--tls-key",
                &missing,
            ]),
            vec![format!("cannot read --tls-cert {}", text(&missing))],
        ),
    ];
    for (options, parts) in cases {
        let ended = run(args(&[&"serve"]).into_iter().chain(options)).await;
        assert_eq!(
            (ended.code, &*ended.stdout),
            (Some(1), ""),
            "{}",
            ended.stderr
        );
        let line = ended.stderr.lines().last().expect("a reason");
        assert!(line.starts_with("error: "), "{}", ended.stderr);
        for part in parts {
            assert!(ended.stderr.contains(&part), "{part}: {}", ended.stderr);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_command_line_ends_with_64() {
    let cases: [(&[&str], &[&str]); 20] = [
        (&[], &["Usage"]),
        (&["fly"], &["fly"]),
        (&["serve", "--no-such-flag"], &["--no-such-flag"]),
        (&["serve", "--listen", "nowhere"], &["--listen", "nowhere"]),
        (
            &["serve", "--mode", "sometimes"],
            &["--mode", "reuse", "fresh"],
        ),
        (&["serve", "--wait-max", "soon"], &["--wait-max", "soon"]),
        (&["serve", "--workers", "0"], &["--workers"]),
        (&["serve", "--tls-cert", "cert.pem"], &["--tls-key"]),
        (&["serve", "--log", "a=b=c"], &["--log"]),
        (&["serve", "--log", "inof"], &["--log", "inof", "info"]),
        (&["serve", "--listen", ":0"], &["--listen", "0.0.0.0:0"]),
        (
            &["serve", "--listen", "::1"],
            &["--listen", "an IPv6 address"],
        ),
        (
            &["serve", "--listen", "a:65536"],
            &["--listen", "0 to 65535"],
        ),
        (
            &["serve", "--timeout-max", "0s"],
            &["--timeout-max must be above zero"],
        ),
        (
            &["serve", "--long-method", "a.B/C", "--memory-max", "1B"],
            &[
                "--long-method: \"a.B/C\" is no method",
                "--memory-max must be",
            ],
        ),
        (
            &["serve", "--priority-method", "Burn"],
            &["--priority-method: \"Burn\"", "/package.Service/Method"],
        ),
        (
            &["serve", "--stores-max", "0"],
            &["--stores-max must be 1 or more"],
        ),
        (
            &["serve", "--stores-max", "4", "--priority-stores", "4"],
            &["--priority-stores must be below --stores-max (4)"],
        ),
        (
            &["serve", "--warm-min", "65"],
            &["--warm-min must be at most --stores-max (64)"],
        ),
        (
            &[
                "serve",
                "--stores-max",
                "0",
                "--calls-max",
                "0",
                "--age-max",
                "0s",
            ],
            &[
                "--stores-max must be",
                "--calls-max must be",
                "--age-max must be",
            ],
        ),
    ];
    for (line, parts) in cases {
        let ended = run(line).await;
        assert_eq!(
            (ended.code, &*ended.stdout),
            (Some(64), ""),
            "{line:?}: {}",
            ended.stderr
        );
        for part in parts {
            assert!(
                ended.stderr.contains(part),
                "{line:?} should say {part:?}: {}",
                ended.stderr
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_none_is_a_wrong_command_line() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("not.pem");
    std::fs::write(&file, "text").expect("a file");
    let line = args(&[
        &"serve",
        &guest("echo"),
        &"--tls-cert",
        &file,
        &"--tls-key",
        &file,
    ]);
    let ended = run(line).await;
    assert_eq!(ended.code, Some(64), "{}", ended.stderr);
    let named = format!("--tls-cert {} cannot be used", file.display());
    assert!(ended.stderr.contains(&named), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn help_says_what_scripts_need_to_know() {
    let ended = run(["serve", "--help"]).await;
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    // As it was written, not as it was broken into lines.
    let help = ended
        .stdout
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    for part in [
        "ready grpc HOST:PORT",
        "Exit codes: 0",
        "64 wrong command line",
        "--stores-max",
    ] {
        assert!(help.contains(part), "{part}: {help}");
    }
    let ended = run(["--version"]).await;
    let version = concat!("switchboard ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!((ended.code, &*ended.stdout), (Some(0), version));
    let ended = run(["--help"]).await;
    assert!(
        ended.code == Some(0) && ended.stdout.contains("serve"),
        "{ended:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_reach_what_they_are_about() {
    let serving = Serving::start(args(&[
        &guest("echo"),
        &guest("testservice"),
        &"--request-max=100B",
        &"--mode=fresh",
        &"--timeout-max=900ms",
        &"--connection-calls-max=7",
        &"--long-method=/testservice.Probe/Burn",
        &"--workers=1",
        &"--log=warn",
    ]))
    .await;
    let client = serving.client().await;
    assert_eq!(client.unary(UNARY, &[0; 100]).await.code(), 0);
    assert_eq!(
        client.unary(UNARY, &[0; 101]).await.code(),
        8,
        "RESOURCE_EXHAUSTED"
    );
    // `SleepRequest` of 3 600 000 ms: only `timeout-max` ends it.
    let sleep = [8, 0x80, 0xdd, 0xdb, 0x01];
    assert_eq!(
        client
            .unary("/testservice.Probe/Sleep", &sleep)
            .await
            .code(),
        4,
        "a deadline"
    );
    let ids: Vec<_> = [
        client.unary("/testservice.Probe/Instance", b"").await,
        client.unary("/testservice.Probe/Instance", b"").await,
    ]
    .map(|answer| answer.messages().swap_remove(0))
    .into();
    assert_ne!(ids[0], ids[1], "a fresh instance each");
    let ended = serving.stop().await;
    assert_eq!(
        (ended.code, &*ended.stderr),
        (Some(0), ""),
        "nothing to warn of"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reading_the_log_holds_nothing_up() {
    for closed in [false, true] {
        // The faulty plugin fills the pipe many times over; nobody takes a byte out of it.
        let (serving, stderr) = Serving::start_unread([guest("faulty"), guest("echo")]).await;
        let stderr = if closed { None } else { Some(stderr) };
        let client = serving.client().await;
        for _ in 0..3 {
            let head = RawClient::head("/faulty.Faulty/FloodLog").header("grpc-timeout", "500m");
            let flooded = client.call(head, frame(b"")).await;
            assert_eq!(flooded.code(), 4, "{}", flooded.message());
            let trapped = client.unary("/faulty.Faulty/Panic", b"").await;
            assert_eq!(trapped.code(), 13, "{}", trapped.message());
        }
        assert_eq!(
            client.unary(UNARY, b"still here").await.messages(),
            ["still here"]
        );
        assert_eq!(serving.stop().await.code, Some(0), "closed: {closed}");
        drop(stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_of_workers_that_no_machine_has_is_refused() {
    let ended = run(args(&[&"serve", &"--workers", &"100000", &guest("echo")])).await;
    assert_eq!(
        (ended.code, &*ended.stdout),
        (Some(64), ""),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("1024"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_finds_no_room_names_the_flag() {
    for (flag, paths) in [
        ("--memory-max=64KiB", vec![guest("echo")]),
        ("--instances-max=1", vec![guest("echo"), guest("greeter")]),
    ] {
        let name = flag.split('=').next().expect("a name");
        let said = format!("raise {name}");
        let free: [&dyn AsRef<OsStr>; 4] = [&"serve", &flag, &"--listen", &"127.0.0.1:0"];
        let stderr = if let [only] = paths.as_slice() {
            let ended = run(args(&free).into_iter().chain([only.into()])).await;
            assert_eq!(ended.code, Some(1), "{}", ended.stderr);
            let reason = "the only plugin was refused";
            assert!(ended.stderr.contains(reason), "{}", ended.stderr);
            ended.stderr
        } else {
            let paths = paths.iter().map(OsString::from);
            let serving = Serving::start([OsString::from(flag)].into_iter().chain(paths)).await;
            serving.stop().await.stderr
        };
        // Plugins load side by side: which of two finds the only room is not said, only that the
        // other is refused.
        let named = |line: &&str| line.contains(".wasm") && line.contains(&said);
        assert_eq!(stderr.lines().filter(named).count(), 1, "{flag}: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_given_twice_is_loaded_once() {
    let folder = guest("echo").parent().expect("a folder").to_owned();
    let again = folder.join("..").join(folder.file_name().expect("a name"));
    let again = again.join("echo.wasm");
    let serving = Serving::start([guest("echo"), again]).await;
    let ended = serving.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("given twice") && !ended.stderr.contains("refused"),
        "{}",
        ended.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_connection_is_told_in_the_log() {
    let serving = Serving::start(args(&[&guest("echo"), &"--connections-max=1"])).await;
    let _client = serving.client().await;
    serving.says("as many connections are open as may be").await;
    assert_eq!(serving.stop().await.code, Some(0));
}
