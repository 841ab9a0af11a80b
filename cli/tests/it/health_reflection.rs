//! The health and reflection clients that gRPC publishes, against the real binary: what they check is in
//! `test-support/peers/health_reflection.py`. And the flags that switch both off.

use std::process::Stdio;

use rustix::process::Signal;
use switchboard_test_support::{guest, patiently, root};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::serving::{Serving, run};
use crate::stock_client::python;

#[tokio::test(flavor = "multi_thread")]
async fn published_clients_find_nothing_to_complain_about_and_are_told_of_the_end() {
    let plugins = ["greeter", "testservice", "echo"].map(guest);
    let serving = Serving::start(plugins).await;
    // Every call of the script but the last has a deadline.
    let mut script = Command::new(python())
        .arg(root().join("test-support/peers/health_reflection.py"))
        .arg(serving.addr.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("Python starts");
    let mut lines = BufReader::new(script.stdout.take().expect("piped")).lines();
    let mut said = Vec::new();
    while let Some(line) = lines.next_line().await.expect("text") {
        let watching = line == "watching";
        said.push(line);
        if watching {
            serving.signal(Signal::TERM);
        }
    }
    let end = patiently("the script's end", script.wait_with_output()).await;
    let end = end.expect("a status");
    let complained = String::from_utf8_lossy(&end.stderr);
    assert!(
        end.status.success(),
        "{}\n{said:#?}\n{complained}",
        end.status
    );
    assert!(
        said.iter().any(|line| line.ends_with(" passed, 0 failed")),
        "{said:#?}"
    );
    assert!(said.iter().any(|line| line == "told"), "{said:#?}");
    let ended = serving.ended().await;
    assert_eq!(
        ended.code,
        Some(0),
        "nobody who watched was cut: {}",
        ended.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn both_can_be_switched_off() {
    let flags = ["--health-off", "--reflection-off"].map(Into::into);
    let args = [guest("echo").into_os_string()].into_iter().chain(flags);
    let serving = Serving::start(args).await;
    let client = serving.client().await;
    for path in [
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ] {
        assert_eq!(client.unary(path, b"").await.code(), 12, "{path}");
    }
    assert_eq!(serving.stop().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_about_quarantine_is_said_in_the_words_of_the_command_line() {
    let flags = ["--quarantine-faults", "0", "--quarantine-min", "2min"];
    let ended = run(["serve"].into_iter().chain(flags)).await;
    assert_eq!(ended.code, Some(64), "{}", ended.stderr);
    for text in [
        "--quarantine-faults must be 1 to 10000, not 0",
        "--quarantine-min must be at most --quarantine-max",
    ] {
        assert!(ended.stderr.contains(text), "{}", ended.stderr);
    }
}
