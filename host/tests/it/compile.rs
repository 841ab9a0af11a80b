//! Files that are made to be hard to compile: they are refused, or compiled and refused then, and the plugins beside
//! them are served.

use std::path::PathBuf;

use switchboard_test_support::{TestHost, guest};
use tempfile::TempDir;

const MODULE: [u8; 8] = *b"\0asm\x01\0\0\0";
const COMPONENT: [u8; 8] = *b"\0asm\x0d\0\x01\0";

/// `i32.const 1; local.get 0; i32.add; local.set 0`.
const ADD: [u8; 7] = [0x41, 1, 0x20, 0, 0x6a, 0x21, 0];

fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = u8::try_from(number & 0x7f).expect("seven bits");
        number >>= 7;
        if number == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

fn sized(content: &[u8]) -> Vec<u8> {
    [&leb128(content.len()), content].concat()
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &sized(content)].concat()
}

/// A component with a module of functions, all without parameters and with one local number.
fn functions(count: usize, body: &[u8]) -> Vec<u8> {
    // One local of type i32, the body, `end`.
    let body = sized(&[&[1, 1, 0x7f], body, &[0x0b]].concat());
    let types = section(1, &[1, 0x60, 0, 0]);
    let declared = [leb128(count), vec![0; count]].concat();
    let code = [leb128(count), body.repeat(count)].concat();
    component(&[types, section(3, &declared), section(10, &code)].concat())
}

/// A component with a module of 60 MiB of data.
fn data() -> Vec<u8> {
    // One memory of 1024 pages, and one segment for it from address 0 on.
    let memory = section(5, &[&[1, 0][..], &leb128(1024)].concat());
    let bytes = sized(&vec![0xa5; 60 << 20]);
    let data = [&[1, 0, 0x41, 0, 0x0b][..], &bytes].concat();
    component(&[memory, section(11, &data)].concat())
}

fn component(sections: &[u8]) -> Vec<u8> {
    let module = [&MODULE[..], sections].concat();
    [&COMPONENT[..], &section(1, &module)].concat()
}

/// Components inside each other.
fn nested(depth: usize) -> Vec<u8> {
    (0..depth).fold(COMPONENT.to_vec(), |inner, _| {
        [&COMPONENT[..], &section(4, &inner)].concat()
    })
}

/// Why each of these files is refused, and `echo` served beside them.
async fn refused(
    files: &[(&str, Vec<u8>)],
    edit: impl FnOnce(&mut switchboard_host::EngineConfig),
) -> Vec<String> {
    let folder = TempDir::new().expect("a folder");
    let paths: Vec<PathBuf> = files
        .iter()
        .map(|(name, bytes)| {
            let path = folder.path().join(format!("{name}.wasm"));
            std::fs::write(&path, bytes).expect("written");
            path
        })
        .collect();
    let host = TestHost::start_with("echo", |setup| {
        setup.paths = [paths, vec![guest("echo")]].concat();
        edit(&mut setup.config.engine);
    })
    .await;
    let answer = host.raw().await.unary("/echo.Echo/Unary", b"served").await;
    assert_eq!(answer.messages(), ["served"]);
    assert_eq!(host.refused.len(), files.len());
    host.refused.iter().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn more_code_than_is_compiled_is_refused_before_it_is() {
    let files = [
        ("many", functions(1001, &[])),
        ("large", functions(1, &ADD.repeat(1000))),
        ("nested", nested(2000)),
    ];
    let said = refused(&files, |engine| {
        engine.functions_max = 1000;
        engine.function_bytes_max = 4096;
    })
    .await;
    assert!(said[0].contains("1001 functions"), "{}", said[0]);
    assert!(said[1].contains("largest function has 700"), "{}", said[1]);
    assert!(said[2].contains("inside each other"), "{}", said[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hard_to_compile_takes_nobody_down() {
    let mut blocks = [0x02, 0x40].repeat(10_000);
    blocks.extend([0x0b].repeat(10_000));
    let files = [
        ("deep", functions(1, &blocks)),
        ("long", functions(1, &ADD.repeat(10_000))),
        ("many", functions(20_000, &ADD)),
        ("data", data()),
        ("nested", nested(50)),
    ];
    for refused in refused(&files, |_| {}).await {
        assert!(refused.contains("does not export"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_is_given_up() {
    let hard = functions(1, &ADD.repeat(100_000));
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("hard.wasm");
    std::fs::write(&path, hard).expect("written");
    let mut config = switchboard_host::HostConfig {
        watch: None,
        ..Default::default()
    };
    config.engine.compile_timeout = std::time::Duration::from_millis(1);
    let host = switchboard_host::HostBuilder::new(config);
    let host = host.build(&[path]).await.expect("a host");
    let said = host.refused()[0].to_string();
    assert!(said.contains("does not compile within 1ms"), "{said}");
}
