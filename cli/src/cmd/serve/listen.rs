//! Takes the addresses that the settings name, before anything that takes time.
//!
//! Called by `cmd::serve`. Knows the kinds of addresses and what is said of each once it is served; how
//! they are written has been checked.

use anyhow::{Context, Result};
use switchboard_host::{Listeners, UnixListener};

use super::super::{process, systemd};
use crate::settings::{Configuration, SYSTEMD, unix_path};

/// The addresses, taken.
pub(super) struct Taken {
    pub listeners: Listeners,
    /// Each as the ready line names it.
    pub names: Vec<String>,
    /// Whether one of them is reached over the network.
    pub tcp: bool,
}

/// Takes all of them, or none.
pub(super) async fn take(configuration: &Configuration) -> Result<Taken> {
    let mut taken: Option<Listeners> = None;
    let (mut names, mut tcp) = (Vec::new(), false);
    for address in &configuration.addresses {
        let found = match unix_path(address) {
            _ if address == SYSTEMD => systemd::sockets()?,
            Some(path) => {
                let name = format!("unix:{}", path.display());
                let socket = UnixListener::bind(path, configuration.unix_mode).await;
                let socket = socket.with_context(|| format!("cannot listen on {name}"))?;
                vec![(socket.into(), name)]
            }
            None => {
                let socket = process::listen(address).await?;
                let addr = socket.local_addr().context("asking for the address")?;
                vec![(socket.into(), addr.to_string())]
            }
        };
        for (next, name) in found {
            tcp |= unix_path(&name).is_none();
            names.push(name);
            taken = Some(match taken {
                None => next,
                Some(taken) => taken.and(next),
            });
        }
    }
    Ok(Taken {
        listeners: taken.context("no address to listen on")?,
        names,
        tcp,
    })
}
