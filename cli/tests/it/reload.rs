//! Settings that change while the host serves: by the file, and by SIGHUP.

use std::path::PathBuf;

use rustix::process::Signal;
use switchboard_test_support::guest;
use tempfile::TempDir;

use crate::serving::Serving;

const UNARY: &str = "/echo.Echo/Unary";

/// A host with a configuration file.
struct Configured {
    serving: Serving,
    folder: TempDir,
}

impl Configured {
    async fn start(text: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("host.toml");
        std::fs::write(&file, text).expect("a file");
        let serving = Serving::start(["-c".into(), file, guest("echo")]).await;
        Self { serving, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("host.toml")
    }

    /// Puts another file in its place, as one step.
    fn replace(&self, text: &str) {
        let new = self.folder.path().join("host.toml.new");
        std::fs::write(&new, text).expect("a file");
        std::fs::rename(new, self.file()).expect("a new name");
    }

    /// The status of a call with so many bytes.
    async fn call(&self, bytes: usize) -> u16 {
        let client = self.serving.client().await;
        client.unary(UNARY, &vec![0; bytes]).await.code()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_is_taken_by_itself() {
    let host = Configured::start("[limits]\nrequest_max = \"10B\"\n").await;
    assert_eq!(host.call(20).await, 8, "RESOURCE_EXHAUSTED");
    host.replace("[limits]\nrequest_max = \"30B\"\nmemory_max = \"8MiB\"\n");
    let says = "setting changed: limits.request_max: 10B -> 30B";
    host.serving.says(says).await;
    let says = "setting needs a restart: limits.memory_max: 64MiB -> 8MiB";
    host.serving.says(says).await;
    assert_eq!(host.call(20).await, 0);
    assert_eq!(host.call(31).await, 8, "RESOURCE_EXHAUSTED");
    assert_eq!(host.serving.stop().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_changes_nothing_and_says_why() {
    let host = Configured::start("[limits]\nrequest_max = \"10B\"\n").await;
    host.replace("[limits]\nrequest_max = \"30B\"\nresponse_mx = \"1B\"\n[tunnel]\nping = 5\n");
    let file = host.file().display().to_string();
    for fault in [
        "settings are wrong and stay as they are".to_owned(),
        format!("{file}:3: there is no limits.response_mx"),
        format!("{file}:5: tunnel.ping must be a time"),
    ] {
        host.serving.says(&fault).await;
    }
    assert_eq!(host.call(20).await, 8, "RESOURCE_EXHAUSTED");
    host.replace("[limits]\nrequest_max = \"30B\"\n");
    host.serving.says("limits.request_max: 10B -> 30B").await;
    assert_eq!(host.call(20).await, 0);
    std::fs::remove_file(host.file()).expect("a file");
    let unreadable = "cannot read the configuration file";
    host.serving.says(unreadable).await;
    // Who asks is told again.
    host.serving.signal(Signal::HUP);
    host.serving.says_times(unreadable, 2).await;
    assert_eq!(host.call(20).await, 0);
    assert_eq!(host.serving.stop().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_turned_is_a_new_file() {
    let host = Configured::start("").await;
    // As Kubernetes mounts a ConfigMap: the file is a link through a folder that is a link.
    let of = |name: &str| host.folder.path().join(name);
    for (version, text) in [("1", "[limits]\nrequest_max = \"10B\"\n"), ("2", "")] {
        std::fs::create_dir(of(version)).expect("a folder");
        std::fs::write(of(version).join("host.toml"), text).expect("a file");
    }
    let turn = |to: &str| {
        std::os::unix::fs::symlink(to, of("data.new")).expect("a link");
        std::fs::rename(of("data.new"), of("data")).expect("a new name");
    };
    turn("1");
    std::os::unix::fs::symlink("data/host.toml", of("link")).expect("a link");
    std::fs::rename(of("link"), host.file()).expect("a new name");
    host.serving.says("limits.request_max: 4MiB -> 10B").await;
    turn("2");
    host.serving.says("limits.request_max: 10B -> 4MiB").await;
    assert_eq!(host.serving.stop().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_reads_settings_and_plugins_again() {
    let folder = TempDir::new().expect("a folder");
    std::fs::copy(guest("echo"), folder.path().join("echo.wasm")).expect("a copy");
    let serving = Serving::start([folder.path()]).await;
    serving.signal(Signal::HUP);
    serving
        .says("settings were read again: nothing has changed")
        .await;
    let client = serving.client().await;
    assert_eq!(client.unary(UNARY, b"on").await.messages(), ["on"]);
    std::fs::copy(guest("greeter"), folder.path().join("greeter.wasm")).expect("a copy");
    serving.signal(Signal::HUP);
    serving.says("helloworld.Greeter").await;
    assert_eq!(serving.stop().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pool_of_one_plugin_changes_while_it_serves() {
    let host = Configured::start("[plugins.echo.pool]\nstores_max = 2\n").await;
    host.replace("[plugins.echo.pool]\nstores_max = 3\n");
    host.serving
        .says("plugins.echo.pool.stores_max: 2 -> 3")
        .await;
    host.serving
        .says("plugins were loaded anew plugins=[\"echo\"]")
        .await;
    assert_eq!(host.call(1).await, 0);
    assert_eq!(host.serving.stop().await.code, Some(0));
}
