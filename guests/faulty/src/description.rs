//! Faults that show when a plugin is loaded: `describe` that does not answer, or answers nonsense.
//!
//! Each is a component of its own, because one refusal would hide the others. The features choose
//! which, so all of this is compiled always.

use switchboard_guest::{
    Context, Incoming, MethodDescription, MethodKind, Outgoing, Service, Status,
};

/// Which fault the description has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Described {
    /// `describe` panics.
    Trap,
    /// `describe` never returns.
    Spin,
    /// `describe` takes all the memory it can get, then traps.
    Grow,
    /// Names that gRPC does not allow, and a method twice.
    Nonsense,
    /// A service that the plugin exports twice.
    Twice,
    /// A service that belongs to another plugin, `guests/greeter`.
    Clash,
    /// A service that belongs to the host.
    Health,
    /// A descriptor set that is none. The service itself is sound.
    Descriptors,
}

/// Bytes that no protobuf message begins with.
const NO_DESCRIPTORS: &[u8] = b"\xff\xff\xff\xff";

impl Service for Described {
    fn name(&self) -> &str {
        match self {
            Self::Nonsense => "not a name/",
            Self::Clash => "helloworld.Greeter",
            Self::Health => "grpc.health.v1.Health",
            Self::Twice => "faulty.Twice",
            Self::Trap | Self::Spin | Self::Grow | Self::Descriptors => "faulty.Described",
        }
    }

    fn methods(&self) -> Vec<MethodDescription> {
        let unary = |name| MethodDescription::new(name, MethodKind::Unary);
        match self {
            Self::Trap => panic!("faulty: panicked in describe, as asked"),
            #[expect(clippy::empty_loop, reason = "the fault that this component is about")]
            Self::Spin => loop {},
            Self::Grow => {
                crate::calls::take_all_memory();
                crate::calls::abort()
            }
            Self::Nonsense => vec![unary(""), unary("With/Slash"), unary("Same"), unary("Same")],
            Self::Clash => vec![unary("SayHello")],
            Self::Health => vec![unary("Check")],
            Self::Twice | Self::Descriptors => vec![unary("Name")],
        }
    }

    fn file_descriptor_set(&self) -> Option<&'static [u8]> {
        (*self == Self::Descriptors).then_some(NO_DESCRIPTORS)
    }

    fn unary(&self, _: usize, _: &Context, _: Vec<u8>) -> Result<Vec<u8>, Status> {
        Ok(self.name().as_bytes().to_vec())
    }

    fn stream(&self, _: usize, _: &Context, _: Incoming, _: Outgoing) -> Result<(), Status> {
        Err(Status::unimplemented("all methods are unary"))
    }
}

#[cfg(feature = "describe-trap")]
switchboard_guest::export!(Described::Trap);
#[cfg(feature = "describe-spin")]
switchboard_guest::export!(Described::Spin);
#[cfg(feature = "describe-grow")]
switchboard_guest::export!(Described::Grow);
#[cfg(feature = "describe-nonsense")]
switchboard_guest::export!(Described::Nonsense);
#[cfg(feature = "describe-twice")]
switchboard_guest::export!(Described::Twice, Described::Twice);
#[cfg(feature = "describe-clash")]
switchboard_guest::export!(Described::Clash);
#[cfg(feature = "describe-health")]
switchboard_guest::export!(Described::Health);
#[cfg(feature = "describe-descriptors")]
switchboard_guest::export!(Described::Descriptors);
