//! What the documents promise exists: files, links, make targets.
//!
//! `docs/request.md` names the files of a call in backticks, relative to the root or to `host/src/`.
//! Commands count when they are written as code, so prose may say "make sure".

use crate::repository::{Findings, TextFile, exists, files, read};

const REQUEST: &str = "docs/request.md";
/// Fewer than this, and the document no longer tells the way of a call.
const REQUEST_FILES_MIN: usize = 7;

#[test]
fn every_file_on_the_way_of_a_call_exists() {
    let text = read(REQUEST);
    let named = named_files(&text);
    let count = named.len();
    let mut findings = Findings::default();
    for (line, file) in named {
        if !exists(&file) && !exists(&format!("host/src/{file}")) {
            findings.add(REQUEST, line, format!("there is no {file}"));
        }
    }
    findings.assert_none("the document and the tree disagree");
    assert!(count >= REQUEST_FILES_MIN, "{REQUEST} names {count} files");
}

#[test]
fn every_link_leads_somewhere() {
    let mut findings = Findings::default();
    for document in documents() {
        let folder = document
            .path
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        for (line, link) in links(&document.text) {
            let target = resolve(folder, &link);
            if !exists(&target) {
                findings.add(&document.path, line, format!("there is no {target}"));
            }
        }
    }
    findings.assert_none("a link that leads nowhere");
}

#[test]
fn every_make_target_in_the_documents_exists() {
    let targets = make_targets(&read("Makefile"));
    let mut findings = Findings::default();
    for document in documents() {
        for (line, target) in make_commands(&document.text) {
            if !targets.contains(&target) {
                findings.add(&document.path, line, format!("there is no target {target}"));
            }
        }
    }
    findings.assert_none("the documents name a command that does not exist");
}

#[test]
fn the_two_commands_of_the_readme_are_there() {
    let commands: Vec<String> = make_commands(&read("README.md"))
        .into_iter()
        .map(|(_, name)| name)
        .collect();
    assert_eq!(
        commands.first().map(String::as_str),
        Some("run"),
        "README.md begins with `make run`"
    );
    assert!(
        commands.iter().any(|name| name == "test"),
        "README.md shows `make test`"
    );
    assert!(
        read(".ci/run").contains("make test"),
        ".ci/run runs the README's test command"
    );
}

#[test]
fn the_code_of_the_readme_is_that_of_the_greeter() {
    let code = ["build.rs", "src/lib.rs"]
        .map(|file| read(&format!("guests/greeter/{file}")))
        .concat();
    let strange = lines_not_in(&read("README.md"), &code);
    assert!(
        strange.is_empty(),
        "README.md shows code that guests/greeter does not have: {strange:#?}"
    );
}

fn documents() -> Vec<TextFile> {
    let found = files(|path| path.ends_with(".md"));
    assert!(!found.is_empty(), "no documents");
    found
}

/// The code in a document: lines of fenced blocks and spans in backticks, with their line.
fn code_spans(text: &str) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let mut spans = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            spans.push((at + 1, line.trim().trim_start_matches("$ ")));
        } else {
            spans.extend(
                line.split('`')
                    .skip(1)
                    .step_by(2)
                    .map(|span| (at + 1, span)),
            );
        }
    }
    spans
}

/// Lines of the Rust blocks in `document` that `code` does not have, comments and blank lines left out.
fn lines_not_in(document: &str, code: &str) -> Vec<String> {
    let known: Vec<&str> = code.lines().map(str::trim).collect();
    let blocks = document.split("```rust\n").skip(1);
    let lines = blocks.flat_map(|block| block.split("```").next().unwrap_or(block).lines());
    let shown = lines
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("//"));
    shown
        .filter(|line| !known.contains(line))
        .map(str::to_owned)
        .collect()
}

