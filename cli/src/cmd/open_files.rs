//! How many files the process may have open: as many as the system lets it, and a word if they are too few.
//!
//! Called by `serve` before it accepts. A shell or service manager keeps the limit low (1024, most often) for
//! programs that use select(2), and lets each raise it up to a hard limit; this one polls with epoll, and each
//! connection is a file. Invariant: the hard limit is never touched.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files beside connections: an idle host has 14 open, and reading plugins and certificates takes a few.
const OTHERS: u64 = 32;

/// Raises the limit as far as it goes, and warns if so many connections are more than that.
pub(super) fn provide(connections: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let most = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit on open files stays as it was");
            current
        }
    };
    if let Some(files_max) = most
        && files_max < connections.saturating_add(OTHERS)
    {
        tracing::warn!(
            files_max,
            connections_max = connections,
            "fewer files may be open than connections: raise the hard limit (ulimit -Hn, LimitNOFILE= in \
             systemd), or lower --connections-max"
        );
    }
}
