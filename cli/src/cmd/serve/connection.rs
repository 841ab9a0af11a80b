//! What the command line says of connections, as the host wants it.
//!
//! Called by `cmd::serve`. Values are checked by `switchboard-host`.

use switchboard_host::{ConfigError, HostConfig};

use super::{bytes, set};
use crate::args::{Connections, Limit};

/// Puts the typed flags into the configuration.
///
/// # Errors
/// When a size is more than this machine can count.
pub(super) fn apply(args: &Connections, config: &mut HostConfig) -> Result<(), ConfigError> {
    let connection = &mut config.connection;
    connection.connections_per_peer_max = args.connections_per_peer_max;
    let limit = |typed: Option<Limit>| typed.map(|Limit(time)| time);
    set(&mut connection.handshake_timeout, args.handshake_timeout);
    set(
        &mut connection.first_request_timeout,
        limit(args.first_request_timeout),
    );
    set(&mut connection.idle_timeout, limit(args.idle_timeout));
    set(&mut connection.keepalive_interval, args.keepalive_time);
    set(&mut connection.keepalive_timeout, args.keepalive_timeout);
    set(&mut connection.send_stall_timeout, args.send_stall_timeout);
    connection.keepalive_without_calls = !args.keepalive_only_with_calls;
    set(&mut connection.pings.interval_min, args.ping_interval_min);
    connection.pings.without_calls = !args.ping_only_with_calls;
    set(&mut connection.age_max, limit(args.connection_age_max));
    set(&mut connection.age_grace, args.connection_age_grace);
    // What does not fit is larger than is allowed, and the check says so.
    let header_list = args.header_list_max.map(|size| size.as_u64());
    connection.header_list_bytes_max =
        header_list.map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX));
    let http1 = &mut config.http1;
    set(&mut http1.head_timeout, args.http1_head_timeout);
    set(&mut http1.stall_timeout, args.http1_stall_timeout);
    set(
        &mut http1.head_bytes_max,
        args.http1_head_max.map(bytes).transpose()?,
    );
    set(&mut http1.headers_max, args.http1_headers_max);
    Ok(())
}
