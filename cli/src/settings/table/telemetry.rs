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
            help: "The collector that spans are sent to, by OTLP over HTTP, such as http://127.0.0.1:4318 or https://otlp.example, or none",
            limit: "without it nothing is traced; 2048 spans wait for it, the next ones are dropped",
            fields: &["OTLP endpoint"],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.otlp_endpoint),
        },
        Setting {
            key: "telemetry.otlp_headers",
            flag: Flag::Value("otlp-headers"),
            kind: Kind::File,
            help: "Headers that are sent to the collector, such as keys: lines of `NAME: VALUE` in this file",
            limit: "32 at most; read at the start and shown nowhere; those of OTEL_EXPORTER_OTLP_HEADERS are sent besides, unless they are in the file",
            fields: &["OTLP headers"],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.otlp_headers),
        },
        Setting {
            key: "telemetry.otlp_ca",
            flag: Flag::Value("otlp-ca"),
            kind: Kind::File,
            help: "Certificates (PEM) that a collector at https:// may have, beside those that the system trusts",
            limit: "read at the start",
            fields: &["OTLP CA"],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.otlp_ca),
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
