//! What the command line says of quarantine, as the host wants it. Called by `cmd::serve`; values are
//! checked by `switchboard-host`.

use switchboard_host::QuarantineConfig;

use super::set;
use crate::args;

/// The typed flags as a configuration; none if no plugin is ever to be left alone.
pub(super) fn config(args: &args::Quarantine) -> Option<QuarantineConfig> {
    if args.quarantine_off {
        return None;
    }
    let mut config = QuarantineConfig::default();
    set(&mut config.faults_max, args.quarantine_faults);
    set(&mut config.window, args.quarantine_window);
    set(&mut config.backoff_min, args.quarantine_min);
    set(&mut config.backoff_max, args.quarantine_max);
    Some(config)
}
