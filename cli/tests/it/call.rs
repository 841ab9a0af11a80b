//! `switchboard call` and `switchboard inspect`, as an operator types them.

use std::process::Stdio;

use switchboard_test_support::{guest, patiently};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::serving::{Ended, Serving, run};

async fn served() -> Serving {
    Serving::start(["greeter", "echo", "testservice"].map(guest)).await
}

async fn call(server: &str, args: &[&str]) -> Ended {
    run([&["call", server], args].concat()).await
}

/// The same, with something on stdin.
async fn call_with(server: &str, args: &[&str], stdin: &[u8]) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_switchboard"))
        .args([&["call", server], args].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(stdin).await.expect("it reads");
    drop(input);
    let ended = patiently("the call", child.wait_with_output()).await;
    let ended = ended.expect("it ran");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

#[tokio::test]
async fn a_server_is_looked_at_and_called_with_nothing_but_its_address() {
    let serving = served().await;
    let server = serving.addr.to_string();
    let listed = call(&server, &[]).await;
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    let services: Vec<_> = listed.stdout.lines().collect();
    assert!(services.contains(&"helloworld.Greeter") && services.contains(&"echo.Echo"));
    assert!(services.is_sorted(), "{services:?}");
    let shown = call(&server, &["helloworld.Greeter"]).await;
    let method =
        "helloworld.Greeter/SayHello (helloworld.HelloRequest) returns (helloworld.HelloReply)";
    assert_eq!(shown.stdout, format!("{method}\n  {{\"name\":\"\"}}\n"));
    let request = r#"{"name":"you"}"#;
    let said = call(&server, &["-c", "helloworld.Greeter/SayHello", request]).await;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(
        said.stdout.starts_with("{\"message\":\"Hello") && said.stdout.contains("you"),
        "{}",
        said.stdout
    );
    assert_eq!(said.stderr, "");
}

#[tokio::test]
async fn streams_are_one_message_after_the_other_both_ways() {
    let serving = served().await;
    let server = serving.addr.to_string();
    let count = r#"{"from":1,"to":3}"#;
    let counted = call(&server, &["-c", "testservice.TestService/Count", count]).await;
    assert_eq!(
        counted.stdout.lines().count(),
        3,
        "{}{}",
        counted.stdout,
        counted.stderr
    );
    let numbers = [
        "-c",
        "testservice.TestService/Sum",
        r#"{"value":1}"#,
        r#"{"value":2} {"value":4}"#,
    ];
    let summed = call(&server, &numbers).await;
    assert_eq!(summed.code, Some(0), "{}", summed.stderr);
    assert!(summed.stdout.contains('7'), "{}", summed.stdout);
    let tunnel = format!("ws://{server}/tunnel");
    let running = ["-c", "testservice.TestService/Running", "-"];
    let stdin = b"{\"value\":1}\n{\"value\":2}\n";
    let (code, stdout, stderr) = call_with(&tunnel, &running, stdin).await;
    assert_eq!(
        (code, stdout.lines().count()),
        (Some(0), 2),
        "{stdout}{stderr}"
    );
}

#[tokio::test]
async fn what_goes_wrong_is_said_and_told_by_the_exit_code() {
    let serving = served().await;
    let server = serving.addr.to_string();
    let failing = r#"{"code":5,"message":"näh"}"#;
    let failed = call(&server, &["testservice.Probe/Fail", failing]).await;
    assert_eq!((failed.code, &*failed.stdout), (Some(3), ""));
    assert!(
        failed.stderr.starts_with("error: NotFound (5): näh"),
        "{}",
        failed.stderr
    );
    for (args, code, said) in [
        (
            &["testservice.Probe/Nothing"][..],
            1,
            "it has Context, Decorate, Fail",
        ),
        (
            &["no.Such/Method"][..],
            1,
            "error: asking for no.Such: no such symbol: \"no.Such\"; without METHOD the services",
        ),
        (
            &["helloworld.Greeter/SayHello", r#"{"other":1}"#][..],
            1,
            "message 1 is no helloworld.HelloRequest",
        ),
        (
            &["helloworld.Greeter/SayHello", "{}", "{}"][..],
            1,
            "takes one message, not 2",
        ),
        (
            &["-H", "a b: c", "echo.Echo/Unary"][..],
            64,
            "no name of metadata",
        ),
        (&["--key", "nothing", "echo.Echo/Unary"][..], 64, "--cert"),
    ] {
        let ended = call(&server, args).await;
        assert_eq!(
            (ended.code, &*ended.stdout),
            (Some(code), ""),
            "{args:?}: {}",
            ended.stderr
        );
        assert!(ended.stderr.contains(said), "{args:?}: {}", ended.stderr);
    }
    let unary = ["helloworld.Greeter/SayHello", "-"];
    let (code, _, stderr) = call_with(&server, &unary, b"{} {}").await;
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("takes one message"), "{stderr}");
    assert_eq!(serving.stop().await.code, Some(0));
    let nobody = call(&server, &["helloworld.Greeter/SayHello"]).await;
    assert_eq!(nobody.code, Some(1), "{}", nobody.stderr);
    assert!(
        nobody.stderr.contains("cannot connect"),
        "{}",
        nobody.stderr
    );
}

#[tokio::test]
async fn metadata_deadlines_and_sockets_are_as_anywhere_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = format!("unix:{}", folder.path().join("socket").display());
    let paths = [guest("testservice")];
    let (serving, _) = Serving::at(&["127.0.0.1:0", &socket], paths).await;
    let context = [
        "-v",
        "-H",
        "x-one: 1",
        "-H",
        "x-two-bin: AAH/",
        "testservice.Probe/Context",
    ];
    let seen = call(&socket, &context).await;
    assert_eq!(seen.code, Some(0), "{}", seen.stderr);
    for part in [
        "> x-one: 1",
        "> x-two-bin: AAH/",
        "< content-type: application/grpc",
        "took ",
    ] {
        assert!(seen.stderr.contains(part), "{part}: {}", seen.stderr);
    }
    assert!(seen.stdout.contains("x-one"), "{}", seen.stdout);
    let server = serving.addr.to_string();
    let slow = r#"{"durationMs":60000}"#;
    let late = call(
        &server,
        &["--timeout", "50ms", "testservice.Probe/Sleep", slow],
    )
    .await;
    assert_eq!(late.code, Some(3));
    assert!(
        late.stderr.contains("DeadlineExceeded (4)"),
        "{}",
        late.stderr
    );
}

