//! What a host counts, read as a scraper reads it: calls of every kind and end, pools, connections, tunnels.

use std::num::NonZeroU32;
use std::time::Duration;

use switchboard_host::{MetricsFormat, Readiness, Telemetry};
use switchboard_test_support::{RawClient, Setup, TestHost, eventually, guest, patiently};

use crate::native::Lists;

const LISTS: &str = "lists.Lists";

/// The value of a series; 0 if there is none.
fn value(telemetry: &Telemetry, series: &str) -> f64 {
    let text = telemetry.metrics(MetricsFormat::Prometheus);
    let found = text.lines().find_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        (name == series).then(|| value.parse::<f64>().expect("a number"))
    });
    found.unwrap_or(0.0)
}

fn of_method(metric: &str, kind: &str, service: &str, method: &str, more: &str) -> String {
    format!(
        "{metric}{{grpc_type=\"{kind}\",grpc_service=\"{service}\",grpc_method=\"{method}\"{more}}}"
    )
}

/// Waits until a series has this value: the end of a call is counted after its caller has its answer.
async fn reaches(telemetry: &Telemetry, series: &str, expected: f64) {
    eventually(series, || (value(telemetry, series) - expected).abs() < 0.5).await;
}

async fn start(setup: Setup) -> (TestHost, Telemetry) {
    let telemetry = Telemetry::new();
    let given = telemetry.clone();
    let host = TestHost::build(setup, |builder| {
        builder.telemetry(given).native(Lists::named(LISTS))
    });
    (host.await, telemetry)
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_by_method_and_code() {
    let (host, telemetry) = start(Setup::default()).await;
    let client = host.raw().await;
    for request in [&b"abc"[..], b"", b"de"] {
        client.unary("/lists.Lists/Reverse", request).await;
    }
    let split = client.unary("/lists.Lists/Split", b"xyz").await;
    assert_eq!(split.messages(), ["x", "y", "z"]);
    client.unary("/lists.Lists/NoSuchMethod", b"").await;
    client.unary("/made.up/ByACaller", b"").await;
    let unary = |metric, more| of_method(metric, "unary", LISTS, "Reverse", more);
    for (series, expected) in [
        (unary("grpc_server_started_total", ""), 3.0),
        (unary("grpc_server_handled_total", ",grpc_code=\"OK\""), 2.0),
        (
            unary(
                "grpc_server_handled_total",
                ",grpc_code=\"InvalidArgument\"",
            ),
            1.0,
        ),
        (unary("grpc_server_handling_seconds_count", ""), 3.0),
        (
            unary("grpc_server_handling_seconds_bucket", ",le=\"+Inf\""),
            3.0,
        ),
        (unary("grpc_server_msg_received_total", ""), 3.0),
        (unary("grpc_server_msg_sent_total", ""), 2.0),
        (
            of_method(
                "grpc_server_msg_sent_total",
                "server_stream",
                LISTS,
                "Split",
                "",
            ),
            3.0,
        ),
        (
            of_method(
                "grpc_server_handled_total",
                "unknown",
                "other",
                "other",
                ",grpc_code=\"Unimplemented\"",
            ),
            2.0,
        ),
        (
            "switchboard_call_failures_total{cause=\"unknown_method\"}".to_owned(),
            2.0,
        ),
        ("switchboard_connections".to_owned(), 1.0),
    ] {
        reaches(&telemetry, &series, expected).await;
    }
    let text = telemetry.metrics(MetricsFormat::Prometheus);
    assert!(!text.contains("made.up"), "a label from the wire: {text}");
    assert!(
        !text.contains("NoSuchMethod"),
        "a label from the wire: {text}"
    );
    assert!(value(&telemetry, &unary("grpc_server_handling_seconds_sum", "")) > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_caller_is_gone_is_handled_as_cancelled() {
    let (host, telemetry) = start(Setup::default()).await;
    let client = host.raw().await;
    let mut call = client.begin(RawClient::head("/lists.Lists/Double")).await;
    call.send(b"a");
    let started = of_method(
        "grpc_server_started_total",
        "bidi_stream",
        LISTS,
        "Double",
        "",
    );
    reaches(&telemetry, &started, 1.0).await;
    let connections = telemetry.open_connections();
    assert_eq!(connections.len(), 1, "{connections:?}");
    eventually("the call is seen", || {
        telemetry.open_connections()[0].calls == 1
    })
    .await;
    drop((call, client));
    let code = ",grpc_code=\"Canceled\"";
    let handled = of_method(
        "grpc_server_handled_total",
        "bidi_stream",
        LISTS,
        "Double",
        code,
    );
    reaches(&telemetry, &handled, 1.0).await;
    reaches(&telemetry, "switchboard_connections", 0.0).await;
    assert!(telemetry.open_connections().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_say_what_they_hold_and_what_went_wrong() {
    let mut setup = Setup {
        paths: vec![guest("echo"), guest("faulty")],
        ..Setup::default()
    };
    setup.config.plugin.pool.stores_max = NonZeroU32::MIN;
    let (host, telemetry) = start(setup).await;
    assert!(value(&telemetry, "switchboard_plugins") >= 2.0);
    let client = host.raw().await;
    client.unary("/echo.Echo/Unary", b"x").await;
    reaches(&telemetry, "switchboard_pool_idle{plugin=\"echo\"}", 1.0).await;
    let made = value(&telemetry, "switchboard_pool_made_total{plugin=\"echo\"}");
    assert!(made >= 1.0);
    let memory = value(
        &telemetry,
        "switchboard_plugin_memory_bytes{plugin=\"echo\"}",
    );
    assert!(memory >= 65_536.0, "at least a page: {memory}");
    let compiled = value(&telemetry, "switchboard_plugin_compile_seconds_count");
    assert!((compiled - 2.0).abs() < 0.5, "{compiled}");
    client.unary("/faulty.Faulty/Panic", b"").await;
    reaches(
        &telemetry,
        "switchboard_plugin_faults_total{plugin=\"faulty\"}",
        1.0,
    )
    .await;
    let unclean = "switchboard_pool_retired_total{plugin=\"faulty\",reason=\"unclean\"}";
    reaches(&telemetry, unclean, 1.0).await;
    reaches(
        &telemetry,
        "switchboard_call_failures_total{cause=\"trap\"}",
        1.0,
    )
    .await;
    let lines = "switchboard_plugin_log_lines_total{plugin=\"faulty\"}";
    assert!(value(&telemetry, lines) >= 1.0, "its panic is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_a_host_is_ready_is_known_from_start_to_stop() {
    let telemetry = Telemetry::new();
    assert_eq!(telemetry.readiness(), Readiness::Starting);
    let given = telemetry.clone();
    let mut setup = Setup::default();
    setup.config.drain_notice = Duration::from_millis(50);
    let host = TestHost::build(setup, |builder| {
        builder.telemetry(given).native(Lists::named(LISTS))
    });
    let host = host.await;
    eventually("ready", || telemetry.readiness() == Readiness::Ready).await;
    assert!((value(&telemetry, "switchboard_ready") - 1.0).abs() < 0.5);
    let client = host.raw().await;
    let call = client.begin(RawClient::head("/lists.Lists/Double")).await;
    host.drain();
    eventually("not ready", || telemetry.readiness() > Readiness::Ready).await;
    assert!(value(&telemetry, "switchboard_ready") < 0.5);
    drop((call, client));
    patiently("the end", host.finish()).await;
    assert_eq!(telemetry.readiness(), Readiness::Stopped);
}
