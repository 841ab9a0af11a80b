//! The services of one plugin and its limits.
//!
//! Made once per instance by [`crate::export!`], at the first entry. What the host asks of it is
//! in `abi::dispatch`.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::Service;

/// All services of a plugin.
pub struct Plugin {
    pub(crate) services: Vec<Box<dyn Service>>,
    pub(crate) request_bytes_max: u32,
}

impl core::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list()
            .entries(self.services.iter().map(|service| service.name()))
            .finish()
    }
}

impl Plugin {
    /// A plugin with these services and the host's limits.
    pub fn new(services: Vec<Box<dyn Service>>) -> Self {
        Self {
            services,
            request_bytes_max: 0,
        }
    }

    /// The same plugin; it takes request messages up to this size. The host's own limit still
    /// holds.
    ///
    /// # Units
    /// Bytes; 0 means the host's default.
    #[must_use]
    pub fn max_request_message(mut self, bytes: u32) -> Self {
        self.request_bytes_max = bytes;
        self
    }
}
