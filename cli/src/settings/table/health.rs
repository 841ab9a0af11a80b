//! What the host says of itself: grpc.health.v1, and grpc.reflection v1 and v1alpha.
//!
//! Entries of the table; read by `settings` and nothing else.

use super::{At, Change, Flag, Kind, Section, Setting};

/// What the host says of itself: grpc.health.v1, and grpc.reflection v1 and v1alpha.
pub(super) const SECTION: Section = Section {
    title: "Health and reflection",
    settings: &[
        Setting {
            key: "health.enabled",
            flag: Flag::Off("health-off", "Serve no grpc.health.v1"),
            kind: Kind::Bool,
            help: "Whether grpc.health.v1 is served",
            limit: "without it a plugin may offer it",
            fields: &[],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.health_enabled),
        },
        Setting {
            key: "health.watches_max",
            flag: Flag::Value("health-watches-max"),
            kind: Kind::Count,
            help: "Callers that may watch health at once",
            limit: "above it RESOURCE_EXHAUSTED",
            fields: &["watches_max"],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.health.watches_max),
        },
        Setting {
            key: "health.drain_notice",
            flag: Flag::Value("drain-notice"),
            kind: Kind::Time,
            help: "How long the host goes on after a signal and says that it is not serving, before it drains: so long balancers may take to notice",
            limit: "",
            fields: &["drain_notice"],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.host.drain_notice),
        },
        Setting {
            key: "reflection.enabled",
            flag: Flag::Off(
                "reflection-off",
                "Serve no reflection: nobody is told what the services and their messages are",
            ),
            kind: Kind::Bool,
            help: "Whether reflection is served, which tells what the services and their messages are",
            limit: "without it a plugin may offer it",
            fields: &[],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.reflection_enabled),
        },
        Setting {
            key: "reflection.set_max",
            flag: Flag::Value("reflection-set-max"),
            kind: Kind::Size,
            help: "Largest descriptor set of a plugin",
            limit: "a plugin with a larger one is served and not described",
            fields: &["set_bytes_max"],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.reflection.set_bytes_max),
        },
    ],
};
