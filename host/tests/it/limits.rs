//! Limits that hold: what a plugin may use up, what its caller is told then, and that a neighbour is served
//! meanwhile, call after call.

use std::time::Duration;

use switchboard_host::{
    LimitsConfig, LogLimits, MetricsFormat, PluginConfig, PoolStats, Telemetry,
};
use switchboard_test_support::{
    RawAnswer, RawClient, Setup, TestHost, eventually, frame, guest, log, patiently,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

const DEADLINE_EXCEEDED: u16 = 4;
const RESOURCE_EXHAUSTED: u16 = 8;

/// A faulty plugin with limits of its own, and a neighbour that is called without a pause.
struct Limited {
    host: TestHost,
    telemetry: Telemetry,
    client: RawClient,
    name: &'static str,
    neighbour: JoinHandle<u64>,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
    _folder: TempDir,
}

impl Limited {
    async fn with(name: &'static str, limits: LimitsConfig) -> Self {
        Self::start(name, |setup, own| {
            own.limits = limits;
            setup.config.lane.workers = std::num::NonZeroU32::new(2);
        })
        .await
    }

    async fn start(name: &'static str, edit: impl FnOnce(&mut Setup, &mut PluginConfig)) -> Self {
        let faulty = std::fs::read(guest("faulty")).expect("a guest");
        Self::of(name, &faulty, edit).await
    }

    async fn of(
        name: &'static str,
        bytes: &[u8],
        edit: impl FnOnce(&mut Setup, &mut PluginConfig),
    ) -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join(format!("{name}.wasm"));
        std::fs::write(&file, bytes).expect("written");
        let mut setup = Setup {
            paths: vec![guest("echo"), file],
            ..Setup::default()
        };
        let mut own = PluginConfig::default();
        own.pool.warm_min = 0;
        edit(&mut setup, &mut own);
        setup.plugins.push((name.to_owned(), own));
        let telemetry = Telemetry::new();
        let given = telemetry.clone();
        let host = TestHost::build(setup, |builder| builder.telemetry(given)).await;
        let stop = CancellationToken::new();
        let (stopped, client) = (stop.clone(), host.raw().await);
        #[expect(clippy::disallowed_methods, reason = "a test's own task")]
        let neighbour = tokio::spawn(async move {
            let mut calls = 0;
            while !stopped.is_cancelled() {
                let answer = client.unary("/echo.Echo/Unary", b"well").await;
                assert_eq!(answer.code(), 0, "{}", answer.message());
                calls += 1;
            }
            calls
        });
        Self {
            client: host.raw().await,
            host,
            telemetry,
            name,
            neighbour,
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
            _folder: folder,
        }
    }

    async fn call(&self, method: &str, message: &str) -> RawAnswer {
        let head = RawClient::head(&format!("/faulty.Faulty/{method}"));
        let call = self.client.call(head, frame(message.as_bytes()));
        patiently(method, call).await
    }

    fn stats(&self) -> PoolStats {
        self.host.stats(self.name)
    }

    /// How many calls failed for this cause, as whoever scrapes sees it.
    fn failures(&self, cause: &str) -> u64 {
        let text = self.telemetry.metrics(MetricsFormat::Prometheus);
        let series = format!("switchboard_call_failures_total{{cause=\"{cause}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.map_or(0, |count| count.parse().expect("a number"))
    }

    /// A call that uses something up: its caller is told what, and the counters and the log say so.
    async fn uses_up(&self, what: &str, cause: &str, (method, message): (&str, &str)) {
        let before = self.stats();
        let failures = self.failures(cause);
        let answer = self.call(method, message).await;
        let said = (answer.code(), answer.message());
        let text = format!("the plugin used up its {what}");
        assert_eq!(said, (RESOURCE_EXHAUSTED, text.as_str()), "{method}");
        eventually("its instance is gone", || {
            let stats = self.stats();
            stats.retired_unclean == before.retired_unclean + 1 && stats.faults == before.faults + 1
        })
        .await;
        assert_eq!(self.failures(cause), failures + 1, "{cause}");
        let name = format!("plugin=\"{}\"", self.name);
        log()
            .wait_for(&[&name, "WARN", &format!("cause=\"{cause}\"")])
            .await;
    }

    /// The neighbour was served all the while.
    async fn neighbour_is_well(self) {
        let before = self.host.stats("echo");
        self.stop.cancel();
        let calls = patiently("the neighbour", self.neighbour).await;
        assert!(calls.expect("every call went well") > 0);
        assert_eq!(before.faults, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_of_a_single_plugin() {
    let plugin = Limited::with(
        "little-memory",
        LimitsConfig {
            memory_bytes_max: Some(4 << 20),
            ..LimitsConfig::default()
        },
    )
    .await;
    let answer = plugin.call("GrowQuiet", "").await;
    let kept: usize = String::from_utf8_lossy(&answer.messages()[0])
        .parse()
        .expect("a number");
    assert!((1 << 20..4 << 20).contains(&kept), "{kept} bytes");
    plugin.uses_up("memory", "memory", ("Grow", "")).await;
    plugin.neighbour_is_well().await;
}

/// `faulty` with `table.grow` where its source could not say it: see `marked` in it.
fn that_grows_its_table() -> Vec<u8> {
    let mut bytes = std::fs::read(guest("faulty")).expect("a guest");
    // No locals; local.get 0; memory.grow 0; i32.const 0x5ab1e5ed; i32.xor; end.
    let marked = [
        0x00, 0x20, 0x00, 0x40, 0x00, 0x41, 0xed, 0xcb, 0xc7, 0xd5, 0x05, 0x73, 0x0b,
    ];
    // No locals; ref.null func; local.get 0; table.grow 0; nop, four times; end.
    let grows = [
        0x00, 0xd0, 0x70, 0x20, 0x00, 0xfc, 0x0f, 0x00, 0x01, 0x01, 0x01, 0x01, 0x0b,
    ];
    let places = bytes.windows(marked.len()).enumerate();
    let places = places.filter(|(_, window)| *window == marked);
    let places: Vec<_> = places.map(|(at, _)| at).collect();
    let [at] = places[..] else {
        panic!("it is there once, not at {places:?}");
    };
    bytes[at..at + grows.len()].copy_from_slice(&grows);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn table_elements_of_a_single_plugin() {
    let plugin = Limited::of("little-table", &that_grows_its_table(), |_, own| {
        own.limits.table_elements_max = Some(5000);
    })
    .await;
    plugin
        .uses_up("table elements", "tables", ("GrowTable", "5000"))
        .await;
    assert_eq!(plugin.call("Calls", "").await.code(), 0);
    plugin.neighbour_is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stack() {
    let plugin = Limited::with("deep", LimitsConfig::default()).await;
    plugin
        .uses_up("stack", "stack", ("Recurse", "100000000"))
        .await;
    assert_eq!(plugin.call("Recurse", "1000").await.code(), 0);
    plugin.neighbour_is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cpu_time_of_a_call() {
    let plugin = Limited::with(
        "computes",
        LimitsConfig {
            cpu_time_max: Some(Duration::from_millis(30)),
            ..LimitsConfig::default()
        },
    )
    .await;
    plugin.uses_up("CPU time", "cpu", ("Spin", "")).await;
    // What waits uses none: this one ends at its deadline, long after.
    let head = RawClient::head("/faulty.Faulty/Sleep").header("grpc-timeout", "200m");
    let answer = plugin.client.call(head, frame(b"")).await;
    assert_eq!(answer.code(), DEADLINE_EXCEEDED, "{}", answer.message());
    // Each call has all of it again.
    for _ in 0..3 {
        assert_eq!(plugin.call("Calls", "").await.code(), 0);
    }
    plugin.neighbour_is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wall_time_of_a_call() {
    let plugin = Limited::with(
        "sleeps",
        LimitsConfig {
            timeout_max: Some(Duration::from_millis(50)),
            ..LimitsConfig::default()
        },
    )
    .await;
    for method in ["Sleep", "Spin", "IgnoreCancel"] {
        let answer = plugin.call(method, "").await;
        assert_eq!(
            answer.code(),
            DEADLINE_EXCEEDED,
            "{method}: {}",
            answer.message()
        );
    }
    eventually("their instances are gone", || {
        plugin.stats().leased.total() == 0 && plugin.stats().retired_unclean > 0
    })
    .await;
    assert_eq!(plugin.stats().faults, 0, "a deadline is none");
    plugin.neighbour_is_well().await;
}

/// Counted in ticks of the engine in which a guest still computed, and so the same on a machine that is busy. With a
/// tick of 1 ms, 20 of them are 20 ms.
#[tokio::test(flavor = "multi_thread")]
async fn runaway_guests_are_gone_soon_after_their_deadline() {
    const AT_ONCE: usize = 8;
    let plugin = Limited::with("runaway", LimitsConfig::default()).await;
    let calls = (0..AT_ONCE).map(|_| {
        let head = RawClient::head("/faulty.Faulty/Spin").header("grpc-timeout", "100m");
        plugin.client.call(head, frame(b""))
    });
    for answer in patiently("all of them", futures_util::future::join_all(calls)).await {
        assert_eq!(answer.code(), DEADLINE_EXCEEDED, "{}", answer.message());
    }
    eventually("they are gone", || plugin.stats().leased.total() == 0).await;
    let stats = plugin.stats();
    assert!(stats.retired_unclean > 0, "{stats:?}");
    assert!((1..=20).contains(&stats.overrun_max), "{stats:?}");
    plugin.neighbour_is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_calls_in_line() {
    let plugin = Limited::start("crowded", |_, own| {
        own.pool.stores_max = std::num::NonZeroU32::MIN;
        own.pool.streams_max = 1;
        own.pool.waiting_max = 1;
        own.pool.wait_max = Duration::from_millis(50);
    })
    .await;
    for (method, other) in [("Sleep", "Calls"), ("NeverReceive", "ReceiveForEver")] {
        let head = RawClient::head(&format!("/faulty.Faulty/{method}"));
        let mut running = plugin.client.begin(head).await;
        running.send(b"");
        running.end();
        eventually("it runs", || plugin.stats().leased.total() == 1).await;
        // One waits in vain, and while it does the next is refused at once.
        let [first, second] = [(); 2].map(|()| plugin.call(other, ""));
        let (first, second) = tokio::join!(first, second);
        for answer in [first, second] {
            assert_eq!(answer.code(), RESOURCE_EXHAUSTED, "{}", answer.message());
            assert!(answer.trailers.contains_key("grpc-retry-pushback-ms"));
        }
        running.cancel();
        eventually("it is gone", || plugin.stats().leased.total() == 0).await;
    }
    let stats = plugin.stats();
    assert_eq!((stats.refused, stats.gave_up), (2, 2), "{stats:?}");
    plugin.neighbour_is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_single_plugin() {
    let plugin = Limited::start("small-messages", |_, own| {
        own.messages.all.request_bytes_max = Some(100);
        own.messages.all.response_bytes_max = Some(100);
    })
    .await;
    let answer = plugin.call("Calls", &"x".repeat(101)).await;
    assert_eq!(answer.code(), RESOURCE_EXHAUSTED, "{}", answer.message());
    assert_eq!(plugin.stats().made, 0, "the plugin never saw it");
    let answer = plugin.call("TooLarge", "101").await;
    assert_eq!(answer.code(), RESOURCE_EXHAUSTED, "{}", answer.message());
    assert_eq!(plugin.call("TooLarge", "100").await.code(), 0);
    plugin.neighbour_is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_single_plugin() {
    let plugin = Limited::with(
        "quiet",
        LimitsConfig {
            log: LogLimits {
                burst_lines: 5,
                lines_per_second: 1,
                ..LogLimits::default()
            },
            timeout_max: Some(Duration::from_millis(300)),
            ..LimitsConfig::default()
        },
    )
    .await;
    let answer = plugin.call("FloodLog", "").await;
    assert_eq!(answer.code(), DEADLINE_EXCEEDED, "{}", answer.message());
    let lines = log().find(&["plugin=\"quiet\"", "of a flood"]);
    // Those at once, and one for each second, of which there are few.
    assert!((5..30).contains(&lines.len()), "{}", lines.len());
    log()
        .wait_for(&["plugin=\"quiet\"", "logs more than its share"])
        .await;
    plugin.neighbour_is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_needs_more_memory_than_it_may_have_is_refused() {
    let host = TestHost::start_with("faulty", |setup| {
        setup.config.plugin.limits.memory_bytes_max = Some(64 << 10);
    })
    .await;
    let refused = host.refused[0].to_string();
    assert!(refused.contains("more memory from the start"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_all_plugins_share_cannot_be_exceeded() {
    let mut config = switchboard_host::HostConfig::default();
    config.plugin.limits.memory_bytes_max = Some(config.engine.memory_bytes_max + 1);
    let error = config.check().expect_err("too much").to_string();
    assert!(error.contains("what the engine allows"), "{error}");
}
