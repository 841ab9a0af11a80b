//! A stock gRPC client, in another language, against the real binary: what it checks, and how, is in
//! `test-support/peers/stock_client.py`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;

use switchboard_test_support::{Authority, guest, root};
use tempfile::TempDir;
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

/// Runs all checks against it, with these files if it asks for a certificate.
async fn check(serving: Serving, address: &str, files: &[PathBuf]) {
    // Every call of the script has a deadline, so it ends by itself.
    let run = Command::new(python())
        .arg(root().join("test-support/peers/stock_client.py"))
        .arg(address)
        .arg(root().join("proto"))
        .args(files)
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

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_finds_nothing_to_complain_about() {
    let serving = Serving::start([guest("greeter"), guest("testservice")]).await;
    let address = serving.addr.to_string();
    check(serving, &address, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_over_a_unix_socket() {
    let folder = TempDir::new().expect("a folder");
    let address = format!("unix:{}", folder.path().join("host.sock").display());
    let plugins = [guest("greeter"), guest("testservice")];
    let (serving, names) = Serving::at(&[&address], plugins).await;
    assert_eq!(names, [&*address]);
    check(serving, &address, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_with_certificates_on_both_sides() {
    let folder = TempDir::new().expect("a folder");
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    };
    let authority = Authority::new("the only one");
    let (server, client) = (authority.server(), authority.client("stock"));
    let ca = put("ca.pem", &authority.pem());
    let files = [
        ca.clone(),
        put("client.pem", &client.certificate),
        put("client.key", &client.key),
    ];
    let mut args = vec![guest("greeter"), guest("testservice")];
    for (flag, file) in [
        ("--tls-cert", put("server.pem", &server.certificate)),
        ("--tls-key", put("server.key", &server.key)),
        ("--tls-client-ca", ca),
    ] {
        args.extend([PathBuf::from(flag), file]);
    }
    let serving = Serving::start(args).await;
    let address = serving.addr.to_string();
    check(serving, &address, &files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_about_compressed_responses() {
    let plugins = [guest("greeter"), guest("testservice")].map(PathBuf::into_os_string);
    let flags = ["--compress-responses", "--compress-min=1B"].map(OsString::from);
    let serving = Serving::start(plugins.into_iter().chain(flags)).await;
    let address = serving.addr.to_string();
    check(serving, &address, &[]).await;
}
