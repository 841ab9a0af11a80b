//! The table as a JSON Schema of the configuration file.
//!
//! Called by `cmd::config`; checked in as `docs/config.schema.json`, so that editors complete keys and say what
//! they mean. Source: JSON Schema, draft 2020-12.

use serde_json::{Map, Value as Json, json};

use super::draft::Draft;
use super::value::{Item, Kind, PART, Value};
use super::written::about;
use super::{Setting, all};

/// What sizes look like. Source: `bytesize`, which takes any case and leaves `B` away.
const SIZE: &str = r"^[0-9]+(\.[0-9]+)? *([kKmMgGtTpPeE][iI]?)?[bB]?$";

/// What times look like: one or more of them, each with its unit. Source: `humantime`.
const TIME: &str = r"^([0-9]+ *[a-z]+ *)+$";

/// The schema.
pub(crate) fn schema() -> Json {
    let mut root = object();
    for setting in all() {
        insert(&mut root, setting.key, leaf(setting));
    }
    let plugin = root["properties"]["plugin"].take();
    let of = |what: &str| json!({ "$ref": "#/$defs/plugin", "description": what });
    root["properties"]["plugin"] = of("What every plugin gets.");
    root["properties"]["plugins"] = json!({
        "type": "object",
        "description": "Sections of single plugins, each by its name: its file's without .wasm.",
        "additionalProperties": of("What this plugin gets instead."),
    });
    root["$defs"] = json!({ "plugin": plugin });
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = "Configuration of switchboard serve".into();
    root
}

fn object() -> Json {
    json!({ "type": "object", "additionalProperties": false, "properties": {} })
}

/// Puts a leaf where its path says, with the objects on the way.
fn insert(root: &mut Json, key: &str, leaf: Json) {
    let mut at = root;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        let properties = at["properties"].as_object_mut();
        let properties = properties.expect("objects are made with properties");
        let entry = properties.entry(part);
        at = entry.or_insert_with(object);
        if last {
            *at = leaf;
            return;
        }
    }
}

fn leaf(setting: &Setting) -> Json {
    let mut leaf = shape(setting);
    let default = setting.value(&Draft::default());
    if let (Some(object), Some(default)) = (leaf.as_object_mut(), json_of(&default, setting)) {
        object.insert("default".to_owned(), default);
    }
    leaf["description"] = about(setting).into();
    leaf
}

fn shape(setting: &Setting) -> Json {
    let text = json!({ "type": "string" });
    let count = json!({ "type": "integer", "minimum": least(setting) });
    match setting.kind {
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Count => count,
        Kind::CountOrNone => json!({ "oneOf": [count, { "const": "none" }] }),
        Kind::Size => size(),
        Kind::Time => json!({ "type": "string", "pattern": TIME }),
        Kind::TimeOrNever => json!({ "type": "string", "pattern": format!("^never$|{TIME}") }),
        Kind::Mode => json!({ "type": "string", "pattern": "^[0-7]{1,4}$" }),
        Kind::Choice(_, choices) => {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            json!({ "enum": names })
        }
        Kind::Text(PART) => json!({ "type": ["string", "number"] }),
        Kind::Text(_) | Kind::File => text,
        Kind::Paths => json!({ "type": "array", "items": text }),
        Kind::List(item) => json!({ "type": "array", "items": element(item) }),
        Kind::Folders => json!({ "type": "object", "additionalProperties": text }),
        Kind::Sizes => json!({ "type": "object", "additionalProperties": size() }),
        Kind::Variables => json!({ "type": "object", "additionalProperties": text }),
    }
}

fn size() -> Json {
    json!({ "type": ["string", "integer"], "pattern": SIZE, "minimum": 0 })
}

fn element(item: Item) -> Json {
    match item {
        Item::Encoding => {
            let names = switchboard_host::Encoding::ALL.map(switchboard_host::Encoding::name);
            json!({ "enum": names })
        }
        Item::Method => json!({ "type": "string", "pattern": "^/[^/]+/[^/]+$" }),
        Item::Address | Item::Argument | Item::Destination | Item::Network | Item::Origin => {
            json!({ "type": "string" })
        }
    }
}

/// The least that its field takes.
fn least(setting: &Setting) -> u64 {
    let none = setting.put(&mut Draft::default(), Value::Number(0));
    u64::from(none.is_err())
}

/// A default as the file would have it.
fn json_of(value: &Value, setting: &Setting) -> Option<Json> {
    Some(match value {
        Value::None => setting.kind.word()?.into(),
        Value::Bool(yes) => (*yes).into(),
        Value::Number(number) if matches!(setting.kind, Kind::Count | Kind::CountOrNone) => {
            (*number).into()
        }
        Value::Number(_) | Value::Time(_) | Value::Text(_) | Value::Path(_) => {
            value.text(setting.kind).into()
        }
        Value::List(list) => list.clone().into(),
        Value::Paths(paths) => {
            let paths = paths.iter().map(|path| path.display().to_string());
            paths.collect::<Vec<_>>().into()
        }
        // By default maps are empty.
        Value::Map(_) => Map::new().into(),
    })
}
