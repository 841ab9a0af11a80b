//! TLS, on every address that is no Unix socket.
//!
//! Entries of the table; read by `settings` and nothing else.

use super::{At, CLIENT_CERTIFICATES, Change, Flag, Kind, Section, Setting, TLS_VERSIONS};

/// TLS, on every address that is no Unix socket.
pub(super) const SECTION: Section = Section {
    title: "TLS, with files that are read again when they change",
    settings: &[
        Setting {
            key: "tls.cert",
            flag: Flag::Value("tls-cert"),
            kind: Kind::File,
            help: "Certificate chain for TLS, PEM",
            limit: "with `tls.key`, every port is served with TLS",
            fields: &["the TLS certificate"],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.tls.certificate),
        },
        Setting {
            key: "tls.key",
            flag: Flag::Value("tls-key"),
            kind: Kind::File,
            help: "Private key for TLS, PEM",
            limit: "",
            fields: &["the TLS key"],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.tls.key),
        },
        Setting {
            key: "tls.min",
            flag: Flag::Value("tls-min"),
            kind: Kind::Choice("VERSION", TLS_VERSIONS),
            help: "Oldest version of TLS that is spoken",
            limit: "an older client is refused",
            fields: &[],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.tls.version_min),
        },
        Setting {
            key: "tls.client_ca",
            flag: Flag::Value("tls-client-ca"),
            kind: Kind::File,
            help: "Ask clients for a certificate, signed by one of those in this file, PEM",
            limit: "",
            fields: &["the TLS client CA"],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.tls.client_ca),
        },
        Setting {
            key: "tls.client",
            flag: Flag::Value("tls-client"),
            kind: Kind::Choice("WHETHER", CLIENT_CERTIFICATES),
            help: "Whether a client must have one; a wrong one is refused in either case",
            limit: "",
            fields: &[],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.tls.client_certificate),
        },
        Setting {
            key: "tls.reload_interval",
            flag: Flag::Value("tls-reload-interval"),
            kind: Kind::Time,
            help: "How often the files are looked at",
            limit: "",
            fields: &["tls reload_interval"],
            default: None,
            change: Change::Restart,
            at: At::Host(|draft| &mut draft.tls.reload_interval),
        },
    ],
};
