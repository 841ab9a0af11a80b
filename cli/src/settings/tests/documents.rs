//! What is checked in and made from the table is as the table has it now.
//!
//! `SWITCHBOARD_WRITE_DOCUMENTS=1 cargo test --workspace documents` writes it anew.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use switchboard_test_support::Authority;

use super::super::load::Sources;
use super::super::*;

const BEGIN: &str = "<!-- settings: from the table in cli/src/settings, checked by a test -->\n";
const END: &str = "<!-- settings end -->";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name)
}

/// Compares, or writes if that is what was asked for.
fn is_current(name: &str, wanted: &str) {
    let path = path(name);
    if std::env::var_os("SWITCHBOARD_WRITE_DOCUMENTS").is_some() {
        std::fs::write(&path, wanted).expect("a file of ours");
        return;
    }
    let found = std::fs::read_to_string(&path).expect("a file that is checked in");
    let differ = found.lines().zip(wanted.lines()).find(|(a, b)| a != b);
    assert!(
        found == wanted,
        "docs/{name} is not what the table says; the first line that differs: {differ:#?}"
    );
}

#[test]
fn the_sample_is_current() {
    is_current("switchboard.toml", &sample());
}

#[test]
fn the_schema_is_current() {
    is_current("config.schema.json", &format!("{:#}\n", schema()));
}

#[test]
fn the_tables_of_operations_are_current() {
    let found = std::fs::read_to_string(path("operations.md")).expect("checked in");
    let (before, rest) = found.split_once(BEGIN).expect("the tables begin");
    let (_, after) = rest.split_once(END).expect("the tables end");
    let tables = document::document();
    is_current(
        "operations.md",
        &format!("{before}{BEGIN}\n{tables}{END}{after}"),
    );
}

#[test]
fn the_sample_has_every_key_and_changes_nothing() {
    let text = sample();
    let sources = Sources::of_file("/etc/switchboard.toml");
    let loaded = sources.load(Some(&text)).expect("the sample is right");
    assert_eq!(loaded.changed(), [""; 0]);
    let mut table = "";
    let mut keys = Vec::new();
    for line in text.lines() {
        if let Some(header) = line.strip_prefix('[') {
            table = header.strip_suffix(']').expect("a header");
        } else if let Some((name, _)) = line.trim_start_matches("# ").split_once(" = ") {
            keys.push(if table.is_empty() {
                name.to_owned()
            } else {
                format!("{table}.{name}")
            });
        }
    }
    for setting in all() {
        assert!(keys.iter().any(|key| key == setting.key), "{}", setting.key);
    }
}

/// What is commented out is as right as what is not, once it is there together.
#[test]
fn the_sample_is_right_with_every_key() {
    let text = sample();
    let uncommented = text.lines().map(|line| {
        let bare = line.strip_prefix("# ").filter(|bare| bare.contains(" = "));
        bare.unwrap_or(line)
    });
    let text = uncommented.collect::<Vec<_>>().join("\n");
    // Certificates are read when the settings are.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, Authority::new("of the sample").pem()).expect("written");
    let text = text.replace("_ca = \"FILE\"", &format!("_ca = {file:?}"));
    // Without it, what belongs to it is a fault.
    let text = text.replace(
        "otlp_endpoint = \"none\"",
        "otlp_endpoint = \"https://localhost\"",
    );
    let text = text.replace("# [plugins", "[plugins");
    let loaded = Sources::of_file("/etc/switchboard.toml").load(Some(&text));
    let loaded = loaded.expect("every key of the sample");
    assert_eq!(loaded.sections.len(), 1);
}

#[test]
fn the_schema_takes_the_sample_and_no_other_keys() {
    let schema = schema();
    let text = sample();
    let table = toml::de::DeTable::parse(&text).expect("TOML");
    fits(
        &schema,
        &schema,
        &json(&toml::de::DeValue::Table(table.into_inner())),
        "",
    );
    for (at, properties) in objects(&schema) {
        assert_eq!(
            properties["additionalProperties"],
            Json::Bool(false),
            "{at}"
        );
    }
}

/// Every object of the schema that has properties.
fn objects(schema: &Json) -> Vec<(String, &Json)> {
    let mut found = Vec::new();
    let mut open = vec![
        (String::new(), schema),
        ("plugin".to_owned(), &schema["$defs"]["plugin"]),
    ];
    while let Some((at, object)) = open.pop() {
        let Some(properties) = object["properties"].as_object() else {
            continue;
        };
        let inner = properties.iter();
        open.extend(inner.map(|(name, object)| (format!("{at}.{name}"), object)));
        found.push((at, object));
    }
    assert!(found.len() > 10, "{} objects", found.len());
    found
}

/// TOML as JSON, as far as the sample goes.
fn json(value: &toml::de::DeValue<'_>) -> Json {
    use toml::de::DeValue;
    match value {
        DeValue::String(text) => text.to_string().into(),
        DeValue::Integer(number) => number.as_str().parse::<u64>().expect("a count").into(),
        DeValue::Boolean(yes) => (*yes).into(),
        DeValue::Array(list) => list.iter().map(|one| json(one.get_ref())).collect(),
        DeValue::Table(table) => {
            let pairs = table.iter();
            let pairs =
                pairs.map(|(name, value)| (name.get_ref().to_string(), json(value.get_ref())));
            Json::Object(pairs.collect())
        }
        DeValue::Float(_) | DeValue::Datetime(_) => panic!("the sample has none"),
    }
}

/// Checks a value by the parts of JSON Schema that ours uses, but for patterns.
fn fits(root: &Json, schema: &Json, value: &Json, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(&reference[1..]).expect("a definition");
        return fits(root, target, value, at);
    }
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{at}: {value}");
    }
    if schema["oneOf"].is_array() {
        return;
    }
    let name = match value {
        Json::String(_) => "string",
        Json::Number(_) => "integer",
        Json::Bool(_) => "boolean",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
        Json::Null => "null",
    };
    let types = schema["type"].as_array().cloned();
    let types = types.unwrap_or_else(|| {
        schema["type"]
            .as_str()
            .map(Json::from)
            .into_iter()
            .collect()
    });
    assert!(
        types.is_empty() || types.contains(&name.into()),
        "{at}: {value} in {schema}"
    );
    if let (Some(properties), Some(object)) = (schema["properties"].as_object(), value.as_object())
    {
        for (key, inner) in object {
            let schema = properties.get(key);
            let schema = schema.unwrap_or_else(|| panic!("no {at}.{key} in the schema"));
            fits(root, schema, inner, &format!("{at}.{key}"));
        }
    }
    for inner in value.as_array().into_iter().flatten() {
        fits(root, &schema["items"], inner, at);
    }
}
