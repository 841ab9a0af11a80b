//! The services of one plugin, and which method the host means.
//!
//! Made once per instance by [`crate::export!`]; called by the ABI's entry points. Invariant: a
//! method's id is its position in the methods of all services one after the other, so that
//! nothing has to be stored to find it again.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::service::wrong_method;
use crate::{Context, Incoming, Outgoing, Service, Status};

/// All services of a plugin.
pub struct Plugin {
    services: Vec<Box<dyn Service>>,
    request_bytes_max: u32,
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

/// What the ABI's entry points ask; natively only the tests do.
#[cfg(any(target_arch = "wasm32", test))]
impl Plugin {
    pub(crate) fn services(&self) -> impl ExactSizeIterator<Item = &dyn Service> {
        self.services.iter().map(|service| &**service)
    }

    pub(crate) fn request_bytes_max(&self) -> u32 {
        self.request_bytes_max
    }

    /// The descriptor sets of all services as one: protobuf merges concatenated messages, and a
    /// set is one repeated field. A set that several services share goes in once.
    pub(crate) fn file_descriptor_set(&self) -> Option<Vec<u8>> {
        let mut sets: Vec<&'static [u8]> = Vec::new();
        for set in self
            .services
            .iter()
            .filter_map(|service| service.file_descriptor_set())
        {
            if !sets.contains(&set) {
                sets.push(set);
            }
        }
        (!sets.is_empty()).then(|| sets.concat())
    }

    pub(crate) fn unary(
        &self,
        id: u32,
        context: &Context,
        request: Vec<u8>,
    ) -> Result<Vec<u8>, Status> {
        let (service, method) = self.find(id)?;
        service.unary(method, context, request)
    }

    pub(crate) fn stream(
        &self,
        id: u32,
        context: &Context,
        incoming: Incoming,
        outgoing: Outgoing,
    ) -> Result<(), Status> {
        let (service, method) = self.find(id)?;
        service.stream(method, context, incoming, outgoing)
    }

    fn find(&self, id: u32) -> Result<(&dyn Service, usize), Status> {
        let mut method = id as usize;
        let (last, others) = self.services.split_last().ok_or_else(wrong_method)?;
        for service in others {
            let count = service.method_count();
            if method < count {
                return Ok((&**service, method));
            }
            method -= count;
        }
        // Not counted: with one service, the usual case, an id is an index at once.
        Ok((&**last, method))
    }
}
