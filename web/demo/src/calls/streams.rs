//! Calls with streams: `Sum` sends one, `Count` receives one, `Running` does both at once.
//!
//! A stream that is sent is fed by a button: the first press begins the call, `Finish` ends the stream.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;

use futures_util::{Stream, stream};
use switchboard_client::Channel;
use tokio::sync::mpsc;

use crate::card::{Begin, Card};
use crate::dom;
use crate::log::Kind;
use crate::page::Page;
use crate::proto::testservice::test_service_client::TestServiceClient;
use crate::proto::testservice::{CountRequest, Number, Total};

/// Numbers that may wait until the connection takes them. Count: more than anybody clicks ahead.
const WAITING_MAX: usize = 64;

pub(super) fn sum(page: &Rc<Page>) {
    let card = Card::new(
        "sum",
        Begin::Always("sum-send"),
        &["sum-finish", "sum-cancel"],
    );
    fed(page, "sum", &card, call_sum);
}

async fn call_sum(channel: Channel, card: Rc<Card>, feed: Rc<Feed>) {
    let mut client = TestServiceClient::new(channel);
    let numbers = feed.open();
    let call = async {
        let total = client.sum(numbers).await?.into_inner();
        card.log.add(Kind::Received, &said(total), None);
        Ok(())
    };
    card.run(call, || None).await;
    feed.finish();
}

pub(super) fn running(page: &Rc<Page>) {
    let card = Card::new(
        "running",
        Begin::Always("running-send"),
        &["running-finish", "running-cancel"],
    );
    fed(page, "running", &card, call_running);
}

async fn call_running(channel: Channel, card: Rc<Card>, feed: Rc<Feed>) {
    let mut client = TestServiceClient::new(channel);
    let numbers = feed.open();
    let received = Cell::new(0);
    let call = async {
        let mut totals = client.running(numbers).await?.into_inner();
        while let Some(total) = totals.message().await? {
            received.set(received.get() + 1);
            card.log.add(Kind::Received, &said(total), feed.answered());
        }
        Ok(())
    };
    card.run(call, || Some(received.get())).await;
    feed.finish();
}

pub(super) fn count(page: &Rc<Page>) {
    let page = Rc::clone(page);
    let card = Card::new("count", Begin::Once("count-start"), &["count-cancel"]);
    card.on_cancel("count-cancel");
    card.on_call(move |card| {
        let page = Rc::clone(&page);
        let (Some(to), Some(pause_ms)) = (card.number("count-to"), card.number("count-pause"))
        else {
            return;
        };
        dom::spawn(async move {
            let mut client = TestServiceClient::new(page.channel());
            card.log.add(Kind::Sent, &format!("1 to {to}"), None);
            let received = Cell::new(0);
            let request = CountRequest {
                from: 1,
                to,
                pause_ms,
            };
            let call = async {
                let mut numbers = client.count(request).await?.into_inner();
                while let Some(Number { value }) = numbers.message().await? {
                    received.set(received.get() + 1);
                    card.log.add(Kind::Received, &value.to_string(), None);
                }
                Ok(())
            };
            card.run(call, || Some(received.get())).await;
        });
    });
}

/// Makes the buttons of a card feed a stream; `call` makes the call and reads what comes of it.
fn fed<F>(
    page: &Rc<Page>,
    name: &'static str,
    card: &Rc<Card>,
    call: impl Fn(Channel, Rc<Card>, Rc<Feed>) -> F + 'static,
) where
    F: Future<Output = ()> + 'static,
{
    let (page, card, feed) = (Rc::clone(page), Rc::clone(card), Rc::new(Feed::default()));
    let id = |part: &str| format!("{name}-{part}");
    let (finished, value) = (Rc::clone(&feed), id("value"));
    dom::on(&id("finish"), "click", move || finished.finish());
    card.on_cancel(&id("cancel"));
    dom::on(name, "submit", move || {
        let Some(value) = card.number(&value) else {
            return;
        };
        if !card.is_calling() {
            feed.finish();
            dom::spawn(call(page.channel(), Rc::clone(&card), Rc::clone(&feed)));
        }
        let (card, feed) = (Rc::clone(&card), Rc::clone(&feed));
        // After the call has begun, if it begins with this number.
        dom::spawn(async move {
            if feed.send(value) {
                card.log.add(Kind::Sent, &value.to_string(), None);
            } else {
                let text = "not sent: the stream takes no more numbers";
                card.log.add(Kind::Note, text, None);
            }
        });
    });
}

fn said(total: Total) -> String {
    let plural = if total.count == 1 { "" } else { "s" };
    format!("{} number{plural}, total {}", total.count, total.total)
}

/// What a card sends in the call that runs.
#[derive(Default)]
struct Feed {
    sender: RefCell<Option<mpsc::Sender<Number>>>,
    /// When the numbers were sent that have no answer yet.
    sent_at: RefCell<VecDeque<f64>>,
}

impl Feed {
    /// The stream of a call that begins now.
    fn open(&self) -> Pin<Box<dyn Stream<Item = Number> + Send>> {
        let (sender, mut receiver) = mpsc::channel(WAITING_MAX);
        self.sender.replace(Some(sender));
        self.sent_at.borrow_mut().clear();
        Box::pin(stream::poll_fn(move |cx| receiver.poll_recv(cx)))
    }

    /// Sends a number; false if nobody takes it.
    fn send(&self, value: i64) -> bool {
        let sender = self.sender.borrow();
        let sent = sender
            .as_ref()
            .map(|sender| sender.try_send(Number { value }));
        let sent = matches!(sent, Some(Ok(())));
        if sent {
            self.sent_at.borrow_mut().push_back(dom::now());
        }
        sent
    }

    /// How long the answer took that came now.
    fn answered(&self) -> Option<u32> {
        let sent_at = self.sent_at.borrow_mut().pop_front()?;
        Some(dom::micros_since(sent_at))
    }

    /// Ends the stream.
    fn finish(&self) {
        self.sender.replace(None);
    }
}
