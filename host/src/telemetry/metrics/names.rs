//! All metrics that a host has, in one list: name, kind, labels, help.
//!
//! Read by `telemetry::metrics::text`, which writes nothing that is not here, in this order, and by the tests that
//! hold `docs/operations.md` and the dashboard against it. Invariants, asserted by the tests below: names are
//! unique and end as their kind and unit ask for; no label's value comes from the wire: methods are those that
//! are served, and `other`.
//!
//! Source of the `grpc_server_*` names and labels: go-grpc-middleware, `providers/prometheus`, whose dashboards
//! operators have already. Of the `process_*` ones: the Prometheus client libraries.

/// What kind of numbers a metric has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many were at most so large.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricInfo {
    /// Its name, as it is scraped; of a histogram without `_bucket`, `_sum` and `_count`.
    pub name: &'static str,
    /// What kind it is.
    pub kind: MetricKind,
    /// Names of its labels; of a histogram without `le`.
    pub labels: &'static [&'static str],
    /// What it says, in one line.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($id:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        /// Names a metric in code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Metric {
            $($id),*
        }

        /// All metrics, in the order in which they are written.
        pub const METRICS: &[MetricInfo] = &[
            $(MetricInfo {
                name: $name,
                kind: MetricKind::$kind,
                labels: &[$($label),*],
                help: $help,
            }),*
        ];
    };
}

