//! What commands say, and where: what was asked for goes to stdout, what is wrong to stderr.
//!
//! Called by `main` and by commands that end by themselves. Invariant: what is on stdout is whole, or its command
//! fails.

use std::fmt;
use std::io::{ErrorKind, IsTerminal, Write};

use anyhow::{Context, Result};

/// Whoever read stdout reads no more, as `head` does: the command ends, and nobody is told of it.
#[derive(Debug)]
pub(crate) struct NobodyReads;

impl fmt::Display for NobodyReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads stdout any more")
    }
}

impl std::error::Error for NobodyReads {}

/// Prints what was asked for.
///
/// # Errors
/// When nobody reads it.
pub(super) fn print(text: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(NobodyReads.into()),
        written => written.context("writing to stdout"),
    }
}

/// Whether stderr takes colours: it is a terminal, and whoever looks at it wants them.
pub(super) fn in_colours() -> bool {
    // Source: no-color.org.
    let plain = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
    !plain && std::io::stderr().is_terminal()
}

/// Says what is wrong, on a line that begins with `error:`, red on a terminal.
pub(crate) fn error(text: &str) {
    let mut stderr = std::io::stderr();
    let (red, end) = if in_colours() {
        ("\u{1b}[1;31m", "\u{1b}[0m")
    } else {
        ("", "")
    };
    // A stderr that is gone is nobody to tell.
    drop(writeln!(stderr, "{red}error:{end} {text}"));
}
