//! Plugins that come, change and go while the host serves: no call is lost, and what is bad changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use switchboard_host::{PluginError, ReloadError, WatchConfig};
use switchboard_test_support::proto::health::health_check_response::ServingStatus;
use switchboard_test_support::{
    RawClient, Setup, TestHost, eventually, faulty, frame, frames, guest, log, patiently,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::health::Watcher;
use crate::reflection::Tool;

const UNARY: &str = "/echo.Echo/Unary";
const BIDI: &str = "/echo.Echo/Bidi";

/// Swaps under load.
const SWAPS: u64 = 100;

/// Connections that make one call after the other, and streams that stay, while plugins are swapped.
const CALLERS: usize = 4;
const STREAMS: usize = 4;

/// A folder of plugins that is watched.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a file in place as careful tools do: written beside it, and renamed.
    fn put(&self, name: &str, bytes: &[u8]) {
        let beside = self.at(&format!(".{name}.part"));
        std::fs::write(&beside, bytes).expect("written");
        std::fs::rename(beside, self.at(name)).expect("renamed");
    }

    async fn host(&self, edit: impl FnOnce(&mut Setup)) -> TestHost {
        TestHost::start_with("echo", |setup| {
            setup.paths = vec![self.0.path().to_owned()];
            setup.config.watch = Some(quick());
            edit(setup);
        })
        .await
    }
}

/// Looks often, and believes soon that a file is whole.
pub(crate) fn quick() -> WatchConfig {
    WatchConfig {
        interval: Duration::from_millis(100),
        settle: Duration::from_millis(5),
    }
}

/// The guest of this name with something more in its file: the same plugin, and another version of it.
pub(crate) fn version(name: &str, number: u64) -> Vec<u8> {
    let mut bytes = std::fs::read(guest(name)).expect("a guest");
    // A custom section: its id, its length, the length of its name, the name, and what is in it.
    // Source: WebAssembly core specification, "Custom Section"; a component may have them too.
    bytes.extend_from_slice(&[0, 10, 1, b'v']);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes
}

fn digest(host: &TestHost, name: &str) -> Option<String> {
    let plugins = host.handle().plugins();
    let plugin = plugins.iter().find(|plugin| &*plugin.name == name);
    plugin.map(|plugin| plugin.digest.to_string())
}

/// Waits until another version is served than `before`.
async fn swapped(host: &TestHost, name: &str, before: Option<String>) {
    let what = format!("another version of {name}");
    eventually(&what, || digest(host, name) != before).await;
}

/// Waits until a file is refused, and returns why.
async fn refused(host: &TestHost) -> String {
    eventually("a refusal", || !host.handle().refused().is_empty()).await;
    host.handle().refused()[0].to_string()
}

struct Stream {
    answers: h2::RecvStream,
    body: h2::SendStream<Bytes>,
}

impl Stream {
    async fn open(client: &RawClient) -> Self {
        let mut call = client.begin(RawClient::head(BIDI)).await;
        call.send(b"first");
        let (_, answers, body) = call.headers().await.expect("headers");
        let mut stream = Self { answers, body };
        stream.expect(b"first").await;
        stream
    }

    async fn expect(&mut self, message: &[u8]) {
        let answer = patiently("an answer", self.answers.data()).await;
        let answer = answer.expect("one").expect("no reset");
        assert_eq!(frames(answer), [message]);
    }

    async fn say(&mut self, message: &[u8]) {
        self.body.send_data(frame(message), false).expect("open");
        self.expect(message).await;
    }

    async fn end(mut self) -> String {
        self.body.send_data(Bytes::new(), true).expect("open");
        self.status().await
    }

