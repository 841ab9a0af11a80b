//! The route table that is in force. Replaced as a whole by `host` when what is served changes; a call
//! finds its method in the one that was there when it began, and keeps what it found.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::route::Routes;

/// The table in force.
#[derive(Debug, Default)]
pub(crate) struct LiveRoutes(ArcSwap<Routes>);

impl LiveRoutes {
    /// The table for one look. Not to be held over a wait: it keeps what was replaced.
    pub(crate) fn load(&self) -> Guard<Arc<Routes>> {
        self.0.load()
    }

    /// Puts another in its place.
    pub(crate) fn store(&self, routes: Routes) {
        self.0.store(Arc::new(routes));
    }
}
