//! What the files share: a channel over each kind of transport, and short ways to say things.

use std::time::Duration;

use switchboard_client::transport::memory;
use switchboard_client::{Builder, Channel, Config, Event, Events, State, WaitForReady};
use switchboard_client_peer::bridge::Bridge;
use switchboard_client_peer::line::{Line, To};
use switchboard_client_peer::peer::peer_client::PeerClient;
use switchboard_client_peer::peer::{Answer, Ask};
use switchboard_client_peer::server::{Limits, Server};
use switchboard_client_peer::service::Counts;
use switchboard_client_peer::tunnel::TunnelDoor;
use tokio::sync::watch;
use tonic::{Code, Request, Status};

/// Nothing here takes as long, in real time or paused; beyond it a test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(120);

/// How bytes get to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Tcp,
    Memory,
    Tunnel,
    Bridge,
}

/// A channel and its server.
pub(crate) struct Rig {
    pub(crate) channel: Channel,
    pub(crate) server: Server,
}

impl Rig {
    pub(crate) async fn start(over: Over) -> Self {
        Self::start_with(over, Limits::default(), |_| {}).await
    }

    pub(crate) async fn start_with(
        over: Over,
        limits: Limits,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let (server, builder) = match over {
            Over::Tcp => {
                let (server, at) = Server::tcp(limits).await.expect("a port");
                (server, Channel::builder(&format!("http://{at}")))
            }
            Over::Memory => {
                let (connector, listener) = memory();
                let incoming = tokio_stream::StreamExt::map(listener, |io| {
                    io.map(|io| Box::new(io) as Box<_>)
                });
                let server = Server::start(incoming, limits);
                let builder = Channel::builder("http://memory.test").with_connector(connector);
                (server, builder)
            }
            Over::Tunnel => {
                let (server, feed) = Server::fed(limits);
                let door = TunnelDoor::start(feed).await.expect("a port");
                (server, Channel::builder(&door.url()))
            }
            Over::Bridge => {
                let (server, at) = Server::tcp(limits).await.expect("a port");
                let bridge = Bridge::start(at).await.expect("a port");
                (server, Channel::builder(&bridge.url()))
            }
        };
        let channel = builder.configure(change).build().expect("a channel");
        Self { channel, server }
    }

    pub(crate) fn client(&self) -> PeerClient<Channel> {
        PeerClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    pub(crate) fn counts(&self) -> watch::Receiver<Counts> {
        self.server.services.counts()
    }
}

/// A channel over a line that the test holds, with its server.
pub(crate) fn line() -> (Line, Server) {
    let (server, feed) = Server::fed(Limits::default());
    (Line::new(To::Server(feed)), server)
}

pub(crate) fn over(line: &Line) -> Builder {
    Channel::builder("http://line.test").with_connector(line.clone())
}

pub(crate) fn client(channel: &Channel) -> PeerClient<Channel> {
    PeerClient::new(channel.clone()).max_decoding_message_size(usize::MAX)
}

/// Asks for its payload back.
pub(crate) fn echo(payload: &[u8]) -> Ask {
    Ask {
        payload: payload.to_vec(),
        ..Ask::default()
    }
}

/// Asks for no answer at all.
pub(crate) fn hang() -> Ask {
    Ask {
        hang: true,
        ..Ask::default()
    }
}

/// A request with a deadline.
pub(crate) fn timed(ask: Ask, timeout: Duration) -> Request<Ask> {
    let mut request = Request::new(ask);
    request.set_timeout(timeout);
    request
}

/// A request that waits for a connection as long as it takes.
pub(crate) fn patient(ask: Ask) -> Request<Ask> {
    let mut request = Request::new(ask);
    request.extensions_mut().insert(WaitForReady(true));
    request
}

pub(crate) async fn call(channel: &Channel) -> Result<Answer, Status> {
    let answer = patiently(client(channel).unary(echo(b"hello"))).await;
    answer.map(tonic::Response::into_inner)
}

/// Waits, but not for ever.
pub(crate) async fn patiently<T>(future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, future).await;
    waited.unwrap_or_else(|_| panic!("waited for more than {PATIENCE:?}"))
}

/// The next event, or the one after it, that is asked for.
pub(crate) async fn event(events: &mut Events, wanted: impl Fn(&Event) -> bool) -> Event {
    patiently(async {
        loop {
            let event = events.next().await.expect("the channel lives");
            if wanted(&event) {
                return event;
            }
        }
    })
    .await
}

/// Every event that is there already.
pub(crate) fn events_so_far(events: &mut Events) -> Vec<Event> {
    use futures_util::FutureExt;
    std::iter::from_fn(|| events.next().now_or_never().flatten()).collect()
}

pub(crate) async fn state(channel: &Channel, wanted: State) {
    let mut states = channel.states();
    patiently(states.wait_for(|state| state == wanted))
        .await
        .expect("the channel lives");
}

pub(crate) async fn counted(
    counts: &mut watch::Receiver<Counts>,
    wanted: impl Fn(&Counts) -> bool,
) {
    patiently(counts.wait_for(|counts| wanted(counts)))
        .await
        .expect("the server lives");
}

#[track_caller]
pub(crate) fn assert_status(status: &Status, code: Code, text: &str) {
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(text), "{status}");
}
