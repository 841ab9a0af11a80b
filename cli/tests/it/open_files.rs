//! How many files the host may open: up to the hard limit, and a warning where that is too little.
//!
//! Owns the shell that sets limits before the binary starts, because a process that has raised its soft limit
//! cannot show that another one does. Linux only, as it reads `/proc`.

use std::process::Stdio;

use switchboard_test_support::{guest, patiently};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

/// `switchboard serve` under these limits on open files, soft and hard, until its ready line; the soft limit
/// that it has then, and all it said.
async fn under_limits(soft: u32, hard: u32, connections_max: &str) -> (String, String) {
    let limits = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\"");
    let mut child = Command::new("sh")
        .args(["-c", &limits, env!("CARGO_BIN_EXE_switchboard"), "serve"])
        .args([
            "--listen",
            "127.0.0.1:0",
            "--connections-max",
            connections_max,
        ])
        .arg(guest("echo"))
        .env_remove("SWITCHBOARD_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("a shell");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut ready = String::new();
    let read = stdout.read_line(&mut ready);
    patiently("the ready line", read).await.expect("text");
    let limits = format!("/proc/{}/limits", child.id().expect("it runs"));
    let limits = std::fs::read_to_string(limits).expect("Linux has them");
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = files
        .and_then(|line| line.split_whitespace().nth(3))
        .expect("a number");
    child.start_kill().expect("it runs");
    let mut stderr = String::new();
    let mut pipe = child.stderr.take().expect("piped");
    let read = pipe.read_to_string(&mut stderr);
    patiently("the end of stderr", read).await.expect("text");
    (soft.to_owned(), stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_files_may_be_open_as_the_system_allows_and_too_few_are_told() {
    const FEW: &str = "fewer files may be open than connections";
    let (soft, stderr) = under_limits(256, 300, "100").await;
    assert_eq!(soft, "300", "{stderr}");
    assert!(!stderr.contains(FEW), "{stderr}");
    let (soft, stderr) = under_limits(256, 256, "256").await;
    assert_eq!(soft, "256", "{stderr}");
    assert!(stderr.contains(FEW), "{stderr}");
}
