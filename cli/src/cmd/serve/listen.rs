//! Takes the addresses that the command line names, before anything that takes time.
//!
//! Called by `cmd::serve`. Knows the two kinds of addresses and what is said of each once it is served.

use anyhow::{Context, Result};
use switchboard_host::{ConfigError, Listeners, UnixListener};

use super::super::process;
use crate::args::{Listen, twice, unix_path};

/// Longest path of a Unix socket, in bytes. Source: unix(7), `sun_path`, with its zero byte.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// The addresses, taken.
pub(super) struct Taken {
    pub listeners: Listeners,
    /// Each as the ready line names it.
    pub names: Vec<String>,
    /// Whether one of them is reached over the network.
    pub tcp: bool,
}

/// Takes all of them, or none.
pub(super) async fn take(listen: &Listen) -> Result<Taken> {
    check(listen)?;
    let mut taken: Option<Listeners> = None;
    let (mut names, mut tcp) = (Vec::new(), false);
    for address in &listen.addresses {
        let next: Listeners = match unix_path(address) {
            Some(path) => {
                let name = format!("unix:{}", path.display());
                let socket = UnixListener::bind(path, listen.unix_mode).await;
                let socket = socket.with_context(|| format!("cannot listen on {name}"))?;
                names.push(name);
                socket.into()
            }
            None => {
                let socket = process::listen(address).await?;
                let addr = socket.local_addr().context("asking for the address")?;
                names.push(addr.to_string());
                tcp = true;
                socket.into()
            }
        };
        taken = Some(match taken {
            None => next,
            Some(taken) => taken.and(next),
        });
    }
    Ok(Taken {
        listeners: taken.context("no address to listen on")?,
        names,
        tcp,
    })
}

/// Finds what is written wrongly, in all of them at once.
fn check(listen: &Listen) -> Result<(), ConfigError> {
    let mut faults = Vec::new();
    for address in &listen.addresses {
        match unix_path(address) {
            None => {
                if let Err(ConfigError(found)) = process::check_host_port(address) {
                    faults.extend(found);
                }
            }
            Some(path) => {
                let len = path.as_os_str().len();
                if len == 0 {
                    faults.push(format!(
                        "--listen {address:?}: write a path, as in unix:/run/a.sock"
                    ));
                } else if len > UNIX_PATH_BYTES_MAX {
                    faults.push(format!(
                        "--listen {address}: the path of a Unix socket has {UNIX_PATH_BYTES_MAX} bytes \
                         at most, not {len}"
                    ));
                }
            }
        }
    }
    if let Some(address) = twice(&listen.addresses) {
        faults.push(format!("--listen {address} is given twice"));
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(ConfigError(faults))
    }
}
