//! The process: its threads and its log.
//!
//! Entries of the table; read by `settings` and nothing else.

use super::{At, Change, Flag, Kind, Section, Setting};

/// The process: its threads and its log.
pub(super) const SECTION: Section = Section {
    title: "Process",
    settings: &[
        Setting {
            key: "process.workers",
            flag: Flag::Value("workers"),
            kind: Kind::Count,
            help: "Threads for connections and short calls, and as many for long calls",
            limit: "1024 at most",
            fields: &["workers"],
            default: Some("the machine's cores"),
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.workers),
        },
        Setting {
            key: "telemetry.log",
            flag: Flag::Value("log"),
            kind: Kind::Text("FILTER"),
            help: "What to log: error, warn, info, debug, trace, or per module like `info,guest=debug`",
            limit: "`guest` is the target of what plugins write",
            fields: &["the log filter"],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.log),
        },
    ],
};
