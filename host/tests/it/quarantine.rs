//! A plugin that keeps failing is left alone for a while and comes back by itself; its neighbours and a
//! plugin that fails now and then notice nothing.

use std::time::Duration;

use switchboard_host::QuarantineConfig;
use switchboard_test_support::{
    PATIENCE, RawAnswer, RawClient, Setup, TestHost, eventually, frame, guest, log,
};
use tempfile::TempDir;

const OK: u16 = 0;
const INTERNAL: u16 = 13;
const UNAVAILABLE: u16 = 14;

/// A faulty plugin of a name that only this test writes to the log, and echo.
struct Failing {
    host: TestHost,
    client: RawClient,
    name: &'static str,
    _folder: TempDir,
}

impl Failing {
    async fn start(name: &'static str, config: QuarantineConfig) -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join(format!("{name}.wasm"));
        std::fs::copy(guest("faulty"), &file).expect("a copy");
        let setup = |setup: &mut Setup| {
            setup.paths.push(file);
            setup.config.plugin.pool.quarantine = Some(config);
        };
        let host = TestHost::start_with("echo", setup).await;
        Self {
            client: host.raw().await,
            host,
            name,
            _folder: folder,
        }
    }

    async fn call(&self, method: &str) -> RawAnswer {
        let path = format!("/faulty.Faulty/{method}");
        self.client.unary(&path, b"").await
    }

    async fn log(&self, what: &str) {
        let plugin = format!("plugin=\"{}\"", self.name);
        log().wait_for(&[&plugin, what]).await;
    }
}

fn three_in(backoff: Duration) -> QuarantineConfig {
    QuarantineConfig {
        faults_max: 3,
        backoff_min: backoff,
        backoff_max: backoff * 2,
        // The machine may be busy.
        window: PATIENCE,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_keeps_trapping_is_left_alone_and_its_neighbour_is_not() {
    let plugin = Failing::start("left-alone", three_in(PATIENCE)).await;
    for _ in 0..3 {
        assert_eq!(plugin.call("Trap").await.code(), INTERNAL);
    }
    let made = plugin.host.stats(plugin.name).made;
    for method in ["Trap", "Calls", "TrapMidStream"] {
        let answer = plugin.call(method).await;
        assert_eq!(answer.code(), UNAVAILABLE, "{method}: {}", answer.message());
        assert_eq!(
            answer.message(),
            "the plugin keeps failing and is left alone for a while"
        );
        let pushback = &answer.trailers["grpc-retry-pushback-ms"];
        let pushback: u128 = pushback.to_str().expect("text").parse().expect("a number");
        assert!(
            0 < pushback && pushback <= PATIENCE.as_millis(),
            "{pushback}"
        );
    }
    let stats = plugin.host.stats(plugin.name);
    assert!(
        stats.quarantined && stats.made == made,
        "no instance was touched: {stats:?}"
    );
    plugin.log("keeps failing: its calls are refused").await;
    let answer = plugin.client.unary("/echo.Echo/Unary", b"fine").await;
    assert_eq!(answer.messages(), ["fine"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_comes_back_by_itself() {
    let plugin = Failing::start("comes-back", three_in(Duration::from_millis(20))).await;
    for _ in 0..3 {
        assert_eq!(plugin.call("Trap").await.code(), INTERNAL);
    }
    plugin.log("is tried again").await;
    let mut refused = 0;
    while plugin.call("Calls").await.code() != OK {
        refused += 1;
        assert!(refused < 1000, "it never came back");
        tokio::task::yield_now().await;
    }
    plugin.log("serves again").await;
    assert!(!plugin.host.stats(plugin.name).quarantined);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_that_is_broken_counts_and_what_callers_do_does_not() {
    let plugin = Failing::start("counted", three_in(PATIENCE)).await;
    // A caller's deadline and cancellation, and statuses of the plugin, are no failures.
    for _ in 0..5 {
        assert_eq!(plugin.call("OkStatus").await.code(), 2);
        let head = RawClient::head("/faulty.Faulty/Sleep").header("grpc-timeout", "1m");
        assert_eq!(plugin.client.call(head, frame(b"")).await.code(), 4);
        let mut call = plugin
            .client
            .begin(RawClient::head("/faulty.Faulty/Sleep"))
            .await;
        call.send(b"");
        call.cancel();
    }
    assert_eq!(plugin.host.stats(plugin.name).faults, 0);
    for faults in 1..=3 {
        let answer = plugin.call("OkWithoutMessage").await;
        assert_eq!(answer.code(), INTERNAL, "{}", answer.message());
        eventually("it is counted", || {
            plugin.host.stats(plugin.name).faults == faults
        })
        .await;
    }
    assert_eq!(plugin.call("Calls").await.code(), UNAVAILABLE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_mostly_works_is_never_left_alone() {
    let plugin = Failing::start("mostly-works", three_in(PATIENCE)).await;
    for _ in 0..20 {
        assert_eq!(plugin.call("Trap").await.code(), INTERNAL);
        for _ in 0..2 {
            assert_eq!(plugin.call("Calls").await.code(), OK);
        }
    }
    let stats = plugin.host.stats(plugin.name);
    assert_eq!((stats.faults, stats.quarantines), (20, 0));
}
