//! The project's test services: `testservice.TestService` has one method of each kind, with sums and
//! counts that a test can compute by itself; `testservice.Probe` shows what a call looks like from
//! inside the plugin, and ends calls in unusual ways.
//!
//! Two services of one `.proto` in one plugin: see `export!` below. What each method promises is
//! written in `proto/testservice/testservice.proto`. A plugin can do worse than this one:
//! `guests/faulty`.

mod probe;

/// Messages and services of `proto/testservice/testservice.proto`.
pub mod testservice {
    switchboard_guest::include_proto!("testservice");
}

use switchboard_guest::{Request, Response, Sender, Status, Streaming};
use testservice::probe_server::ProbeServer;
use testservice::test_service_server::{TestService, TestServiceServer};
use testservice::{AddRequest, CountRequest, Number, Total};

pub use probe::Prober;

/// The four kinds, computed without state.
#[derive(Debug)]
pub struct Arithmetic;

impl TestService for Arithmetic {
    fn add(&self, request: Request<AddRequest>) -> Result<Response<Number>, Status> {
        let AddRequest { a, b } = request.into_inner();
        let value = a.checked_add(b).ok_or_else(too_large)?;
        Ok(Response::new(Number { value }))
    }

    fn sum(&self, request: Request<Streaming<Number>>) -> Result<Response<Total>, Status> {
        let mut sum = Total::default();
        for number in request.into_inner() {
            count(&mut sum, number?.value)?;
        }
        Ok(Response::new(sum))
    }

    fn count(&self, request: Request<CountRequest>, replies: Sender<Number>) -> Result<(), Status> {
        let CountRequest { from, to, pause_ms } = request.into_inner();
        for value in from..=to {
            probe::pause(pause_ms);
            replies.send(Number { value })?;
        }
        Ok(())
    }

    fn running(
        &self,
        request: Request<Streaming<Number>>,
        replies: Sender<Total>,
    ) -> Result<(), Status> {
        let mut sum = Total::default();
        for number in request.into_inner() {
            count(&mut sum, number?.value)?;
            replies.send(sum)?;
        }
        Ok(())
    }
}

/// Adds one number to the sum.
fn count(sum: &mut Total, value: i64) -> Result<(), Status> {
    sum.count += 1;
    sum.total = sum.total.checked_add(value).ok_or_else(too_large)?;
    Ok(())
}

fn too_large() -> Status {
    Status::out_of_range("the sum does not fit into 64 bits")
}

switchboard_guest::export!(
    TestServiceServer::new(Arithmetic),
    ProbeServer::new(Prober::default()),
);

#[cfg(test)]
mod tests;
