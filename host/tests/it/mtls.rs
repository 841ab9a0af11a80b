//! Certificates of clients: who has a good one is known to plugins, who has a bad one is not served, and
//! nobody can claim to have one.

use rcgen::{DnType, SanType};
use switchboard_host::{ClientCertificate, Tls, TlsConfig, TlsVersion};
use switchboard_test_support::proto::testservice::{ContextRequest, ContextResponse};
use switchboard_test_support::{
    Authority, Issued, RawClient, TestHost, channel_over, frame, guest, http1, log,
};

use crate::tls_client::{ANY_VERSION, Files, TlsClient};

const CONTEXT: &str = "/testservice.Probe/Context";

/// A host that asks for certificates, and who signs them.
struct Asking {
    host: TestHost,
    authority: Authority,
    _files: Files,
}

impl Asking {
    async fn start(edit: impl FnOnce(&mut TlsConfig)) -> Self {
        let authority = Authority::new("one that is trusted");
        let files = Files::new(&authority.server(), Some(&authority));
        let mut config = files.config();
        edit(&mut config);
        let tls = Tls::open(config).expect("sound files");
        let host = TestHost::start_with("testservice", |setup| {
            setup.tls = Some(tls);
            setup.paths.push(guest("echo"));
        })
        .await;
        Self {
            host,
            authority,
            _files: files,
        }
    }

    fn client(&self, own: Option<&Issued>) -> TlsClient {
        TlsClient::new(&self.authority, own, ANY_VERSION)
    }

    async fn assert_served(&self) {
        let good = self.authority.client("good");
        let client = self.client(Some(&good)).raw(self.host.addr).await;
        let answer = client.unary("/echo.Echo/Unary", b"good").await;
        assert_eq!(answer.messages(), ["good"]);
    }
}

