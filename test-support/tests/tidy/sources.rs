//! Rules on single files: size, header, nothing unfinished, nothing that ties a test to a clock, a port
//! or a machine.
//!
//! Limits are the house's: 800 lines a file, 70 a function (tests may tell a longer story: 100). The
//! samples of forbidden text are put together from halves, so that this file does not break its rules.

use crate::repository::{Findings, files, rust_files};
use crate::rust_text::{code_only, functions, is_word, test_lines, word_offsets};

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
const TEST_FUNCTION_LINES_MAX: usize = 100;
/// Shorter than this, a header says nothing.
const HEADER_CHARS_MIN: usize = 25;
const UNFINISHED: [&str; 3] = ["todo!", "unimplemented!", concat!("#[", "ignore")];
const MACHINE_FOLDERS: [&str; 5] = ["root", "work", "home", "tmp", "Users"];

#[test]
fn no_file_is_too_long() {
    let mut findings = Findings::default();
    for file in rust_files() {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_MAX {
            findings.add_file(&file.path, format!("{lines} lines"));
        }
    }
    findings.assert_none("a file of more than 800 lines has two rooms: split it");
}

#[test]
fn no_function_is_too_long() {
    let mut findings = Findings::default();
    for file in rust_files() {
        for (line, what) in long_functions(&file.path, &file.text) {
            findings.add(&file.path, line, what);
        }
    }
    findings
        .assert_none("a function of more than 70 lines (in tests 100) does two things: split it");
}

#[test]
fn every_module_says_what_it_is_for() {
    let mut findings = Findings::default();
    for file in rust_files() {
        if !has_header(&file.text) {
            findings.add_file(&file.path, "no `//!` header that says something");
        }
    }
    findings.assert_none("begin the file with what it owns, who calls it, and its invariants");
}

#[test]
fn nothing_is_left_unfinished() {
    let mut findings = Findings::default();
    for file in rust_files() {
        for (line, what) in unfinished(&file.text) {
            findings.add(&file.path, line, what);
        }
    }
    findings.assert_none("finish it, or assert the failing behaviour");
}

#[test]
fn no_test_sleeps() {
    let mut findings = Findings::default();
    for file in rust_files() {
        for line in sleeps_in_tests(&file.path, &file.text) {
            findings.add(&file.path, line, "a sleep in a test");
        }
    }
    findings.assert_none("wait for what the test needs: a notification, or `eventually`");
}

#[test]
fn no_test_has_a_fixed_port() {
    let mut findings = Findings::default();
    for file in rust_files() {
        for line in fixed_ports_in_tests(&file.path, &file.text) {
            findings.add(&file.path, line, "a fixed port in a test");
        }
    }
    findings.assert_none("bind port 0 and ask which one it became");
}

#[test]
fn no_file_names_a_place_on_one_machine() {
    let extensions = [
        "rs", "md", "toml", "sh", "py", "wit", "proto", "json", "yml", "yaml", "html", "js",
    ];
    let named = ["Makefile", ".ci/run", ".gitignore"];
    let wanted = |path: &str| {
        let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
        extensions.contains(&extension) || named.contains(&path)
    };
    let mut findings = Findings::default();
    for file in files(wanted) {
        for (number, line) in file.text.lines().enumerate() {
            if names_machine_path(line) {
                findings.add(&file.path, number + 1, line.trim());
            }
        }
    }
    findings.assert_none("name it relative to the repository, or make it a setting");
}

fn is_test_file(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.ends_with("_tests.rs")
}

/// For each line, whether it is test code.
fn test_code(path: &str, code: &str) -> Vec<bool> {
    if is_test_file(path) {
        vec![true; code.lines().count()]
    } else {
        test_lines(code)
    }
}

fn long_functions(path: &str, text: &str) -> Vec<(usize, String)> {
    let code = code_only(text);
    let in_test = test_code(path, &code);
    let max = |line: usize| {
        if in_test[line - 1] {
            TEST_FUNCTION_LINES_MAX
        } else {
            FUNCTION_LINES_MAX
        }
    };
    functions(&code)
        .into_iter()
        .filter(|function| function.length > max(function.line))
        .map(|function| {
            (
                function.line,
                format!("`{}` has {} lines", function.name, function.length),
            )
        })
        .collect()
}

fn has_header(text: &str) -> bool {
    let header = text.lines().take_while(|line| line.starts_with("//!"));
    let said: usize = header.map(|line| line[3..].trim().chars().count()).sum();
    said >= HEADER_CHARS_MIN
}

fn unfinished(text: &str) -> Vec<(usize, &'static str)> {
    let code = code_only(text);
    let lines = code.lines().enumerate();
    lines
        .flat_map(|(at, line)| {
            let found = move |word: &&&str| {
                line.match_indices(**word)
                    .any(|(start, _)| !line[..start].ends_with(is_word))
            };
            UNFINISHED
                .iter()
                .filter(found)
                .map(move |word| (at + 1, *word))
        })
        .collect()
}

