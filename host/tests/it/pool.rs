//! The pool through the whole host: who waits, who is refused with what, and when an instance goes.
//!
//! Instances are told apart by `Probe.Instance`: its id is the instance's own, and its count that of
//! the calls it has begun. An instance is kept busy by a sleep that only its caller's leaving ends.

use std::collections::{BTreeSet, HashSet};
use std::num::NonZeroU32;
use std::time::Duration;

use switchboard_host::{Mode, PoolConfig};
use switchboard_test_support::proto::testservice::probe_client::ProbeClient;
use switchboard_test_support::proto::testservice::{
    GrowRequest, InstanceRequest, InstanceResponse, Number, SleepRequest, WaitEvent,
};
use switchboard_test_support::{
    PATIENCE, RawClient, TestHost, eventually, frame, guest, patiently,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

const NAME: &str = "testservice";
const INSTANCE: &str = "/testservice.Probe/Instance";

/// Longer than any test waits.
const FOR_EVER_MS: u32 = 3_600_000;

type Answer = Result<InstanceResponse, Status>;

/// A host with one pool.
struct Pool {
    host: TestHost,
    probe: ProbeClient<Channel>,
}

/// A stream that is open until it is ended or dropped.
struct Open {
    requests: mpsc::Sender<Number>,
    events: Streaming<WaitEvent>,
}

impl Open {
    /// Ends it as a caller does who has no more to send.
    async fn end(self) {
        let Self {
            requests,
            mut events,
        } = self;
        drop(requests);
        while patiently("the stream ends", events.message())
            .await
            .expect("no error")
            .is_some()
        {}
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's own task")]
fn begin<T: Send + 'static>(call: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(call)
}

fn stores(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).expect("not zero")
}

impl Pool {
    async fn start(edit: impl FnOnce(&mut PoolConfig)) -> Self {
        let host = TestHost::start_with(NAME, |setup| edit(&mut setup.config.plugin.pool)).await;
        Self::of(host)
    }

    fn of(host: TestHost) -> Self {
        let probe = ProbeClient::new(host.channel());
        Self { host, probe }
    }

    async fn instance(&self) -> InstanceResponse {
        let mut probe = self.probe.clone();
        let answer = probe.instance(InstanceRequest {});
        patiently("an answer", answer)
            .await
            .expect("no error")
            .into_inner()
    }

    /// Keeps an instance busy until it is let go.
    async fn occupy(&self) -> JoinHandle<Answer> {
        let busy = self.host.stats(NAME).leased.unary + 1;
        let call = self.sleep(FOR_EVER_MS);
        eventually("an instance is busy", || {
            self.host.stats(NAME).leased.unary == busy
        })
        .await;
        call
    }

    /// Begins a call that sleeps; ending the task cancels the call.
    fn sleep(&self, duration_ms: u32) -> JoinHandle<Answer> {
        let mut probe = self.probe.clone();
        begin(async move {
            probe
                .sleep(SleepRequest { duration_ms })
                .await
                .map(tonic::Response::into_inner)
        })
    }

    /// Begins a call of `Instance` and waits until it stands in line.
    async fn queue(&self) -> JoinHandle<Answer> {
        let waiting = self.host.stats(NAME).waiting + 1;
        let mut probe = self.probe.clone();
        let call = begin(async move {
            probe
                .instance(InstanceRequest {})
                .await
                .map(tonic::Response::into_inner)
        });
        self.waiting(waiting).await;
        call
    }

    async fn waiting(&self, count: u32) {
        let what = format!("{count} calls wait");
        eventually(&what, || self.host.stats(NAME).waiting == count).await;
    }

    /// Opens a stream and waits until it runs.
    async fn open(&self) -> Result<Open, Status> {
        let (requests, numbers) = mpsc::channel(1);
        let mut probe = self.probe.clone();
        let call = probe.wait(ReceiverStream::new(numbers));
        let mut events = patiently("a stream", call).await?.into_inner();
        patiently("its first event", events.message())
            .await?
            .expect("an event");
        Ok(Open { requests, events })
    }
}

async fn answer_of(call: JoinHandle<Answer>) -> Answer {
    patiently("an answer", call).await.expect("no panic")
}

fn assert_refused(status: &Status, text: &str) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(status.message().contains(text), "{status:?}");
    let pushback = status.metadata().get("grpc-retry-pushback-ms");
    assert_eq!(pushback.expect("when to come back"), "100");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_line_refuses_at_once_and_says_when_to_come_back() {
    let pool = Pool::start(|pool| {
        pool.stores_max = stores(1);
        pool.waiting_max = 2;
        pool.wait_max = PATIENCE * 2;
    })
    .await;
    let busy = pool.occupy().await;
    let waiters = [pool.queue().await, pool.queue().await];
    let refused = answer_of(pool.sleep(0))
        .await
        .expect_err("the line is full");
    assert_refused(&refused, "2 calls wait already");
    assert_eq!(pool.host.stats(NAME).refused, 1);
    busy.abort();
    for waiter in waiters {
        answer_of(waiter).await.expect("its turn came");
    }
    assert_eq!(pool.host.stats(NAME).waiting, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_has_a_longest_time() {
    let pool = Pool::start(|pool| {
        pool.stores_max = stores(1);
        pool.wait_max = Duration::from_millis(50);
    })
    .await;
    let busy = pool.occupy().await;
    let refused = answer_of(pool.sleep(0))
        .await
        .expect_err("nothing became free");
    assert_refused(&refused, "no instance became free within 50ms");
    let stats = pool.host.stats(NAME);
    assert_eq!(
        (stats.gave_up, stats.waiting, stats.leased.unary),
        (1, 0, 1)
    );
    busy.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_never_outlives_the_deadline_of_its_caller() {
    let pool = Pool::start(|pool| {
        pool.stores_max = stores(1);
        pool.wait_max = PATIENCE * 2;
    })
    .await;
    let busy = pool.occupy().await;
    // Not by the stock client, which keeps a clock of its own.
    let head = RawClient::head(INSTANCE).header("grpc-timeout", "50m");
    let late = pool.host.raw().await.call(head, frame(b"")).await;
    assert_eq!(late.code(), 4, "DEADLINE_EXCEEDED");
    pool.waiting(0).await;
    busy.abort();
    assert_eq!(
        pool.instance().await.calls,
        1,
        "the late one never entered an instance"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_the_line_loses_nothing_for_the_others() {
    let pool = Pool::start(|pool| {
        pool.stores_max = stores(1);
        pool.wait_max = PATIENCE * 2;
    })
    .await;
    let busy = pool.occupy().await;
    let (leaves, stays) = (pool.queue().await, pool.queue().await);
    leaves.abort();
    pool.waiting(1).await;
    busy.abort();
    assert_eq!(answer_of(stays).await.expect("its turn").calls, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn first_come_first_served() {
    let pool = Pool::start(|pool| {
        pool.stores_max = stores(1);
        pool.wait_max = PATIENCE * 2;
    })
    .await;
    let busy = pool.occupy().await;
    let mut line = Vec::new();
    for _ in 0..5 {
        line.push(pool.queue().await);
    }
    busy.abort();
    for (place, waiter) in (1..).zip(line) {
        let answer = answer_of(waiter).await.expect("its turn");
        assert_eq!(answer.calls, place, "the instance counts its calls");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn priority_methods_have_instances_of_their_own_and_go_first() {
    let host = TestHost::start_with(NAME, |setup| {
        let plugin = &mut setup.config.plugin;
        plugin.priority_methods = BTreeSet::from([INSTANCE.to_owned()]);
        plugin.pool.stores_max = stores(2);
        plugin.pool.priority_stores = 1;
        plugin.pool.wait_max = PATIENCE * 2;
    })
    .await;
    let pool = Pool::of(host);
    let busy = pool.occupy().await;
    let normal = pool.sleep(0);
    pool.waiting(1).await;
    // The second instance is for priority alone.
    pool.instance().await;
    assert_eq!(pool.host.stats(NAME).waiting, 1);
    busy.abort();
    answer_of(normal).await.expect("its turn");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_priority_method_overtakes_the_line() {
    let host = TestHost::start_with(NAME, |setup| {
        let plugin = &mut setup.config.plugin;
        plugin.priority_methods = BTreeSet::from([INSTANCE.to_owned()]);
        plugin.pool.stores_max = stores(1);
        plugin.pool.wait_max = PATIENCE * 2;
    })
    .await;
    let pool = Pool::of(host);
    let busy = pool.occupy().await;
    let normal = pool.sleep(0);
    pool.waiting(1).await;
    let high = pool.queue().await;
    busy.abort();
    assert_eq!(
        answer_of(high).await.expect("its turn").calls,
        1,
        "came later, went first"
    );
    assert_eq!(answer_of(normal).await.expect("its turn").calls, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_unary_calls_do_not_take_each_others_place() {
    let pool = Pool::start(|pool| {
        pool.stores_max = stores(1);
        pool.streams_max = 1;
        pool.wait_max = Duration::from_millis(50);
    })
    .await;
    let open = pool.open().await.expect("a stream");
    pool.instance().await;
    let refused = pool.open().await.err().expect("one stream is all");
    assert_refused(&refused, "no instance became free");
    open.end().await;
    let busy = pool.occupy().await;
    let open = pool.open().await.expect("a stream beside a unary call");
    let stats = pool.host.stats(NAME);
    assert_eq!((stats.leased.unary, stats.leased.streams), (1, 1));
    busy.abort();
    open.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_serves_so_many_calls_and_no_more() {
    let pool = Pool::start(|pool| pool.calls_max = 3).await;
    let mut ids = Vec::new();
    for calls in [1, 2, 3, 1, 2, 3] {
        let answer = pool.instance().await;
        assert_eq!(answer.calls, calls);
        ids.push(answer.instance_id);
    }
    assert_eq!(ids[0], ids[2]);
    assert_ne!(ids[0], ids[3]);
    eventually("two have gone", || pool.host.stats(NAME).retired_calls == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_has_grown_is_retired() {
    let pool = Pool::start(|pool| pool.memory_retire_bytes = 8 << 20).await;
    let grow = async |size_bytes| {
        let grown = pool.probe.clone().grow(GrowRequest { size_bytes }).await;
        grown.expect("room").into_inner()
    };
    let small = grow(1 << 20).await;
    let large = grow(8 << 20).await;
    assert_eq!(small.instance_id, large.instance_id, "a little is nothing");
    let next = pool.instance().await;
    assert_ne!(next.instance_id, large.instance_id);
    assert_eq!((next.calls, next.kept_bytes), (1, 0));
    assert_eq!(pool.host.stats(NAME).retired_memory, 1);
}

/// What an instance has from its beginning does not make it one that has grown.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_larger_than_its_instances_may_grow_is_served_all_the_same() {
    let pool = Pool::start(|pool| pool.memory_retire_bytes = 1).await;
    let (first, second) = (pool.instance().await, pool.instance().await);
    assert_ne!(
        first.instance_id, second.instance_id,
        "each serves one call"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_old_is_retired() {
    let pool = Pool::start(|pool| pool.age_max = Duration::from_nanos(1)).await;
    let first = pool.instance().await;
    // The clock of ages moves every few milliseconds.
    let mut next = pool.instance().await;
    for _ in 0..100_000 {
        if next.instance_id != first.instance_id {
            break;
        }
        next = pool.instance().await;
    }
    assert_ne!(first.instance_id, next.instance_id);
    assert_eq!(next.calls, 1);
    assert!(pool.host.stats(NAME).retired_age >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_instance_that_is_old_is_replaced() {
    let pool = Pool::start(|pool| pool.age_max = Duration::from_millis(100)).await;
    eventually("an idle one is retired", || {
        let stats = pool.host.stats(NAME);
        stats.retired_age >= 1 && stats.idle == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_fresh_gives_every_call_an_instance_of_its_own() {
    let pool = Pool::start(|pool| pool.mode = Mode::Fresh).await;
    let mut ids = HashSet::new();
    for _ in 0..20 {
        let answer = pool.instance().await;
        assert_eq!(answer.calls, 1);
        ids.insert(answer.instance_id);
    }
    for _ in 0..3 {
        pool.open().await.expect("a stream").end().await;
    }
    assert_eq!(ids.len(), 20);
    eventually("each went after its call", || {
        pool.host.stats(NAME).retired_used == 23
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reuse_keeps_an_instance_for_the_next_call() {
    let pool = Pool::start(|_| {}).await;
    let first = pool.instance().await;
    pool.open().await.expect("a stream").end().await;
    let last = pool.instance().await;
    assert_eq!(last.instance_id, first.instance_id);
    assert_eq!(last.calls, 3, "streams count");
    assert_eq!(
        pool.host.stats(NAME).made,
        1,
        "the one that was made at load"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_instances_as_were_asked_for_are_kept_ready() {
    let host = TestHost::start_with("faulty", |setup| {
        setup.config.plugin.pool.warm_min = 3;
    })
    .await;
    assert_eq!(host.stats("faulty").idle, 3, "before the first call");
    let client = host.raw().await;
    for unclean in 1..=3 {
        assert_eq!(client.unary("/faulty.Faulty/Trap", b"").await.code(), 13);
        eventually("the lost one is replaced", || {
            let stats = host.stats("faulty");
            stats.retired_unclean == unclean && stats.idle == 3
        })
        .await;
    }
    assert_eq!(host.stats("faulty").made, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_full_refuses_and_recovers() {
    let host = TestHost::start_with(NAME, |setup| {
        setup.config.engine.instances_max = stores(2);
    })
    .await;
    let pool = Pool::of(host);
    let (one, other) = (
        pool.open().await.expect("one"),
        pool.open().await.expect("two"),
    );
    let refused = answer_of(pool.sleep(0)).await.expect_err("no room");
    assert_refused(&refused, "no room for another instance");
    let stats = pool.host.stats(NAME);
    assert_eq!(
        (stats.leased.unary, stats.leased.streams),
        (0, 2),
        "its place is given back"
    );
    one.end().await;
    pool.instance().await;
    other.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_plugin_has_a_pool_of_its_own() {
    let host = TestHost::start_with(NAME, |setup| {
        setup.paths.push(guest("echo"));
        setup.config.plugin.pool.wait_max = PATIENCE * 2;
        let mut config = setup.config.plugin.clone();
        config.pool.stores_max = stores(1);
        setup.plugins.push((NAME.to_owned(), config));
    })
    .await;
    let pool = Pool::of(host);
    let busy = pool.occupy().await;
    let waits = pool.queue().await;
    let echo = pool
        .host
        .raw()
        .await
        .unary("/echo.Echo/Unary", b"neighbour")
        .await;
    assert_eq!(echo.messages(), ["neighbour"]);
    busy.abort();
    answer_of(waits).await.expect("its turn");
}
