//! What is not a plugin, or not a sound one, is refused with one line that names the file and what to
//! do about it, and everything beside it is served.

use std::path::{Path, PathBuf};
use std::time::Duration;

use switchboard_host::{BuildError, EngineConfig, Host, HostBuilder, HostConfig};
use switchboard_test_support::{PATIENCE, Setup, TestHost, faulty, guest, log};
use tempfile::TempDir;

/// A folder with a sound plugin, `echo`, and whatever the test adds.
struct Folder(TempDir);

impl Folder {
    fn empty() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn with_echo() -> Self {
        let folder = Self::empty();
        folder.copy("echo.wasm", guest("echo"));
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn add(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        path
    }

    fn copy(&self, name: &str, from: PathBuf) -> PathBuf {
        self.add(name, &std::fs::read(from).expect("a guest"))
    }
}

async fn load(paths: &[&Path]) -> Host {
    load_with(paths, |_| {}).await
}

async fn load_with(paths: &[&Path], edit: impl FnOnce(&mut EngineConfig)) -> Host {
    log();
    let mut config = HostConfig::default();
    config.engine.instances_max = 20.try_into().expect("not zero");
    // By the clock, which runs on when the machine is busy with something else.
    config.engine.describe_timeout = PATIENCE;
    edit(&mut config.engine);
    let paths: Vec<_> = paths.iter().map(|path| path.to_path_buf()).collect();
    HostBuilder::new(config)
        .build(&paths)
        .await
        .expect("the host is built")
}

/// Asserts that `plugin` offers `service`, and nobody offers anything else.
fn assert_services(host: &Host, service: &str, plugin: &str) {
    assert_eq!(host.services(), [(service.to_owned(), plugin.to_owned())]);
}

/// Asserts that `file` alone was refused, in one line with all of `parts`, and that echo is served.
fn assert_refused(host: &Host, file: &str, parts: &[&str]) {
    let all = host.refused();
    let [refused] = &all[..] else {
        panic!("one refusal: {all:?}");
    };
    assert_eq!(refused.path.file_name().expect("a name"), file);
    let line = refused.to_string();
    assert!(line.contains(&refused.path.display().to_string()), "{line}");
    assert!(!line.contains('\n'), "one line: {line}");
    for part in parts {
        assert!(line.contains(part), "{file}: {line:?} should say {part:?}");
    }
    assert_services(host, "echo.Echo", "echo");
}

/// The bytes of a guest with every `from` replaced by a `to` of the same length.
fn patched(path: PathBuf, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = std::fs::read(path).expect("a guest");
    let places: Vec<_> = (0..bytes.len().saturating_sub(from.len()))
        .filter(|at| bytes[*at..].starts_with(from.as_bytes()))
        .collect();
    assert!(!places.is_empty(), "{from} is in the component");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_component_is_told_apart() {
    let echo = std::fs::read(guest("echo")).expect("a guest");
    let cases: [(&str, &[u8], &str); 6] = [
        ("text.wasm", b"#!/bin/sh\n", "not a WebAssembly component"),
        ("empty.wasm", b"", "not a WebAssembly component"),
        (
            "core.wasm",
            b"\0asm\x01\0\0\0",
            "cargo build --target wasm32-wasip2",
        ),
        (
            "old.wasm",
            b"\0asm\x07\0\0\0",
            "unknown version of the binary format",
        ),
        (
            "cut.wasm",
            &echo[..echo.len() / 2],
            "not a WebAssembly component that this host can run",
        ),
        (
            "bare.wasm",
            b"\0asm\x0d\0\x01\0",
            "does not export switchboard:grpc/handler@0.1.0",
        ),
    ];
    for (name, bytes, expected) in cases {
        let folder = Folder::with_echo();
        folder.add(name, bytes);
        let host = load(&[folder.path()]).await;
        assert_refused(&host, name, &[expected]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abi_of_another_version_is_refused_with_both() {
    for version in ["0.2.0", "0.0.9", "1.0.0"] {
        let folder = Folder::with_echo();
        let other = format!("switchboard:grpc/handler@{version}");
        let bytes = patched(guest("greeter"), "switchboard:grpc/handler@0.1.0", &other);
        folder.add("greeter.wasm", &bytes);
        let host = load(&[folder.path()]).await;
        let expected = [
            &*format!("built for ABI version {version}"),
            "this host speaks 0.1.0",
            "rebuild it",
        ];
        assert_refused(&host, "greeter.wasm", &expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_patch_version_of_the_abi_is_served() {
    let folder = Folder::empty();
    let bytes = patched(
        guest("echo"),
        "switchboard:grpc/handler@0.1.0",
        "switchboard:grpc/handler@0.1.7",
    );
    let file = folder.add("echo.wasm", &bytes);
    let host = TestHost::start_with("greeter", |setup| setup.paths.push(file)).await;
    assert_eq!(host.refused.len(), 0, "{:?}", host.refused);
    let answer = host.raw().await.unary("/echo.Echo/Unary", b"newer").await;
    assert_eq!(answer.messages(), ["newer"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_nobody_provides_is_named() {
    let folder = Folder::with_echo();
    let bytes = patched(
        guest("greeter"),
        "switchboard:grpc/log@0.1.0",
        "switchboard:grpc/lot@0.1.0",
    );
    folder.add("greeter.wasm", &bytes);
    let host = load(&[folder.path()]).await;
    assert_refused(
        &host,
        "greeter.wasm",
        &[
            "imports something that this host does not provide",
            "switchboard:grpc/lot@0.1.0",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_fails_to_describe_itself_is_refused() {
    let cases: [(&str, &[&str]); 6] = [
        (
            "describe-trap",
            &["failed when it was asked to describe itself"],
        ),
        (
            "describe-grow",
            &["failed when it was asked to describe itself"],
        ),
        (
            "describe-nonsense",
            &[
                "describes itself wrongly",
                "\"not a name/\" is not a valid service name",
            ],
        ),
        (
            "describe-twice",
            &["describes itself wrongly", "the service faulty.Twice twice"],
        ),
        (
            "describe-ids",
            &["describes itself wrongly", "has id 1 of another method"],
        ),
        (
            "describe-empty",
            &["describes itself wrongly", "it offers no service"],
        ),
    ];
    for (variant, parts) in cases {
        let folder = Folder::with_echo();
        let name = format!("{variant}.wasm");
        folder.copy(&name, faulty(variant));
        let host = load(&[folder.path()]).await;
        assert_refused(&host, &name, parts);
    }
    log()
        .wait_for(&[
            "plugin=\"describe-trap\"",
            "faulty: panicked in describe, as asked",
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn describe_has_a_limit_of_time() {
    let folder = Folder::with_echo();
    folder.copy("spin.wasm", faulty("describe-spin"));
    let timeout = Duration::from_millis(500);
    let host = load_with(&[folder.path()], |engine| engine.describe_timeout = timeout).await;
    assert_refused(
        &host,
        "spin.wasm",
        &["describe did not return within 500ms"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_descriptor_set_that_is_none_disturbs_no_call() {
    let host = TestHost::start_with("echo", |setup| {
        setup.paths.push(faulty("describe-descriptors"));
    })
    .await;
    assert_eq!(host.refused.len(), 0, "{:?}", host.refused);
    let answer = host.raw().await.unary("/faulty.Described/Name", b"").await;
    assert_eq!(answer.messages(), ["faulty.Described"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_belongs_to_the_first_file_that_offers_it() {
    let folder = Folder::empty();
    // In a folder names decide, however long a file takes to compile.
    folder.copy("b.wasm", guest("greeter"));
    folder.copy("a.wasm", faulty("describe-clash"));
    let host = load(&[folder.path()]).await;
    assert_services(&host, "helloworld.Greeter", "a");
    let all = host.refused();
    let [refused] = &all[..] else {
        panic!("one refusal: {all:?}");
    };
    let line = refused.to_string();
    assert!(
        line.contains("b.wasm: it offers the service helloworld.Greeter"),
        "{line}"
    );
    assert!(
        line.contains("which a offers already; remove one of them"),
        "{line}"
    );
    // Named one by one, the order they are named in.
    let paths = [folder.path().join("b.wasm"), folder.path().join("a.wasm")];
    let host = load(&[&paths[0], &paths[1]]).await;
    assert_services(&host, "helloworld.Greeter", "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_files_of_one_name_are_one_plugin_too_many() {
    let (first, second) = (Folder::with_echo(), Folder::empty());
    second.copy("echo.wasm", guest("greeter"));
    let host = load(&[first.path(), second.path()]).await;
    let other = first.path().join("echo.wasm").display().to_string();
    assert_refused(
        &host,
        "echo.wasm",
        &["a plugin of the same name", &other, "rename one of them"],
    );
    assert_eq!(host.refused()[0].path, second.path().join("echo.wasm"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_over_the_limit_is_not_read() {
    let folder = Folder::with_echo();
    let file = std::fs::File::create(folder.path().join("large.wasm")).expect("a file");
    file.set_len(1 << 40).expect("a file of holes");
    let host = load(&[folder.path()]).await;
    assert_refused(
        &host,
        "large.wasm",
        &["1099511627776 bytes", "the limit of 67108864 bytes"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_is_refused() {
    for (name, target) in [
        // Its owner may open it; reading at its beginning fails, also for root.
        ("unreadable.wasm", "/proc/self/mem"),
        ("dangling.wasm", "no/such/file"),
    ] {
        let folder = Folder::with_echo();
        std::os::unix::fs::symlink(target, folder.path().join(name)).expect("a link");
        let host = load(&[folder.path()]).await;
        assert_refused(&host, name, &["cannot read the file"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_plugins_of_a_folder_are_looked_at() {
    let folder = Folder::with_echo();
    folder.add(".hidden.wasm", b"not finished");
    folder.add("README.md", b"not a plugin");
    folder.add("echo.wasm.new", b"not finished");
    std::fs::create_dir(folder.path().join("folder.wasm")).expect("a folder");
    let host = load(&[folder.path()]).await;
    assert_eq!(host.refused().len(), 0, "{:?}", host.refused());
    assert_services(&host, "echo.Echo", "echo");
    // A file that is named is meant, whatever its name.
    let named = folder.path().join(".hidden.wasm");
    let host = load(&[folder.path(), &named]).await;
    assert_refused(&host, ".hidden.wasm", &["not a WebAssembly component"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_not_there_ends_the_start() {
    let folder = Folder::with_echo();
    let missing = folder.path().join("missing");
    let paths = [folder.path().to_path_buf(), missing.clone()];
    let built = HostBuilder::new(HostConfig::default()).build(&paths).await;
    let error = built.expect_err("a path is not there");
    assert!(
        matches!(&error, BuildError::Path { path, .. } if *path == missing),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_nothing_to_serve_says_so_to_everyone() {
    let folder = Folder::empty();
    folder.add("text.wasm", b"text");
    let setup = Setup {
        paths: vec![folder.path().to_path_buf()],
        ..Setup::default()
    };
    let host = TestHost::build(setup, |builder| builder).await;
    assert_eq!((host.refused.len(), host.services.len()), (1, 0));
    let answer = host.raw().await.unary("/echo.Echo/Unary", b"").await;
    assert_eq!(answer.code(), 12, "UNIMPLEMENTED");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_a_folder_is_that_of_its_names() {
    let folder = Folder::empty();
    for name in ["c", "a", "b"] {
        folder.add(&format!("{name}.wasm"), b"text");
    }
    let host = load(&[folder.path()]).await;
    let names: Vec<_> = host
        .refused()
        .iter()
        .map(|refused| {
            refused
                .path
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
}
