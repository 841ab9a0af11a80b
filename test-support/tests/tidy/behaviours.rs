//! What `docs/grpc.md` says of the wire is tested: each row of its tables names tests, and each exists.
//!
//! A test is written as `FILE::FUNCTION`; a file without a folder is in `host/tests/it`. A row may instead name a
//! file that is run as a whole.

use crate::repository::{Findings, exists, read};

const DOCUMENT: &str = "docs/grpc.md";
const INTEGRATION: &str = "host/tests/it/";
/// Fewer than this, and the document no longer tells what a server owes.
const ROWS_MIN: usize = 60;

#[test]
fn every_behaviour_names_a_test_that_exists() {
    let text = read(DOCUMENT);
    let rows = rows(&text);
    let count = rows.len();
    let mut findings = Findings::default();
    for (line, row) in rows {
        let named = spans(last_cell(row));
        if named.is_empty() {
            findings.add(DOCUMENT, line, "no test is named in the last column");
        }
        for name in named {
            if let Err(fault) = check(name, exists, read) {
                findings.add(DOCUMENT, line, fault);
            }
        }
    }
    findings.assert_none("the document and the tests disagree");
    assert!(count >= ROWS_MIN, "{DOCUMENT} has {count} rows");
}

/// The rows of all tables, without their heads and rulers, with their lines.
fn rows(text: &str) -> Vec<(usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let is_ruler = |line: &str| line.starts_with("|-");
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let is_head = lines.get(at + 1).is_some_and(|next| is_ruler(next));
        if line.starts_with('|') && !is_ruler(line) && !is_head {
            found.push((at + 1, *line));
        }
    }
    found
}

fn last_cell(row: &str) -> &str {
    let cells = row.trim_end().trim_end_matches('|');
    cells.rsplit_once('|').map_or(cells, |(_, cell)| cell)
}

/// What stands in backticks.
fn spans(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Whether `name` is a test, or a file, that is there.
fn check(
    name: &str,
    exists: impl Fn(&str) -> bool,
    read: impl Fn(&str) -> String,
) -> Result<(), String> {
    let (file, function) = match name.split_once("::") {
        Some((file, function)) => (file, Some(function)),
        None => (name, None),
    };
    let file = if file.contains('/') {
        file.to_owned()
    } else {
        format!("{INTEGRATION}{file}")
    };
    if !exists(&file) {
        return Err(format!("there is no {file}"));
    }
    match function {
        Some(function) if !has_test(&read(&file), function) => {
            Err(format!("{file} has no test {function}"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether the text has a function of this name with a test's attribute right before it, or within
/// `proptest!`, where the attribute is the same.
fn has_test(text: &str, function: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_it = |line: &str| {
        let rest = line.strip_prefix("async ").unwrap_or(line);
        let rest = rest
            .strip_prefix("fn ")
            .and_then(|rest| rest.strip_prefix(function));
        rest.is_some_and(|rest| rest.starts_with('('))
    };
    let places = lines.iter().enumerate().filter(|(_, line)| is_it(line));
    let mut attributes = places.map(|(at, _)| {
        let before = lines[..at].iter().rev();
        before.take_while(|line| line.starts_with("#["))
    });
    attributes.any(|mut lines| lines.any(|line| line.contains("test")))
}

#[test]
fn rows_and_their_tests_are_found() {
    let text = "| a | tested in |\n|---|---|\n| b | `x.rs::one`, `y/z.rs::two` |\n\n| c | |\n";
    let found: Vec<_> = rows(text)
        .into_iter()
        .map(|(line, row)| (line, spans(last_cell(row))))
        .collect();
    assert_eq!(found, [(3, vec!["x.rs::one", "y/z.rs::two"]), (5, vec![])]);
}

#[test]
fn what_is_not_there_is_a_fault() {
    let source = "#[tokio::test(flavor = \"multi_thread\")]\nasync fn one() {\n}\n\nfn helper() {\n}\n\n    #[test]\n    fn two() {\n";
    let exists = |file: &str| ["host/tests/it/x.rs", "y/z.rs"].contains(&file);
    let read = |_: &str| source.to_owned();
    for (name, fault) in [
        ("x.rs::one", None),
        ("y/z.rs::two", None),
        ("y/z.rs", None),
        (
            "x.rs::helper",
            Some("host/tests/it/x.rs has no test helper"),
        ),
        ("x.rs::on", Some("host/tests/it/x.rs has no test on")),
        ("z.rs::one", Some("there is no host/tests/it/z.rs")),
    ] {
        assert_eq!(check(name, exists, read).err().as_deref(), fault, "{name}");
    }
}
