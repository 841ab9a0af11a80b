//! Exclusive use of an instance. Dropping a lease is the only way an instance comes back.
//!
//! Made by `pool` only. Whether the instance is lent again is decided from what it says of itself
//! ([`super::Item::usage`]): one in which a call was cut short says that it is not clean.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::policy::Want;
use super::quarantine::Pass;
use super::{Item, Outcome, Pool, Source};
use crate::error::CallError;

/// One instance, lent to one call.
#[derive(Debug)]
pub(crate) struct Lease<S: Source> {
    /// None once dissolved.
    pool: Option<Arc<Pool<S>>>,
    want: Want,
    /// What its call was let in as.
    pass: Pass,
    /// None until the instance is made.
    item: Option<S::Item>,
    /// How it ended, if there never was an instance to say so.
    outcome: Outcome,
}

impl<S: Source> Lease<S> {
    pub(super) fn new(pool: Arc<Pool<S>>, want: Want, pass: Pass, item: Option<S::Item>) -> Self {
        Self {
            pool: Some(pool),
            want,
            pass,
            item,
            outcome: Outcome::None,
        }
    }

    pub(super) fn has_item(&self) -> bool {
        self.item.is_some()
    }

    pub(super) fn fill(&mut self, item: S::Item) {
        self.item = Some(item);
    }

    /// Notes that no instance could be made.
    pub(super) fn failed(&mut self, error: &CallError) {
        self.outcome = Outcome::of_making(error);
    }

    /// Takes the lease apart without giving anything back.
    pub(super) fn dissolve(mut self) -> (Want, Option<S::Item>) {
        self.pool = None;
        (self.want, self.item.take())
    }
}

impl<S: Source> Deref for Lease<S> {
    type Target = S::Item;

    fn deref(&self) -> &S::Item {
        self.item
            .as_ref()
            .expect("`Pool::lease` fills a lease before it returns it")
    }
}

impl<S: Source> DerefMut for Lease<S> {
    fn deref_mut(&mut self) -> &mut S::Item {
        self.item
            .as_mut()
            .expect("`Pool::lease` fills a lease before it returns it")
    }
}

impl<S: Source> Drop for Lease<S> {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            let mut item = self.item.take();
            let outcome = item.as_mut().map_or(self.outcome, Item::take_outcome);
            pool.take_back(self.want, self.pass, outcome, item);
        }
    }
}
