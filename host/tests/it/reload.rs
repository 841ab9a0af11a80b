//! Another configuration while the host serves: all of it or nothing, and calls go on.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use switchboard_host::{CacheConfig, HostConfig, PluginConfig, ReloadError};
use switchboard_test_support::{TestHost, eventually, guest, log};
use tempfile::TempDir;

use crate::swap::{quick, version};

const UNARY: &str = "/echo.Echo/Unary";
const INSTANCE: &str = "/testservice.Probe/Instance";

async fn two() -> TestHost {
    TestHost::start_with("echo", |setup| setup.paths.push(guest("testservice"))).await
}

fn config() -> HostConfig {
    HostConfig {
        watch: None,
        ..HostConfig::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_messages_change_and_instances_stay() {
    let host = two().await;
    let client = host.raw().await;
    assert_eq!(client.unary(UNARY, b"12345").await.code(), 0);
    let made = host.stats("echo").made;
    let mut smaller = config();
    smaller.call.request_bytes_max = 4;
    let reloaded = host.handle().reload(&smaller, HashMap::new()).await;
    assert!(reloaded.expect("sound").is_empty());
    assert_eq!(client.unary(UNARY, b"12345").await.code(), 8);
    let mut own = PluginConfig::default();
    own.messages.all.request_bytes_max = Some(5);
    let plugins = HashMap::from([("echo".to_owned(), own)]);
    host.handle()
        .reload(&smaller, plugins)
        .await
        .expect("sound");
    assert_eq!(client.unary(UNARY, b"12345").await.code(), 0);
    assert_eq!(client.unary(INSTANCE, b"12345").await.code(), 8);
    assert_eq!(host.stats("echo").made, made);
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_whose_pools_change_get_new_ones() {
    let host = two().await;
    let client = host.raw().await;
    let mut own = PluginConfig::default();
    own.pool.calls_max = 1;
    let plugins = HashMap::from([("echo".to_owned(), own)]);
    let reloaded = host.handle().reload(&config(), plugins).await;
    let names = reloaded.expect("sound");
    assert_eq!(
        names.iter().map(|name| &**name).collect::<Vec<_>>(),
        ["echo"]
    );
    for _ in 0..3 {
        assert_eq!(client.unary(UNARY, b"1").await.code(), 0);
    }
    assert_eq!(host.stats("echo").retired_calls, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_changes_nothing() {
    let host = two().await;
    let client = host.raw().await;
    let mut wrong = config();
    wrong.call.request_bytes_max = 0;
    let mut own = PluginConfig::default();
    own.long_methods.insert("nonsense".to_owned());
    let plugins = HashMap::from([("echo".to_owned(), own)]);
    let error = host
        .handle()
        .reload(&wrong, plugins)
        .await
        .expect_err("two faults");
    let said = error.to_string();
    assert!(matches!(error, ReloadError::Config(_)), "{said}");
    assert!(
        said.contains("request_bytes_max") && said.contains("plugin echo: long_methods"),
        "{said}"
    );
    assert_eq!(client.unary(UNARY, b"as before").await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_cannot_be_loaded_anew_keeps_all_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("echo.wasm");
    std::fs::copy(guest("echo"), &file).expect("copied");
    let host = TestHost::start_with("testservice", |setup| setup.paths.push(file.clone())).await;
    std::fs::remove_file(&file).expect("removed");
    let mut other = config();
    other.call.request_bytes_max = 4;
    other.plugin.pool.calls_max = 1;
    let error = host
        .handle()
        .reload(&other, HashMap::new())
        .await
        .expect_err("no file");
    assert!(error.to_string().contains("echo.wasm"), "{error}");
    let client = host.raw().await;
    for path in [UNARY, UNARY] {
        assert_eq!(client.unary(path, b"12345").await.code(), 0);
    }
    assert_eq!(host.stats("echo").retired_calls, 0);
    assert_eq!(host.stats("testservice").retired_calls, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_may_become_larger_than_all_that_waits_was_allowed_to_be() {
    let host = TestHost::start_with("echo", |setup| {
        setup.config.buffer.unread_bytes_max = 64 << 10;
        setup.config.call.request_bytes_max = 64 << 10;
    })
    .await;
    let mut larger = config();
    larger.call.request_bytes_max = 1 << 20;
    host.handle()
        .reload(&larger, HashMap::new())
        .await
        .expect("sound");
    let message = vec![7; 1 << 20];
    let answer = host.raw().await.unary(UNARY, &message).await;
    assert_eq!(answer.code(), 0, "{}", answer.message());
}

/// A plugin whose file changes while settings are taken. What it is loaded from is compiled for seconds; another
/// version was compiled before and would be ready in no time.
struct Overtaken {
    name: &'static str,
    host: TestHost,
    folder: TempDir,
    /// What is compiled anew.
    entry: PathBuf,
}

impl Overtaken {
    async fn start(name: &'static str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let (cache, plugins) = (folder.path().join("cache"), folder.path().join("plugins"));
        let host = async |number| {
            let file = plugins.join(format!("{name}.wasm"));
            std::fs::create_dir_all(&plugins).expect("made");
            std::fs::write(file, version("testservice", number)).expect("written");
            TestHost::start_with("echo", |setup| {
                setup.paths = vec![plugins.clone()];
                setup.config.watch = Some(quick());
                setup.config.cache = Some(CacheConfig::new(&cache));
            })
            .await
        };
        host(2).await.finish().await;
        let newer = entries(&cache);
        let host = host(1).await;
        let mut older = entries(&cache);
        older.retain(|entry| !newer.contains(entry));
        let entry = older.pop_first().expect("one more");
        std::fs::write(&entry, "not the host's").expect("ours");
        Self {
            name,
            host,
            folder,
            entry,
        }
    }

    fn file(&self) -> PathBuf {
        let file = format!("plugins/{}.wasm", self.name);
        self.folder.path().join(file)
    }

    /// Takes other settings, and does something once the plugin's file has been read for them.
    async fn reload(&self, meanwhile: impl FnOnce()) {
        let mut other = config();
        other.plugin.pool.calls_max = 1;
        let read = self.entry.display().to_string();
        let handle = self.host.handle();
        let reload = handle.reload(&other, HashMap::new());
        let meanwhile = async {
            log()
                .wait_for(&["does not carry this host's mark", &read])
                .await;
            meanwhile();
        };
        let (reloaded, ()) = tokio::join!(reload, meanwhile);
        reloaded.expect("sound");
    }

    fn digest(&self) -> Option<String> {
        let plugins = self.host.handle().plugins();
        let plugin = plugins.iter().find(|plugin| &*plugin.name == self.name);
        plugin.map(|plugin| plugin.digest.to_string())
    }
}

fn entries(cache: &Path) -> BTreeSet<PathBuf> {
    let entries = cache.read_dir().expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "compiled"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_while_settings_are_taken_is_served_as_it_is_with_those() {
    let plugin = Overtaken::start("overtaken-changed").await;
    let before = plugin.digest();
    plugin
        .reload(|| {
            let beside = plugin.folder.path().join("beside");
            std::fs::write(&beside, version("testservice", 2)).expect("written");
            std::fs::rename(beside, plugin.file()).expect("renamed");
        })
        .await;
    eventually("the newer version is served", || plugin.digest() != before).await;
    let client = plugin.host.raw().await;
    for _ in 0..3 {
        assert_eq!(client.unary(INSTANCE, b"").await.code(), 0);
    }
    let stats = plugin.host.stats(plugin.name);
    assert_eq!(stats.retired_calls, 3, "with the newer settings");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_goes_while_settings_are_taken_is_not_served() {
    let plugin = Overtaken::start("overtaken-gone").await;
    plugin
        .reload(|| std::fs::remove_file(plugin.file()).expect("there"))
        .await;
    eventually("it is gone", || plugin.digest().is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_is_taken_out_of_service_while_settings_are_taken_stays_out() {
    let plugin = Overtaken::start("overtaken-out").await;
    let handle = plugin.host.handle();
    plugin
        .reload(|| handle.remove_plugin(plugin.name).expect("served"))
        .await;
    assert_eq!(plugin.digest(), None);
    handle.reload_plugin(plugin.name).await.expect("sound");
    assert!(plugin.digest().is_some());
}
