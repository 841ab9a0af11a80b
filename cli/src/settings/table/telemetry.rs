//! What the host says of itself: the log, traces, and the admin listener.
//!
//! Entries of the table; read by `settings` and nothing else.

use super::{At, Change, Flag, Kind, Section, Setting};
use crate::settings::field::LOG_FORMATS;

/// What the host says of itself.
pub(super) const SECTION: Section = Section {
    title: "Telemetry",
    settings: &[
        Setting {
            key: "admin.listen",
            flag: Flag::Value("admin"),
            kind: Kind::Text("HOST:PORT"),
            help: "Where probes (/livez, /readyz), /metrics and the admin service are served, or none",
            limit: "on a thread of its own; whoever reaches it may close tunnels, so keep it on a loopback address",
            fields: &["admin listener"],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.admin),
        },
        Setting {
            key: "telemetry.log_format",
            flag: Flag::Value("log-format"),
            kind: Kind::Choice("FORMAT", LOG_FORMATS),
            help: "How the log is written",
            limit: "",
            fields: &["log format"],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.log_format),
        },
        Setting {
            key: "telemetry.otlp_endpoint",
            flag: Flag::Value("otlp-endpoint"),
            kind: Kind::Text("URL"),
            help: "The collector that spans are sent to, by OTLP over HTTP, such as http://127.0.0.1:4318, or none",
            limit: "without it nothing is traced; 2048 spans wait for it, the next ones are dropped",
            fields: &["OTLP endpoint"],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.otlp_endpoint),
        },
        Setting {
            key: "telemetry.trace_sample",
            flag: Flag::Value("trace-sample"),
            kind: Kind::Text("PART"),
            help: "Which part of the calls is traced whose callers do not say it themselves, 0 to 1",
            limit: "callers who ask for it are always traced",
            fields: &["sample of traces"],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.trace_sample),
        },
    ],
};
