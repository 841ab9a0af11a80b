//! `switchboard serve` and its tunnel: what flags and the file of tokens make of it.

use std::ffi::OsString;

use switchboard_test_support::{Ask, RawClient, guest};
use tempfile::TempDir;

use crate::serving::{Serving, run};

const TOKEN: &str = "tok3n-of-the-binary";

fn args(parts: &[&str]) -> Vec<OsString> {
    let mut args = vec![guest("echo").into_os_string()];
    args.extend(parts.iter().map(OsString::from));
    args
}

/// A file of tokens.
fn file(text: &str) -> (TempDir, String) {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("tokens");
    std::fs::write(&path, text).expect("written");
    let path = path.to_str().expect("text").to_owned();
    (folder, path)
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_asked_for_and_never_said() {
    let (_folder, tokens) = file(&format!("# who may\nalice {TOKEN}\n"));
    let serving = Serving::start(args(&[
        "--tunnel-tokens",
        &tokens,
        "--tunnel-cookie",
        "session",
        "--tunnel-origin",
        "https://app.example",
        "--log",
        "info,switchboard_host=trace",
    ]))
    .await;
    let ask = Ask::new(serving.addr);
    assert_eq!(ask.send().await.status, 401);
    let cookie = format!("session={TOKEN}");
    let page = ask.clone().header("cookie", &cookie);
    assert_eq!(
        page.clone()
            .origin("https://other.example")
            .send()
            .await
            .status,
        403
    );
    page.origin("https://app.example").open().await;
    let tunnel = ask.token(TOKEN).open().await;
    let client = RawClient::over(tunnel, &h2::client::Builder::new()).await;
    let answer = client.unary("/echo.Echo/Unary", b"through").await;
    assert_eq!(answer.messages(), ["through"]);
    let ended = serving.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains(TOKEN), "{}", ended.stderr);
    assert!(ended.stderr.contains("tunnel opened"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_tunnel_there_is_none() {
    let serving = Serving::start(args(&["--tunnel-off"])).await;
    assert_eq!(Ask::new(serving.addr).send().await.status, 404);
    let elsewhere = Serving::start(args(&["--tunnel-path", "/a/b"])).await;
    Ask::new(elsewhere.addr).path("/a/b").open().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_ends_with_64() {
    let (_folder, tokens) = file(&format!("alice {TOKEN}\nbob {TOKEN}\ncarol short\n"));
    for (line, says) in [
        (&["--tunnel-origin", "app.example"][..], "not an origin"),
        (&["--trusted-proxy", "10.0.0.1/8"], "prefix of 8 bits"),
        (&["--tunnel-off", "--tunnel-path", "/x"], "--tunnel-off"),
        (&["--tunnel-path", "x"], "--tunnel-path must begin with /"),
        (&["--tunnel-cookie", "session"], "--tunnel-tokens"),
        (
            &["--tunnel-dead-after", "10s"],
            "--tunnel-dead-after must be above --tunnel-ping",
        ),
        (&["--tunnel-tokens", &tokens], "tokens: tokens, line 2"),
        (&["--tunnel-tokens", &tokens], "line 3"),
    ] {
        let command = [OsString::from("serve")].into_iter().chain(args(line));
        let ended = run(command).await;
        let stderr = &ended.stderr;
        assert_eq!(ended.code, Some(64), "{line:?}: {stderr}");
        assert!(
            stderr.contains(says),
            "{line:?} should say {says:?}: {stderr}"
        );
        assert!(
            !stderr.contains(TOKEN) && !stderr.contains("short"),
            "{stderr}"
        );
    }
}
