//! What the command line says of the tunnel, as the host wants it; the file of tokens is read here.
//!
//! Called by `cmd::serve`. Values are checked by `switchboard-host`. No error holds what the file holds.

use anyhow::{Context, Result};
use switchboard_host::{ConfigError, DrainClose, StaticTokens, TunnelConfig};

use super::set;
use crate::args;

/// The typed flags as a configuration; none if there is to be no tunnel.
pub(super) fn config(args: &args::Tunnel) -> Option<TunnelConfig> {
    if args.tunnel_off {
        return None;
    }
    let mut config = TunnelConfig::default();
    set(&mut config.path, args.tunnel_path.clone());
    if !args.tunnel_origin.is_empty() {
        config.origins.clone_from(&args.tunnel_origin);
    }
    config.cookie.clone_from(&args.tunnel_cookie);
    set(&mut config.tunnels_max, args.tunnels_max);
    set(&mut config.tunnels_per_peer_max, args.tunnels_per_peer_max);
    set(&mut config.calls_max, args.tunnel_calls_max);
    set(&mut config.ping_interval, args.tunnel_ping);
    set(&mut config.dead_after, args.tunnel_dead_after);
    set(&mut config.idle_timeout, args.tunnel_idle.map(Some));
    set(&mut config.close_timeout, args.tunnel_close_timeout);
    set(
        &mut config.frame_bytes_max,
        args.tunnel_frame_max.map(|size| size.as_u64()),
    );
    config.drain_close = match args.tunnel_drain_close {
        args::DrainClose::GoingAway => DrainClose::GoingAway,
        args::DrainClose::Restart => DrainClose::Restart,
    };
    Some(config)
}

/// The tokens in the file that the flags name, if they name one.
pub(super) fn tokens(args: &args::Tunnel) -> Result<Option<StaticTokens>> {
    let Some(path) = &args.tunnel_tokens else {
        return Ok(None);
    };
    let name = format!("--tunnel-tokens {}", path.display());
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {name}"))?;
    // The cause would hold a part of the file.
    let text =
        String::from_utf8(bytes).map_err(|_| ConfigError(vec![format!("{name} is not text")]))?;
    let tokens = StaticTokens::parse(&text).map_err(|ConfigError(faults)| {
        let named = faults.iter().map(|fault| format!("{name}: {fault}"));
        ConfigError(named.collect())
    })?;
    Ok(Some(tokens))
}
