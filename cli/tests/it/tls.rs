//! `switchboard serve` with TLS: which flag a fault is about, and files that change while it serves.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use switchboard_test_support::{Authority, guest, patiently};
use tempfile::TempDir;
use tokio::process::Command;

use crate::serving::{Serving, run};

/// A folder with files of TLS.
struct Files(TempDir);

impl Files {
    fn new(authority: &Authority) -> Self {
        let this = Self(TempDir::new().expect("a folder"));
        let server = authority.server();
        this.put("server.pem", &server.certificate);
        this.put("server.key", &server.key);
        this.put("ca.pem", &authority.pem());
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        let next = self.path("next");
        std::fs::write(&next, text).expect("a file");
        std::fs::rename(next, self.path(name)).expect("replaced");
    }

    /// The flags that name them.
    fn flags(&self) -> Vec<String> {
        let flag = |flag: &str, name| format!("--{flag}={}", self.path(name).display());
        vec![
            guest("echo").display().to_string(),
            flag("tls-cert", "server.pem"),
            flag("tls-key", "server.key"),
            flag("tls-client-ca", "ca.pem"),
        ]
    }
}

/// What openssl says of a handshake with these arguments, in which it trusts `ca`.
async fn openssl(serving: &Serving, ca: &Path, args: &[&str]) -> String {
    let mut client = Command::new("openssl");
    client
        .args(["s_client", "-connect", &serving.addr.to_string()])
        .args(["-servername", "localhost", "-alpn", "h2", "-CAfile"])
        .arg(ca)
        .args(args)
        // At the end of its input it says goodbye.
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let run = patiently("openssl", client.output())
        .await
        .expect("openssl is there");
    let (out, err) = (run.stdout, run.stderr);
    String::from_utf8_lossy(&[out, err].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_name_the_flag_and_the_file() {
    let authority = Authority::new("the only one");
    let files = Files::new(&authority);
    let other = authority.server();
    files.put("other.key", &other.key);
    files.put("text", "text");
    let flag = |flag: &str, name: &str| format!("--{flag}={}", files.path(name).display());
    let name = |name: &str| files.path(name).display().to_string();
    let cert = flag("tls-cert", "server.pem");
    let key = flag("tls-key", "server.key");
    for (flags, code, said) in [
        (
            vec![cert.clone(), flag("tls-key", "other.key")],
            64,
            format!(
                "--tls-cert {} and --tls-key {} cannot be used: they do not belong together",
                name("server.pem"),
                name("other.key")
            ),
        ),
        (
            vec![cert.clone(), flag("tls-key", "text")],
            64,
            format!(
                "--tls-key {} cannot be used: no private key in it",
                name("text")
            ),
        ),
        (
            vec![cert.clone(), key.clone(), flag("tls-client-ca", "text")],
            64,
            format!(
                "--tls-client-ca {} cannot be used: no certificate",
                name("text")
            ),
        ),
        (
            vec![cert.clone(), key.clone(), flag("tls-client-ca", "missing")],
            1,
            format!("cannot read --tls-client-ca {}", name("missing")),
        ),
        (
            vec![
                cert.clone(),
                key.clone(),
                "--tls-reload-interval=0s".to_owned(),
            ],
            64,
            "--tls-reload-interval must be above zero".to_owned(),
        ),
        (
            vec![cert, key, "--tls-client=optional".to_owned()],
            64,
            "--tls-client-ca".to_owned(),
        ),
        (
            vec!["--tls-min=1.3".to_owned()],
            64,
            "--tls-cert".to_owned(),
        ),
        (vec!["--tls-min=1.1".to_owned()], 64, "1.2, 1.3".to_owned()),
    ] {
        let ended = run(std::iter::once("serve".to_owned()).chain(flags)).await;
        assert_eq!(
            (ended.code, &*ended.stdout),
            (Some(code), ""),
            "{}",
            ended.stderr
        );
        assert!(ended.stderr.contains(&said), "{said}: {}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_client_finds_what_the_flags_say() {
    let authority = Authority::new("the only one");
    let files = Files::new(&authority);
    let own = authority.client("openssl");
    files.put("own.pem", &own.certificate);
    files.put("own.key", &own.key);
    let mut flags = files.flags();
    flags.extend(
        [
            "--tls-min=1.3",
            "--tls-client=optional",
            "--tls-reload-interval=10ms",
        ]
        .map(String::from),
    );
    let serving = Serving::start(&flags).await;
    let ca = files.path("ca.pem");
    let (cert, key) = (files.path("own.pem"), files.path("own.key"));
    let paths = (cert.display().to_string(), key.display().to_string());
    let own = ["-cert", &*paths.0, "-key", &*paths.1];
    for args in [&own[..], &[]] {
        let said = openssl(&serving, &ca, args).await;
        for part in ["ALPN protocol: h2", "TLSv1.3", "Verify return code: 0 (ok)"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        // It is told whose certificates would be taken.
        assert!(said.contains("the only one"), "{said}");
    }
    let said = openssl(&serving, &ca, &["-tls1_2"]).await;
    assert!(said.contains("alert protocol version"), "{said}");
    let next = Authority::new("the next one");
    let server = next.server();
    files.put("next.pem", &next.pem());
    files.put("server.key", &server.key);
    files.put("server.pem", &server.certificate);
    serving
        .says("the TLS files have changed and were read again")
        .await;
    let said = openssl(&serving, &files.path("next.pem"), &[]).await;
    assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
    let ended = serving.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("connections are encrypted"),
        "{}",
        ended.stderr
    );
}
