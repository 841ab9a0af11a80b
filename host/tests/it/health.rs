//! `grpc.health.v1` on a real host: what balancers and probes are told at load, in quarantine and in a
//! drain, and that nobody who watches costs a plugin anything or holds up the end.

use std::time::Duration;

use switchboard_host::{Drained, HostBuilder, HostConfig, QuarantineConfig};
use switchboard_test_support::proto::health::health_check_response::ServingStatus;
use switchboard_test_support::proto::health::health_client::HealthClient;
use switchboard_test_support::proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest,
};
use switchboard_test_support::{
    PATIENCE, RawClient, Setup, TestHost, faulty, frame, guest, patiently,
};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
const ECHO: &str = "echo.Echo";
const FAULTY: &str = "faulty.Faulty";

fn of(service: &str) -> HealthCheckRequest {
    let service = service.to_owned();
    HealthCheckRequest { service }
}

async fn check(host: &TestHost, service: &str) -> Result<ServingStatus, Status> {
    let mut client = HealthClient::new(host.channel());
    Ok(client.check(of(service)).await?.get_ref().status())
}

/// Somebody who watches one service.
pub(crate) struct Watcher(Streaming<HealthCheckResponse>);

impl Watcher {
    pub(crate) async fn of(channel: Channel, service: &str) -> Self {
        let mut client = HealthClient::new(channel);
        let watching = patiently("headers", client.watch(of(service))).await;
        Self(watching.expect("it may watch").into_inner())
    }

