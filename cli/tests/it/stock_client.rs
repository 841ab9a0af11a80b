//! A stock gRPC client, in another language, against the real binary: what it checks, and how, is in
//! `test-support/peers/stock_client.py`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;

use switchboard_test_support::{guest, root};
use tokio::process::Command;

use crate::serving::Serving;

/// The Python that has a gRPC client.
pub(crate) fn python() -> PathBuf {
    let python = std::env::var_os("SWITCHBOARD_PYTHON")
        .map_or_else(|| root().join("target/venv/bin/python"), PathBuf::from);
    assert!(
        python.exists(),
        "{} is not there: run `make setup` first",
        python.display()
    );
    python
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_finds_nothing_to_complain_about() {
    complains_about_nothing(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_reads_compressed_responses() {
    complains_about_nothing(&["--compress-responses", "--compress-min=1B"]).await;
}

async fn complains_about_nothing(flags: &[&str]) {
    let plugins = [guest("greeter"), guest("testservice")].map(PathBuf::into_os_string);
    let flags = flags.iter().map(OsString::from);
    let serving = Serving::start(plugins.into_iter().chain(flags)).await;
    // Every call of the script has a deadline, so it ends by itself.
    let run = Command::new(python())
        .arg(root().join("test-support/peers/stock_client.py"))
        .arg(serving.addr.to_string())
        .arg(root().join("proto"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("Python starts");
    let said = String::from_utf8_lossy(&run.stdout);
    let complained = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{}\n{said}\n{complained}", run.status);
    assert!(
        said.contains(" passed, 0 failed") && !said.contains("\n0 passed"),
        "{said}"
    );
    assert_eq!(
        serving.stop().await.code,
        Some(0),
        "all its calls have ended"
    );
}
