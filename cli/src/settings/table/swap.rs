//! How plugins are replaced while the host serves, and where compiled ones are kept.
//!
//! Entries of the table; read by `settings` and nothing else.

use super::{At, Change, Flag, Kind, Section, Setting};

/// Files of plugins that change.
pub(super) const SECTION: Section = Section {
    title: "Plugins that change while the host serves",
    settings: &[
        Setting {
            key: "watch.enabled",
            flag: Flag::Off(
                "watch-off",
                "Do not look at plugin files for changes: they stay as they were at the start",
            ),
            kind: Kind::Bool,
            help: "Whether plugin files are looked at for changes",
            limit: "without it they stay as they were at the start, until SIGHUP",
            fields: &[],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.watch_enabled),
        },
        Setting {
            key: "watch.interval",
            flag: Flag::Value("watch-interval"),
            kind: Kind::Time,
            help: "How often all plugin files are looked at",
            limit: "a change is usually seen at once, because the system tells; not all file systems do. 100ms to 1h",
            fields: &["watch interval"],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.watch.interval),
        },
        Setting {
            key: "watch.settle",
            flag: Flag::Value("watch-settle"),
            kind: Kind::Time,
            help: "How long a plugin file must stay as it is before it is loaded, or gone before its plugin is removed",
            limit: "1h at most",
            fields: &["watch settle"],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.watch.settle),
        },
        Setting {
            key: "swap.drain_timeout",
            flag: Flag::Value("swap-drain-timeout"),
            kind: Kind::Time,
            help: "How long calls may go on that run on a version of a plugin which was replaced or removed",
            limit: "then they are cancelled (UNAVAILABLE); 24h at most",
            fields: &["swap drain_timeout"],
            default: None,
            change: Change::Taken,
            at: At::Host(|draft| &mut draft.host.swap.drain_timeout),
        },
        Setting {
            key: "swap.incompatible",
            flag: Flag::On("swap-incompatible"),
            kind: Kind::Bool,
            help: "Let a new version of a plugin take away or change methods of the one before it",
            limit: "else such a version is refused, and the one before it goes on",
            fields: &["swap incompatible"],
            default: None,
            change: Change::Taken,
            at: At::Host(|draft| &mut draft.host.swap.incompatible),
        },
        Setting {
            key: "cache.folder",
            flag: Flag::Value("cache"),
            kind: Kind::File,
            help: "Folder in which compiled plugins are kept for the next start; must be writable for nobody else",
            limit: "made if it is not there; without one plugins are compiled at each start",
            fields: &[],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.cache_folder),
        },
        Setting {
            key: "cache.max",
            flag: Flag::Value("cache-max"),
            kind: Kind::Size,
            help: "All that is kept there",
            limit: "what was not used for the longest time goes",
            fields: &[],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.cache_bytes_max),
        },
    ],
};
