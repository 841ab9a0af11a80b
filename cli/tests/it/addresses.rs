//! Where `switchboard serve` listens: ports and Unix sockets, several at once, and whose socket it may take.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::Signal;
use switchboard_test_support::{RawClient, guest};
use tempfile::TempDir;
use tokio::net::UnixStream;

use crate::serving::{Serving, run};

async fn assert_served_at(name: &str) {
    let client = match name.strip_prefix("unix:") {
        Some(path) => {
            let stream = UnixStream::connect(path).await.expect("it listens");
            RawClient::over(stream, &h2::client::Builder::new()).await
        }
        None => RawClient::connect(name.parse().expect("an address")).await,
    };
    let answer = client.unary("/echo.Echo/Unary", name.as_bytes()).await;
    assert_eq!(answer.messages(), [name.to_owned()]);
}

fn mode(path: &Path) -> u32 {
    let found = std::fs::metadata(path).expect("a file");
    found.permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn each_address_has_a_ready_line_and_is_served() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("host.sock");
    let unix = format!("unix://{}", path.display());
    let addresses = ["127.0.0.1:0", &unix, "127.0.0.1:0"];
    let (serving, names) = Serving::at(&addresses, [guest("echo")]).await;
    assert_eq!(names[1], format!("unix:{}", path.display()));
    assert_ne!(names[0], names[2], "two free ports");
    for name in &names {
        assert_served_at(name).await;
    }
    assert_eq!(mode(&path), 0o600, "for the host's own user");
    let ended = serving.stop().await;
    assert_eq!(
        (ended.code, &*ended.stdout),
        (Some(0), ""),
        "{}",
        ended.stderr
    );
    assert!(!path.exists(), "the file goes with the host");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_is_taken_from_the_dead_and_not_from_the_living() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("host.sock");
    let unix = format!("unix:{}", path.display());
    let echo = guest("echo").display().to_string();
    let (killed, _) = Serving::at(&[&unix], [&*echo]).await;
    killed.signal(Signal::KILL);
    assert_eq!(killed.ended().await.code, None);
    assert!(path.exists(), "left behind");
    let (living, _) = Serving::at(&[&unix], ["--unix-mode=666", &echo]).await;
    assert_eq!(mode(&path), 0o666);
    for _ in 0..2 {
        let second = run(["serve", "--listen", &unix, &echo]).await;
        assert_eq!((second.code, &*second.stdout), (Some(1), ""));
        let said = format!("cannot listen on {unix}: another server listens there");
        assert!(second.stderr.contains(&said), "{}", second.stderr);
        assert_served_at(&unix).await;
    }
    // A plugin that cannot be served is found after the socket was taken.
    let other = folder.path().join("other.sock");
    let there = format!("unix:{}", other.display());
    let none = run(["serve", "--listen", &there, "Cargo.toml"]).await;
    assert_eq!(none.code, Some(1), "{}", none.stderr);
    assert!(!other.exists(), "nothing is left behind");
    assert_eq!(living.stop().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_addresses_are_named_all_at_once() {
    let long = format!("unix:/{}", "a".repeat(107));
    let line = [
        "serve", "--listen", "nowhere", "--listen", "unix:", "--listen",
    ];
    let line = line
        .into_iter()
        .chain([&*long, "--listen", "a:1", "--listen", "a:1"]);
    let ended = run(line).await;
    assert_eq!(
        (ended.code, &*ended.stdout),
        (Some(64), ""),
        "{}",
        ended.stderr
    );
    for said in [
        "--listen \"nowhere\" is no HOST:PORT",
        "--listen \"unix:\": write a path",
        "107 bytes at most, not 108",
        "--listen a:1 is given twice",
    ] {
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
    let ended = run(["serve", "--unix-mode", "rw"]).await;
    assert_eq!(ended.code, Some(64), "{}", ended.stderr);
    assert!(ended.stderr.contains("as in 660"), "{}", ended.stderr);
}