#[tokio::test]
async fn a_server_without_reflection_says_nothing_of_itself() {
    let off = ["--reflection-off".into(), guest("greeter").into_os_string()];
    let serving = Serving::start(off).await;
    let asked = call(&serving.addr.to_string(), &[]).await;
    assert_eq!((asked.code, &*asked.stdout), (Some(1), ""));
    assert!(
        asked.stderr.contains("answers no reflection"),
        "{}",
        asked.stderr
    );
}

#[tokio::test]
async fn plugin_files_are_looked_into() {
    let greeter = guest("greeter").display().to_string();
    let found = run(["inspect", &greeter]).await;
    assert_eq!((found.code, &*found.stderr), (Some(0), ""));
    for part in [
        "digest   sha256:",
        "ABI      0.1.0",
        "helloworld.Greeter",
        "SayHello (unary",
        "its calls, and log lines (switchboard:grpc/",
    ] {
        assert!(found.stdout.contains(part), "{part}: {}", found.stdout);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let text = folder.path().join("text.wasm").display().to_string();
    std::fs::write(&text, "text").expect("written");
    let found = run(["inspect", "--json", &greeter, &text]).await;
    assert_eq!(found.code, Some(1));
    let lines: Vec<_> = found.stdout.lines().collect();
    assert!(
        lines[0].contains(r#""kind":"unary""#) && lines[0].contains(r#""error":null"#),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].contains("not a WebAssembly component"),
        "{}",
        lines[1]
    );
    assert!(found.stderr.contains("text.wasm"), "{}", found.stderr);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_without_ado() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = gone.local_addr().expect("bound").to_string();
    drop(gone);
    let ended = call(&server, &["helloworld.Greeter/SayHello"]).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let said = format!("cannot connect to {server}");
    assert!(ended.stderr.contains(&said), "{}", ended.stderr);
    assert!(!ended.stderr.contains("METHOD"), "{}", ended.stderr);
    let ended = call("localhost", &[]).await;
    assert_eq!(ended.code, Some(64), "{}", ended.stderr);
    assert!(ended.stderr.contains("no HOST:PORT"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_reader_that_has_enough_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_switchboard"))
        .args(["completions", "bash"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // Far more is written than a pipe holds.
    drop(child.stdout.take());
    let ended = patiently("the end", child.wait_with_output()).await;
    let ended = ended.expect("it ran");
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}
