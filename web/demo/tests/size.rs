//! The size that README promises is that of the program as `make web` built it.
//!
//! Reads files only: the page is for browsers, and runs there in the tests of `web/tests`.

use std::fs;
use std::path::Path;

/// Part by which the two may differ, in percent: another version of `wasm-opt`, a fix somewhere below.
const APART_MAX_PERCENT: u64 = 5;

/// What stands behind the number in README.
const BEHIND: &str = " kB of WebAssembly as it travels";

/// The number of kilobytes that a text promises.
fn promised_kb(text: &str) -> Option<u64> {
    let (before, _) = text.split_once(BEHIND)?;
    let (_, number) = before.rsplit_once(|c: char| !c.is_ascii_digit())?;
    number.parse().ok()
}

#[test]
fn readme_has_the_size_of_the_built_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = fs::read_to_string(root.join("README.md")).expect("README.md");
    let promised = promised_kb(&readme).expect("README.md says how large the program is");
    let program = root.join("target/web/demo/switchboard_demo_bg.wasm.gz");
    let built = fs::metadata(program)
        .expect("the page is built: make web")
        .len();
    let apart = built.abs_diff(promised * 1000) * 100;
    assert!(
        apart <= built * APART_MAX_PERCENT,
        "README.md says {promised} kB, the program has {built} bytes (without wasm-opt it is larger)"
    );
}

#[test]
fn the_number_is_found_where_it_stands() {
    assert_eq!(promised_kb(&format!("(a,\n189{BEHIND}), b")), Some(189));
    assert_eq!(promised_kb(&format!("some{BEHIND}")), None);
    assert_eq!(promised_kb(""), None);
}
