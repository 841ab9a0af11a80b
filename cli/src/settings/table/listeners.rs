//! Where the host listens, what it serves, and whom it believes.
//!
//! Entries of the table; read by `settings` and nothing else.

use super::{At, Change, Flag, Item, Kind, Section, Setting};

/// Where the host listens, what it serves, and whom it believes.
pub(super) const SECTION: Section = Section {
    title: "",
    settings: &[
        Setting {
            key: "paths",
            flag: Flag::Place,
            kind: Kind::Paths,
            help: "Plugin files, or folders of which every .wasm file is a plugin",
            limit: "",
            fields: &[],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.paths),
        },
        Setting {
            key: "listeners.addresses",
            flag: Flag::Value("listen"),
            kind: Kind::List(Item::Address),
            help: "Where to listen, as HOST:PORT, unix:PATH, or systemd for the sockets that it hands over. Port 0 picks a free one",
            limit: "",
            fields: &[],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.addresses),
        },
        Setting {
            key: "listeners.unix_mode",
            flag: Flag::Value("unix-mode"),
            kind: Kind::Mode,
            help: "Who may connect to Unix sockets: permissions of their files, octal. 600 is the host's own user, 660 its group too",
            limit: "",
            fields: &[],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.unix_mode),
        },
        Setting {
            key: "files",
            flag: Flag::Value("files"),
            kind: Kind::Folders,
            help: "Serves the files of a folder to browsers, as /PATH/=FOLDER",
            limit: "64 MiB and 1000 files each, or the host does not start",
            fields: &["files path"],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.host.files),
        },
    ],
};
