//! The guest that misbehaves, method by method: what its caller is told, what becomes of the
//! instance, what stands in the log, and that a neighbour notices nothing.
//!
//! Every fault is called between two looks at `Calls`, which counts the calls of its instance: after
//! a fault that ends the instance it begins anew. A stream of another plugin is open all the while.

use bytes::Bytes;
use switchboard_host::PoolStats;
use switchboard_test_support::{
    RawAnswer, RawCall, RawClient, Setup, TestHost, eventually, faulty, frame, frames, guest, log,
    patiently,
};
use tempfile::TempDir;

const TRAP_TEXT: &str = "the plugin failed while it served the call";

/// Codes, as they stand on the wire.
const OK: u16 = 0;
const UNKNOWN: u16 = 2;
const INVALID_ARGUMENT: u16 = 3;
const DEADLINE_EXCEEDED: u16 = 4;
const RESOURCE_EXHAUSTED: u16 = 8;
const FAILED_PRECONDITION: u16 = 9;
const ABORTED: u16 = 10;
const INTERNAL: u16 = 13;

/// A faulty plugin beside a sound one that has a stream open.
struct Faulty {
    host: TestHost,
    client: RawClient,
    /// The faulty plugin's name: of this test alone, to find its lines in the log.
    name: &'static str,
    service: &'static str,
    neighbour: Option<(h2::RecvStream, h2::SendStream<Bytes>)>,
    _folder: TempDir,
}

impl Faulty {
    async fn start(name: &'static str) -> Self {
        Self::start_with(name, |_| {}).await
    }

    async fn start_with(name: &'static str, edit: impl FnOnce(&mut Setup)) -> Self {
        Self::serve(guest("faulty"), "faulty.Faulty", name, edit).await
    }

    async fn start_raw(name: &'static str) -> Self {
        Self::serve(faulty("raw"), "faulty.Raw", name, |_| {}).await
    }

    async fn serve(
        from: std::path::PathBuf,
        service: &'static str,
        name: &'static str,
        edit: impl FnOnce(&mut Setup),
    ) -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join(format!("{name}.wasm"));
        std::fs::copy(from, &file).expect("a copy");
        let host = TestHost::start_with("echo", |setup| {
            setup.paths.push(file);
            // An instance is made for a call and by nobody else, so that its calls can be counted.
            setup.config.plugin.pool.warm_min = 0;
            edit(setup);
        })
        .await;
        let mut call = host
            .raw()
            .await
            .begin(RawClient::head("/echo.Echo/Bidi"))
            .await;
        call.send(b"before");
        let (_, mut answers, body) = call.headers().await.expect("headers");
        let answer = answers.data().await.expect("an answer").expect("no reset");
        assert_eq!(frames(answer), ["before"]);
        Self {
            client: host.raw().await,
            host,
            name,
            service,
            neighbour: Some((answers, body)),
            _folder: folder,
        }
    }

    fn head(&self, method: &str) -> http::request::Builder {
        RawClient::head(&format!("/{}/{method}", self.service))
    }

    /// A call whose fault must end it by itself.
    async fn call(&self, method: &str, message: &str) -> RawAnswer {
        self.client
            .call(self.head(method), frame(message.as_bytes()))
            .await
    }

    /// A call that its deadline ends within the plugin, which loses its instance.
    async fn call_past_its_deadline(&self, method: &str, unclean: u64) -> RawAnswer {
        // On a machine that is busy the first may pass before the plugin is entered.
        for timeout in ["60m", "500m", "5S"] {
            let head = self.head(method).header("grpc-timeout", timeout);
            let answer = self.client.call(head, frame(b"")).await;
            assert_eq!(
                answer.code(),
                DEADLINE_EXCEEDED,
                "{method}: {}",
                answer.message()
            );
            eventually("it is stopped", || self.stats().leased.total() == 0).await;
            if self.stats().retired_unclean == unclean {
                return answer;
            }
        }
        panic!(
            "{method} never began, or never lost its instance: {:?}",
            self.stats()
        );
    }

    /// A stream that has answered `ready`.
    async fn ready(&self, method: &str) -> (h2::RecvStream, h2::SendStream<Bytes>) {
        let call = self.client.begin(self.head(method)).await;
        let (_, mut answers, body) = call.headers().await.expect("headers");
        let ready = patiently("a message", answers.data())
            .await
            .expect("one")
            .expect("no reset");
        assert_eq!(frames(ready), ["ready"]);
        (answers, body)
    }

    async fn calls_of_instance(&self) -> String {
        let answer = self.call("Calls", "").await;
        assert_eq!(answer.code(), OK, "{}", answer.message());
        String::from_utf8(answer.messages().swap_remove(0).to_vec()).expect("digits")
    }

    fn stats(&self) -> PoolStats {
        self.host.stats(self.name)
    }

    /// Waits until nothing of the faulty plugin runs and `unclean` instances were thrown away.
    async fn discarded(&self, unclean: u64) {
        let what = format!("{unclean} instances of {} discarded", self.name);
        eventually(&what, || {
            let stats = self.stats();
            stats.leased.total() == 0 && stats.retired_unclean >= unclean
        })
        .await;
        assert_eq!(self.stats().retired_unclean, unclean);
    }

    /// Asserts that the neighbour's stream and instance are as they were.
    async fn neighbour_is_well(&mut self) {
        let (mut answers, mut body) = self.neighbour.take().expect("asked once");
        body.send_data(frame(b"after"), true).expect("still open");
        let answer = patiently("the neighbour", answers.data()).await;
        assert_eq!(
            frames(answer.expect("an answer").expect("no reset")),
            ["after"]
        );
        let trailers = answers
            .trailers()
            .await
            .expect("no reset")
            .expect("trailers");
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!(self.host.stats("echo").retired_unclean, 0);
    }

    fn logged(&self, parts: &[&str]) -> Vec<String> {
        let name = format!("plugin=\"{}\"", self.name);
        log().find(&[&[name.as_str()], parts].concat())
    }
}

