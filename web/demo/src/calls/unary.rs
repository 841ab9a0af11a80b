//! Unary calls: `SayHello` and `Add`. Their round trips go into the chart.

use std::future::Future;
use std::rc::Rc;

use tonic::{Response, Status};

use crate::card::{Begin, Card};
use crate::dom;
use crate::log::{Kind, Log};
use crate::page::Page;
use crate::proto::helloworld::HelloRequest;
use crate::proto::helloworld::greeter_client::GreeterClient;
use crate::proto::testservice::test_service_client::TestServiceClient;
use crate::proto::testservice::{AddRequest, Number};

pub(super) fn hello(page: &Rc<Page>) {
    let page = Rc::clone(page);
    Card::new("hello", Begin::Always("hello-call"), &[]).on_call(move |card| {
        let page = Rc::clone(&page);
        let name = dom::input("hello-name").value();
        dom::spawn(async move {
            card.log.add(Kind::Sent, &name, None);
            let mut client = GreeterClient::new(page.channel());
            let call = client.say_hello(HelloRequest { name });
            let call = answered(&page, &card.log, call, |reply| reply.message);
            card.run(call, || None).await;
        });
    });
}

pub(super) fn add(page: &Rc<Page>) {
    let page = Rc::clone(page);
    Card::new("add", Begin::Always("add-call"), &[]).on_call(move |card| {
        let page = Rc::clone(&page);
        let (Some(a), Some(b)) = (card.number("add-a"), card.number("add-b")) else {
            return;
        };
        dom::spawn(async move {
            card.log.add(Kind::Sent, &format!("{a} and {b}"), None);
            let mut client = TestServiceClient::new(page.channel());
            let call = client.add(AddRequest { a, b });
            let text = |Number { value }| value.to_string();
            card.run(answered(&page, &card.log, call, text), || None)
                .await;
        });
    });
}

/// Waits for the answer, shows it and puts its time into the chart.
async fn answered<T>(
    page: &Page,
    log: &Log,
    call: impl Future<Output = Result<Response<T>, Status>>,
    text: impl FnOnce(T) -> String,
) -> Result<(), Status> {
    let begun = dom::now();
    let reply = call.await?.into_inner();
    page.chart.add(dom::micros_since(begun));
    log.add(Kind::Received, &text(reply), None);
    Ok(())
}