/// Spans that read as a path to a file, `{a,b}` groups spelled out.
fn named_files(text: &str) -> Vec<(usize, String)> {
    let is_file = |span: &str| {
        let extension = span.rsplit_once('.').map_or("", |(_, extension)| extension);
        ["rs", "wit", "proto", "md", "toml"].contains(&extension)
            && !span.contains([' ', '*', '<', '('])
    };
    let spans = code_spans(text)
        .into_iter()
        .filter(|(_, span)| is_file(span));
    spans
        .flat_map(|(line, span)| spelled_out(span).into_iter().map(move |file| (line, file)))
        .collect()
}

fn spelled_out(span: &str) -> Vec<String> {
    let Some((before, rest)) = span.split_once('{') else {
        return vec![span.to_owned()];
    };
    let Some((names, after)) = rest.split_once('}') else {
        return vec![span.to_owned()];
    };
    names
        .split(',')
        .map(|name| format!("{before}{}{after}", name.trim()))
        .collect()
}

/// The relative targets of Markdown links, without their fragment.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for (start, _) in line.match_indices("](") {
            let target = line[start + 2..]
                .split([')', ' ', '#'])
                .next()
                .unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                found.push((at + 1, target.to_owned()));
            }
        }
    }
    found
}

/// `link` as seen from `folder`, relative to the root.
fn resolve(folder: &str, link: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// Targets of `make` commands written as code.
fn make_commands(text: &str) -> Vec<(usize, String)> {
    let commands = code_spans(text)
        .into_iter()
        .filter_map(|(line, span)| Some((line, span.strip_prefix("make ")?)));
    commands
        .flat_map(|(line, rest)| {
            let words = rest
                .split_whitespace()
                .take_while(|word| !word.starts_with(['#', '&', '|', ';', '(']));
            let targets = words.filter(|word| !word.contains('=') && !word.starts_with('-'));
            targets
                .map(move |word| (line, word.to_owned()))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn make_targets(makefile: &str) -> Vec<String> {
    let heads = makefile.lines().filter_map(|line| line.split_once(':'));
    let names = heads.filter(|(name, rest)| {
        !rest.starts_with('=')
            && !name.is_empty()
            && name.chars().all(|c| c.is_ascii_lowercase() || c == '-')
    });
    names.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn files_are_found_in_spans_and_fences() {
    let text = "See `grpc/call.rs` and `pool/{queue,lease}.rs`, not `Lease::drop` or a.rs.\n```text\nhost/src/host.rs\n```\n";
    let names: Vec<String> = named_files(text)
        .into_iter()
        .map(|(_, name)| name)
        .collect();
    assert_eq!(
        names,
        [
            "grpc/call.rs",
            "pool/queue.rs",
            "pool/lease.rs",
            "host/src/host.rs"
        ]
    );
}

#[test]
fn links_are_resolved_from_their_document() {
    let text = "[a](../README.md#top), [b](abi.md), [c](https://example.org/x), [d](#here)\n";
    let found: Vec<String> = links(text)
        .into_iter()
        .map(|(_, link)| resolve("docs", &link))
        .collect();
    assert_eq!(found, ["README.md", "docs/abi.md"]);
}

#[test]
fn make_commands_are_code_and_targets_have_a_rule() {
    let text = "make sure, then `make run` or:\n```sh\n$ make check LISTEN=x deps   # slow\n```\n";
    let names: Vec<String> = make_commands(text)
        .into_iter()
        .map(|(_, name)| name)
        .collect();
    assert_eq!(names, ["run", "check", "deps"]);
    let targets = make_targets("A := b\nrun: build ## x\n.PHONY: y\nbuild:\n\tcargo: z\n");
    assert_eq!(targets, ["run", "build"]);
}

#[test]
fn code_that_has_drifted_is_found() {
    let document = "x\n```rust\n// file\n    let a = 1;\n\nlet b = 2;\n```\nlet c = 3;\n";
    assert!(lines_not_in(document, "let b = 2;\n  let a = 1;\n").is_empty());
    assert_eq!(
        lines_not_in(document, "let a = 10;\nlet b = 2;\n"),
        ["let a = 1;"]
    );
}
