//! One version of a plugin, as the calls that run on it know it.
//!
//! Made by `host` when a plugin is loaded, held by the endpoints of the route table and so by every call.
//! Once another version took its place nobody new finds it; it is gone when the last call that holds it
//! has ended. Invariant: its pool lives at least as long as its calls.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use tokio_util::sync::{CancellationToken, DropGuard};

use crate::guest::Component;
use crate::pool::Pool;

/// What calls of one version share.
pub(crate) struct Version {
    pool: Arc<Pool<Component>>,
    cut: CancellationToken,
    _gone: DropGuard,
}

/// How the end of a version is seen, and brought about, from outside. Does not keep it alive.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    /// Cancels the calls that still run on it.
    pub cut: CancellationToken,
    /// Cancelled once no call and no table holds it.
    pub gone: CancellationToken,
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Version")
            .field(self.source().name())
            .finish()
    }
}

impl Version {
    /// The version whose instances are in `pool`.
    pub(crate) fn new(pool: Arc<Pool<Component>>) -> (Arc<Self>, Ending) {
        let ending = Ending {
            cut: CancellationToken::new(),
            gone: CancellationToken::new(),
        };
        let version = Self {
            pool,
            cut: ending.cut.clone(),
            _gone: ending.gone.clone().drop_guard(),
        };
        (Arc::new(version), ending)
    }

    /// Waits until its calls may run no longer.
    ///
    /// # Cancel safety
    /// Begins anew.
    pub(super) async fn cut(&self) {
        self.cut.cancelled().await;
    }
}

impl Deref for Version {
    type Target = Arc<Pool<Component>>;

    fn deref(&self) -> &Arc<Pool<Component>> {
        &self.pool
    }
}
