//! Unary calls: `SayHello` and `Add`. Their round trips go into the chart.

use std::future::Future;
use std::rc::Rc;

use tonic::{Response, Status};

use crate::card::Card;
use crate::dom;
use crate::log::{Kind, Log};
use crate::page::Page;
use crate::proto::helloworld::HelloRequest;
use crate::proto::helloworld::greeter_client::GreeterClient;
use crate::proto::testservice::AddRequest;
use crate::proto::testservice::test_service_client::TestServiceClient;

pub(super) fn hello(page: &Rc<Page>) {
    let (page, card) = (Rc::clone(page), Card::new("hello", &[], &["hello-call"]));
    dom::on("hello", "submit", move || {
        let (page, card) = (Rc::clone(&page), Rc::clone(&card));
        dom::spawn(async move {
            let name = dom::input("hello-name").value();
            card.log.add(Kind::Sent, &name, None);
            let mut client = GreeterClient::new(page.channel());
            let call = client.say_hello(HelloRequest { name });
            card.run(
                answered(&page, &card.log, call, |reply| reply.message),
                || None,
            )
            .await;
        });
    });
}

pub(super) fn add(page: &Rc<Page>) {
    let (page, card) = (Rc::clone(page), Card::new("add", &[], &["add-call"]));
    dom::on("add", "submit", move || {
        let (page, card) = (Rc::clone(&page), Rc::clone(&card));
        dom::spawn(async move {
            let (Some(a), Some(b)) = (card.number("add-a"), card.number("add-b")) else {
                return;
            };
            card.log.add(Kind::Sent, &format!("{a} and {b}"), None);
            let mut client = TestServiceClient::new(page.channel());
            let call = client.add(AddRequest { a, b });
            let text = |reply: crate::proto::testservice::Number| reply.value.to_string();
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
