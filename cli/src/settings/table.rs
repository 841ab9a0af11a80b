//! The sections of the table, in the order in which people see them.
//!
//! An entry is data and a way to its field; whatever is said about settings is said here. Used by `settings`.

mod connections;
mod grants;
mod health;
mod limits;
mod listeners;
mod plugin;
mod process;
mod swap;
mod telemetry;
mod tls;
mod tunnel;
mod usage;
mod web;

use super::{At, Change, Flag, Kind, Section, Setting};
use crate::settings::field::{CLIENT_CERTIFICATES, DRAIN_CLOSES, MODES, TLS_VERSIONS};
use crate::settings::value::Item;

pub(super) const SECTIONS: &[Section] = &[
    listeners::SECTION,
    tls::SECTION,
    swap::SECTION,
    plugin::POOL,
    plugin::QUARANTINE,
    plugin::COMPRESSION,
    plugin::MESSAGES,
    grants::SECTION,
    usage::SECTION,
    limits::SECTION,
    connections::SECTION,
    health::SECTION,
    tunnel::SECTION,
    web::SECTION,
    telemetry::SECTION,
    process::SECTION,
];
