//! Where `switchboard serve` listens. Called by nobody: clap fills it in, `cmd::serve` reads it.

use std::path::{Path, PathBuf};

/// Addresses, and the files of Unix sockets among them.
#[derive(Debug, clap::Args)]
pub(crate) struct Listen {
    /// Where to listen, as HOST:PORT or unix:PATH; repeat for more. Port 0 picks a free one.
    #[arg(
        long = "listen",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:50051"
    )]
    pub addresses: Vec<String>,

    /// Who may connect to Unix sockets: permissions of their files, octal. 600 is the host's own user,
    /// 660 its group too.
    #[arg(long, value_name = "MODE", default_value = "600", value_parser = mode)]
    pub unix_mode: u32,
}

/// Permissions as chmod takes them.
fn mode(text: &str) -> Result<u32, &'static str> {
    let mode = u32::from_str_radix(text, 8).ok();
    let mode = mode.filter(|mode| (0..=0o777).contains(mode));
    mode.ok_or("write permissions as octal digits, as in 660")
}

/// The path of `unix:PATH` or `unix:///PATH`, as gRPC names addresses; none for anything else.
pub(crate) fn unix_path(address: &str) -> Option<&Path> {
    let path = address.strip_prefix("unix:")?;
    let absolute = path.strip_prefix("//").filter(|path| path.starts_with('/'));
    Some(Path::new(absolute.unwrap_or(path)))
}

/// Which of these addresses is there twice, if one is.
pub(crate) fn twice(addresses: &[String]) -> Option<&str> {
    let free_port = |address: &str| address.ends_with(":0");
    let mut paths: Vec<(PathBuf, &str)> = Vec::new();
    for address in addresses.iter().filter(|address| !free_port(address)) {
        let path = unix_path(address).unwrap_or_else(|| Path::new(address));
        if paths.iter().any(|(known, _)| known == path) {
            return Some(address);
        }
        paths.push((path.to_owned(), address));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_octal() {
        assert_eq!(mode("660"), Ok(0o660));
        assert_eq!(mode("0600"), Ok(0o600));
        for wrong in ["", "rw", "680", "1777", "-1"] {
            assert!(mode(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn unix_sockets_are_named_as_in_grpc() {
        for (address, path) in [
            ("unix:/run/a", Some("/run/a")),
            ("unix:///run/a", Some("/run/a")),
            ("unix:a/b", Some("a/b")),
            ("unix:", Some("")),
            ("localhost:1", None),
        ] {
            assert_eq!(unix_path(address), path.map(Path::new), "{address}");
        }
    }

    #[test]
    fn the_same_address_twice_is_found() {
        let of = |addresses: &[&str]| {
            let addresses: Vec<_> = addresses.iter().map(|&text| text.to_owned()).collect();
            twice(&addresses).map(str::to_owned)
        };
        assert_eq!(of(&["a:1", "b:1", "unix:/a"]), None);
        assert_eq!(of(&["a:0", "a:0"]), None);
        assert_eq!(of(&["a:1", "b:1", "a:1"]).as_deref(), Some("a:1"));
        assert_eq!(of(&["unix:/a", "unix:///a"]).as_deref(), Some("unix:///a"));
    }
}
