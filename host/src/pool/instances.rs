//! Pools of plugin instances: what `pool` asks for in general, answered by `guest`.

use super::{Item, Source, Usage};
use crate::error::CallError;
use crate::guest::{Component, Instance};

impl Source for Component {
    type Item = Instance;

    async fn make(&self) -> Result<Instance, CallError> {
        self.instantiate().await
    }
}

impl Item for Instance {
    fn usage(&self) -> Usage {
        Usage {
            calls: self.calls(),
            age: self.age(),
            memory_bytes: self.memory_bytes(),
            clean: self.is_clean(),
        }
    }
}
