//! Single layers of the way of a call, for the rungs of the ladder in `benches`.
//!
//! **No API**: behind the feature `ladder`, which only `benches` switches on, and only for its criterion benches;
//! nothing here is promised to anybody. Called by `benches/benches`. Invariant: no layer is copied or imitated
//! here, or a rung would say what a copy costs: every function calls what serves, as `grpc` calls it.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::CallError;
use crate::grpc::{Backend, Decoder, Endpoint};
use crate::guest::Component;
use crate::host::Host;
use crate::imports::call::Exchange;
use crate::pool::Lease;
use crate::status::Status;

/// Cuts the bytes of a request into messages.
#[derive(Debug)]
pub struct Cutter(Decoder);

impl Cutter {
    /// For messages of at most `bytes_max`, none compressed.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self(Decoder::new(bytes_max, false))
    }

    /// Takes the next bytes. Only when [`Cutter::message`] has answered none.
    pub fn push(&mut self, chunk: Bytes) {
        self.0.push(chunk);
    }

    /// The next whole message, if it is here.
    ///
    /// # Errors
    /// As for a request that is malformed or has too large a message.
    pub fn message(&mut self) -> Result<Option<Bytes>, CallError> {
        Ok(self.0.message()?.map(|message| message.bytes))
    }
}

/// A method that was found.
#[derive(Clone, Debug)]
pub struct Found(Arc<Endpoint>);

/// Looks a path up in the route table that a host has in force.
#[must_use]
pub fn find(host: &Host, path: &str) -> Option<Found> {
    host.routes().load().find(path).map(Arc::clone).map(Found)
}

impl Found {
    /// What the backend knows it by.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id
    }

    /// Takes an instance for one call from its plugin's pool.
    ///
    /// # Errors
    /// As the pool's; [`CallError::UnknownMethod`] for a native service, which has no instances.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line.
    pub async fn lease(&self) -> Result<Lent, CallError> {
        let Backend::Plugin(version) = &self.0.backend else {
            return Err(CallError::UnknownMethod(self.0.path.to_string()));
        };
        let lease = version.lease(self.0.want).await?;
        Ok(Lent {
            lease,
            method: self.0.id,
        })
    }
}

/// An instance that is lent; dropping it gives it back.
#[derive(Debug)]
pub struct Lent {
    lease: Lease<Component>,
    method: u32,
}

impl Lent {
    /// Has the guest serve the unary method that the instance was lent for.
    ///
    /// # Errors
    /// As a call of that method.
    ///
    /// # Cancel safety
    /// Dropping the future ends the guest where it stands; the instance is not lent again then.
    pub async fn unary(
        &mut self,
        exchange: Arc<dyn Exchange>,
        request: &[u8],
    ) -> Result<Result<Vec<u8>, Status>, CallError> {
        self.lease.unary(exchange, self.method, request).await
    }
}
