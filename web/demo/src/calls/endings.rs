//! Calls that do not end well: `Sleep` with a deadline and a button, `Fail` with a status.

use std::rc::Rc;
use std::time::Duration;

use tonic::{Request, Status};

use crate::card::{Begin, Card};
use crate::dom;
use crate::log::Kind;
use crate::page::Page;
use crate::proto::testservice::probe_client::ProbeClient;
use crate::proto::testservice::{Failure, SleepRequest};

pub(super) fn deadline(page: &Rc<Page>) {
    let page = Rc::clone(page);
    let card = Card::new(
        "deadline",
        Begin::Once("deadline-call"),
        &["deadline-cancel"],
    );
    card.on_cancel("deadline-cancel");
    card.on_call(move |card| {
        let page = Rc::clone(&page);
        let Some(duration_ms) = card.number("deadline-work") else {
            return;
        };
        let mut request = Request::new(SleepRequest { duration_ms });
        let mut sent = format!("sleep {duration_ms} ms");
        if dom::input("deadline-limit").value().is_empty() {
            sent += ", no deadline";
        } else {
            let Some(limit_ms) = card.number("deadline-limit") else {
                return;
            };
            request.set_timeout(Duration::from_millis(limit_ms));
            sent += &format!(", deadline {limit_ms} ms");
        }
        dom::spawn(async move {
            let mut client = ProbeClient::new(page.channel());
            card.log.add(Kind::Sent, &sent, None);
            let call = async {
                client.sleep(request).await?;
                card.log.add(Kind::Received, "awake again", None);
                Ok(())
            };
            card.run(call, || None).await;
        });
    });
}

pub(super) fn fail(page: &Rc<Page>) {
    let page = Rc::clone(page);
    Card::new("fail", Begin::Always("fail-call"), &[]).on_call(move |card| {
        let page = Rc::clone(&page);
        let Some(code) = card.number("fail-code") else {
            return;
        };
        let failure = Failure {
            code,
            message: dom::input("fail-text").value(),
            ..Failure::default()
        };
        dom::spawn(async move {
            let mut client = ProbeClient::new(page.channel());
            let call = async {
                client.fail(failure).await?;
                Err(Status::internal("the plugin did not do as it was asked"))
            };
            card.run(call, || None).await;
        });
    });
}
