//! Another configuration while the host serves: all of it or nothing, and calls go on.

use std::collections::HashMap;

use switchboard_host::{HostConfig, PluginConfig, ReloadError};
use switchboard_test_support::{TestHost, guest};

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
