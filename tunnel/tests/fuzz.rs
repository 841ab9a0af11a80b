//! What the fuzz targets do, without libFuzzer: on the seeds and on random bytes, on every platform.
//!
//! The targets in `fuzz/` are built with another compiler and not on every change; these are the
//! same exercises, so they cannot rot.

#[path = "../fuzz/exercises/codec.rs"]
mod codec;
#[path = "../fuzz/exercises/conversation.rs"]
mod conversation;
#[path = "../fuzz/exercises/handshake.rs"]
mod handshake;

use proptest::collection::vec;
use proptest::prelude::*;

/// The files of `fuzz/seeds/TARGET`. On wasm there is no folder to read.
#[cfg(not(target_family = "wasm"))]
fn for_each_seed(target: &str, exercise: fn(&[u8])) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target);
    let files = std::fs::read_dir(&folder).expect("a folder of seeds");
    let mut count = 0;
    for file in files {
        let path = file.expect("a seed").path();
        exercise(&std::fs::read(&path).expect("a seed"));
        count += 1;
    }
    assert!(count >= 5, "{count} seeds in {}", folder.display());
}

#[cfg(not(target_family = "wasm"))]
#[test]
fn the_seeds_pass() {
    for_each_seed("codec", codec::exercise);
    for_each_seed("conversation", conversation::exercise);
    for_each_seed("handshake", handshake::exercise);
}

proptest! {
    #[test]
    fn random_wires_pass(data in vec(any::<u8>(), 0..200)) {
        codec::exercise(&data);
    }

    #[test]
    fn random_conversations_pass(data in vec(any::<u8>(), 0..200)) {
        conversation::exercise(&data);
    }

    #[test]
    fn random_handshakes_pass(
        start in any::<[u8; 2]>(),
        lines in vec((0..7_u8, header_value()), 0..12),
    ) {
        let lines = lines.into_iter().map(|(name, value)| [&[name], value.as_bytes()].concat());
        let lines = lines.collect::<Vec<_>>().join(&b'\n');
        handshake::exercise(&[&start[..], &lines].concat());
    }
}

fn header_value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("websocket".to_owned()),
        Just("Upgrade".to_owned()),
        Just("13".to_owned()),
        Just("dGhlIHNhbXBsZSBub25jZQ==".to_owned()),
        Just("switchboard.v1, bearer.c2VjcmV0LXRva2Vu".to_owned()),
        Just("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned()),
        "[ -~]{0,30}",
        "bearer\\.[A-Za-z0-9_-]{0,30}",
    ]
}