/// Lines on which test code calls or imports a sleep. A method or a client call of that name is none.
fn sleeps_in_tests(path: &str, text: &str) -> Vec<usize> {
    let code = code_only(text);
    let in_test = test_code(path, &code);
    let sleeps = |line: &str| {
        ["sleep", "sleep_until", "park_timeout"].iter().any(|word| {
            word_offsets(line, word).any(|at| {
                let before = line[..at].trim_end();
                let called = line[at + word.len()..].starts_with('(');
                let imported = line.trim_start().starts_with("use ") && line.contains("time::{");
                let free =
                    !before.ends_with("fn") && !before.ends_with('.') && !before.ends_with("::");
                before.ends_with("time::")
                    || before.ends_with("thread::")
                    || imported
                    || (called && free)
            })
        })
    };
    (code.lines().enumerate())
        .filter(|(at, line)| in_test[*at] && sleeps(line))
        .map(|(at, _)| at + 1)
        .collect()
}

fn fixed_ports_in_tests(path: &str, text: &str) -> Vec<usize> {
    let in_test = test_code(path, &code_only(text));
    let hosts = ["127.0.0.1:", "0.0.0.0:", "localhost:", "[::1]:", "[::]:"];
    let fixed = |line: &str| {
        let ports = hosts.iter().flat_map(|host| {
            line.match_indices(host)
                .map(|(at, _)| &line[at + host.len()..])
        });
        // Ports below 1000 are the system's; tests use them as addresses where nobody listens.
        let digits = |port: &str| port.chars().take_while(char::is_ascii_digit).count();
        ports
            .into_iter()
            .any(|port| !port.starts_with('0') && digits(port) >= 4)
    };
    (text.lines().enumerate())
        .filter(|(at, line)| in_test[*at] && fixed(line))
        .map(|(at, _)| at + 1)
        .collect()
}

fn names_machine_path(line: &str) -> bool {
    MACHINE_FOLDERS.iter().any(|folder| {
        let needle = format!("/{folder}/");
        line.match_indices(&needle).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + needle.len()..].chars().next();
            !before.is_some_and(|c| is_word(c) || c == '.')
                && after.is_some_and(char::is_alphanumeric)
        })
    })
}

#[test]
fn a_long_function_is_found() {
    let of = |lines: usize| format!("fn f() {{\n{}}}\n", "    x();\n".repeat(lines - 2));
    assert!(long_functions("host/src/a.rs", &of(70)).is_empty());
    assert_eq!(long_functions("host/src/a.rs", &of(71)).len(), 1);
    assert!(long_functions("host/tests/it/a.rs", &of(100)).is_empty());
    assert_eq!(long_functions("host/tests/it/a.rs", &of(101)).len(), 1);
}

#[test]
fn a_header_has_to_say_something() {
    assert!(has_header("//! Lends running guests to calls.\nuse x;\n"));
    assert!(!has_header("//! Pool module.\nuse x;\n"));
    assert!(!has_header("use x;\n//! Lends running guests to calls.\n"));
}

#[test]
fn unfinished_code_is_found_and_text_about_it_is_not() {
    let sample = format!(
        "fn f() {{\n    {}!()\n}}\n{}]\n",
        "todo",
        concat!("#[", "ignore")
    );
    assert_eq!(
        unfinished(&sample)
            .iter()
            .map(|(line, _)| *line)
            .collect::<Vec<_>>(),
        [2, 4]
    );
    assert!(unfinished("// todo!\nlet s = \"unimplemented!\"; not_todo!(x);\n").is_empty());
}

#[test]
fn a_sleep_is_found_and_a_method_of_that_name_is_not() {
    let found = |line: &str| !sleeps_in_tests("host/tests/it/a.rs", line).is_empty();
    assert!(found(concat!("tokio::time::", "sleep(PATIENCE).await;")));
    assert!(found(concat!("std::thread::", "sleep(PATIENCE);")));
    assert!(found("use tokio::time::{Instant, sleep};"));
    assert!(found("    sleep(PATIENCE).await;"));
    assert!(!found("client.sleep(request).await;"));
    assert!(!found("async fn sleep(&self) {}"));
    assert!(!found("Probe::sleep(request);"));
    let product = concat!("fn f() {\n    tokio::time::", "sleep(x);\n}\n");
    assert!(sleeps_in_tests("host/src/a.rs", product).is_empty());
}

#[test]
fn a_fixed_port_is_found_and_port_zero_is_not() {
    let found = |line: &str| !fixed_ports_in_tests("host/tests/it/a.rs", line).is_empty();
    assert!(found(concat!("bind(\"127.0.0.1", ":50051\")")));
    assert!(found(concat!("http://localhost", ":8080")));
    assert!(!found("bind(\"127.0.0.1:0\")"));
    assert!(!found("bind(\"127.0.0.1:1\")"));
    assert!(!found("format!(\"127.0.0.1:{port}\")"));
}

#[test]
fn a_machine_path_is_found_and_an_address_is_not() {
    assert!(names_machine_path(concat!("open(\"/", "tmp/x\")")));
    assert!(names_machine_path(concat!("/", "home/me/checkout")));
    assert!(!names_machine_path("https://example.org/home/me"));
    assert!(!names_machine_path("examples/work/x and /tmp alone"));
}
