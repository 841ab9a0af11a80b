//! What operators read about numbers is what the host has: docs/operations.md names every metric and no other,
//! docs/errors.md every cause, and the dashboard asks for none that is not there.
//!
//! The list is the host's own (`METRICS`); causes are taken from what a host that has done nothing says.

use std::collections::BTreeSet;

use serde_json::Value;
use switchboard_host::{METRICS, MetricKind, MetricsFormat, Telemetry};

use crate::repository::read;
use crate::rust_text::is_word;

/// How names of metrics begin.
const BEGIN: [&str; 3] = ["grpc_server_", "switchboard_", "process_"];

/// What a histogram adds to its name.
const OF_HISTOGRAMS: [&str; 3] = ["_bucket", "_sum", "_count"];

#[test]
fn the_document_has_every_metric_with_its_labels_and_no_other() {
    let text = read("docs/operations.md");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    for metric in METRICS {
        let name = format!("`{}`", metric.name);
        let row = rows.iter().find(|row| row.get(1) == Some(&&*name));
        let row = row.unwrap_or_else(|| panic!("docs/operations.md has no row for {name}"));
        let labels = metric.labels.iter().map(|label| format!("`{label}`"));
        let labels: Vec<_> = labels.collect();
        assert_eq!(row.get(2), Some(&&*labels.join(", ")), "labels of {name}");
    }
    let strange = strangers(&text);
    assert!(
        strange.is_empty(),
        "docs/operations.md: no such metric: {strange:?}"
    );
}

#[test]
fn the_document_of_errors_has_every_cause_and_no_other() {
    let text = Telemetry::new().metrics(MetricsFormat::Prometheus);
    let counted: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("switchboard_call_failures_total{cause=\""))
        .filter_map(|rest| rest.split('"').next().map(str::to_owned))
        .collect();
    let document = read("docs/errors.md");
    let calls = document.split("## ").find(|part| part.starts_with("Calls"));
    let rows = calls.expect("a section about calls").lines();
    let named: BTreeSet<_> = rows
        .filter_map(|line| line.trim_end().strip_suffix("` |")?.rsplit('`').next())
        .map(str::to_owned)
        .collect();
    assert_eq!(named, counted);
}

#[test]
fn the_dashboard_is_sound_and_asks_for_nothing_that_is_not_there() {
    let text = read("deploy/grafana/switchboard.json");
    let strange = strangers(&text);
    assert!(strange.is_empty(), "no such metric: {strange:?}");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut ids = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        assert!(
            ids.insert(panel["id"].as_u64().expect("an id")),
            "{title}: its id is another's"
        );
        if panel["type"] == "row" {
            continue;
        }
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{title} asks for nothing");
        for target in targets {
            let asked = target["expr"].as_str().expect("an expression");
            let named = METRICS.iter().any(|metric| asked.contains(metric.name));
            assert!(named, "{title}: {asked}");
            let open = |c| asked.matches(c).count();
            assert_eq!(
                (open('('), open('{')),
                (open(')'), open('}')),
                "{title}: {asked}"
            );
        }
    }
}

/// Names in a text that look like metrics of ours and are none.
fn strangers(text: &str) -> Vec<String> {
    let known = |word: &str| {
        METRICS.iter().any(|metric| {
            let suffixes = OF_HISTOGRAMS.iter().copied();
            let mut parts = suffixes.filter_map(|suffix| word.strip_suffix(suffix));
            let of_histogram = metric.kind == MetricKind::Histogram;
            word == metric.name || of_histogram && parts.any(|name| name == metric.name)
        })
    };
    let words = text.split(|c: char| !is_word(c));
    words
        .filter(|word| BEGIN.iter().any(|begin| word.starts_with(begin)) && !known(word))
        // What stands before a star is no name; crates and targets of the log begin so too.
        .filter(|word| !BEGIN.contains(word))
        .filter(|word| {
            ![
                "switchboard_host",
                "switchboard_guest",
                "switchboard_client",
            ]
            .contains(word)
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_name_that_is_none_is_found() {
    let text = "rate(grpc_server_handling_seconds_bucket[5m]) / switchboard_plugins, switchboard_gone_total";
    assert_eq!(strangers(text), ["switchboard_gone_total"]);
    assert_eq!(
        strangers("grpc_server_started_total_sum"),
        ["grpc_server_started_total_sum"]
    );
}
