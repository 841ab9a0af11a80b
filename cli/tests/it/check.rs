//! `switchboard check`: the same verdict as `serve`, without a port, and everything that is wrong at once.

use switchboard_test_support::guest;
use tempfile::TempDir;

use crate::serving::{run, run_with};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_right_is_said_with_what_each_plugin_offers() {
    let (echo, greeter) = (guest("echo"), guest("greeter"));
    let paths = [echo.display().to_string(), greeter.display().to_string()];
    let ended = run(["check", &paths[0], &paths[1], "--stores-max=3"]).await;
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    for line in [
        format!("plugin echo ({}): echo.Echo", paths[0]),
        format!("plugin greeter ({}): helloworld.Greeter", paths[1]),
        "all right: the settings, and plugins: 2".to_owned(),
    ] {
        assert!(
            ended.stdout.lines().any(|found| found == line),
            "{line}: {}",
            ended.stdout
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_plugin_and_every_file_that_is_wrong_is_named() {
    let folder = TempDir::new().expect("a folder");
    for name in ["bad.wasm", "worse.wasm", "cert.pem"] {
        std::fs::write(folder.path().join(name), "text").expect("a file");
    }
    std::fs::copy(guest("echo"), folder.path().join("echo.wasm")).expect("a copy");
    let of = |name: &str| folder.path().join(name).display().to_string();
    let (cert, key) = (of("cert.pem"), of("missing.pem"));
    let all = folder.path().display().to_string();
    let line = [
        "check",
        &all,
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--log",
        "inof",
    ];
    let ended = run(line).await;
    assert_eq!(ended.code, Some(64), "{}", ended.stderr);
    assert!(ended.stdout.contains("plugin echo"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("all right"), "{}", ended.stdout);
    for part in [
        of("bad.wasm"),
        of("worse.wasm"),
        format!("--tls-key {key}"),
        "inof".to_owned(),
    ] {
        let said = |line: &str| line.starts_with("error: ") && line.contains(&part);
        assert!(ended.stderr.lines().any(said), "{part}: {}", ended.stderr);
    }
    let ended = run(["check", &all]).await;
    assert_eq!(ended.code, Some(1), "plugins alone: {}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_section_for_nobody_is_a_fault() {
    let folder = TempDir::new().expect("a folder");
    let config = folder.path().join("host.toml");
    std::fs::write(&config, "[plugins.ecko.pool]\nstores_max = 1\n").expect("a file");
    let config = config.display().to_string();
    let echo = guest("echo").display().to_string();
    let ended = run(["check", "-c", &config, &echo]).await;
    assert_eq!(ended.code, Some(64), "{}", ended.stderr);
    let said = format!("error: {config}:1: [plugins.ecko] is for nobody");
    assert!(ended.stderr.contains(&said), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_takes_no_port() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("bound").to_string();
    let echo = guest("echo").display().to_string();
    let ended = run(["check", &echo, "--listen", &addr]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_of_nobody_and_a_variable_that_is_none_are_faults() {
    let echo = guest("echo").display().to_string();
    let method = ["check", &echo, "--long-method", "/echo.Echo/Unary2"];
    let ended = run(method).await;
    assert_eq!(ended.code, Some(64), "{}", ended.stderr);
    let said = "/echo.Echo/Unary2 is set apart, and no plugin serves it";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    let variables = [
        ("SWITCHBOARD_STORE_MAX", "3"),
        ("SWITCHBOARD_PORT", "tcp://10.0.0.1:5"),
    ];
    let ended = run_with(variables, ["check", &echo]).await;
    assert_eq!(ended.code, Some(64), "{}", ended.stderr);
    let said = "error: there is no SWITCHBOARD_STORE_MAX; did you mean SWITCHBOARD_STORES_MAX?\n";
    assert_eq!(ended.stderr, said);
}
