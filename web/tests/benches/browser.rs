//! How long calls take in a browser, beside plain WebSocket messages in plain JavaScript.
//!
//! `make bench-browser` runs it. One page, one host and one echo server take part in every round, and
//! each round goes through all scenarios, beginning with another one each time, so that whatever else
//! the machine does falls on all of them; ratios are taken within a round. `cargo test` runs it, too,
//! with a few calls and without a look at the clock: every answer is checked.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Parser;
use serde::Serialize;
use serde_json::{Value, json};
use switchboard_benches::machine::{Machine, Source};
use switchboard_benches::results::Spread;
use switchboard_host::{HostBuilder, HostConfig};
use switchboard_web_tests::{Browser, Files, Page, built, peers};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Bytes of a message that an echo gives back: as many as a small call has.
const MESSAGE_BYTES: u32 = 32;
/// Bytes of a block in a stream.
const BLOCK_BYTES: u32 = 64 << 10;
/// Calls in flight where there are many.
const LINES: u32 = 64;

/// Compares calls in a browser with plain WebSocket messages
#[derive(Debug, Parser)]
struct Args {
    /// Rounds through all scenarios
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Calls, or messages, in each measurement
    #[arg(long, default_value_t = 2048)]
    calls: u32,
    /// Blocks in each stream
    #[arg(long, default_value_t = 512)]
    blocks: u32,
    /// Folder to write the results into
    #[arg(long)]
    write: Option<PathBuf>,
    /// Given by `cargo bench`; without it everything runs once and quickly
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
struct Scenario {
    /// Written so in results.
    name: &'static str,
    /// The page's function, and what is put into its arguments.
    function: &'static str,
    /// Whether it talks to the host, over the page's channel, or to the server of this name.
    server: Server,
    /// What one value of its outcome stands for.
    unit: Unit,
    /// The scenario that it is compared with.
    beside: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Host,
    Echo,
    Flood,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// One call or message.
    Call,
    /// The same, of many in flight.
    Line,
    /// A whole stream.
    Stream,
}

const SCENARIOS: [Scenario; 8] = {
    use Server::{Echo, Flood, Host};
    use Unit::{Call, Line, Stream};
    const fn scenario(
        name: &'static str,
        function: &'static str,
        server: Server,
        unit: Unit,
        beside: Option<&'static str>,
    ) -> Scenario {
        Scenario {
            name,
            function,
            server,
            unit,
            beside,
        }
    }
    [
        scenario("echo", "echo_us", Echo, Call, None),
        scenario("unary", "bench_unary", Host, Call, Some("echo")),
        scenario("bidi", "bench_bidi", Host, Call, Some("echo")),
        scenario("unary, 64 in flight", "bench_lines", Host, Line, None),
        scenario("plain down, 64 KiB", "down_us", Flood, Stream, None),
        scenario(
            "down, 64 KiB",
            "bench_down",
            Host,
            Stream,
            Some("plain down, 64 KiB"),
        ),
        scenario("plain up, 64 KiB", "up_us", Flood, Stream, None),
        scenario(
            "up, 64 KiB",
            "bench_up",
            Host,
            Stream,
            Some("plain up, 64 KiB"),
        ),
    ]
};

/// One measurement.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    p50_us: f64,
    p99_us: f64,
    mean_us: f64,
    /// Calls, or MiB.
    per_second: f64,
}

/// A scenario's rounds.
#[derive(Clone, Debug, Serialize)]
struct Measured {
    name: &'static str,
    /// What `per_second` counts.
    counted: &'static str,
    per_second: Spread,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_us: Option<Latency>,
    /// To `beside`, taken within each round: of the median latency of calls, of the bytes of streams.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ratio_to: BTreeMap<&'static str, Spread>,
}

#[derive(Clone, Debug, Serialize)]
struct Latency {
    p50: Spread,
    p99: Spread,
    mean: Spread,
}

/// One run.
#[derive(Clone, Debug, Serialize)]
struct Results {
    source: Source,
    date: String,
    command: String,
    machine: Machine,
    browser: String,
    rounds: usize,
    calls: u32,
    blocks: u32,
    scenarios: Vec<Measured>,
}

