//! Pools of plugin instances: what `pool` asks for in general, answered by `guest`.

use super::{Item, Outcome, Source, Usage};
use crate::error::CallError;
use crate::guest::{Component, Ended, Instance};

impl Source for Component {
    /// In a box: an instance passes through the lease and the pool at every call.
    type Item = Box<Instance>;

    fn label(&self) -> &str {
        self.name()
    }

    async fn make(&self) -> Result<Box<Instance>, CallError> {
        self.instantiate().await.map(Box::new)
    }
}

impl Item for Box<Instance> {
    fn usage(&self) -> Usage {
        Usage {
            calls: self.calls(),
            age: self.age(),
            memory_bytes: self.memory_bytes(),
            clean: self.is_clean(),
        }
    }

    fn take_outcome(&mut self) -> Outcome {
        match self.take_ended() {
            None => Outcome::None,
            Some(Ended::Answered) => Outcome::Good,
            Some(Ended::Failed) => Outcome::Fault,
        }
    }
}
