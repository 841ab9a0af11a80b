//! A host under attack: its memory before, during and after, and a good client beside the attack.
//!
//! Used by every attack. The good client is stock tonic with unary calls on a connection of its own,
//! paced by completion: a host that is slow makes it slow, not wrong. Nothing here looks at a clock;
//! an attack is so many steps, and "for a while" is so many calls of the good client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use rustix::process::{Resource, getrlimit, setrlimit};
use switchboard_test_support::proto::echo::{EchoMessage, echo_client::EchoClient};
use switchboard_test_support::{PATIENCE, RawClient, channel_over, guest, patiently};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::Status;
use tonic::transport::Channel;

use crate::attacker::Attacker;
use crate::serving::Serving;
use crate::wire::{last_message, request};

/// What the process may grow by through an attack, in bytes.
const GROWTH_MAX: u64 = 64 << 20;

/// A method that is called on the long lane, so that its threads can be stirred as well.
const LONG: &str = "/helloworld.Greeter/SayHello";

/// What of it may stay, in bytes: instances that are kept ready for half a minute, and what an
/// allocator keeps of its own.
const KEPT_MAX: u64 = 16 << 20;

/// What a second attack may take beyond the first one, in bytes: it begins with what is left of the first,
/// and of what may wait in the host an attack takes as much as it happens to.
const AGAIN_MAX: u64 = GROWTH_MAX / 2;

/// Attacks until one takes no more than those before it.
const ROUNDS_MAX: usize = 4;

/// Calls of the good client beside each attack, at least.
const CALLS_MIN: u64 = 100;

/// Calls before the first attack: code and buffers that any use brings are there after them.
const CALLS_BEFORE: u64 = 300;

/// Streaming calls of a plugin at once, by default.
const STREAMS_MAX: usize = 64;

/// What may be in the log after two attacks, in bytes: attackers are not to fill disks.
const LOG_BYTES_MAX: usize = 64 * 1024;

/// Files that an attack may have open in this process, and in the host.
const FILES: u64 = 8000;

/// Attacks run one after the other.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A host that is attacked.
pub(crate) struct Siege {
    serving: Serving,
    good: Arc<Good>,
    _calls: JoinSet<()>,
    _alone: MutexGuard<'static, ()>,
}

/// The calls of the good client.
#[derive(Debug, Default)]
struct Good {
    kept: AtomicU64,
    lost: AtomicU64,
    /// Why the first one was lost.
    why: std::sync::Mutex<Option<Status>>,
    ended: Notify,
}

/// Memory of the process, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Now.
    resident: u64,
    /// Of that, what is no file.
    own: u64,
    /// At most, since this was asked last.
    peak: u64,
}

impl Siege {
    /// A host with these plugins and `echo`, which the good client calls.
    pub(crate) async fn start(plugins: &[&str], flags: &[&str]) -> Self {
        Self::begin(plugins, flags, async |addr| {
            let socket = TcpStream::connect(addr).await;
            let socket = socket.expect("the host listens");
            socket.set_nodelay(true).expect("a socket takes options");
            socket
        })
        .await
    }

    /// The same, and the good client connects as it is told.
    pub(crate) async fn begin<S>(
        plugins: &[&str],
        flags: &[&str],
        connect: impl AsyncFn(SocketAddr) -> S,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let alone = ALONE.lock().await;
        allow_files();
        let plugins = plugins.iter().chain(&["echo", "greeter"]);
        let plugins = plugins.map(|name| guest(name).into_os_string());
        let flags = flags.iter().chain(&["--long-method", LONG]);
        let args = plugins.chain(flags.map(|&flag| flag.into()));
        let serving = Serving::start(args).await;
        let good = Arc::new(Good::default());
        let mut calls = JoinSet::new();
        let channel = channel_over(connect(serving.addr).await).await;
        calls.spawn(Arc::clone(&good).call(channel));
        let this = Self {
            serving,
            good,
            _calls: calls,
            _alone: alone,
        };
        let stream = connect(this.addr()).await;
        this.warm_up(stream).await;
        this
    }

