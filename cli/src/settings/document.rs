//! The table as tables of `docs/operations.md`.
//!
//! Called by the test that compares the document with the table, and nobody else: the document is checked in.

use std::fmt::Write as _;

use super::value::Kind;
use super::{Change, Flag, Setting, sections};

/// The tables of `docs/operations.md`.
pub(super) fn document() -> String {
    let mut text = String::new();
    for section in sections() {
        let title = match section.title {
            "" => "Plugins, addresses, files",
            title => title,
        };
        let _ = write!(
            text,
            "### {title}\n\n| key, flag | default | meaning, and what happens at the limit | reload |\n\
             |---|---|---|---|\n"
        );
        for setting in section.settings {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} |",
                keys(setting),
                code(&setting.default_text()),
                cell(setting),
                match setting.change {
                    Change::Taken => "yes",
                    Change::Restart => "restart",
                }
            );
        }
        text.push('\n');
    }
    text
}

/// Its key and its flag, as code.
fn keys(setting: &Setting) -> String {
    let value = if let Kind::Choice(_, choices) = setting.kind {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        names.join("\\|")
    } else {
        setting.kind.place().to_owned()
    };
    let flag = match setting.flag {
        Flag::None => return format!("`{}`", setting.key),
        Flag::Place => value,
        Flag::Value(name) => format!("--{name} {value}"),
        Flag::On(name) | Flag::Off(name, _) => format!("--{name}"),
    };
    format!("`{}`, `{flag}`", setting.key)
}

fn code(text: &str) -> String {
    match text {
        "" => String::new(),
        text if text.contains(' ') => text.to_owned(),
        text => format!("`{text}`"),
    }
}

fn cell(setting: &Setting) -> String {
    let between = if setting.limit.is_empty() { "" } else { "; " };
    format!("{}{between}{}", setting.help, setting.limit)
}
