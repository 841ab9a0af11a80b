//! Settings from a file, the environment and the command line; what is said of them, and what is printed.

use std::path::Path;

use switchboard_test_support::guest;
use tempfile::TempDir;

use crate::serving::{Serving, run, run_with};

const UNARY: &str = "/echo.Echo/Unary";

/// A folder with a configuration file, and the file's path.
fn file(text: &str) -> (TempDir, String) {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("host.toml");
    std::fs::write(&path, text).expect("a file");
    (folder, path.display().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_says_what_is_served_and_how() {
    let (folder, config) = file(
        "paths = [\"own\"]\n[limits]\nrequest_max = \"100B\"\n[plugins.echo.messages]\nrequest_max = \"50B\"\n\
         [plugins.nobody.pool]\nstores_max = 1\n",
    );
    let own = folder.path().join("own");
    std::fs::create_dir(&own).expect("a folder");
    std::fs::copy(guest("echo"), own.join("echo.wasm")).expect("a copy");
    let serving = Serving::start(["-c", &config]).await;
    let client = serving.client().await;
    assert_eq!(client.unary(UNARY, &[0; 50]).await.code(), 0);
    assert_eq!(
        client.unary(UNARY, &[0; 51]).await.code(),
        8,
        "RESOURCE_EXHAUSTED, by the section of the plugin"
    );
    let ended = serving.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for part in [
        "limits.request_max=100B",
        "plugins.echo.messages.request_max=50B",
        &format!("{config}:6: [plugins.nobody] is for nobody"),
    ] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_faults_are_said_at_once_each_with_its_line() {
    let (_folder, config) = file("[limits]\nrequest_mx = \"1MiB\"\nresponse_max = \"0B\"\n");
    for command in ["serve", "check"] {
        let variables = [("SWITCHBOARD_WAIT_MAX", "soon")];
        let line = [command, "-c", &config, "--stores-max", "0"];
        let ended = run_with(variables, line).await;
        assert_eq!(
            (ended.code, &*ended.stdout),
            (Some(64), ""),
            "{}",
            ended.stderr
        );
        let lines: Vec<_> = ended.stderr.lines().collect();
        let said = [
            "error: 4 settings are wrong".to_owned(),
            format!(
                "  {config}:2: there is no limits.request_mx; did you mean limits.request_max?"
            ),
            format!("  {config}:3: limits.response_max must be 1 to 133169152 bytes, not 0"),
            "  SWITCHBOARD_WAIT_MAX: \"soon\" is no time: write it like 300ms, 5s, 2min, 1h"
                .to_owned(),
            "  --stores-max must be 1 or more".to_owned(),
        ];
        assert_eq!(lines, said);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_there_is_named() {
    let folder = TempDir::new().expect("a folder");
    let missing = folder.path().join("missing.toml").display().to_string();
    let by_flag = run(["serve", "--config", &missing]).await;
    let by_variable = run_with([("SWITCHBOARD_CONFIG", &*missing)], ["serve"]).await;
    for ended in [by_flag, by_variable] {
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        let said = format!("error: cannot read the configuration file {missing}: ");
        assert!(ended.stderr.starts_with(&said), "{}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_reach_what_they_are_about() {
    let (_folder, config) = file("[limits]\nrequest_max = \"10B\"\n");
    let variables = [
        ("SWITCHBOARD_REQUEST_MAX", "100B"),
        ("SWITCHBOARD_TUNNEL_OFF", "true"),
    ];
    let ended = run_with(
        variables,
        ["config", "show", "-c", &config, "--log", "warn"],
    )
    .await;
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    for line in [
        "request_max = \"100B\" # SWITCHBOARD_REQUEST_MAX",
        "enabled = false # SWITCHBOARD_TUNNEL_OFF",
        "log = \"warn\" # --log",
        "response_max = \"4MiB\"",
    ] {
        let mut lines = ended.stdout.lines();
        assert!(lines.any(|found| found == line), "{line}: {}", ended.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_is_what_is_checked_in() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for (what, name) in [
        ("schema", "config.schema.json"),
        ("sample", "switchboard.toml"),
    ] {
        let ended = run(["config", what]).await;
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
        let checked_in =
            std::fs::read_to_string(docs.join(name)).expect("a file that is checked in");
        assert_eq!(ended.stdout, checked_in, "docs/{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shells_complete_commands_and_flags() {
    for shell in ["bash", "zsh", "fish"] {
        let ended = run(["completions", shell]).await;
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
        for part in ["forward", "stores-max", "config"] {
            assert!(ended.stdout.contains(part), "{shell}: {part}");
        }
    }
    assert_eq!(run(["completions", "cmd.exe"]).await.code, Some(64));
}
