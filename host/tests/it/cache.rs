//! Plugins that were compiled before: found in the cache, and compiled anew when what is there is not ours.

use std::path::Path;

use switchboard_host::{BuildError, CacheConfig, HostBuilder};
use switchboard_test_support::{Setup, TestHost, guest, log};

/// A host on this cache that serves echo under a name that only one test uses.
async fn host(cache: &Path, name: &str) -> TestHost {
    let file = cache.with_file_name(format!("{name}.wasm"));
    std::fs::copy(guest("echo"), &file).expect("copied");
    TestHost::start_with("echo", |setup| {
        setup.paths = vec![file];
        setup.config.cache = Some(CacheConfig::new(cache));
    })
    .await
}

fn entries(cache: &Path) -> Vec<std::path::PathBuf> {
    let entries = cache.read_dir().expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "compiled"))
        .collect()
}

async fn assert_serves(host: TestHost) {
    let answer = host.raw().await.unary("/echo.Echo/Unary", b"hello").await;
    assert_eq!(answer.messages(), ["hello"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_compiled_once_and_found_at_every_start_after() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("below/cache");
    std::fs::create_dir(folder.path().join("below")).expect("made");
    assert_serves(host(&cache, "cached-first").await).await;
    log()
        .wait_for(&["compiled", "\"cached-first\"", "took"])
        .await;
    assert_eq!(entries(&cache).len(), 1);
    // The name is another, the content is the same.
    assert_serves(host(&cache, "cached-second").await).await;
    log().wait_for(&["found compiled", "cached-second"]).await;
    assert_eq!(entries(&cache).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_tampered_with_is_compiled_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cache");
    assert_serves(host(&cache, "tampered-first").await).await;
    let [entry] = &entries(&cache)[..] else {
        panic!("one entry");
    };
    let mut bytes = std::fs::read(entry).expect("there");
    let last = bytes.last_mut().expect("not empty");
    *last ^= 1;
    std::fs::write(entry, &bytes).expect("ours");
    assert_serves(host(&cache, "tampered-second").await).await;
    let path = entry.display().to_string();
    log()
        .wait_for(&["does not carry this host's mark", &path])
        .await;
    assert!(
        log()
            .find(&["found compiled", "tampered-second"])
            .is_empty()
    );
    assert_serves(host(&cache, "tampered-third").await).await;
    log().wait_for(&["found compiled", "tampered-third"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_others_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cache");
    std::fs::create_dir(&cache).expect("made");
    std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(0o777)).expect("ours");
    let mut config = Setup::default().config;
    config.cache = Some(CacheConfig::new(&cache));
    config.engine.instances_max = 2.try_into().expect("not zero");
    let built = HostBuilder::new(config).build(&[guest("echo")]).await;
    let error = built.expect_err("not safe");
    assert!(matches!(error, BuildError::Cache { .. }), "{error:?}");
    let said = switchboard_host::chain(&error);
    assert!(said.contains("chmod it to 755"), "{said}");
}
