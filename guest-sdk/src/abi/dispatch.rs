//! Which service and method the host means, and what all services say together.
//!
//! Called by `entry` and `lower`. Invariant: a method's id is its position in the methods of all
//! services one after the other, so that nothing has to be stored to find it again.

use alloc::vec::Vec;

use crate::service::wrong_method;
use crate::{Context, Incoming, Outgoing, Plugin, Service, Status};

impl Plugin {
    pub(super) fn services(&self) -> impl ExactSizeIterator<Item = &dyn Service> {
        self.services.iter().map(|service| &**service)
    }

    pub(super) fn request_bytes_max(&self) -> u32 {
        self.request_bytes_max
    }

    /// The descriptor sets of all services as one: protobuf merges concatenated messages, and a
    /// set is one repeated field. A set that several services share goes in once.
    pub(super) fn file_descriptor_set(&self) -> Option<Vec<u8>> {
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

    pub(super) fn unary(
        &self,
        id: u32,
        context: &Context,
        request: Vec<u8>,
    ) -> Result<Vec<u8>, Status> {
        let (service, method) = self.find(id)?;
        service.unary(method, context, request)
    }

    pub(super) fn stream(
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

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;

    use super::*;
    use crate::{ByteService, Code, Method, MethodDescription, testing};

    /// A service with a descriptor set, which byte services do not have.
    struct Described(ByteService, Option<&'static [u8]>);

    impl Service for Described {
        fn name(&self) -> &str {
            self.0.name()
        }
        fn methods(&self) -> Vec<MethodDescription> {
            self.0.methods()
        }
        fn file_descriptor_set(&self) -> Option<&'static [u8]> {
            self.1
        }
        fn unary(&self, method: usize, c: &Context, request: Vec<u8>) -> Result<Vec<u8>, Status> {
            self.0.unary(method, c, request)
        }
        fn stream(&self, m: usize, c: &Context, i: Incoming, o: Outgoing) -> Result<(), Status> {
            self.0.stream(m, c, i, o)
        }
    }

    const FIRST: ByteService = ByteService::new(
        "a.First",
        &[
            Method::unary("A", |_, _| Ok(Vec::from("first a"))),
            Method::unary("B", |_, _| Ok(Vec::from("first b"))),
        ],
    );
    const SECOND: ByteService = ByteService::new(
        "a.Second",
        &[
            Method::unary("A", |_, _| Ok(Vec::from("second a"))),
            Method::bidi("B", |_, _, _| Err(Status::aborted("second b"))),
        ],
    );

    fn plugin(sets: [Option<&'static [u8]>; 3]) -> Plugin {
        let [one, two, three] = sets;
        let third = ByteService::new("a.Third", &[]);
        Plugin::new(alloc::vec![
            Box::new(Described(FIRST, one)),
            Box::new(Described(SECOND, two)),
            Box::new(Described(third, three)),
        ])
    }

    #[test]
    fn ids_count_through_the_services() {
        let plugin = plugin([None; 3]);
        let context = testing::context();
        let unary = |id| plugin.unary(id, &context, Vec::new());
        assert_eq!(unary(0), Ok(Vec::from("first a")));
        assert_eq!(unary(1), Ok(Vec::from("first b")));
        assert_eq!(unary(2), Ok(Vec::from("second a")));
        for id in [3, 4, u32::MAX] {
            assert_eq!(
                unary(id).map_err(|status| status.code()),
                Err(Code::Unimplemented)
            );
        }
    }

    #[test]
    fn streams_reach_their_service() {
        let plugin = plugin([None; 3]);
        let context = testing::context();
        let stream = |id| {
            let call = testing::fake::Call::new(testing::fake::State::new(
                crate::MethodKind::BidiStreaming,
            ));
            plugin.stream(
                id,
                &context,
                Incoming::new(call.clone()),
                Outgoing::new(call),
            )
        };
        assert_eq!(stream(3), Err(Status::aborted("second b")));
        assert_eq!(
            stream(0).map_err(|status| status.code()),
            Err(Code::Unimplemented)
        );
    }

    #[test]
    fn descriptor_sets_are_joined_once_each() {
        assert_eq!(plugin([None; 3]).file_descriptor_set(), None);
        let shared: &'static [u8] = b"shared";
        let joined = plugin([Some(shared), Some(b"own"), Some(shared)]).file_descriptor_set();
        assert_eq!(joined.as_deref(), Some(&b"sharedown"[..]));
    }
}
