//! Addresses to listen on, as operators write them: `HOST:PORT`, `unix:PATH` as gRPC names it, and `systemd` for the
//! sockets that it hands over.
//!
//! Called by `draft` and by the commands that listen. A leaf: text in, faults out; whether there is such a
//! host, and whether the address is free, is for those who listen to find.

use std::path::{Path, PathBuf};

/// Longest path of a Unix socket, in bytes. Source: unix(7), `sun_path`, with its zero byte.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// The path of `unix:PATH` or `unix:///PATH`; none for anything else.
pub(crate) fn unix_path(address: &str) -> Option<&Path> {
    let path = address.strip_prefix("unix:")?;
    let absolute = path.strip_prefix("//").filter(|path| path.starts_with('/'));
    Some(Path::new(absolute.unwrap_or(path)))
}

/// The address that stands for what systemd hands over.
pub(crate) const SYSTEMD: &str = "systemd";

/// What is written wrongly, as ends of sentences that begin with the setting.
pub(super) fn faults(addresses: &[String]) -> Vec<String> {
    let mut found: Vec<_> = addresses.iter().filter_map(|one| fault(one)).collect();
    if addresses.is_empty() {
        found.push("must name one address or more".to_owned());
    }
    if let Some(address) = twice(addresses) {
        found.push(format!("{address} is given twice"));
    }
    found
}

fn fault(address: &str) -> Option<String> {
    if address == SYSTEMD {
        return None;
    }
    let Some(path) = unix_path(address) else {
        return host_port_fault(address);
    };
    let len = path.as_os_str().len();
    if len == 0 {
        Some(format!("{address:?}: write a path, as in unix:/run/a.sock"))
    } else if len > UNIX_PATH_BYTES_MAX {
        Some(format!(
            "{address}: the path of a Unix socket has {UNIX_PATH_BYTES_MAX} bytes at most, not {len}"
        ))
    } else {
        None
    }
}

/// Tells what is written wrongly from a host that is not found.
pub(crate) fn host_port_fault(host_port: &str) -> Option<String> {
    let wrong = |what: &str| Some(format!("{host_port:?} is no HOST:PORT: {what}"));
    let Some((host, port)) = host_port.rsplit_once(':') else {
        return wrong("write both, as in 127.0.0.1:50051");
    };
    if port.parse::<u16>().is_err() {
        return wrong("a port is 0 to 65535");
    }
    if host.is_empty() {
        return wrong(&format!("for all addresses write 0.0.0.0:{port}"));
    }
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return wrong("an IPv6 address is written as in [::1]:50051");
    }
    None
}

/// Whether two addresses of TCP cannot be had at once: the same, or one of them is the port at every address.
pub(super) fn clash(one: &str, other: &str) -> bool {
    let (Some((host, port)), Some((other_host, other_port))) =
        (one.rsplit_once(':'), other.rsplit_once(':'))
    else {
        return false;
    };
    let all = |host: &str| matches!(host, "0.0.0.0" | "[::]");
    unix_path(one).is_none()
        && unix_path(other).is_none()
        && port == other_port
        && port != "0"
        && (host == other_host || all(host) || all(other_host))
}

/// Which of these addresses is there twice, if one is.
fn twice(addresses: &[String]) -> Option<&str> {
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

    #[test]
    fn ports_that_cannot_be_shared_are_found() {
        for (one, other, clashes) in [
            ("a:1", "a:1", true),
            ("a:1", "a:2", false),
            ("a:1", "b:1", false),
            ("127.0.0.1:1", "0.0.0.0:1", true),
            ("[::]:1", "[::1]:1", true),
            ("a:0", "a:0", false),
            ("unix:/a:1", "unix:/a:1", false),
            (SYSTEMD, "a:1", false),
        ] {
            assert_eq!(clash(one, other), clashes, "{one} {other}");
            assert_eq!(clash(other, one), clashes, "{other} {one}");
        }
    }

    #[test]
    fn what_is_no_address_is_said_with_what_to_write() {
        let long = format!("unix:/{}", "a".repeat(UNIX_PATH_BYTES_MAX));
        for (address, said) in [
            ("nowhere", "write both"),
            ("systemd:1:2", "an IPv6 address"),
            ("a:65536", "0 to 65535"),
            (":1", "0.0.0.0:1"),
            ("::1:5", "an IPv6 address is written as in"),
            ("unix:", "unix:/run/a.sock"),
            (long.as_str(), "107"),
        ] {
            let found = faults(&[address.to_owned()]);
            assert!(found.len() == 1 && found[0].contains(said), "{found:?}");
        }
        assert_eq!(faults(&[]).len(), 1);
        for address in ["[::1]:5", SYSTEMD] {
            assert_eq!(faults(&[address.to_owned()]), [""; 0]);
        }
    }
}
