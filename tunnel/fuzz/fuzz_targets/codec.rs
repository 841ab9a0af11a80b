//! Feeds what libFuzzer invents to the exercise of the same name.
#![no_main]

#[path = "../exercises/codec.rs"]
mod exercise;

libfuzzer_sys::fuzz_target!(|data: &[u8]| exercise::exercise(data));
