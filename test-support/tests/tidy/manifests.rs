//! Rules on manifests: every crate takes its lints, its versions and its dependencies from the root.
//!
//! Reads manifests line by line, as they are written here: a section header on a line of its own, an
//! entry's key at the beginning of its line. `cargo` itself refuses what this cannot read.

use crate::repository::{Findings, TextFile, files, read};

#[test]
fn every_crate_takes_the_shared_lints() {
    let mut findings = Findings::default();
    for manifest in member_manifests() {
        if !shares_lints(&manifest.text) {
            findings.add_file(&manifest.path, "no `[lints] workspace = true`");
        }
    }
    findings.assert_none("a crate with lints of its own drifts from the others");
}

#[test]
fn dependencies_are_versioned_once() {
    let mut findings = Findings::default();
    for manifest in member_manifests() {
        for (line, entry) in own_versions(&manifest.text) {
            findings.add(&manifest.path, line, entry);
        }
    }
    findings.assert_none("list it in [workspace.dependencies] and write `NAME.workspace = true`");
}

#[test]
fn shared_dependencies_have_no_default_features() {
    let mut findings = Findings::default();
    for (line, entry) in default_features(&read("Cargo.toml")) {
        findings.add("Cargo.toml", line, entry);
    }
    findings.assert_none("features are named where they are used: default-features = false");
}

#[test]
fn the_toolchain_is_the_one_promised() {
    let channel = value(&read("rust-toolchain.toml"), "channel");
    let promised = value(&read("Cargo.toml"), "rust-version");
    assert!(
        channel == promised || channel.starts_with(&format!("{promised}.")),
        "rust-toolchain.toml has {channel}, Cargo.toml promises {promised}"
    );
}

/// Of every crate but those that are a workspace of their own: those inherit nothing.
fn member_manifests() -> Vec<TextFile> {
    let mut found = files(|path| path.ends_with("/Cargo.toml"));
    found.retain(|manifest| !manifest.text.lines().any(|line| line == "[workspace]"));
    assert!(found.len() >= 6, "only {} crates found", found.len());
    found
}

/// The lines of a manifest with their section and their number from 1.
fn sections(manifest: &str) -> Vec<(&str, usize, &str)> {
    let mut section = "";
    let mut lines = Vec::new();
    for (at, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            section = line.trim().trim_start_matches('[').trim_end_matches(']');
        }
        lines.push((section, at + 1, line));
    }
    lines
}

/// Whether the line begins an entry, so is neither blank, comment, header nor the rest of an array.
fn is_entry(line: &str) -> bool {
    line.starts_with(|c: char| c.is_alphanumeric() || c == '"' || c == '_') && line.contains('=')
}

fn shares_lints(manifest: &str) -> bool {
    sections(manifest)
        .iter()
        .any(|(section, _, line)| *section == "lints" && line.trim() == "workspace = true")
}

fn own_versions(manifest: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (section, number, line) in sections(manifest) {
        if line.starts_with('[') && section.contains("dependencies.") {
            found.push((number, format!("[{section}]")));
        } else if section.ends_with("dependencies")
            && is_entry(line)
            && !line.contains("workspace = true")
        {
            found.push((number, line.to_owned()));
        }
    }
    found
}

fn default_features(manifest: &str) -> Vec<(usize, String)> {
    sections(manifest)
        .into_iter()
        .filter(|(section, _, line)| *section == "workspace.dependencies" && is_entry(line))
        .filter(|(_, _, line)| {
            !line.contains("path = ") && !line.contains("default-features = false")
        })
        .map(|(_, number, line)| (number, line.to_owned()))
        .collect()
}

/// The string that `key` is set to.
fn value(manifest: &str, key: &str) -> String {
    let line = manifest
        .lines()
        .find(|line| line.split('=').next().is_some_and(|k| k.trim() == key));
    let line = line.unwrap_or_else(|| panic!("no {key}"));
    line.split('"')
        .nth(1)
        .unwrap_or_else(|| panic!("{key} is no string"))
        .to_owned()
}

#[test]
fn missing_lints_are_found() {
    assert!(shares_lints(
        "[package]\nname = \"x\"\n[lints]\nworkspace = true\n"
    ));
    assert!(!shares_lints(
        "[package]\nedition.workspace = true\n[lints.rust]\nworkspace = true\n"
    ));
}

#[test]
fn a_version_of_its_own_is_found() {
    let manifest = "[package]\nversion = \"1\"\n[dependencies]\na.workspace = true\n\
        b = { workspace = true, features = [\n    \"x\",\n] }\nc = \"1\"\n[dev-dependencies]\n\
        d = { version = \"2\" }\n[target.'cfg(unix)'.dependencies]\ne = \"3\"\n[dependencies.f]\nversion = \"4\"\n";
    let lines: Vec<usize> = own_versions(manifest)
        .into_iter()
        .map(|(line, _)| line)
        .collect();
    assert_eq!(lines, [8, 10, 12, 13]);
}

#[test]
fn default_features_are_found() {
    let manifest = "[workspace.dependencies]\na = { path = \"a\" }\nb = { version = \"1\", default-features = false }\nc = \"1\"\n";
    assert_eq!(default_features(manifest), [(4, "c = \"1\"".to_owned())]);
}
