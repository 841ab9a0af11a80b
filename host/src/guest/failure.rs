//! What wasmtime says of a failure, as the text that everybody else has of it.
//!
//! Called by `guest` wherever a type of wasmtime's would leave it. Invariants: the cause comes first and the
//! guest's frames after it, [`FRAMES_MAX`] at most, each no longer than [`FRAME_CHARS_MAX`]. Names are as the
//! guest chose them: `error::chain` sees to it that they end no line. Knows no call and no plugin.

use wasmtime::WasmBacktrace;

use crate::error::BoxError;

/// Frames that a failure tells. Count: a Rust guest that panics needs ten until its own code is among them.
const FRAMES_MAX: usize = 12;

/// Longest frame, in characters: names of generic functions go on for pages.
const FRAME_CHARS_MAX: usize = 120;

/// A wasmtime error with its whole chain, trap and the guest's backtrace, as text: its type stops
/// here. Not in debug form, which adds the host's own backtrace and helps no author.
pub(super) fn boxed(error: &wasmtime::Error) -> BoxError {
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    let backtrace = backtrace.map(ToString::to_string).unwrap_or_default();
    let mut causes: Vec<_> = error.chain().map(ToString::to_string).collect();
    causes.retain(|cause| *cause != backtrace);
    let mut text = causes.join(": ");
    text.push_str(&at(&backtrace));
    text.into()
}

/// The frames of a backtrace as wasmtime prints it, behind a cause.
fn at(backtrace: &str) -> String {
    let mut frames: Vec<String> = Vec::new();
    for line in backtrace.lines().skip(1).map(str::trim) {
        match (line.strip_prefix("at "), frames.last_mut()) {
            (Some(place), Some(frame)) => *frame = format!("{frame} ({place})"),
            _ if line.starts_with("note: ") => {}
            _ => frames.push(name(line).to_owned()),
        }
    }
    if frames.is_empty() {
        return String::new();
    }
    let left_out = frames.len().saturating_sub(FRAMES_MAX);
    frames.truncate(FRAMES_MAX);
    let frames: Vec<_> = frames.iter().map(|frame| short(frame)).collect();
    let more = match left_out {
        0 => String::new(),
        count => format!(" < {count} more"),
    };
    format!("; in {}{more}", frames.join(" < "))
}

/// The function of a line like `3:   0x9f - <unknown>!name`.
fn name(line: &str) -> &str {
    let name = line.split_once(" - ").map_or(line, |(_, name)| name);
    let name = name.strip_prefix("- ").unwrap_or(name);
    name.strip_prefix("<unknown>!").unwrap_or(name)
}

fn short(frame: &str) -> String {
    match frame.char_indices().nth(FRAME_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &frame[..end]),
        None => frame.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_names_and_places_and_not_too_many() {
        let mut backtrace = "error while executing at wasm backtrace:\n    \
              0:     0x9f - <unknown>!inner\n                    at src/lib.rs:3:1\n    \
              1:     0xa0 - named.wasm!outer"
            .to_owned();
        assert_eq!(
            at(&backtrace),
            "; in inner (src/lib.rs:3:1) < named.wasm!outer"
        );
        for frame in 2..20 {
            backtrace += &format!("\n   {frame}: 0x1 - <unknown>!{}", "x".repeat(1000));
        }
        let text = at(&backtrace);
        assert!(text.ends_with("x... < 8 more"), "{text}");
        assert!(text.len() < FRAMES_MAX * (FRAME_CHARS_MAX + 8), "{text}");
        assert_eq!(at(""), "");
    }

    #[test]
    fn the_cause_comes_first() {
        let error = wasmtime::Error::msg("no memory").context("making an instance");
        assert_eq!(boxed(&error).to_string(), "making an instance: no memory");
    }
}
