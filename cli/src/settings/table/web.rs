//! gRPC-Web, for pages without a tunnel.
//!
//! Entries of the table; read by `settings` and nothing else.

use super::{At, Change, Flag, Item, Kind, Section, Setting};

/// gRPC-Web, for pages without a tunnel.
pub(super) const SECTION: Section = Section {
    title: "gRPC-Web, on the same port",
    settings: &[
        Setting {
            key: "web.origins",
            flag: Flag::Value("web-origin"),
            kind: Kind::List(Item::Origin),
            help: "Whose pages may call by gRPC-Web: an origin like `https://app.example`, `same` for pages of this host, `*` for any",
            limit: "others get 403",
            fields: &["web origins"],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.web.origins),
        },
        Setting {
            key: "web.credentials",
            flag: Flag::On("web-credentials"),
            kind: Kind::Bool,
            help: "Let browsers send cookies and certificates along with calls of other origins' pages",
            limit: "not together with origins of `*`",
            fields: &["web credentials"],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.web.credentials),
        },
        Setting {
            key: "web.preflight_age",
            flag: Flag::None,
            kind: Kind::Time,
            help: "How long a browser may keep what it was told about whose pages may call",
            limit: "then it asks again",
            fields: &["web preflight_age"],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.web.preflight_age),
        },
        Setting {
            key: "web.enabled",
            flag: Flag::Off("web-off", "Serve no gRPC-Web"),
            kind: Kind::Bool,
            help: "Whether gRPC-Web is served",
            limit: "without it its calls get 415, over HTTP/1.1 404",
            fields: &[],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.web_enabled),
        },
    ],
};
