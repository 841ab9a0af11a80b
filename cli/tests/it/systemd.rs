//! The service manager's side: it is told how the service is doing, hands over its sockets, and what is deployed
//! is what the binary takes.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process};
use switchboard_test_support::{RawClient, guest, patiently, root};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, Command};

const BINARY: &str = env!("CARGO_BIN_EXE_switchboard");

/// A service manager that listens to one service.
struct Manager {
    socket: tokio::net::UnixDatagram,
    folder: tempfile::TempDir,
    /// `WatchdogSec=`.
    watchdog: Option<Duration>,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        socket.set_nonblocking(true).expect("ours");
        let socket = tokio::net::UnixDatagram::from_std(socket).expect("a runtime");
        Self {
            socket,
            folder,
            watchdog: None,
        }
    }

    /// Starts the service with these sockets at 3 and above, as sd_listen_fds(3) has it.
    fn start(&self, args: &[String], sockets: &[std::net::TcpListener]) -> Child {
        let mut moved = String::new();
        for (at, socket) in sockets.iter().enumerate() {
            fcntl_setfd(socket.as_fd(), FdFlags::empty()).expect("ours");
            moved.push_str(&format!("exec {}<&{}; ", at + 3, socket.as_raw_fd()));
        }
        let count = sockets.len();
        let script = if count == 0 {
            "exec env --default-signal=HUP \"$0\" \"$@\"".to_owned()
        } else {
            format!("{moved}LISTEN_FDS={count} LISTEN_PID=$$ exec \"$0\" \"$@\"")
        };
        let watchdog = self
            .watchdog
            .map(|time| ("WATCHDOG_USEC", time.as_micros().to_string()));
        Command::new("bash")
            .envs(watchdog)
            .args(["-c", &script, BINARY])
            .args(args)
            .env("NOTIFY_SOCKET", self.folder.path().join("notify"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts")
    }

    /// What it is told next.
    async fn told(&self) -> String {
        let mut bytes = [0; 4096];
        let told = patiently("what the service tells", self.socket.recv(&mut bytes)).await;
        String::from_utf8(bytes[..told.expect("a message")].to_vec()).expect("text")
    }
}

fn lines(child: &mut Child) -> Lines<BufReader<impl AsyncRead + Unpin + use<>>> {
    BufReader::new(child.stdout.take().expect("piped")).lines()
}

async fn next(lines: &mut Lines<BufReader<impl AsyncRead + Unpin>>) -> String {
    let line = patiently("a line", lines.next_line()).await;
    line.expect("text").expect("a line")
}

fn signal(child: &Child, signal: Signal) {
    let id = i32::try_from(child.id().expect("it runs")).expect("a number");
    kill_process(Pid::from_raw(id).expect("a number"), signal).expect("a signal");
}

async fn ended(mut child: Child) -> Option<i32> {
    let ended = patiently("the end", child.wait()).await;
    ended.expect("a status").code()
}

fn serve(addresses: &str, more: &[&str]) -> Vec<String> {
    let fixed = ["serve", "--listen", addresses];
    let all = fixed.iter().chain(more).map(|&arg| arg.to_owned());
    let path = guest("echo").display().to_string();
    all.chain([path]).collect()
}

#[tokio::test]
async fn the_manager_is_told_of_readiness_reload_and_stop() {
    let manager = Manager::new();
    let mut child = manager.start(&serve("127.0.0.1:0", &[]), &[]);
    let mut lines = lines(&mut child);
    assert!(next(&mut lines).await.starts_with("ready grpc "));
    assert_eq!(manager.told().await.trim(), "READY=1");
    signal(&child, Signal::HUP);
    let reloading = manager.told().await;
    assert!(
        reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="),
        "{reloading}"
    );
    assert_eq!(manager.told().await.trim(), "READY=1");
    signal(&child, Signal::TERM);
    assert_eq!(manager.told().await.trim(), "STOPPING=1");
    assert_eq!(ended(child).await, Some(0));
}

#[tokio::test]
async fn the_manager_is_told_again_and_again_that_the_service_is_alive() {
    let mut manager = Manager::new();
    manager.watchdog = Some(Duration::from_millis(100));
    let child = manager.start(&serve("127.0.0.1:0", &[]), &[]);
    assert_eq!(manager.told().await.trim(), "READY=1");
    for _ in 0..3 {
        assert_eq!(manager.told().await.trim(), "WATCHDOG=1");
    }
    signal(&child, Signal::TERM);
    while manager.told().await.trim() != "STOPPING=1" {}
    assert_eq!(ended(child).await, Some(0));
}

#[tokio::test]
async fn sockets_that_are_handed_over_are_served() {
    let manager = Manager::new();
    let bind = || std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let sockets = [bind(), bind()];
    let addrs = [0, 1].map(|at: usize| sockets[at].local_addr().expect("bound"));
    let mut child = manager.start(&serve("systemd", &[]), &sockets);
    let mut lines = lines(&mut child);
    for addr in addrs {
        assert_eq!(next(&mut lines).await, format!("ready grpc {addr}"));
        let client = RawClient::connect(addr).await;
        let answer = client.unary("/echo.Echo/Unary", b"hello").await;
        assert_eq!(answer.messages(), ["hello"]);
    }
    signal(&child, Signal::TERM);
    assert_eq!(ended(child).await, Some(0));
}

#[tokio::test]
async fn without_sockets_there_is_nothing_to_listen_on() {
    let run = crate::serving::run(serve("systemd", &[])).await;
    assert_eq!((run.code, &*run.stdout), (Some(1), ""));
    assert!(
        run.stderr.contains("hands over no socket (LISTEN_FDS)"),
        "{}",
        run.stderr
    );
}

/// A file that is deployed.
fn deployed(path: &str) -> String {
    std::fs::read_to_string(root().join("deploy").join(path)).expect("a file")
}

/// What the unit, or the manifest, starts, on a port of our own and with a plugin of ours.
async fn serves_as(args: Vec<String>) {
    let manager = Manager::new();
    let mut child = manager.start(&args, &[]);
    let mut lines = lines(&mut child);
    let mut ready = Vec::new();
    while !ready
        .iter()
        .any(|line: &String| line.starts_with("ready grpc "))
    {
        ready.push(next(&mut lines).await);
    }
    let addr = ready
        .iter()
        .find_map(|line| line.strip_prefix("ready grpc "));
    let client = RawClient::connect(addr.expect("one").parse().expect("an address")).await;
    let answer = client.unary("/echo.Echo/Unary", b"hello").await;
    assert_eq!(answer.messages(), ["hello"]);
    drop(client);
    signal(&child, Signal::TERM);
    assert_eq!(ended(child).await, Some(0));
}

#[tokio::test]
async fn the_unit_starts_what_serves() {
    let unit = deployed("systemd/switchboard.service");
    let start = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    let mut words = start.expect("a command").split(' ');
    assert!(
        words
            .next()
            .is_some_and(|binary| binary.ends_with("/switchboard"))
    );
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("switchboard.toml");
    std::fs::write(&config, "[listeners]\naddresses = [\"127.0.0.1:0\"]\n").expect("written");
    let cache = folder.path().join("cache");
    let args = words.map(|word| match word {
        "/etc/switchboard/switchboard.toml" => config.display().to_string(),
        "%C/switchboard" => cache.display().to_string(),
        "/var/lib/switchboard/plugins" => guest("echo").display().to_string(),
        word => word.to_owned(),
    });
    serves_as(args.collect()).await;
    assert!(cache.is_dir(), "what was compiled is kept");
}

#[tokio::test]
async fn the_manifest_configures_and_starts_what_serves() {
    let manifest = deployed("kubernetes/switchboard.yaml");
    // The block under `switchboard.toml: |`, without its indentation.
    let block = manifest
        .lines()
        .skip_while(|line| !line.ends_with("switchboard.toml: |"));
    let block = block
        .skip(1)
        .take_while(|line| line.is_empty() || line.starts_with("    "));
    let text: Vec<_> = block.map(str::trim_start).collect();
    let mut text = text.join("\n");
    // The ports of a pod are its own; here others have them.
    for port in [50_051, 9_090] {
        text = text.replace(&format!("0.0.0.0:{port}"), "127.0.0.1:0");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("compiled").display().to_string();
    let text = text.replace("/cache/compiled", &cache);
    // Told at once, so that the end of this test is not waited for.
    let text = text.replace("drain_notice = \"5s\"", "drain_notice = \"1ms\"");
    let config = folder.path().join("switchboard.toml");
    std::fs::write(&config, text).expect("written");
    let args = manifest
        .lines()
        .find_map(|line| line.trim().strip_prefix("args: "));
    let args: Vec<String> = serde_json::from_str(args.expect("a list")).expect("a list of texts");
    let args = args.into_iter().map(|word| match &*word {
        "/etc/switchboard/switchboard.toml" => config.display().to_string(),
        "/plugins" => guest("echo").display().to_string(),
        _ => word,
    });
    serves_as(args.collect()).await;
}

#[tokio::test]
async fn what_was_compiled_before_is_found_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cache").display().to_string();
    let path = guest("echo").display().to_string();
    let none = crate::serving::run(["compile", &path]).await;
    assert_eq!(none.code, Some(64), "{}", none.stderr);
    assert!(none.stderr.contains("--cache"), "{}", none.stderr);
    let compiled = crate::serving::run(["compile", "--cache", &cache, &path]).await;
    assert_eq!(compiled.code, Some(0), "{}", compiled.stderr);
    assert!(compiled.stdout.contains("echo.Echo"), "{}", compiled.stdout);
    let args = ["--cache", &cache, "--log", "debug", &path];
    let serving = crate::serving::Serving::start(args).await;
    serving.says("found compiled").await;
    assert_eq!(serving.stop().await.code, Some(0));
}