    async fn status(&mut self) -> String {
        let more = patiently("the end", self.answers.data()).await;
        assert!(more.is_none(), "{more:?}");
        let trailers = self.answers.trailers().await.expect("no reset");
        let status = trailers.expect("trailers")["grpc-status"].clone();
        status.to_str().expect("a number").to_owned()
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's own task")]
fn begin<T: Send + 'static>(call: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(call)
}

/// Calls until told to stop; how many calls were answered. None may fail.
async fn call_on(client: RawClient, stop: Arc<AtomicBool>, calls: Arc<AtomicU64>) {
    while !stop.load(Ordering::Relaxed) {
        let answer = client.unary(UNARY, b"always").await;
        assert_eq!((answer.code(), answer.message()), (0, ""));
        assert_eq!(answer.messages(), ["always"]);
        calls.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_swaps_under_load_fail_no_call_and_end_no_stream() {
    let folder = Folder::new();
    folder.put("echo.wasm", &version("echo", 0));
    let host = folder
        .host(|setup| {
            // Each version that stayed alive would keep one, and there would soon be none left.
            setup.config.engine.instances_max = 40.try_into().expect("not zero");
        })
        .await;
    let (stop, calls) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        let call = call_on(host.raw().await, Arc::clone(&stop), Arc::clone(&calls));
        callers.push(begin(call));
    }
    let client = host.raw().await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        streams.push(Stream::open(&client).await);
    }
    for number in 1..=SWAPS {
        let (before, seen) = (digest(&host, "echo"), calls.load(Ordering::Relaxed));
        folder.put("echo.wasm", &version("echo", number));
        swapped(&host, "echo", before).await;
        for stream in &mut streams {
            stream.say(&number.to_le_bytes()).await;
        }
        // One more stream on each of the last versions, in the place of the oldest.
        let oldest = streams.remove(0);
        assert_eq!(oldest.end().await, "0");
        streams.push(Stream::open(&client).await);
        eventually("calls go on", || calls.load(Ordering::Relaxed) > seen).await;
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        patiently("a caller", caller).await.expect("no call failed");
    }
    for stream in streams {
        assert_eq!(stream.end().await, "0");
    }
    assert!(host.handle().refused().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_version_leaves_the_old_one_serving_and_says_why() {
    let folder = Folder::new();
    let good = version("echo", 1);
    folder.put("echo.wasm", &good);
    let host = folder.host(|_| {}).await;
    let client = host.raw().await;
    for (bad, why) in [
        (b"no plugin".to_vec(), "not a WebAssembly component"),
        (
            std::fs::read(faulty("describe-trap")).expect("a guest"),
            "failed when it was asked to describe itself",
        ),
        (
            std::fs::read(guest("greeter")).expect("a guest"),
            "the service echo.Echo is gone",
        ),
    ] {
        let before = digest(&host, "echo");
        folder.put("echo.wasm", &bad);
        let line = refused(&host).await;
        assert!(line.contains("echo.wasm") && line.contains(why), "{line}");
        assert_eq!(client.unary(UNARY, b"on").await.messages(), ["on"]);
        assert_eq!(digest(&host, "echo"), before);
        folder.put("echo.wasm", &good);
        eventually("it is as it was", || host.handle().refused().is_empty()).await;
    }
    let made = host.stats("echo").made;
    assert_eq!(client.unary(UNARY, b"on").await.messages(), ["on"]);
    assert_eq!(
        host.stats("echo").made,
        made,
        "the same version all the time"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_lacks_methods_is_served_if_that_is_allowed() {
    let folder = Folder::new();
    folder.put("echo.wasm", &version("echo", 1));
    let host = folder
        .host(|setup| setup.config.swap.incompatible = true)
        .await;
    let before = digest(&host, "echo");
    folder.put("echo.wasm", &version("greeter", 1));
    swapped(&host, "echo", before).await;
    let client = host.raw().await;
    assert_eq!(client.unary(UNARY, b"gone").await.code(), 12);
    let greeted = client
        .unary("/helloworld.Greeter/SayHello", b"\x0a\x03you")
        .await;
    assert_eq!(greeted.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_file_is_not_served_and_the_whole_one_is() {
    let folder = Folder::new();
    folder.put("echo.wasm", &version("echo", 1));
    let host = folder.host(|_| {}).await;
    let before = digest(&host, "echo");
    let new = version("echo", 2);
    let (first, second) = new.split_at(new.len() / 2);
    // In place, as `cp` does it.
    std::fs::write(folder.at("echo.wasm"), first).expect("written");
    refused(&host).await;
    let client = host.raw().await;
    assert_eq!(client.unary(UNARY, b"on").await.messages(), ["on"]);
    let mut file = std::fs::OpenOptions::new();
    let mut file = file
        .append(true)
        .open(folder.at("echo.wasm"))
        .expect("there");
    std::io::Write::write_all(&mut file, second).expect("written");
    drop(file);
    swapped(&host, "echo", before).await;
    assert_eq!(client.unary(UNARY, b"new").await.messages(), ["new"]);
    assert!(host.handle().refused().is_empty());
}

/// As Kubernetes mounts files: each a link through `..data`, which is pointed elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn links_that_are_pointed_elsewhere_are_followed() {
    let folder = Folder::new();
    let link = |to: &str, name: &str| {
        let beside = folder.at(".new-link");
        std::os::unix::fs::symlink(to, &beside).expect("linked");
        std::fs::rename(beside, folder.at(name)).expect("renamed");
    };
    for number in [1, 2] {
        let to = folder.at(&format!("..{number}"));
        std::fs::create_dir(&to).expect("made");
        std::fs::write(to.join("echo.wasm"), version("echo", number)).expect("written");
    }
    link("..1", "..data");
    link("..data/echo.wasm", "echo.wasm");
    let host = folder.host(|_| {}).await;
    let before = digest(&host, "echo");
    assert!(before.is_some());
    link("..2", "..data");
    swapped(&host, "echo", before).await;
    assert_eq!(
        host.raw().await.unary(UNARY, b"on").await.messages(),
        ["on"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_whose_file_is_gone_takes_no_calls_and_ends_those_it_has() {
    let folder = Folder::new();
    folder.put("echo.wasm", &version("echo", 1));
    let host = folder.host(|_| {}).await;
    let client = host.raw().await;
    let mut stream = Stream::open(&client).await;
    std::fs::remove_file(folder.at("echo.wasm")).expect("removed");
    swapped(&host, "echo", digest(&host, "echo")).await;
    assert_eq!(client.unary(UNARY, b"gone").await.code(), 12);
    stream.say(b"still here").await;
    folder.put("echo.wasm", &version("echo", 2));
    swapped(&host, "echo", None).await;
    assert_eq!(client.unary(UNARY, b"back").await.messages(), ["back"]);
    stream.say(b"on the old one").await;
    assert_eq!(stream.end().await, "0");
}

/// The file of a service, as somebody who asks reflection gets it.
fn has_echo(services: &[String]) -> bool {
    services.iter().any(|service| service == "echo.Echo")
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_follow_what_is_served() {
    let folder = Folder::new();
    folder.put("echo.wasm", &version("echo", 1));
    let host = folder.host(|_| {}).await;
    let mut watcher = Watcher::of(host.channel(), "echo.Echo").await;
    let mut tool = Tool::open(host.channel()).await;
    assert_eq!(watcher.next().await.expect("known"), ServingStatus::Serving);
    assert!(has_echo(&tool.services().await));
    std::fs::remove_file(folder.at("echo.wasm")).expect("removed");
    let gone = watcher.next().await.expect("it goes on");
    assert_eq!(gone, ServingStatus::ServiceUnknown);
    // The same stream, which has been open all the time.
    eventually("it is gone", || digest(&host, "echo").is_none()).await;
    assert!(!has_echo(&tool.services().await));
    folder.put("echo.wasm", &version("echo", 2));
    assert_eq!(watcher.next().await.expect("back"), ServingStatus::Serving);
    assert!(has_echo(&tool.services().await));
    let before = digest(&host, "echo");
    folder.put("echo.wasm", &version("echo", 3));
    swapped(&host, "echo", before).await;
    assert!(has_echo(&tool.services().await), "in the place of itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_on_an_old_version_end_when_their_time_is_up() {
    let folder = Folder::new();
    folder.put("echo-cut.wasm", &version("echo", 1));
    let host = folder
        .host(|setup| setup.config.swap.drain_timeout = Duration::from_millis(1))
        .await;
    let client = host.raw().await;
    let mut old = Stream::open(&client).await;
    let before = digest(&host, "echo-cut");
    folder.put("echo-cut.wasm", &version("echo", 2));
    swapped(&host, "echo-cut", before.clone()).await;
    assert_eq!(old.status().await, "14", "UNAVAILABLE");
    let gone = before.expect("one");
    let now = digest(&host, "echo-cut").expect("served");
    let (was, is) = (format!("before={gone}"), format!("digest={now}"));
    log().wait_for(&["plugin swapped", &was, &is]).await;
    log()
        .wait_for(&[
            "the last call of a version that was replaced or removed has ended",
            &gone,
        ])
        .await;
    let mut new = Stream::open(&client).await;
    new.say(b"on the new one").await;
    assert_eq!(new.end().await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_in_the_way_is_followed_by_who_waited() {
    let folder = Folder::new();
    folder.put("a.wasm", &version("echo", 1));
    let host = folder.host(|_| {}).await;
    folder.put("b.wasm", &version("echo", 2));
    let line = refused(&host).await;
    assert!(
        line.contains("b.wasm") && line.contains("which a offers"),
        "{line}"
    );
    assert!(matches!(
        host.handle().refused()[0].error,
        PluginError::Clash { .. }
    ));
    std::fs::remove_file(folder.at("a.wasm")).expect("removed");
    swapped(&host, "b", None).await;
    assert_eq!(host.raw().await.unary(UNARY, b"b").await.messages(), ["b"]);
    assert!(host.handle().refused().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_gets_another_name_is_served_all_the_time() {
    let folder = Folder::new();
    folder.put("one.wasm", &version("echo", 1));
    let host = folder.host(|_| {}).await;
    let (stop, calls) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let call = call_on(host.raw().await, Arc::clone(&stop), Arc::clone(&calls));
    let caller = begin(call);
    std::fs::rename(folder.at("one.wasm"), folder.at("other.wasm")).expect("renamed");
    swapped(&host, "other", None).await;
    assert_eq!(digest(&host, "one"), None);
    let seen = calls.load(Ordering::Relaxed);
    eventually("calls go on", || calls.load(Ordering::Relaxed) > seen).await;
    stop.store(true, Ordering::Relaxed);
    patiently("the caller", caller)
        .await
        .expect("no call failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_read_takes_no_plugin_away() {
    let folder = Folder::new();
    let plugins = folder.at("plugins");
    std::fs::create_dir(&plugins).expect("made");
    std::fs::write(plugins.join("echo.wasm"), version("echo", 1)).expect("written");
    let host = folder
        .host(|setup| setup.paths = vec![plugins.clone()])
        .await;
    std::fs::rename(&plugins, folder.at("away")).expect("renamed");
    let path = plugins.display().to_string();
    log().wait_for(&["cannot look for plugins", &path]).await;
    let client = host.raw().await;
    assert_eq!(client.unary(UNARY, b"on").await.messages(), ["on"]);
    std::fs::rename(folder.at("away"), &plugins).expect("renamed");
    let before = digest(&host, "echo");
    std::fs::write(plugins.join("echo.wasm"), version("echo", 2)).expect("written");
    swapped(&host, "echo", before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_not_watched_are_looked_at_when_somebody_asks() {
    let folder = Folder::new();
    folder.put("echo.wasm", &version("echo", 1));
    let host = folder.host(|setup| setup.config.watch = None).await;
    let before = digest(&host, "echo");
    let put = |path: &Path, number| std::fs::write(path, version("echo", number)).expect("written");
    put(&folder.at("echo.wasm"), 2);
    host.handle().look_again();
    swapped(&host, "echo", before.clone()).await;
    host.handle().reload_plugin("echo").await.expect("sound");
    assert_eq!(host.stats("echo").leased.total(), 0);
    let unknown = host.handle().reload_plugin("nobody").await;
    assert!(unknown.is_err_and(|error| error.to_string().contains("nobody")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_out_of_service_stays_out_until_it_is_loaded_anew() {
    let folder = Folder::new();
    folder.put("echo-out.wasm", &version("echo", 1));
    let host = folder.host(|_| {}).await;
    let client = host.raw().await;
    let mut stream = Stream::open(&client).await;
    host.handle().remove_plugin("echo-out").expect("served");
    assert_eq!(client.unary(UNARY, b"gone").await.code(), 12);
    stream.say(b"still here").await;
    assert_eq!(stream.end().await, "0");
    // Whatever becomes of its file; who deploys is not who took it out.
    folder.put("echo-out.wasm", &version("echo", 2));
    log().wait_for(&["stays out of service", "echo-out"]).await;
    std::fs::remove_file(folder.at("echo-out.wasm")).expect("there");
    // Others come and go.
    folder.put("greeter.wasm", &version("greeter", 1));
    swapped(&host, "greeter", None).await;
    let held = host.handle().held();
    assert_eq!(held.len(), 1, "{held:?}");
    assert_eq!(
        (&*held[0].0, &held[0].1),
        ("echo-out", &folder.at("echo-out.wasm"))
    );
    let error = host.handle().reload_plugin("echo-out").await;
    assert!(matches!(error, Err(ReloadError::Refused(_))), "{error:?}");
    folder.put("echo-out.wasm", &version("echo", 3));
    host.handle()
        .reload_plugin("echo-out")
        .await
        .expect("sound");
    assert_eq!(client.unary(UNARY, b"back").await.messages(), ["back"]);
    assert!(host.handle().held().is_empty());
    let before = digest(&host, "echo-out");
    folder.put("echo-out.wasm", &version("echo", 4));
    swapped(&host, "echo-out", before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waited_for_a_service_gets_it_when_its_owner_is_taken_out() {
    let folder = Folder::new();
    folder.put("a.wasm", &version("echo", 1));
    folder.put("b.wasm", &version("echo", 2));
    let host = folder.host(|_| {}).await;
    assert_eq!(digest(&host, "b"), None);
    host.handle().remove_plugin("a").expect("served");
    swapped(&host, "b", None).await;
    let error = host
        .handle()
        .reload_plugin("a")
        .await
        .expect_err("b has it");
    assert!(error.to_string().contains("which b offers"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_finds_no_room_is_tried_again_when_there_is_some() {
    let folder = Folder::new();
    folder.put("greeter.wasm", &version("greeter", 1));
    let host = folder
        .host(|setup| {
            setup.config.engine.instances_max = 1.try_into().expect("not zero");
            setup.config.plugin.pool.warm_min = 1;
        })
        .await;
    folder.put("echo.wasm", &version("echo", 1));
    let line = refused(&host).await;
    assert!(line.contains("--instances-max"), "{line}");
    std::fs::remove_file(folder.at("greeter.wasm")).expect("removed");
    swapped(&host, "echo", None).await;
    assert_eq!(
        host.raw().await.unary(UNARY, b"in").await.messages(),
        ["in"]
    );
}
