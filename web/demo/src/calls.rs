//! The cards with calls in them, each with its listeners and what it sends.
//!
//! Started by `page`. Every call is one of a client that tonic generated, on the page's channel: nothing
//! here is special to browsers but the buttons.

mod endings;
mod streams;
mod unary;

use std::rc::Rc;

use crate::page::Page;

/// Makes every card listen.
pub(crate) fn start(page: &Rc<Page>) {
    unary::hello(page);
    unary::add(page);
    streams::sum(page);
    streams::count(page);
    streams::running(page);
    endings::deadline(page);
    endings::fail(page);
}
