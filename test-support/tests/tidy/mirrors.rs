//! What exists on one side exists on the other: guests and their tests, WIT imports and their two ends.
//!
//! Both lists are read from the tree, so whoever adds a guest or a host service learns here which files
//! belong to it.

use crate::repository::{Findings, exists, files, folders_in, read};

#[test]
fn every_guest_has_a_test_of_its_name() {
    let guests = folders_in("guests");
    assert!(!guests.is_empty(), "no guests");
    let main = read("host/tests/it/main.rs");
    let mut findings = Findings::default();
    for guest in guests {
        let stem = guest.replace('-', "_");
        let test = format!("host/tests/it/{stem}.rs");
        if !exists(&test) {
            findings.add_file(&format!("guests/{guest}"), format!("no {test}"));
        } else if !declares(&main, &stem) {
            findings.add_file(
                &test,
                "not a `mod` of host/tests/it/main.rs, so it never runs",
            );
        } else if !read(&test).contains("#[test]") && !read(&test).contains("::test") {
            findings.add_file(&test, "no test in it");
        }
    }
    findings.assert_none("a guest without a test shows nothing");
}

#[test]
fn every_integration_test_file_runs() {
    let main = read("host/tests/it/main.rs");
    let mut findings = Findings::default();
    for file in files(|path| path.starts_with("host/tests/it/") && path.ends_with(".rs")) {
        let inside = &file.path["host/tests/it/".len()..file.path.len() - ".rs".len()];
        if !inside.contains('/') && inside != "main" && !declares(&main, inside) {
            findings.add_file(
                &file.path,
                "not a `mod` of host/tests/it/main.rs, so it never runs",
            );
        }
    }
    findings.assert_none("declare it, or remove it");
}

#[test]
fn every_wit_import_has_its_two_ends() {
    let imports = own_imports(&read("wit/world.wit"));
    assert!(!imports.is_empty(), "wit/world.wit imports nothing of ours");
    let mut findings = Findings::default();
    for import in imports {
        let stem = import.replace('-', "_");
        let in_sdk =
            ["guest-sdk/src", "guest-sdk/src/abi"].map(|folder| format!("{folder}/{stem}.rs"));
        let ends = [
            vec![format!("wit/{import}.wit")],
            vec![format!("host/src/imports/{stem}.rs")],
            // What authors see may have a name of its own; then its ABI side keeps the stem.
            in_sdk.to_vec(),
        ];
        for end in ends
            .iter()
            .filter(|end| !end.iter().any(|file| exists(file)))
        {
            let what = format!("imports {import}, and there is no {}", end.join(" or "));
            findings.add_file("wit/world.wit", what);
        }
    }
    findings.assert_none("a host service is a WIT file, a host file and an SDK file of one stem");
}

/// Whether a test crate's root has `mod STEM;`.
fn declares(main: &str, stem: &str) -> bool {
    let wanted = format!("mod {stem};");
    main.lines().any(|line| line.trim() == wanted)
}

/// What the world imports from our own package.
fn own_imports(world: &str) -> Vec<String> {
    let statements = world
        .lines()
        .filter_map(|line| line.trim().strip_prefix("import "));
    let names = statements.filter_map(|rest| rest.strip_suffix(';'));
    names
        .filter(|name| !name.contains(':'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn imports_of_our_own_are_told_from_foreign_ones() {
    let world = "world plugin {\n  import call;\n  import wasi:io/poll@0.2.0;\n  // import gone;\n  export handler;\n}\n";
    assert_eq!(own_imports(world), ["call"]);
}

#[test]
fn a_module_in_a_comment_is_not_declared() {
    assert!(declares("mod echo;\n", "echo"));
    assert!(!declares("// mod echo;\nmod echo_more;\n", "echo"));
}
