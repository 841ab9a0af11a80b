//! Copies of the echo plugin that offer services of other names, so that a host serves all of them.
//!
//! Called by `scale`, and by `cmd::load` for what they are called. A name stands in the component as plain
//! bytes, so one of the same length takes its place; the code is the same in all.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// What the plugin's service is called.
const NAME: &[u8] = b"echo.Echo";

/// As many as names of the same length with a number of three digits.
const COPIES_MAX: usize = 1000;

/// The service of a copy.
fn service(copy: usize) -> String {
    format!("e{copy:03}.Echo")
}

/// Paths of the unary methods of the first copies.
#[must_use]
pub fn paths(count: usize) -> Vec<String> {
    let services = (0..count).map(service);
    services.map(|name| format!("/{name}/Unary")).collect()
}

/// Writes copies of the plugin in the file `echo` into `folder`, which must be there.
///
/// # Errors
/// When there are more than there are names, the plugin is not what it was, or a file cannot be read or
/// written.
pub fn write(echo: &Path, folder: &Path, count: usize) -> Result<()> {
    ensure!(
        count <= COPIES_MAX,
        "{count} copies, of {COPIES_MAX} at most"
    );
    let plugin =
        fs::read(echo).with_context(|| format!("{}: `make guests` builds it", echo.display()))?;
    let at = place(&plugin).with_context(|| format!("the service of {}", echo.display()))?;
    for copy in 0..count {
        let mut plugin = plugin.clone();
        plugin[at..at + NAME.len()].copy_from_slice(service(copy).as_bytes());
        let path = folder.join(format!("echo-{copy:03}.wasm"));
        fs::write(&path, plugin).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Where the name stands; it must stand there once.
fn place(plugin: &[u8]) -> Result<usize> {
    let windows = plugin.windows(NAME.len()).enumerate();
    let mut places = windows.filter(|(_, window)| *window == NAME);
    let (at, _) = places.next().context("its name is not in it")?;
    ensure!(places.next().is_none(), "its name is in it twice");
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_differ_in_their_names_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let echo = folder.path().join("echo.wasm");
        fs::write(&echo, b"before echo.Echo after").expect("it can be written");
        write(&echo, folder.path(), 2).expect("two copies");
        let read = |name: &str| fs::read(folder.path().join(name)).expect("it was written");
        assert_eq!(read("echo-000.wasm"), b"before e000.Echo after");
        assert_eq!(read("echo-001.wasm"), b"before e001.Echo after");
        assert_eq!(paths(2), ["/e000.Echo/Unary", "/e001.Echo/Unary"]);
    }

    #[test]
    fn a_name_that_cannot_be_replaced_for_certain_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let echo = folder.path().join("echo.wasm");
        for (plugin, said) in [
            (&b"none"[..], "not in it"),
            (b"echo.Echo echo.Echo", "twice"),
        ] {
            fs::write(&echo, plugin).expect("it can be written");
            let error = write(&echo, folder.path(), 1).expect_err(said);
            assert!(format!("{error:#}").contains(said), "{error:#}");
        }
        write(&echo, folder.path(), COPIES_MAX + 1).expect_err("too many");
    }

    #[test]
    fn every_name_is_as_long_as_the_one_it_replaces() {
        for copy in [0, COPIES_MAX - 1] {
            assert_eq!(service(copy).len(), NAME.len());
        }
    }
}
