//! Calls through a generic bridge to a gRPC server that knows nothing of tunnels.

use std::pin::Pin;

use serde_json::json;
use switchboard_web_tests::peers;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::tab::{Tab, assert_ended};
use proto::helloworld::greeter_server::{Greeter, GreeterServer};
use proto::helloworld::{HelloReply, HelloRequest};
use proto::testservice::test_service_server::{TestService, TestServiceServer};
use proto::testservice::{AddRequest, CountRequest, Number, Total};

#[allow(
    clippy::allow_attributes_without_reason,
    unnameable_types,
    unreachable_pub,
    unused_qualifications,
    reason = "generated"
)]
mod proto {
    pub(crate) mod helloworld {
        tonic::include_proto!("helloworld");
    }
    pub(crate) mod testservice {
        tonic::include_proto!("testservice");
    }
}

/// A stock server of both services.
#[derive(Debug)]
struct Stock;

#[tonic::async_trait]
impl Greeter for Stock {
    async fn say_hello(
        &self,
        request: Request<HelloRequest>,
    ) -> Result<Response<HelloReply>, Status> {
        let message = format!("Hello {}", request.get_ref().name);
        Ok(Response::new(HelloReply { message }))
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl TestService for Stock {
    type CountStream = Answers<Number>;
    type RunningStream = Answers<Total>;

    async fn add(&self, request: Request<AddRequest>) -> Result<Response<Number>, Status> {
        let AddRequest { a, b } = *request.get_ref();
        let sum = a.checked_add(b).filter(|sum| *sum < 1_000_000);
        let value = sum.ok_or_else(|| Status::out_of_range("zu groß"))?;
        Ok(Response::new(Number { value }))
    }

    async fn sum(&self, request: Request<Streaming<Number>>) -> Result<Response<Total>, Status> {
        let mut totals = totals(request.into_inner());
        let mut last = Total::default();
        while let Some(total) = totals.next().await {
            last = total?;
        }
        Ok(Response::new(last))
    }

    async fn count(
        &self,
        request: Request<CountRequest>,
    ) -> Result<Response<Self::CountStream>, Status> {
        let CountRequest { from, to, .. } = *request.get_ref();
        let numbers = (from..=to).map(|value| Ok(Number { value }));
        Ok(Response::new(Box::pin(tokio_stream::iter(numbers))))
    }

    async fn running(
        &self,
        request: Request<Streaming<Number>>,
    ) -> Result<Response<Self::RunningStream>, Status> {
        Ok(Response::new(Box::pin(totals(request.into_inner()))))
    }
}

fn totals(numbers: Streaming<Number>) -> impl Stream<Item = Result<Total, Status>> {
    let mut so_far = Total::default();
    numbers.map(move |number| {
        so_far.count += 1;
        so_far.total += number?.value;
        Ok(so_far)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn all_four_kinds_reach_a_stock_server_through_a_bridge() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("bound");
    let mut tasks = JoinSet::new();
    tasks.spawn(
        tonic::transport::Server::builder()
            .add_service(GreeterServer::new(Stock))
            .add_service(TestServiceServer::new(Stock))
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let bridge = peers::bridge(addr).await;
    let tab = Tab::open().await;
    // A bridge that agrees to whatever it is offered, and one that is offered nothing.
    for (name, offer) in [("offering", true), ("plain", false)] {
        let options = json!({ "subprotocol": offer });
        tab.open_channel(name, &bridge.url(), &options).await;
        let run = |scenario, arguments| tab.page.run(scenario, arguments);
        assert_eq!(run("greet", json!([name, "you"])).await, "Hello you");
        assert_eq!(run("add", json!([name, 1, 2])).await, 3);
        let outcome = run("add", json!([name, 999_999, 1])).await;
        assert_ended(&outcome, "OUT_OF_RANGE", &["zu groß"]);
        assert_eq!(run("sum", json!([name, [1, 2, 3]])).await, json!([3, 6]));
        let counted = run("count", json!([name, 1, 1000])).await;
        assert_ended(&counted["end"], "OK", &[]);
        assert_eq!(counted["messages"].as_array().map(Vec::len), Some(1000));
        let running = run("running", json!([name, [1, 2]])).await;
        assert_eq!(running["totals"], json!([[1, 1], [2, 3]]));
        assert_ended(&running["rest"]["end"], "OK", &[]);
        let outcome = run("call", json!([name, "/no.Service/Method"])).await;
        assert_ended(&outcome, "UNIMPLEMENTED", &[]);
    }
    tab.page.assert_no_errors();
}
