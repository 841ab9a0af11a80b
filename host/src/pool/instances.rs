//! Pools of plugin instances: what `pool` asks for in general, answered by `guest`.

use std::sync::Arc;

use super::{Item, Outcome, Pool, Source, Usage};
use crate::error::CallError;
use crate::guest::{Component, Ended, Instance};
use crate::telemetry::{Metric, PoolNumbers, Pooled};

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
            overrun: self.overrun(),
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

impl Pooled for Pool<Component> {
    fn plugin(&self) -> &Arc<str> {
        self.source().name()
    }

    fn numbers(&self, out: &mut PoolNumbers) {
        self.count_in(out);
        let (component, count) = (self.source(), |size| {
            u64::try_from(size).unwrap_or(u64::MAX)
        });
        out.add(Metric::PluginMemory, count(component.memory_bytes()));
        let lines = component.log_lines();
        out.add(Metric::PluginLines, lines.written);
        out.add(Metric::PluginLinesDropped, lines.left_out);
    }
}
