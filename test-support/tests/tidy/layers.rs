//! Who may know whom inside the host: `listener -> grpc -> pool -> guest -> imports`, never back.
//!
//! Reads paths that begin with `crate::` or climb with `super::`, in `use` lines and in code alike.
//! Edges between crates are cargo's business: `make deps` asks it.

use crate::repository::{Findings, TextFile, files};
use crate::rust_text::{code_only, is_word, word_offsets};

/// Outermost first; each may name itself and what stands after it.
const LAYERS: [&str; 5] = ["listener", "grpc", "pool", "guest", "imports"];
/// Everybody may name these; they name no layer.
const LEAVES: [&str; 5] = ["config", "error", "task", "telemetry", "trust"];
/// The foreign crates that only some layers may name.
const CONFINED: [(&str, &[&str]); 7] = [
    ("wasmtime", &["guest", "imports"]),
    ("wasmtime_wasi", &["guest", "imports"]),
    ("wasmtime_wasi_http", &["guest", "imports"]),
    ("h2", &["grpc"]),
    // What is served, what plugins ask others for, and where traces go.
    ("tokio_rustls", &["listener", "imports", "telemetry"]),
    ("hyper", &["listener", "imports", "telemetry"]),
    ("switchboard_tunnel", &["listener"]),
];

#[test]
fn no_layer_looks_back() {
    let mut findings = Findings::default();
    for file in host_sources() {
        for (line, what) in looks_back(&file.path, &file.text) {
            findings.add(&file.path, line, what);
        }
    }
    findings
        .assert_none("calls go listener -> grpc -> pool -> guest -> imports: hand it down instead");
}

#[test]
fn foreign_crates_stay_in_their_layer() {
    let mut findings = Findings::default();
    for file in host_sources() {
        for (line, what) in strays(&file.path, &file.text) {
            findings.add(&file.path, line, what);
        }
    }
    findings.assert_none("wrap it in the layer that owns the crate");
}

#[test]
fn every_layer_exists() {
    let sources = host_sources();
    for layer in LAYERS {
        let found = sources.iter().any(|file| room(&file.path) == Some(layer));
        assert!(
            found,
            "no file of layer {layer} under host/src: renamed without this list?"
        );
    }
}

fn host_sources() -> Vec<TextFile> {
    let found = files(|path| path.starts_with("host/src/") && path.ends_with(".rs"));
    assert!(!found.is_empty(), "no sources under host/src");
    found
}

/// The top-level module a file of the host belongs to.
fn room(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("host/src/")?;
    Some(
        inside
            .split('/')
            .next()
            .unwrap_or(inside)
            .trim_end_matches(".rs"),
    )
}

fn looks_back(path: &str, text: &str) -> Vec<(usize, String)> {
    let Some(room) = room(path) else {
        return Vec::new();
    };
    let forbidden: &[&str] = match LAYERS.iter().position(|layer| *layer == room) {
        Some(at) => &LAYERS[..at],
        None if LEAVES.contains(&room) => &LAYERS,
        // What puts the layers together: lib.rs, host.rs.
        None => &[],
    };
    named_modules(&code_only(text))
        .into_iter()
        .filter(|(_, module)| forbidden.contains(&module.as_str()))
        .map(|(line, module)| (line, format!("{room} names {module}")))
        .collect()
}

fn strays(path: &str, text: &str) -> Vec<(usize, String)> {
    let code = code_only(text);
    let mut found = Vec::new();
    for (name, layers) in CONFINED {
        if room(path).is_some_and(|room| layers.contains(&room)) {
            continue;
        }
        for (at, line) in code.lines().enumerate() {
            let path_starts = |offset: usize| {
                let after = &line[offset + name.len()..];
                let imported = line.trim_start().starts_with("use ") && after.starts_with(';');
                !line[..offset].ends_with("::") && (after.starts_with("::") || imported)
            };
            if word_offsets(line, name).any(path_starts) {
                found.push((
                    at + 1,
                    format!("{name} is named outside {}", layers.join(" and ")),
                ));
            }
        }
    }
    found
}

