//! What holds for every entry of the table.

use std::collections::BTreeSet;

use super::*;

#[test]
fn keys_and_flags_are_there_once_and_read_well() {
    let (mut keys, mut flags) = (BTreeSet::new(), BTreeSet::new());
    for setting in all() {
        assert!(keys.insert(setting.key), "{} twice", setting.key);
        let flag = setting.flag.name();
        assert!(flag.is_none_or(|flag| flags.insert(flag)), "{flag:?} twice");
        let parts = setting.key.split('.').all(|part| {
            let allowed = |char: char| char.is_ascii_lowercase() || char == '_' || char == '1';
            !part.is_empty() && part.chars().all(allowed)
        });
        assert!(parts, "{}: parts of keys are of a-z and _", setting.key);
        let in_plugin = setting.key.starts_with("plugin.");
        assert_eq!(setting.of_plugins(), in_plugin, "{}", setting.key);
        for text in [setting.help, setting.limit] {
            assert!(
                !text.ends_with('.'),
                "{}: a full stop is added",
                setting.key
            );
        }
        assert!(!setting.help.is_empty(), "{}: says nothing", setting.key);
    }
}

/// A pod finds `SWITCHBOARD_PORT` and the like in its environment wherever a service is named `switchboard`.
#[test]
fn no_variable_is_one_that_kubernetes_sets() {
    for setting in all() {
        let Some(variable) = setting.variable() else {
            continue;
        };
        for prefix in ["SWITCHBOARD_PORT", "SWITCHBOARD_SERVICE_"] {
            assert!(!variable.starts_with(prefix), "{variable}");
        }
    }
}

#[test]
fn every_default_is_accepted_where_it_is_written() {
    let default = Draft::default();
    for setting in all() {
        let value = setting.value(&default);
        let mut draft = default.clone();
        let put = setting.put(&mut draft, value.clone());
        assert_eq!(put, Ok(()), "{}: {value:?}", setting.key);
        assert_eq!(setting.value(&draft), value, "{}", setting.key);
        if value != Value::None && !setting.kind.adds_up() && setting.kind.place() != "BOOL" {
            let read = setting.kind.read_text(&value.text(setting.kind));
            assert_eq!(read, Ok(value), "{}", setting.key);
        }
    }
}

/// One value for each kind that is nobody's default.
fn other(setting: &Setting) -> Value {
    let text = |text: &str| setting.kind.read_text(text).expect("its kind");
    match setting.kind {
        Kind::Bool => Value::Bool(setting.value(&Draft::default()) == Value::Bool(false)),
        Kind::Count | Kind::CountOrNone => text("7"),
        Kind::Size => text("77KiB"),
        Kind::Time | Kind::TimeOrNever => text("77s"),
        Kind::Mode => text("640"),
        Kind::Choice(_, choices) => text(choices.last().expect("choices").0),
        Kind::Text(_) | Kind::File | Kind::Paths => text("/other"),
        Kind::List(value::Item::Address) => text("127.0.0.1:7"),
        Kind::List(value::Item::Encoding) => text("gzip"),
        Kind::List(value::Item::Method) => text("/a.B/C"),
        Kind::List(value::Item::Network) => text("10.0.0.0/8"),
        Kind::List(value::Item::Origin) => text("https://a.example"),
        Kind::List(value::Item::Argument) => text("-v"),
        Kind::List(value::Item::Destination) => text("a.example:443"),
        Kind::Variables => text("A=b"),
        Kind::Folders => text("/a/=b"),
        Kind::Sizes => text("/a.B/C=7KiB"),
    }
}

/// Each entry reaches a field of its own: a value put in is there, and nothing else has changed.
#[test]
fn every_setting_changes_its_own_field() {
    let default = Draft::default();
    for setting in all() {
        let mut draft = default.clone();
        let value = other(setting);
        assert_ne!(setting.value(&default), value, "{}", setting.key);
        setting.put(&mut draft, value.clone()).expect("its kind");
        for each in all() {
            let expected = if each.key == setting.key {
                value.clone()
            } else {
                each.value(&default)
            };
            assert_eq!(
                each.value(&draft),
                expected,
                "{} by {}",
                each.key,
                setting.key
            );
        }
    }
}

/// What the host says of a field is said of a setting: each field that the table names begins a fault, or
/// stands within one, and is recognised there.
#[test]
fn fields_are_told_apart_by_the_longest_name() {
    let names = Names::default();
    for (said, explained) in [
        (
            "warm_min must be at most stores_max (64)",
            "--warm-min must be at most --stores-max (64)",
        ),
        (
            "tunnel dead_after must be above ping_interval",
            "--tunnel-dead-after must be above --tunnel-ping",
        ),
        ("stack_bytes_max must be", "limits.stack_max must be"),
        (
            "age_max, connection age_max",
            "--age-max, --connection-age-max",
        ),
        (
            "unsent_bytes_max, connection_unsent_bytes_max",
            "--unsent-max, --connection-unsent-max",
        ),
        ("`tls.cert` needs `tls.key`", "--tls-cert needs --tls-key"),
        ("nothing of ours: xage_max", "nothing of ours: xage_max"),
    ] {
        assert_eq!(names.explain(said), explained);
    }
}

mod documents;
mod sources;
