//! Exclusive use of an instance. Dropping a lease is the only way an instance comes back.
//!
//! Made by `pool` only. Whether the instance is lent again is decided from what it says of itself
//! ([`super::Item::usage`]): one in which a call was cut short says that it is not clean.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::policy::Want;
use super::{Pool, Source};

/// One instance, lent to one call.
#[derive(Debug)]
pub(crate) struct Lease<S: Source> {
    /// None once dissolved.
    pool: Option<Arc<Pool<S>>>,
    want: Want,
    /// None until the instance is made.
    item: Option<S::Item>,
}

impl<S: Source> Lease<S> {
    pub(super) fn new(pool: Arc<Pool<S>>, want: Want, item: Option<S::Item>) -> Self {
        Self {
            pool: Some(pool),
            want,
            item,
        }
    }

    pub(super) fn has_item(&self) -> bool {
        self.item.is_some()
    }

    pub(super) fn fill(&mut self, item: S::Item) {
        self.item = Some(item);
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
            pool.take_back(self.want, self.item.take());
        }
    }
}
