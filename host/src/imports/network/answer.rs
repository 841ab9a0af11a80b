//! The addresses of a name, as a plugin takes them one after the other.
//!
//! Made by `imports::network`. A plugin may ask for the next one, or wait until there is one.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::vec;

use wasmtime_wasi::p2::Pollable;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress};

type Found = Result<Vec<IpAddr>, ErrorCode>;

/// Behind `wasi:sockets/ip-name-lookup.resolve-address-stream`.
pub(super) enum Answer {
    Awaited(Pin<Box<dyn Future<Output = Found> + Send>>),
    Here(Result<vec::IntoIter<IpAddr>, ErrorCode>),
}

impl Answer {
    /// One that is there already.
    pub(super) fn known(addresses: Vec<IpAddr>) -> Self {
        Self::Here(Ok(addresses.into_iter()))
    }

    /// One that has to come.
    pub(super) fn awaited(found: impl Future<Output = Found> + Send + 'static) -> Self {
        Self::Awaited(Box::pin(found))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Awaited(found) = self {
            let Poll::Ready(found) = found.as_mut().poll(cx) else {
                return Poll::Pending;
            };
            *self = Self::Here(found.map(Vec::into_iter));
        }
        Poll::Ready(())
    }

    /// The next address, none after the last.
    pub(super) fn next(&mut self) -> Result<Option<IpAddress>, ErrorCode> {
        let _whether_it_came = self.poll(&mut Context::from_waker(Waker::noop()));
        match self {
            Self::Awaited(_) => Err(ErrorCode::WouldBlock),
            Self::Here(Ok(addresses)) => Ok(addresses.next().map(IpAddress::from)),
            Self::Here(Err(error)) => Err(*error),
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Answer {
    async fn ready(&mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }
}