    pub(crate) async fn next(&mut self) -> Result<ServingStatus, Status> {
        let news = patiently("news", self.0.message()).await?;
        Ok(news.expect("a watch never ends with OK").status())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_and_each_service_are_served_and_others_are_unknown() {
    let host = TestHost::start_with("echo", |setup| {
        setup.paths.push(guest("testservice"));
        // Refused: its service must not be known.
        setup.paths.push(faulty("describe-twice"));
    })
    .await;
    assert_eq!(host.refused.len(), 1);
    for service in [
        "",
        ECHO,
        "testservice.TestService",
        "testservice.Probe",
        "grpc.health.v1.Health",
    ] {
        assert_eq!(
            check(&host, service).await.expect("known"),
            ServingStatus::Serving
        );
    }
    for service in [
        "faulty.Twice",
        "echo.echo",
        "echo",
        "/echo.Echo",
        "nobody.Home",
    ] {
        let status = check(&host, service).await.expect_err("unknown");
        assert_eq!(status.code(), Code::NotFound);
        assert!(status.message().contains(service), "{}", status.message());
    }
    let client = host.raw().await;
    for nonsense in [&b"\x0a\x05a"[..], b"\x0a\x01\xff", b"\x08\x01", b"\xff"] {
        let answer = client.unary(CHECK, nonsense).await;
        assert_eq!(answer.code(), 3, "{nonsense:?}: {}", answer.message());
    }
    // A field that is not known yet is none of our business.
    assert_eq!(
        client.unary(CHECK, b"\x52\x01x").await.messages(),
        [&b"\x08\x01"[..]]
    );
    let answer = client.unary(CHECK, &[0; 5000]).await;
    assert_eq!(answer.code(), 8, "no name is as long");
    assert_eq!(
        host.services,
        [ECHO, "testservice.Probe", "testservice.TestService"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn all_are_listed() {
    let host = TestHost::start("testservice").await;
    let mut client = HealthClient::new(host.channel());
    let list = client.list(HealthListRequest {}).await.expect("a list");
    let mut listed: Vec<_> = list
        .get_ref()
        .statuses
        .iter()
        .map(|(name, state)| (name.as_str(), state.status()))
        .collect();
    listed.sort_unstable_by_key(|(name, _)| *name);
    let serving = ServingStatus::Serving;
    assert_eq!(
        listed
            .iter()
            .filter(|(name, _)| !name.starts_with("grpc."))
            .copied()
            .collect::<Vec<_>>(),
        [
            ("", serving),
            ("testservice.Probe", serving),
            ("testservice.TestService", serving)
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_learns_of_quarantine_and_of_its_end() {
    let host = TestHost::start_with("echo", |setup| {
        setup.paths.push(guest("faulty"));
        setup.config.plugin.pool.quarantine = Some(QuarantineConfig {
            faults_max: 3,
            window: PATIENCE,
            backoff_min: Duration::from_millis(500),
            backoff_max: PATIENCE,
        });
    })
    .await;
    let mut sound = Watcher::of(host.channel(), ECHO).await;
    let mut failing = Watcher::of(host.channel(), FAULTY).await;
    let mut whole = Watcher::of(host.channel(), "").await;
    let mut unknown = Watcher::of(host.channel(), "nobody.Home").await;
    for watcher in [&mut sound, &mut failing, &mut whole] {
        assert_eq!(
            watcher.next().await.expect("a state"),
            ServingStatus::Serving
        );
    }
    let state = unknown.next().await.expect("no end");
    assert_eq!(state, ServingStatus::ServiceUnknown);
    let client = host.raw().await;
    for _ in 0..3 {
        assert_eq!(client.unary("/faulty.Faulty/Trap", b"").await.code(), 13);
    }
    assert_eq!(
        failing.next().await.expect("a state"),
        ServingStatus::NotServing
    );
    // It comes back without a call: nobody sends one to a service that does not serve.
    assert_eq!(
        failing.next().await.expect("a state"),
        ServingStatus::Serving
    );
    assert_eq!(
        check(&host, "").await.expect("known"),
        ServingStatus::Serving
    );
    host.drain();
    // The others were told nothing in between.
    for watcher in [&mut sound, &mut whole, &mut failing] {
        assert_eq!(
            watcher.next().await.expect("a state"),
            ServingStatus::NotServing
        );
    }
    for watcher in [&mut unknown, &mut sound, &mut whole, &mut failing] {
        let end = watcher.next().await.expect_err("the end");
        assert_eq!(end.code(), Code::Unavailable, "{}", end.message());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_told_to_all_who_watch_and_waits_for_none_of_them() {
    let host = TestHost::start_with("echo", |setup| {
        setup.config.drain_timeout = PATIENCE * 10;
    })
    .await;
    let mut watchers = Vec::new();
    for _ in 0..25 {
        watchers.push(Watcher::of(host.channel(), ECHO).await);
        watchers.push(Watcher::of(host.tunnel_channel().await, ECHO).await);
    }
    for watcher in &mut watchers {
        assert_eq!(
            watcher.next().await.expect("a state"),
            ServingStatus::Serving
        );
    }
    assert_eq!(host.finish().await, Drained::Clean);
    for watcher in &mut watchers {
        assert_eq!(
            watcher.next().await.expect("a state"),
            ServingStatus::NotServing
        );
        let end = watcher.next().await.expect_err("the end");
        assert_eq!(end.code(), Code::Unavailable);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_and_does_not_read_holds_up_no_drain() {
    let host = TestHost::start_with("echo", |setup| {
        setup.config.drain_timeout = PATIENCE * 10;
    })
    .await;
    let mut settings = h2::client::Builder::new();
    settings.initial_window_size(0);
    let client = RawClient::connect_with(host.addr, &settings).await;
    let mut call = client.begin(RawClient::head(WATCH)).await;
    call.body.send_data(frame(b""), true).expect("open");
    let (_, mut news, _body) = call.headers().await.expect("headers");
    assert_eq!(host.finish().await, Drained::Clean);
    assert!(patiently("the end", news.data()).await.is_none());
    let trailers = news.trailers().await.expect("no reset").expect("a status");
    assert_eq!(trailers["grpc-status"], "14");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_is_counted_and_takes_no_instance() {
    let host = TestHost::start_with("echo", |setup| {
        let health = setup.config.health.as_mut().expect("on by default");
        health.watches_max = 3.try_into().expect("not zero");
        setup.config.plugin.pool.streams_max = 1;
        setup.config.plugin.pool.waiting_max = 0;
    })
    .await;
    let mut watchers = Vec::new();
    for _ in 0..3 {
        let mut watcher = Watcher::of(host.channel(), ECHO).await;
        watcher.next().await.expect("a state");
        watchers.push(watcher);
    }
    assert_eq!(host.stats("echo").leased.total(), 0);
    let refused = HealthClient::new(host.channel()).watch(of(ECHO)).await;
    let refused = refused.expect_err("a fourth");
    assert_eq!(
        refused.code(),
        Code::ResourceExhausted,
        "{}",
        refused.message()
    );
    assert_eq!(
        check(&host, ECHO).await.expect("known"),
        ServingStatus::Serving
    );
    drop(watchers.pop());
    let mut client = HealthClient::new(host.channel());
    let again = async {
        loop {
            match client.watch(of(ECHO)).await {
                Ok(watching) => break watching,
                Err(status) => assert_eq!(status.code(), Code::ResourceExhausted),
            }
        }
    };
    patiently("the place of one who left", again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_a_drain_there_may_be_a_time_in_which_only_health_says_so() {
    let host = TestHost::start_with("echo", |setup| {
        setup.config.drain_notice = PATIENCE * 10;
    })
    .await;
    let mut watcher = Watcher::of(host.channel(), ECHO).await;
    assert_eq!(
        watcher.next().await.expect("a state"),
        ServingStatus::Serving
    );
    host.drain();
    assert_eq!(
        watcher.next().await.expect("a state"),
        ServingStatus::NotServing
    );
    for service in ["", ECHO] {
        // Each over a connection of its own.
        assert_eq!(
            check(&host, service).await.expect("known"),
            ServingStatus::NotServing
        );
    }
    let answer = host
        .raw()
        .await
        .unary("/echo.Echo/Unary", b"still here")
        .await;
    assert_eq!(answer.messages(), ["still here"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_may_not_speak_for_the_host_unless_the_host_is_silent() {
    let setup = || Setup {
        paths: vec![guest("echo"), faulty("describe-health")],
        ..Setup::default()
    };
    let host = TestHost::build(setup(), |builder| builder).await;
    let [refused] = &host.refused[..] else {
        panic!("one refusal: {:?}", host.refused);
    };
    let line = refused.to_string();
    assert!(
        line.contains("grpc.health.v1.Health") && line.contains("--health-off"),
        "{line}"
    );
    assert_eq!(
        check(&host, "").await.expect("known"),
        ServingStatus::Serving
    );
    let mut silent = setup();
    silent.config.health = None;
    let host = TestHost::build(silent, |builder| builder).await;
    assert!(host.refused.is_empty(), "{:?}", host.refused);
    let answer = host.raw().await.unary(CHECK, b"").await;
    assert_eq!(
        answer.messages(),
        ["grpc.health.v1.Health"],
        "the plugin answers"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn switched_off_it_is_not_there() {
    let host = TestHost::start_with("echo", |setup| setup.config.health = None).await;
    let status = check(&host, "").await.expect_err("off");
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_who_leaves_frees_its_call() {
    let host = TestHost::start("echo").await;
    let client = host.raw().await;
    let mut call = client.begin(RawClient::head(WATCH)).await;
    call.body
        .send_data(frame(b"\x0a\x09echo.Echo"), true)
        .expect("open");
    let (_, mut news, mut body) = call.headers().await.expect("headers");
    let state = patiently("a state", news.data())
        .await
        .expect("one")
        .expect("no reset");
    assert_eq!(state, frame(b"\x08\x01"));
    body.send_reset(h2::Reason::CANCEL);
    assert_eq!(client.unary(CHECK, b"").await.code(), 0);
    assert_eq!(host.finish().await, Drained::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedders_service_of_the_hosts_name_is_an_error() {
    let lists = crate::native::Lists::named("grpc.health.v1.Health");
    let built = HostBuilder::new(HostConfig::default())
        .native(lists)
        .build(&[])
        .await;
    let error = built.expect_err("a clash").to_string();
    assert!(error.contains("grpc.health.v1.Health"), "{error}");
}
