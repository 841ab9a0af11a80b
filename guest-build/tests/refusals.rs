//! What the build script says when it cannot go on: the text that a guest's author reads.

use std::fs;
use std::path::Path;

use switchboard_guest_build::{Builder, Error, configure};
use tempfile::TempDir;

/// A folder with these files in it, which also takes the output.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("a file in it");
    }
    folder
}

fn refusal(files: &[(&str, &str)], edit: impl FnOnce(Builder) -> Builder) -> (Error, String) {
    let folder = folder(files);
    let error = edit(configure().out_dir(folder.path()))
        .compile(&[Path::new("a.proto")], &[folder.path()])
        .expect_err("a refusal");
    let text = format!("{error:?}");
    (error, text)
}

#[test]
fn missing_file_is_named() {
    let (error, text) = refusal(&[], |builder| builder);
    assert!(matches!(error, Error::NotFound { .. }));
    assert!(text.starts_with("no such file: a.proto, nor in"), "{text}");
}

#[test]
fn syntax_error_has_file_line_and_column() {
    let proto = "syntax = \"proto3\";\n\nmessage A {\n  string = 1;\n}\n";
    let (error, text) = refusal(&[("a.proto", proto)], |builder| builder);
    assert!(matches!(error, Error::Proto(_)));
    assert!(text.starts_with("a.proto:4:"), "{text}");
}

#[test]
fn unknown_type_has_file_line_and_column() {
    let proto = "syntax = \"proto3\";\nservice S {\n  rpc M(Missing) returns (Missing);\n}\n";
    let (error, text) = refusal(&[("a.proto", proto)], |builder| builder);
    assert!(matches!(error, Error::Proto(_)));
    assert!(text.starts_with("a.proto:3:"), "{text}");
    assert!(text.contains("Missing"), "{text}");
}

#[test]
fn missing_import_has_file_and_line() {
    let proto = "syntax = \"proto3\";\nimport \"b.proto\";\n";
    let (error, text) = refusal(&[("a.proto", proto)], |builder| builder);
    assert!(matches!(error, Error::Proto(_)));
    assert!(text.starts_with("a.proto:"), "{text}");
    assert!(text.contains("2:"), "{text}");
    assert!(text.contains("b.proto"), "{text}");
}

const SERVICE: &str = "syntax = \"proto3\";
package p;
message A {}
service S { rpc M(A) returns (A); }
";

#[test]
fn leaving_out_what_is_not_there_is_refused() {
    for name in ["p.S.N", "p.T", "S.M", ".p.S"] {
        let (error, text) = refusal(&[("a.proto", SERVICE)], |builder| builder.leave_out(name));
        assert!(matches!(error, Error::UnknownName(_)));
        assert!(text.contains(&format!("{name:?}")), "{text}");
    }
}

#[test]
fn methods_that_meet_in_rust_are_refused() {
    let proto = SERVICE.replace("returns (A);", "returns (A); rpc m(A) returns (A);");
    let (error, text) = refusal(&[("a.proto", &proto)], |builder| builder);
    assert!(matches!(error, Error::NameClash { .. }));
    assert_eq!(
        text,
        "p.S: method M and method m would both be called `m` in Rust"
    );
}

#[test]
fn service_that_meets_a_message_in_rust_is_refused() {
    let proto = format!("{SERVICE}message SServer {{ message Inner {{}} Inner inner = 1; }}\n");
    let (error, text) = refusal(&[("a.proto", &proto)], |builder| builder);
    assert!(matches!(error, Error::NameClash { .. }));
    assert_eq!(
        text,
        "p: message SServer and service S would both be called `s_server` in Rust"
    );
}

#[test]
fn message_without_a_module_meets_nobody() {
    let proto = format!("{SERVICE}message SServer {{ optional int32 a = 1; }}\n");
    let folder = folder(&[("a.proto", &proto)]);
    configure()
        .out_dir(folder.path())
        .compile(&["a.proto"], &[folder.path()])
        .expect("an optional field needs no module");
}

#[test]
fn malformed_extern_path_says_which() {
    let (error, text) = refusal(&[("a.proto", SERVICE)], |builder| {
        builder.extern_path("p", "::elsewhere")
    });
    assert!(matches!(error, Error::Generate(_)));
    assert!(text.starts_with("cannot generate code: "), "{text}");
    assert!(text.contains("leading '.'"), "{text}");
}

#[test]
fn folder_that_is_not_there_is_named() {
    let folder = folder(&[("a.proto", SERVICE)]);
    let absent = folder.path().join("absent");
    let error = configure()
        .out_dir(&absent)
        .compile(&["a.proto"], &[folder.path()])
        .expect_err("nowhere to write");
    assert!(matches!(error, Error::Write { .. }));
    let text = format!("{error:?}");
    assert!(text.contains("absent"), "{text}");
    assert!(text.contains("No such file"), "{text}");
}