/// The caller of a plugin that trapped learns that it did, and nothing else.
fn assert_trapped(method: &str, answer: &RawAnswer) -> &'static str {
    assert_eq!(answer.code(), INTERNAL, "{method}");
    let text = percent_encoding::percent_decode_str(answer.message()).decode_utf8_lossy();
    assert_eq!(text, TRAP_TEXT, "{method}");
    "trap"
}

/// One that used up what it may have says what that was.
fn assert_used_up<'a>(what: &'a str, answer: &RawAnswer) -> &'a str {
    let text = format!("the plugin used up its {what}");
    assert_eq!(
        (answer.code(), answer.message()),
        (RESOURCE_EXHAUSTED, text.as_str())
    );
    what
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_ends_the_call_and_the_instance() {
    let mut plugin = Faulty::start("traps").await;
    let faults = [
        ("Panic", ""),
        ("Trap", ""),
        ("Exit", ""),
        ("Exit", "1"),
        ("Recurse", ""),
        ("Grow", ""),
    ];
    for (unclean, (method, message)) in (1..).zip(faults) {
        assert_eq!(plugin.calls_of_instance().await, "1", "before {method}");
        let answer = plugin.call(method, message).await;
        let cause = match method {
            "Recurse" => assert_used_up("stack", &answer),
            "Grow" => assert_used_up("memory", &answer),
            _ => assert_trapped(method, &answer),
        };
        assert!(answer.messages().is_empty());
        plugin.discarded(unclean).await;
        let path = format!("path=\"/faulty.Faulty/{method}\"");
        assert!(
            !plugin
                .logged(&[&path, &format!("cause=\"{cause}\"")])
                .is_empty(),
            "{method} is in the log"
        );
    }
    assert_eq!(plugin.calls_of_instance().await, "1", "after them all");
    plugin.neighbour_is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_of_a_panic_is_in_the_log_and_nowhere_else() {
    let plugin = Faulty::start("panics").await;
    let answer = plugin.call("Panic", "").await;
    assert_trapped("Panic", &answer);
    assert!(!format!("{answer:?}").contains("as asked"), "{answer:?}");
    assert!(
        !plugin
            .logged(&["ERROR", "faulty: panicked as asked"])
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_ends_ends_at_its_deadline() {
    let mut plugin = Faulty::start("endless").await;
    for (unclean, method) in (1..).zip(["Spin", "Sleep"]) {
        assert_eq!(plugin.calls_of_instance().await, "1", "before {method}");
        plugin.call_past_its_deadline(method, unclean).await;
    }
    assert_eq!(plugin.calls_of_instance().await, "1", "after them all");
    plugin.neighbour_is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_floods_the_log_is_cut_short_and_the_log_says_so() {
    for (name, method, stream) in [
        ("floods-log", "FloodLog", "stream=\"log\""),
        ("floods-stderr", "FloodStderr", "stream=\"stderr\""),
    ] {
        let mut plugin = Faulty::start(name).await;
        let head = plugin.head(method).header("grpc-timeout", "1S");
        let answer = plugin.client.call(head, frame(b"")).await;
        assert_eq!(answer.code(), DEADLINE_EXCEEDED, "{}", answer.message());
        plugin.neighbour_is_well().await;
        let lines = plugin.logged(&["WARN", stream, "of a flood"]);
        assert!(lines[0].contains("line 0 of a flood"), "{}", lines[0]);
        // A burst is 1000 lines, and then they trickle; a flood has a hundred thousand.
        assert!((1000..5000).contains(&lines.len()), "{}", lines.len());
        assert!(!plugin.logged(&["logs more than its share"]).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_leaves_ends_what_never_ends() {
    let mut plugin = Faulty::start("left-alone").await;
    for (unclean, method) in (1..).zip(["Spin", "Sleep"]) {
        let mut call: RawCall = plugin.client.begin(plugin.head(method)).await;
        call.send(b"");
        call.end();
        eventually("the call runs", || plugin.stats().leased.unary == 1).await;
        call.cancel();
        plugin.discarded(unclean).await;
    }
    plugin.neighbour_is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recursion_meets_the_limit_of_the_stack_and_not_before() {
    let plugin = Faulty::start("recurses").await;
    let answer = plugin.call("Recurse", "1000").await;
    assert_eq!(
        (answer.code(), answer.messages()),
        (OK, vec![Bytes::from("1000")])
    );
    let answer = plugin.call("Recurse", "100000000").await;
    assert_used_up("stack", &answer);
    plugin.discarded(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_ends_at_its_limit_and_a_grown_instance_is_not_kept() {
    const MAX: usize = 8 << 20;
    let plugin = Faulty::start_with("grows", |setup| {
        setup.config.engine.memory_bytes_max = MAX;
        setup.config.plugin.pool.memory_retire_bytes = MAX / 2;
    })
    .await;
    assert_eq!(plugin.calls_of_instance().await, "1");
    let answer = plugin.call("GrowQuiet", "").await;
    assert_eq!(answer.code(), OK, "{}", answer.message());
    let kept = String::from_utf8_lossy(&answer.messages()[0])
        .parse::<usize>()
        .expect("a number");
    assert!(kept > MAX / 2 && kept < MAX, "{kept} bytes");
    eventually("the instance is retired", || {
        plugin.stats().retired_memory == 1
    })
    .await;
    assert_eq!(plugin.calls_of_instance().await, "1", "in a small one");
    let answer = plugin.call("Grow", "").await;
    assert_used_up("memory", &answer);
    plugin.discarded(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_never_passes_for_success() {
    let plugin = Faulty::start("claims").await;
    let answer = plugin.call("OkStatus", "").await;
    assert_eq!(
        (answer.code(), answer.message()),
        (UNKNOWN, "an error that claims to be none")
    );
    let answer = plugin.call("OkWithoutMessage", "").await;
    assert_eq!(answer.code(), INTERNAL);
    assert!(
        answer.message().contains("no response message"),
        "{}",
        answer.message()
    );
    assert_eq!(
        plugin.stats().retired_unclean,
        0,
        "a broken rule is no trap"
    );
    assert!(
        !plugin
            .logged(&["OkWithoutMessage", "cause=\"contract\""])
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_is_cut_or_refused() {
    let plugin = Faulty::start("long").await;
    let answer = plugin.call("LongMessage", "").await;
    assert_eq!(answer.code(), INTERNAL);
    let text = percent_encoding::percent_decode_str(answer.message()).decode_utf8_lossy();
    assert!(
        text.starts_with("long long ") && text.len() == 2048,
        "{} bytes",
        text.len()
    );
    let answer = plugin.call("TooLarge", "").await;
    assert_eq!(answer.code(), RESOURCE_EXHAUSTED, "{}", answer.message());
    assert!(answer.messages().is_empty());
    assert!(
        !plugin
            .logged(&["TooLarge", "cause=\"too_large\""])
            .is_empty()
    );
    let answer = plugin.call("SendTooLarge", "").await;
    assert_eq!(answer.code(), OK, "{}", answer.message());
    let said = answer.messages();
    assert!(said.len() == 1 && said != ["accepted"], "{said:?}");
    assert_eq!(
        plugin.call("SendTooLarge", "100").await.messages()[1],
        "accepted"
    );
    assert_eq!(plugin.stats().retired_unclean, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_line_of_log_is_cut_and_says_so() {
    const LINE_MAX: usize = 8 << 10;
    let plugin = Faulty::start("wordy").await;
    let answer = plugin.call("LongLine", "").await;
    assert_eq!(answer.code(), OK, "{}", answer.message());
    for stream in ["stream=\"log\"", "stream=\"stderr\""] {
        let lines = plugin.logged(&[stream, "long long"]);
        let [line] = lines.as_slice() else {
            panic!("{} lines with {stream}", lines.len());
        };
        assert!(line.contains("cut=true"), "{stream} says that it was cut");
        assert!(
            line.len() > LINE_MAX && line.len() < LINE_MAX + 300,
            "{} bytes",
            line.len()
        );
    }
    assert_eq!(plugin.call("LongLine", "100").await.code(), OK);
    assert_eq!(
        plugin.logged(&["cut=false", "long long"]).len(),
        2,
        "short ones are whole"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_is_not_allowed_is_refused_pair_by_pair() {
    let plugin = Faulty::start("adorned").await;
    let answer = plugin.call("BadMetadata", "").await;
    assert_eq!(answer.code(), OK, "{}", answer.message());
    let report = String::from_utf8(answer.messages()[0].to_vec()).expect("text");
    assert_eq!(report.lines().count(), 11, "{report}");
    assert!(!report.contains("accepted"), "{report}");
    for key in [
        "Upper",
        "upper",
        "x-line",
        "x-control",
        "x-text",
        "grpc-anything",
    ] {
        assert!(
            !answer.headers.contains_key(key) && !answer.trailers.contains_key(key),
            "{key}"
        );
    }
    assert_eq!(answer.headers["content-type"], "application/grpc");

    let answer = plugin.call("MuchMetadata", "").await;
    assert_eq!(answer.code(), OK, "{}", answer.message());
    // 1024 bytes of value, 6 of name and 32, into 16 KiB.
    assert_eq!(answer.messages(), ["15 15"]);
    assert_eq!(answer.headers.get_all("x-much").iter().count(), 15);
    assert_eq!(answer.trailers.get_all("x-much").iter().count(), 15);

    let answer = plugin.call("BadTrailers", "").await;
    assert_eq!(
        (answer.code(), answer.message()),
        (ABORTED, "with trailers")
    );
    assert_eq!(answer.trailers["x-good"], "kept");
    assert!(!answer.trailers.contains_key("x-line"));
    assert_eq!(plugin.stats().retired_unclean, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_cannot_be_used_after_its_end() {
    let mut plugin = Faulty::start("clings").await;
    assert_eq!(
        plugin.call("UseHeldCall", "").await.code(),
        FAILED_PRECONDITION
    );
    assert_eq!(plugin.call("HoldCall", "").await.code(), OK);
    let answer = plugin.call("UseHeldCall", "").await;
    assert_trapped("UseHeldCall", &answer);
    plugin.discarded(1).await;
    let answer = plugin.call("UseHeldCall", "").await;
    assert_eq!(
        answer.code(),
        FAILED_PRECONDITION,
        "a new instance holds nothing"
    );
    plugin.neighbour_is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_answer_means_one_answer() {
    let plugin = Faulty::start("twice").await;
    let answer = plugin.call("SendTwice", "").await;
    assert_eq!(
        (answer.code(), answer.messages()),
        (OK, vec![Bytes::from("first")])
    );
    log()
        .wait_for(&["plugin=\"twice\"", "second message:"])
        .await;
    assert_eq!(plugin.stats().retired_unclean, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_before_a_failure_stays_sent() {
    let mut plugin = Faulty::start("mid-stream").await;
    let answer = plugin.call("ErrorMidStream", "").await;
    assert_eq!(answer.messages(), ["last words"]);
    assert_eq!(answer.code(), FAILED_PRECONDITION);
    assert_eq!(answer.trailers["x-reason"], "asked");
    assert_eq!(plugin.stats().retired_unclean, 0);
    let answer = plugin.call("TrapMidStream", "").await;
    assert_eq!(answer.messages(), ["last words"]);
    assert_trapped("TrapMidStream", &answer);
    plugin.discarded(1).await;
    assert_eq!(plugin.calls_of_instance().await, "1");
    plugin.neighbour_is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_waits_for_its_reader_and_ends_with_it() {
    let mut plugin = Faulty::start("floods").await;
    let mut call = plugin.client.begin(plugin.head("Flood")).await;
    call.send(b"65536");
    call.end();
    let (_, mut answers, mut body) = call.headers().await.expect("headers");
    let first = patiently("a chunk", answers.data())
        .await
        .expect("a message")
        .expect("no reset");
    assert!(!first.is_empty());
    plugin.neighbour_is_well().await;
    assert_eq!(plugin.stats().leased.streams, 1, "it waits");
    body.send_reset(h2::Reason::CANCEL);
    // It ends at its next send, so its instance may be kept.
    eventually("the flood ends", || plugin.stats().leased.streams == 0).await;
    assert_eq!(plugin.call("Flood", "many").await.code(), INVALID_ARGUMENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_heed_the_end_of_its_call_is_dropped() {
    let mut plugin = Faulty::start("deaf").await;
    for (unclean, method) in (1..).zip(["IgnoreCancel", "ReceiveForEver", "NeverReceive"]) {
        let (_answers, mut body) = plugin.ready(method).await;
        assert_eq!(plugin.stats().leased.streams, 1);
        body.send_reset(h2::Reason::CANCEL);
        plugin.discarded(unclean).await;
    }
    assert_eq!(plugin.calls_of_instance().await, "1");
    plugin.neighbour_is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_heed_its_deadline_is_dropped() {
    let plugin = Faulty::start("late").await;
    for (unclean, method) in (1..).zip(["IgnoreCancel", "ReceiveForEver", "NeverReceive"]) {
        let answer = plugin.call_past_its_deadline(method, unclean).await;
        assert_eq!(answer.messages(), ["ready"], "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abi_that_is_broken_traps() {
    let mut plugin = Faulty::start_raw("raw-traps").await;
    let faults = [
        "BadUtf8",
        "OutOfBounds",
        "KeepBorrow",
        "DropTwice",
        "BadTag",
    ];
    for (unclean, method) in (1..).zip(faults) {
        let answer = plugin.call(method, "").await;
        assert_trapped(method, &answer);
        plugin.discarded(unclean).await;
        assert_eq!(
            plugin.call("Echo", "sound").await.messages(),
            ["sound"],
            "after {method}"
        );
    }
    plugin.neighbour_is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abi_used_without_the_sdk_is_held_to_the_same_rules() {
    let mut plugin = Faulty::start_raw("raw-statuses").await;
    assert_eq!(
        plugin.call("Echo", "as it came").await.messages(),
        ["as it came"]
    );
    for (method, text) in [("Code99", "code 99"), ("Code0", "code 0")] {
        let answer = plugin.call(method, "").await;
        assert_eq!((answer.code(), answer.message()), (UNKNOWN, text));
    }
    let answer = plugin.call("BadTrailers", "").await;
    assert_eq!(
        (answer.code(), answer.message()),
        (ABORTED, "with trailers")
    );
    assert_eq!(answer.trailers["x-good"], "kept");
    assert!(!answer.trailers.contains_key("x-line"));
    assert_eq!(answer.trailers.get_all("grpc-status").iter().count(), 1);
    let answer = plugin.call("KeepHandle", "").await;
    assert_eq!((answer.code(), answer.messages().len()), (OK, 0));
    assert_eq!(plugin.call("Echo", "still").await.messages(), ["still"]);
    assert_eq!(plugin.stats().retired_unclean, 0);
    plugin.neighbour_is_well().await;
}

/// A method that is added to the guest needs a test here, or among the limits.
#[tokio::test(flavor = "multi_thread")]
async fn every_method_has_a_test() {
    let sources = concat!(include_str!("faulty.rs"), include_str!("limits.rs"));
    let paths = [guest("faulty"), faulty("raw")];
    let config = switchboard_host::HostConfig::default();
    let host = switchboard_host::HostBuilder::new(config)
        .build(&paths)
        .await
        .expect("a host");
    let mut methods = 0;
    for plugin in host.plugins() {
        for method in plugin
            .description
            .services
            .iter()
            .flat_map(|service| &service.methods)
        {
            let called = format!("\"{}\"", method.name);
            assert!(sources.contains(&called), "no test calls {}", method.name);
            methods += 1;
        }
    }
    assert!(methods > 30, "{methods} methods");
}