metrics! {
    Started Counter "grpc_server_started_total" ["grpc_type", "grpc_service", "grpc_method"]
        "Calls begun.";
    Handled Counter "grpc_server_handled_total" ["grpc_type", "grpc_service", "grpc_method", "grpc_code"]
        "Calls ended, whatever their status.";
    Handling Histogram "grpc_server_handling_seconds" ["grpc_type", "grpc_service", "grpc_method"]
        "Time from the first look at a call to its status, in seconds.";
    Received Counter "grpc_server_msg_received_total" ["grpc_type", "grpc_service", "grpc_method"]
        "Messages received from callers.";
    Sent Counter "grpc_server_msg_sent_total" ["grpc_type", "grpc_service", "grpc_method"]
        "Messages sent to callers.";
    Failures Counter "switchboard_call_failures_total" ["cause"]
        "Calls that the host ended with an error of its own, by the cause that docs/errors.md lists.";

    PluginsLoaded Gauge "switchboard_plugins" []
        "Plugins that are served.";
    PluginsRefused Counter "switchboard_plugins_refused_total" []
        "Plugin files that were refused.";
    PluginSwaps Counter "switchboard_plugin_swaps_total" ["outcome"]
        "Changes of plugins while the host served: added, swapped, refused, removed.";
    Compile Histogram "switchboard_plugin_compile_seconds" []
        "Time to compile a plugin file, in seconds.";
    PluginMemory Gauge "switchboard_plugin_memory_bytes" ["plugin"]
        "Linear memory that the instances of a plugin hold, leased ones included.";
    PluginLines Counter "switchboard_plugin_log_lines_total" ["plugin"]
        "Lines of a plugin that were written to the log.";
    PluginLinesDropped Counter "switchboard_plugin_log_lines_dropped_total" ["plugin"]
        "Lines of a plugin that were left out, because it logs more than its share.";

    Leased Gauge "switchboard_pool_leased" ["plugin", "kind"]
        "Instances that serve a call now: unary or stream.";
    Idle Gauge "switchboard_pool_idle" ["plugin"]
        "Instances that are ready for a call.";
    Waiting Gauge "switchboard_pool_waiting" ["plugin"]
        "Calls that wait for an instance.";
    LeaseWait Histogram "switchboard_pool_lease_wait_seconds" ["plugin"]
        "Time that calls waited in line for an instance, in seconds; calls that found one at once are not counted.";
    Made Counter "switchboard_pool_made_total" ["plugin"]
        "Instances made.";
    Retired Counter "switchboard_pool_retired_total" ["plugin", "reason"]
        "Instances dropped: unclean, used, calls, age, memory, surplus, replaced, idle.";
    PoolRefused Counter "switchboard_pool_refused_total" ["plugin"]
        "Calls refused because the line was full.";
    GaveUp Counter "switchboard_pool_gave_up_total" ["plugin"]
        "Calls that waited for as long as they may, in vain.";
    Faults Counter "switchboard_plugin_faults_total" ["plugin"]
        "Calls that trapped or broke the contract, and instances that did not start.";
    Quarantines Counter "switchboard_plugin_quarantines_total" ["plugin"]
        "How often a plugin was left alone because it kept failing.";
    Quarantined Gauge "switchboard_plugin_quarantined" ["plugin"]
        "1 while a plugin is left alone, or has yet to show that it serves again.";

    Unread Gauge "switchboard_unread_bytes" []
        "Bytes of requests that have begun to come or wait for an instance, over all connections.";
    Unsent Gauge "switchboard_unsent_bytes" []
        "Bytes of replies that callers have not taken, over all connections.";

    ConnectionsOpen Gauge "switchboard_connections" []
        "Open connections, whatever they speak.";
    ConnectionsAccepted Counter "switchboard_connections_accepted_total" []
        "Connections accepted.";
    ConnectionsRefused Counter "switchboard_connections_refused_total" ["cause"]
        "Connections closed before they asked anything: peer_full, tls, timeout, unknown_protocol, gone.";
    ConnectionsEnded Counter "switchboard_http2_ended_total" ["reason"]
        "HTTP/2 that ended, in tunnels too: not_set_up, peer, failed, idle, aged, drained.";
    TunnelsOpen Gauge "switchboard_tunnels" []
        "Open tunnels.";
    TunnelsOpened Counter "switchboard_tunnels_opened_total" []
        "Tunnels opened.";
    TunnelsRefused Counter "switchboard_tunnels_refused_total" ["cause"]
        "Tunnels refused: handshake, origin, full, peer_full, denied, undecided, draining, no_random.";
    TunnelsClosed Counter "switchboard_tunnels_closed_total" ["code"]
        "Tunnels closed, by the WebSocket close code; failed without one, other for codes that the host does not use.";
    TunnelReceived Counter "switchboard_tunnel_received_bytes_total" []
        "Bytes received through tunnels, WebSocket framing left out.";
    TunnelSent Counter "switchboard_tunnel_sent_bytes_total" []
        "Bytes sent through tunnels, WebSocket framing left out.";
    TlsReloads Counter "switchboard_tls_reloads_total" ["outcome"]
        "Times that the files of TLS had changed: taken or refused.";

    SpansExported Counter "switchboard_spans_exported_total" []
        "Spans that the collector took.";
    SpansDropped Counter "switchboard_spans_dropped_total" ["cause"]
        "Spans lost: queue_full, or failed because the collector did not take them.";
    Ready Gauge "switchboard_ready" []
        "1 while /readyz says yes.";
    Build Gauge "switchboard_build_info" ["version"]
        "Always 1; what is served with is in the labels.";

    Cpu Counter "process_cpu_seconds_total" []
        "Time of CPU that the process used, user and system, in seconds.";
    Resident Gauge "process_resident_memory_bytes" []
        "Memory of the process that is resident.";
    Virtual Gauge "process_virtual_memory_bytes" []
        "Address space of the process; instances reserve 4 GiB each and do not use it.";
    Fds Gauge "process_open_fds" []
        "File descriptors that are open.";
    FdsMax Gauge "process_max_fds" []
        "File descriptors that may be open.";
    Begun Gauge "process_start_time_seconds" []
        "When the process began, in seconds since 1970.";
}

impl Metric {
    /// Its place in [`METRICS`].
    pub(super) fn index(self) -> usize {
        self as usize
    }

    /// What it is.
    pub(super) fn info(self) -> &'static MetricInfo {
        &METRICS[self.index()]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_as_prometheus_wants_them() {
        let mut seen = HashSet::new();
        for metric in METRICS {
            let name = metric.name;
            assert!(seen.insert(name), "{name} is there twice");
            let counts = name.ends_with("_total");
            assert_eq!(counts, metric.kind == MetricKind::Counter, "{name}");
            if metric.kind == MetricKind::Histogram {
                assert!(name.ends_with("_seconds"), "{name}");
            }
            let known = ["grpc_server_", "switchboard_", "process_"];
            assert!(known.iter().any(|begin| name.starts_with(begin)), "{name}");
            let of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(name.chars().all(of_name), "{name}");
            assert!(!metric.labels.contains(&"le"), "{name}");
            assert!(metric.help.ends_with('.'), "{name}: {}", metric.help);
        }
    }

    #[test]
    fn a_metric_stands_at_its_place() {
        assert_eq!(Metric::Started.info().name, "grpc_server_started_total");
        assert_eq!(Metric::Begun.index(), METRICS.len() - 1);
    }
}
