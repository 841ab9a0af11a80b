//! What is in a plugin file, without serving it.

use std::io::Write;

use switchboard_host::{EngineConfig, Inspection, PluginError, inspect};
use switchboard_test_support::{PATIENCE, faulty, guest, log};

async fn look(path: &std::path::Path) -> Inspection {
    log();
    let config = EngineConfig {
        // By the clock, and tests keep the machine busy.
        describe_timeout: PATIENCE,
        ..EngineConfig::default()
    };
    inspect(&config, path).await.expect("an engine")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_says_what_it_offers_and_asks_for() {
    let path = guest("greeter");
    let found = look(&path).await;
    let description = found.description.expect("a plugin");
    assert_eq!(description.services[0].name, "helloworld.Greeter");
    assert_eq!(found.abi, ["0.1.0"]);
    let len = path.metadata().expect("there").len();
    assert_eq!(u64::try_from(found.file_bytes), Ok(len));
    assert!(found.compiled_bytes.is_some_and(|bytes| bytes > 1000));
    let asks = |name: &str| found.imports.iter().any(|import| import.starts_with(name));
    assert!(
        asks("switchboard:grpc/call@") && asks("wasi:"),
        "{:?}",
        found.imports
    );
    let digest = found.digest.expect("read").to_string();
    assert!(
        digest.starts_with("sha256:") && digest.len() == 7 + 64,
        "{digest}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_file_is_said_beside_what_is_known() {
    let found = look(&faulty("describe-trap")).await;
    assert!(matches!(
        found.description,
        Err(PluginError::DescribeTrap(_))
    ));
    assert!(found.digest.is_some() && !found.imports.is_empty());
    let mut text = tempfile::NamedTempFile::new().expect("a file");
    text.write_all(b"text").expect("written");
    let found = look(text.path()).await;
    assert!(matches!(found.description, Err(PluginError::NotWasm)));
    assert_eq!((found.file_bytes, found.compiled_bytes), (4, None));
    let found = look(std::path::Path::new("no/such/file.wasm")).await;
    assert!(matches!(found.description, Err(PluginError::Read(_))));
    assert!(found.digest.is_none());
}
