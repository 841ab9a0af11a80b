//! Files of TLS that change while the host serves: new ones are taken as a whole or not at all, and open
//! connections go on.

use std::time::Duration;

use switchboard_host::Tls;
use switchboard_test_support::{Authority, Issued, RawClient, TestHost, log};

use crate::tls_client::{ANY_VERSION, Files, TlsClient};

const UNARY: &str = "/echo.Echo/Unary";

/// A host whose files are looked at all the time.
async fn start(files: &Files) -> TestHost {
    let mut config = files.config();
    config.reload_interval = Duration::from_millis(10);
    let tls = Tls::open(config).expect("sound files");
    TestHost::start_with("echo", |setup| setup.tls = Some(tls)).await
}

/// Waits until the log says so of these files.
async fn said(files: &Files, parts: &[&str]) {
    let name = files.name();
    let parts: Vec<_> = parts.iter().copied().chain([&*name]).collect();
    log().wait_for(&parts).await;
}

async fn taken(files: &Files) {
    said(files, &["INFO", "changed and were read again"]).await;
}

async fn assert_echoes(client: &RawClient, message: &str) {
    let answer = client.unary(UNARY, message.as_bytes()).await;
    assert_eq!(answer.messages(), [message.to_owned()]);
}

fn trusting(authority: &Authority, own: Option<&Issued>) -> TlsClient {
    TlsClient::new(authority, own, ANY_VERSION)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_pair_is_for_new_connections() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = Files::new(&old.server(), None);
    let host = start(&files).await;
    let before = trusting(&old, None).raw(host.addr).await;
    assert_echoes(&before, "before").await;
    let next = new.server();
    files.put("cert.pem", &next.certificate);
    files.put("key.pem", &next.key);
    taken(&files).await;
    assert_echoes(&trusting(&new, None).raw(host.addr).await, "new").await;
    assert_echoes(&before, "still here").await;
    let late = trusting(&old, None).refused(host.addr).await;
    assert!(late.contains("UnknownIssuer"), "{late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_a_pair_is_not_taken() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = Files::new(&old.server(), None);
    let host = start(&files).await;
    let next = new.server();
    // Whoever writes the files is away in the middle of it.
    files.put("cert.pem", &next.certificate);
    let mismatch = [
        "ERROR",
        "what they held before stays",
        "they do not belong together",
    ];
    said(&files, &mismatch).await;
    assert_echoes(&trusting(&old, None).raw(host.addr).await, "old").await;
    files.put("key.pem", &next.key);
    taken(&files).await;
    assert_echoes(&trusting(&new, None).raw(host.addr).await, "new").await;
    let name = files.name();
    assert_eq!(log().find(&["ERROR", &name]).len(), 1, "said once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_said_once_and_changes_nothing() {
    let authority = Authority::new("the only one");
    let server = authority.server();
    let files = Files::new(&server, None);
    let host = start(&files).await;
    let client = trusting(&authority, None);
    let cut = &server.certificate[..server.certificate.len() / 2];
    for (text, why) in [
        (Some("text"), "no certificate in it"),
        (Some(cut), "a section has no end"),
        (None, "cannot read the TLS certificate"),
    ] {
        match text {
            Some(text) => files.put("cert.pem", text),
            None => std::fs::remove_file(files.path("cert.pem")).expect("removed"),
        }
        said(&files, &["ERROR", why]).await;
        assert_echoes(&client.raw(host.addr).await, "as before").await;
    }
    // A sound one is taken after all that, also if it is the first one again.
    files.put("cert.pem", &server.certificate);
    taken(&files).await;
    assert_echoes(&client.raw(host.addr).await, "again").await;
    let errors = log().find(&["ERROR", &files.name()]);
    assert_eq!(errors.len(), 3, "{errors:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_behind_a_link_are_what_it_leads_to() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = Files::new(&old.server(), None);
    // As a volume of Kubernetes: a link to a folder, which is replaced by another link in one step.
    let replace = |folder: &str, server: &Issued| {
        let path = files.path(folder);
        std::fs::create_dir(&path).expect("a folder");
        std::fs::write(path.join("cert.pem"), &server.certificate).expect("a file");
        std::fs::write(path.join("key.pem"), &server.key).expect("a file");
        std::os::unix::fs::symlink(folder, files.path("next")).expect("a link");
        std::fs::rename(files.path("next"), files.path("data")).expect("replaced");
    };
    replace("first", &old.server());
    let data = files.path("data");
    let mut config = switchboard_host::TlsConfig::new(data.join("cert.pem"), data.join("key.pem"));
    config.reload_interval = Duration::from_millis(10);
    let tls = Tls::open(config).expect("sound files");
    let host = TestHost::start_with("echo", |setup| setup.tls = Some(tls)).await;
    assert_echoes(&trusting(&old, None).raw(host.addr).await, "old").await;
    replace("second", &new.server());
    taken(&files).await;
    assert_echoes(&trusting(&new, None).raw(host.addr).await, "new").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_trusted_any_more_cannot_take_up_an_old_session() {
    let (old, new) = (Authority::new("old clients"), Authority::new("new clients"));
    let server = Authority::new("servers");
    let files = Files::new(&server.server(), Some(&old));
    let host = start(&files).await;
    let (out, into) = (old.client("out"), new.client("in"));
    let out = [&ANY_VERSION[..1], &ANY_VERSION[1..]]
        .map(|version| TlsClient::new(&server, Some(&out), version));
    for client in &out {
        // Twice: the second one takes up the session of the first.
        for _ in 0..2 {
            assert_echoes(&client.raw(host.addr).await, "trusted").await;
        }
    }
    files.put("ca.pem", &new.pem());
    taken(&files).await;
    for client in &out {
        let said = client.refused(host.addr).await;
        assert!(said.contains("UnknownCA"), "{said}");
    }
    let into = trusting(&server, Some(&into)).raw(host.addr).await;
    assert_echoes(&into, "trusted now").await;
}