    /// Uses as many instances at once as there may be, because a place that an instance had keeps some
    /// of its memory for the next one.
    async fn warm_up<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let client = RawClient::over(stream, &h2::client::Builder::new()).await;
        let mut open = Vec::new();
        for _ in 0..STREAMS_MAX {
            let mut call = client.begin(RawClient::head("/echo.Echo/Bidi")).await;
            call.send(b"first");
            open.push(call.headers().await.expect("an answer"));
        }
        drop(open);
        self.calls(CALLS_BEFORE).await;
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.serving.addr
    }

    /// Waits until the good client has made so many calls more.
    pub(crate) async fn calls(&self, count: u64) {
        let until = self.good.count() + count;
        loop {
            let ended = self.good.ended.notified();
            if self.good.count() >= until {
                return;
            }
            ended.await;
        }
    }

    /// Attacks twice, once more if the second took more than the first, which chance may do and a leak does each
    /// time, and looks at what the host makes of it. What the attack answers is held until
    /// the good client has had its calls.
    pub(crate) async fn withstands<H>(self, attack: impl AsyncFn(&Self) -> H) {
        let before = self.memory();
        let calls = (self.good.count(), self.good.lost.load(Ordering::Relaxed));
        let mut peaks: Vec<u64> = Vec::new();
        for round in 1..=ROUNDS_MAX {
            self.forget_peak();
            let begun = self.good.count();
            let held = attack(&self).await;
            let made = self.good.count() - begun;
            self.calls(CALLS_MIN.saturating_sub(made)).await;
            let during = self.memory();
            peaks.push(during.peak);
            let grown = during.peak.saturating_sub(before.resident);
            assert!(
                grown < GROWTH_MAX,
                "round {round}: grown by {} MiB: {before:?}, then {during:?}",
                grown >> 20
            );
            tell(&format!("round {round}"), before, during);
            drop(held);
            let given_back = async {
                while self.memory().own > before.own + KEPT_MAX {
                    self.stir().await;
                }
            };
            patiently("the host gives the memory back", given_back).await;
            tell("afterwards", before, self.memory());
            let (last, earlier) = peaks.split_last().expect("this one");
            let most = earlier.iter().max();
            if most.is_some_and(|most| *last <= most + AGAIN_MAX) {
                return self.end_well(calls).await;
            }
        }
        panic!("each attack takes more: {peaks:?} after {before:?}");
    }

    /// Gives all threads of the host something to do: what one of them has freed of another's memory is
    /// given back when that one comes to it.
    async fn stir(&self) {
        let calls = [("/echo.Echo/Unary", &b"whatever"[..]), (LONG, b"\n\x03you")];
        let ask = async |(path, message): (&str, &[u8])| {
            let mut client = Attacker::open(self.addr()).await;
            let call = [request(1, path), last_message(1, message)];
            client.send(&call.concat()).await;
            client.hears().await;
        };
        join_all(calls.repeat(4).into_iter().map(ask)).await;
    }

    /// At most one of a hundred calls since `then` was lost, and the log has not been flooded.
    async fn end_well(self, then: (u64, u64)) {
        let (all, lost) = (self.good.count(), self.good.lost.load(Ordering::Relaxed));
        let (all, lost) = (all - then.0, lost - then.1);
        let why = self.good.why.lock().expect("no panic").take();
        assert!(lost * 100 <= all, "{lost} calls lost of {all}: {why:?}");
        drop(self._calls);
        let ended = self.serving.stop().await;
        assert_eq!(ended.code, Some(0), "{}", tail(&ended.stderr));
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        let said = ended.stderr.len();
        assert!(said < LOG_BYTES_MAX, "{said}: {}", tail(&ended.stderr));
    }

    /// What the host's memory is now.
    pub(crate) fn memory(&self) -> Memory {
        let path = self.proc("status");
        let status = std::fs::read_to_string(path).expect("Linux says so");
        let bytes = |name: &str| {
            let mut lines = status.lines();
            let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let count = line.and_then(|line| line.trim().strip_suffix(" kB"));
            count.expect(name).parse::<u64>().expect("a number") << 10
        };
        Memory {
            resident: bytes("VmRSS"),
            own: bytes("RssAnon") + bytes("RssShmem"),
            peak: bytes("VmHWM"),
        }
    }

    fn proc(&self, file: &str) -> String {
        let id = self.serving.id().expect("it runs");
        format!("/proc/{}/{file}", id.as_raw_nonzero())
    }

    /// Begins to look for the peak anew. Source: proc_pid_clear_refs(5), 5.
    fn forget_peak(&self) {
        let path = self.proc("clear_refs");
        std::fs::write(path, "5").expect("Linux does so");
    }
}

impl Good {
    /// Calls until dropped.
    async fn call(self: Arc<Self>, channel: Channel) {
        let mut client = EchoClient::new(channel);
        let message = EchoMessage {
            body: b"still here".to_vec(),
        };
        loop {
            let answer = timeout(PATIENCE, client.unary(message.clone())).await;
            match answer.unwrap_or_else(|_| Err(Status::cancelled("no answer"))) {
                Ok(answer) if *answer.get_ref() == message => &self.kept,
                Ok(_) => panic!("another answer"),
                Err(status) => {
                    let mut why = self.why.lock().expect("no panic");
                    why.get_or_insert(status);
                    &self.lost
                }
            }
            .fetch_add(1, Ordering::Relaxed);
            self.ended.notify_waiters();
            // On a connection that is gone calls end at once, and the end of the test waits for a pause.
            tokio::task::yield_now().await;
        }
    }

    fn count(&self) -> u64 {
        self.kept.load(Ordering::Relaxed) + self.lost.load(Ordering::Relaxed)
    }
}

/// Lets this process, and the hosts that it starts, have many connections.
fn allow_files() {
    let mut limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    assert!(
        most >= FILES,
        "the hard limit of `ulimit -n` is {most}, these tests need {FILES}"
    );
    if limit.current.is_some_and(|current| current < FILES) {
        limit.current = Some(FILES);
        setrlimit(Resource::Nofile, limit).expect("below the hard limit");
    }
}

/// Says what the host grew by, for `--nocapture`.
#[expect(clippy::print_stderr, reason = "for those who look at a run")]
fn tell(when: &str, before: Memory, now: Memory) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default();
    let peak = now.peak.saturating_sub(before.resident) >> 10;
    let own = now.own.saturating_sub(before.own) >> 10;
    eprintln!("GROWTH {name}, {when}: {peak} KiB at most, {own} KiB now");
}

fn tail(text: &str) -> &str {
    let from = text.len().saturating_sub(4000);
    text.get(from..).unwrap_or(text)
}