/// What the plugin sees of a call, and of that what only the host says.
async fn seen(client: &RawClient, claims: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut head = RawClient::head(CONTEXT);
    for (name, value) in claims {
        head = head.header(*name, *value);
    }
    let request = prost::Message::encode_to_vec(&ContextRequest { keys: Vec::new() });
    let answer = client.call(head, frame(&request)).await;
    let seen: ContextResponse =
        prost::Message::decode(answer.messages().swap_remove(0)).expect("an answer");
    let ours = seen.metadata.into_iter();
    let ours = ours.filter(|entry| entry.key.starts_with("switchboard-"));
    let text = |value| String::from_utf8(value).expect("text");
    ours.map(|entry| (entry.key, text(entry.value))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = expected.iter();
    owned
        .map(|(key, value)| (format!("switchboard-client-{key}"), (*value).to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_see_who_the_certificate_names_and_no_claims() {
    let asking = Asking::start(|_| {}).await;
    let own = asking.authority.issue(|params| {
        let name = &mut params.distinguished_name;
        name.push(DnType::OrganizationName, "Example");
        name.push(DnType::CommonName, "reporter, main");
        params.subject_alt_names = vec![
            SanType::DnsName("reporter.example".try_into().expect("ASCII")),
            SanType::URI("spiffe://example/reporter".try_into().expect("ASCII")),
            SanType::DnsName("other.example".try_into().expect("ASCII")),
        ];
    });
    let client = asking.client(Some(&own)).raw(asking.host.addr).await;
    let claims = [
        ("switchboard-client-subject", "CN=admin"),
        ("switchboard-client-email", "admin@example"),
    ];
    let expected = pairs(&[
        ("subject", "CN=reporter\\, main,O=Example"),
        ("uri", "spiffe://example/reporter"),
        ("dns", "reporter.example"),
        ("dns", "other.example"),
    ]);
    assert_eq!(seen(&client, &claims).await, expected);
    // The log names it with what its calls cause.
    let trap = client.unary("/no.such/Method", b"").await;
    assert_eq!(trap.code(), 12, "UNIMPLEMENTED");
    log()
        .wait_for(&["client{", "CN=reporter\\, main,O=Example"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_has_the_certificate_of_what_carries_it() {
    let asking = Asking::start(|_| {}).await;
    let own = asking.authority.client("ingress");
    let client = asking.client(Some(&own));
    // HTTP/2 is what it agrees on, so the tunnel is opened in a stream.
    let outside = client.raw(asking.host.addr).await;
    seen(&outside, &[]).await;
    let tunnel = asking.host.ask().open_over_http2(&outside).await;
    let inside = RawClient::over(tunnel, &h2::client::Builder::new()).await;
    let known = seen(&inside, &[("switchboard-client-subject", "CN=admin")]).await;
    assert_eq!(known[0].0, "switchboard-tunnel-id");
    assert_eq!(known[1..], pairs(&[("subject", "CN=ingress")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_none_or_a_bad_one_is_refused_and_the_log_says_why() {
    let asking = Asking::start(|_| {}).await;
    let stranger = Authority::new("one that is not trusted").client("good");
    let old = asking.authority.issue(|params| {
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    });
    for (own, alert) in [
        (None, "CertificateRequired"),
        (Some(&stranger), "UnknownCA"),
        (Some(&old), "CertificateExpired"),
    ] {
        let said = asking.client(own).refused(asking.host.addr).await;
        assert!(said.contains(alert), "{alert}: {said}");
    }
    log()
        .wait_for(&["INFO", "TLS was not set up", "peer sent no certificates"])
        .await;
    asking.assert_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_none_is_required_a_bad_one_is_refused_all_the_same() {
    let asking = Asking::start(|config| {
        config.client_certificate = ClientCertificate::Optional;
    })
    .await;
    let nobody = asking.client(None).raw(asking.host.addr).await;
    let claims = [("switchboard-client-subject", "CN=admin")];
    assert_eq!(seen(&nobody, &claims).await, []);
    let own = asking.authority.client("somebody");
    let somebody = asking.client(Some(&own)).raw(asking.host.addr).await;
    let expected = pairs(&[("subject", "CN=somebody")]);
    assert_eq!(seen(&somebody, &claims).await, expected);
    let stranger = Authority::new("one that is not trusted").client("good");
    let stranger = asking.client(Some(&stranger));
    let said = stranger.refused(asking.host.addr).await;
    assert!(said.contains("UnknownCA"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_again_is_known_again() {
    let asking = Asking::start(|_| {}).await;
    let own = asking.authority.client("again");
    // The client keeps what it needs to take up its session where it left it, with both versions.
    for versions in [&ANY_VERSION[..1], &ANY_VERSION[1..]] {
        let client = TlsClient::new(&asking.authority, Some(&own), versions);
        for _ in 0..3 {
            let raw = client.raw(asking.host.addr).await;
            let expected = pairs(&[("subject", "CN=again")]);
            assert_eq!(seen(&raw, &[]).await, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_version_is_kept_to() {
    for (oldest, served) in [(TlsVersion::V1_2, true), (TlsVersion::V1_3, false)] {
        let asking = Asking::start(|config| config.version_min = oldest).await;
        let own = asking.authority.client("old");
        let old = TlsClient::new(&asking.authority, Some(&own), &ANY_VERSION[1..]);
        if served {
            let client = old.raw(asking.host.addr).await;
            assert_eq!(client.unary("/echo.Echo/Unary", b"").await.code(), 0);
        } else {
            let said = old.refused(asking.host.addr).await;
            assert!(said.contains("ProtocolVersion"), "{said}");
        }
        asking.assert_served().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_with_a_certificate() {
    let asking = Asking::start(|_| {}).await;
    let own = asking.authority.client("stock");
    let stream = asking.client(Some(&own)).connect(asking.host.addr).await;
    let channel = channel_over(stream.expect("TLS")).await;
    let mut probe =
        switchboard_test_support::proto::testservice::probe_client::ProbeClient::new(channel);
    let keys = vec!["switchboard-client-subject".to_owned()];
    let seen = probe.context(ContextRequest { keys }).await;
    let seen = seen.expect("OK").into_inner();
    assert_eq!(seen.looked_up[0].value, b"CN=stock");
    assert!(seen.peer.starts_with("127.0.0.1:"), "{}", seen.peer);
}

#[tokio::test(flavor = "multi_thread")]
async fn http1_asks_for_the_certificate_too() {
    let asking = Asking::start(|_| {}).await;
    let none = asking.client(None).refused(asking.host.addr).await;
    assert!(none.contains("CertificateRequired"), "{none}");
    let own = asking.authority.client("browser");
    let client = asking.client(Some(&own)).without_alpn();
    let stream = client.connect(asking.host.addr).await.expect("TLS");
    let answer = http1(stream, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!(answer.status, 404);
}
