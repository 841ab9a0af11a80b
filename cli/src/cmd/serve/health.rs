//! What the command line says of health and reflection, as the host wants it. Called by `cmd::serve`; values
//! are checked by `switchboard-host`.

use switchboard_host::{ConfigError, HealthConfig, HostConfig, ReflectionConfig};

use super::{bytes, set};
use crate::args;

/// Puts the typed flags into a configuration.
pub(super) fn config(args: &args::Health, config: &mut HostConfig) -> Result<(), ConfigError> {
    let mut health = HealthConfig::default();
    set(&mut health.watches_max, args.health_watches_max);
    config.health = (!args.health_off).then_some(health);
    let mut reflection = ReflectionConfig::default();
    let set_bytes_max = args.reflection_set_max.map(bytes).transpose()?;
    set(&mut reflection.set_bytes_max, set_bytes_max);
    config.reflection = (!args.reflection_off).then_some(reflection);
    set(&mut config.drain_notice, args.drain_notice);
    Ok(())
}
