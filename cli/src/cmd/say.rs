//! What commands say, and where: what was asked for goes to stdout, what is wrong to stderr.
//!
//! Called by `main` and by commands that end by themselves. Invariant: what is on stdout is whole, or its command
//! fails.

use std::io::{IsTerminal, Write};

use anyhow::{Context, Result};

/// Prints what was asked for.
///
/// # Errors
/// When nobody reads it.
pub(super) fn print(text: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout();
    stdout
        .write_all(text)
        .and_then(|()| stdout.flush())
        .context("writing to stdout")
}

/// Says what is wrong, on a line that begins with `error:`, red on a terminal.
pub(crate) fn error(text: &str) {
    let mut stderr = std::io::stderr();
    // Source: no-color.org.
    let plain = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
    let (red, end) = if !plain && stderr.is_terminal() {
        ("\u{1b}[1;31m", "\u{1b}[0m")
    } else {
        ("", "")
    };
    // A stderr that is gone is nobody to tell.
    drop(writeln!(stderr, "{red}error:{end} {text}"));
}