fn main() {
    let mut args = Args::parse();
    if !args.bench {
        (args.rounds, args.calls, args.blocks, args.write) = (1, LINES, 16, None);
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let results = runtime.block_on(measure(&args));
    let mut out = std::io::stdout().lock();
    let mut say = |text: &str| writeln!(out, "{text}").expect("somebody reads");
    if !args.bench {
        return say("every scenario ran; `make bench-browser` measures");
    }
    for measured in &results.scenarios {
        say(&shown(measured));
    }
    if let Some(folder) = &args.write {
        let dirty = if results.source.dirty { "-dirty" } else { "" };
        let path = folder.join(format!("browser-{}{dirty}.json", results.source.commit));
        std::fs::create_dir_all(folder).expect("a folder for the results");
        let text = serde_json::to_string_pretty(&results).expect("it is numbers and text");
        std::fs::write(&path, text + "\n").expect("the results are written");
        say(&path.display().to_string());
    }
}

/// Where the scenarios find their servers.
struct Stage {
    page: Page,
    echo: peers::Peer,
    flood: peers::Peer,
    _files: Files,
    _host: DropGuard,
}

async fn measure(args: &Args) -> Results {
    let machine = Machine::this();
    let browser = Browser::start_alone().await;
    let stage = Stage::open(&browser).await;
    let mut rounds: BTreeMap<&str, Vec<Outcome>> = BTreeMap::new();
    // Once through without a look at the times: code is compiled, windows and caches are open.
    for scenario in &SCENARIOS {
        stage.run(scenario, LINES, 16).await;
    }
    for round in 0..args.rounds {
        for at in 0..SCENARIOS.len() {
            let scenario = &SCENARIOS[(at + round) % SCENARIOS.len()];
            let times = stage.run(scenario, args.calls, args.blocks).await;
            let outcome = outcome(scenario.unit, times, args.blocks);
            rounds.entry(scenario.name).or_default().push(outcome);
        }
    }
    stage.page.assert_no_errors();
    Results {
        source: Source::this(),
        date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        command: "make bench-browser".to_owned(),
        machine,
        browser: browser.version().await,
        rounds: args.rounds,
        calls: args.calls,
        blocks: args.blocks,
        scenarios: SCENARIOS.iter().map(|it| measured(it, &rounds)).collect(),
    }
}

impl Stage {
    async fn open(browser: &Browser) -> Self {
        let files = Files::serve(&built("tests")).await;
        let mut config = HostConfig::default();
        let tunnel = config.tunnel.as_mut().expect("there is one by default");
        tunnel.origins = vec![files.origin().parse().expect("an origin")];
        let guests = built("tests").join("../../guests");
        let guests = ["greeter", "echo", "testservice"].map(|name| guests.join(name));
        let paths = guests.map(|guest| guest.with_extension("wasm"));
        let host = HostBuilder::new(config).build(&paths).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let stop = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "the benchmark's own task")]
        tokio::spawn(host.expect("a host").serve(listener, None, stop.clone()));
        // Without the recorder that tests put before the browser's WebSocket.
        let page = browser.open(&format!("{}?plain", files.url())).await;
        let isolated = page.evaluate("crossOriginIsolated").await;
        assert_eq!(isolated, Ok(json!(true)), "the page's clock is fine enough");
        let url = format!("ws://{addr}/tunnel");
        let opened = page.run("open", json!(["channel", url, "{}"])).await;
        assert_eq!(opened, json!({}));
        Self {
            page,
            echo: peers::echo().await,
            flood: peers::flood().await,
            _files: files,
            _host: stop.drop_guard(),
        }
    }

    /// The microseconds that a scenario took.
    async fn run(&self, scenario: &Scenario, calls: u32, blocks: u32) -> Vec<f64> {
        let server = match scenario.server {
            Server::Host => "channel".to_owned(),
            Server::Echo => self.echo.url(),
            Server::Flood => self.flood.url(),
        };
        let arguments = match (scenario.unit, scenario.server) {
            (Unit::Call, Server::Host) => json!([server, calls]),
            (Unit::Call, _) => json!([server, calls, MESSAGE_BYTES]),
            (Unit::Line, _) => json!([server, LINES, calls / LINES]),
            (Unit::Stream, _) => json!([server, blocks, BLOCK_BYTES]),
        };
        let times = self.page.run(scenario.function, arguments).await;
        let times = times.as_array().expect("a list of times").iter();
        let times: Option<Vec<f64>> = times.map(Value::as_f64).collect();
        times.expect("numbers")
    }
}

fn outcome(unit: Unit, mut times: Vec<f64>, blocks: u32) -> Outcome {
    times.sort_by(f64::total_cmp);
    let count = u32::try_from(times.len()).expect("few");
    let sum_us: f64 = times.iter().sum();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    let done = match unit {
        Unit::Call => f64::from(count),
        // So many go on at a time: the clock has seen this part of the sum.
        Unit::Line => f64::from(count) * f64::from(LINES),
        Unit::Stream => f64::from(blocks) * f64::from(BLOCK_BYTES) / f64::from(1 << 20),
    };
    Outcome {
        p50_us: at(50),
        p99_us: at(99),
        mean_us: sum_us / f64::from(count),
        per_second: done / sum_us * 1e6,
    }
}

fn measured(scenario: &Scenario, rounds: &BTreeMap<&str, Vec<Outcome>>) -> Measured {
    let own = &rounds[scenario.name];
    let spread = |of: fn(&Outcome) -> f64| Spread::of(own.iter().map(of));
    let is_stream = scenario.unit == Unit::Stream;
    let number = |outcome: &Outcome| match is_stream {
        true => outcome.per_second,
        false => outcome.p50_us,
    };
    let ratio = scenario.beside.map(|beside| {
        let pairs = own.iter().zip(&rounds[beside]);
        let ratios = pairs.map(|(own, other)| number(own) / number(other));
        (beside, Spread::of(ratios))
    });
    Measured {
        name: scenario.name,
        counted: if is_stream { "MiB" } else { "calls" },
        per_second: spread(|outcome| outcome.per_second),
        latency_us: (!is_stream).then(|| Latency {
            p50: spread(|outcome| outcome.p50_us),
            p99: spread(|outcome| outcome.p99_us),
            mean: spread(|outcome| outcome.mean_us),
        }),
        ratio_to: ratio.into_iter().collect(),
    }
}

/// A scenario in a line.
fn shown(measured: &Measured) -> String {
    let mut line = format!(
        "{:20} {:8.0} {:5}/s",
        measured.name, measured.per_second.median, measured.counted
    );
    if let Some(latency) = &measured.latency_us {
        line += &format!(
            "   p50 {:6.0} us   p99 {:6.0} us   mean {:6.0} us",
            latency.p50.median, latency.p99.median, latency.mean.median
        );
    }
    for (beside, ratio) in &measured.ratio_to {
        line += &format!(
            "   {:.2} of {beside} ({:.2} to {:.2})",
            ratio.median, ratio.low, ratio.high
        );
    }
    line
}