/// The first name after `crate::` or the last `super::`, with its line; each name of a `{...}` group.
fn named_modules(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (start, prefix) in ["crate::", "super::"]
        .iter()
        .flat_map(|p| code.match_indices(p).map(|(at, _)| (at, *p)))
    {
        let before = code[..start].chars().next_back();
        if before.is_some_and(|c| is_word(c) || c == '$') {
            continue;
        }
        let line = code[..start].matches('\n').count() + 1;
        let rest = &code[start + prefix.len()..];
        if rest.trim_start().starts_with('{') {
            let names = group_names(rest.trim_start());
            found.extend(names.into_iter().map(|name| (line, name)));
        } else {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            found.push((line, rest[..end].to_owned()));
        }
    }
    found
}

/// The names directly inside the group at the beginning of `text`, not those of groups inside it.
fn group_names(text: &str) -> Vec<String> {
    let (mut depth, mut names, mut fresh) = (0_usize, Vec::new(), false);
    let mut word = String::new();
    for c in text.chars() {
        if is_word(c) {
            word.push(c);
            continue;
        }
        if depth == 1 && fresh && !word.is_empty() {
            names.push(word.clone());
            fresh = false;
        }
        word.clear();
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        fresh = match c {
            '{' | ',' => depth == 1,
            _ => fresh && c.is_whitespace(),
        };
        if depth == 0 {
            break;
        }
    }
    names
}

#[test]
fn a_look_back_is_found_in_every_way_it_can_be_written() {
    let found = |path: &str, text: &str| looks_back(path, text).len();
    assert_eq!(
        found("host/src/pool/queue.rs", "use crate::grpc::Code;\n"),
        1
    );
    assert_eq!(
        found(
            "host/src/pool/queue.rs",
            "use crate::{\n    error::E,\n    listener::{A, B},\n};\n"
        ),
        1
    );
    assert_eq!(
        found(
            "host/src/pool.rs",
            "fn f() { super::grpc::f(); crate::listener::g(); }\n"
        ),
        2
    );
    assert_eq!(
        found("host/src/pool/queue.rs", "use super::super::grpc::x;\n"),
        1
    );
    assert_eq!(
        found(
            "host/src/imports/call.rs",
            "use crate::guest::state::State;\n"
        ),
        1
    );
    assert_eq!(found("host/src/error.rs", "use crate::pool::Pool;\n"), 1);
}

#[test]
fn a_look_ahead_and_a_mention_are_allowed() {
    let found = |path: &str, text: &str| looks_back(path, text).len();
    assert_eq!(
        found(
            "host/src/grpc/call.rs",
            "use crate::{error::E, pool::{Lease, grpc}};\n"
        ),
        0
    );
    assert_eq!(
        found(
            "host/src/pool/mod.rs",
            "//! Called by crate::grpc.\nuse super::guest;\n"
        ),
        0
    );
    assert_eq!(
        found("host/src/host.rs", "use crate::{grpc, listener, pool};\n"),
        0
    );
}

#[test]
fn a_stray_crate_is_found() {
    let found = |path: &str, text: &str| strays(path, text).len();
    assert_eq!(found("host/src/pool/mod.rs", "use wasmtime::Store;\n"), 1);
    assert_eq!(
        found("host/src/error.rs", "Trap(#[source] wasmtime::Error),\n"),
        1
    );
    assert_eq!(
        found(
            "host/src/pool/mod.rs",
            "let version = wasmtime_version; // wasmtime::x\n"
        ),
        0
    );
    assert_eq!(
        found("host/src/guest/engine.rs", "use wasmtime::Engine;\n"),
        0
    );
    assert_eq!(found("host/src/listener/tcp.rs", "use h2::server;\n"), 1);
}
