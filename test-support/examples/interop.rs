//! Runs the official gRPC interop test cases with the client of gRPC for Java against the real binary:
//! each case straight over TCP, and through a tunnel with `switchboard forward` in front.
//!
//! Usage: `interop [CASE...]`, from the root of the repository; `make test-interop` builds and fetches what
//! it takes. The cases and what a server owes in each are in grpc/doc/interop-test-descriptions.md; the
//! client judges. Its only own judgement: at the end both processes must stop with no call left.
#![allow(
    clippy::exit,
    clippy::print_stdout,
    reason = "the outcome of each case is what this is run for"
)]

use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// The cases, with the client's names.
const CASES: [&str; 20] = [
    "empty_unary",
    "large_unary",
    "client_compressed_unary",
    "server_compressed_unary",
    "client_streaming",
    "client_compressed_streaming",
    "server_streaming",
    "server_compressed_streaming",
    "ping_pong",
    "empty_stream",
    "custom_metadata",
    "status_code_and_message",
    "special_status_message",
    "unimplemented_method",
    "unimplemented_service",
    "cancel_after_begin",
    "cancel_after_first_response",
    "timeout_on_sleeping_server",
    "rpc_soak",
    "channel_soak",
];

/// What is not run, and why.
const LEFT_OUT: &str =
    "cacheable_unary: it tests a proxy that caches answers, and there is none here";

/// Only for the soaks: enough calls to see a leak of a stream or a connection (a connection has 256 streams,
/// a tunnel's peer 128 tunnels), and no judgement of speed, which depends on the machine.
const SOAK: [&str; 4] = [
    "--soak_iterations=300",
    "--soak_num_threads=2",
    "--soak_overall_timeout_seconds=100",
    "--soak_per_iteration_max_acceptable_latency_ms=20000",
];

/// How long a case may take: most take a second, which is how long Java needs to start.
const CASE_TIMEOUT: Duration = Duration::from_secs(150);
/// How long the binary may take to begin, or to stop.
const PROCESS_TIMEOUT: Duration = Duration::from_secs(60);
/// Lines of the client's output that are shown of a case that fails.
const LINES_SHOWN: usize = 12;

const JARS: &str = "target/tools/interop/jars";
const CLIENT: &str = "io.grpc.testing.integration.TestServiceClient";

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = env::args().skip(1).collect();
    let cases = chosen(&wanted)?;
    check_client().await?;
    let server = Process::start(&["serve", "target/guests/interop.wasm"], "ready grpc ").await?;
    let tunnel = format!("ws://{}/tunnel", server.addr);
    let forward = Process::start(&["forward", &tunnel], "ready forward ").await?;
    let mut failed = Vec::new();
    for case in &cases {
        let (tcp, tunnel) = tokio::join!(run(case, &server.addr), run(case, &forward.addr));
        for (way, outcome) in [("tcp", tcp?), ("tunnel", tunnel?)] {
            let name = format!("{way}::{case}");
            let seconds = outcome.time.as_secs_f64();
            match outcome.complaint {
                None => println!("test {name} ... ok ({seconds:.1} s)"),
                Some(complaint) => {
                    println!("test {name} ... FAILED ({seconds:.1} s)\n{complaint}");
                    failed.push(name);
                }
            }
        }
    }
    println!("left out: {LEFT_OUT}");
    forward.stop().await?;
    server.stop().await?;
    let passed = cases.len() * 2 - failed.len();
    println!("{passed} passed, {} failed {failed:?}", failed.len());
    process::exit(if failed.is_empty() { 0 } else { 1 });
}

/// The cases that were named; all if none was.
fn chosen(wanted: &[String]) -> anyhow::Result<Vec<&'static str>> {
    let known = |name: &String| CASES.contains(&name.as_str());
    if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
        bail!(
            "there is no case {unknown}; there are: {}",
            CASES.join(", ")
        );
    }
    let named = |case: &&str| wanted.is_empty() || wanted.iter().any(|name| name == case);
    Ok(CASES.into_iter().filter(named).collect())
}

/// Whether there is a client to run.
async fn check_client() -> anyhow::Result<()> {
    let jars = fs::read_dir(JARS).map_or(0, Iterator::count);
    ensure!(
        jars > 0,
        "{JARS} is not there: run `make setup-interop`, which fetches the client"
    );
    let java = Command::new("java").arg("-version").output().await;
    ensure!(
        java.is_ok_and(|run| run.status.success()),
        "no Java that runs: install one with `make setup-interop` or `apt install default-jre-headless`"
    );
    Ok(())
}

/// How a case ended.
struct Outcome {
    time: Duration,
    /// What the client said, if it was not content.
    complaint: Option<String>,
}

/// Runs one case.
async fn run(case: &str, addr: &str) -> anyhow::Result<Outcome> {
    let (host, port) = addr.rsplit_once(':').context("an address has a port")?;
    let begun = Instant::now();
    let mut java = Command::new("java");
    // Most of a run is the start: no optimising compiler, no threads to collect garbage.
    java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"])
        .arg(format!("{JARS}/*"))
        .args([CLIENT, "--use_tls=false"])
        .arg(format!("--server_host={host}"))
        .arg(format!("--server_port={port}"))
        .arg(format!("--test_case={case}"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if case.ends_with("_soak") {
        java.args(SOAK);
    }
    let ended = timeout(CASE_TIMEOUT, java.output()).await;
    let time = begun.elapsed();
    let Ok(ended) = ended else {
        let complaint = Some(format!("  no end within {CASE_TIMEOUT:?}"));
        return Ok(Outcome { time, complaint });
    };
    let ended = ended.context("running java")?;
    let said = [ended.stdout, ended.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    // The client ends with 0 also when it knows no such case.
    let content = ended.status.success() && said.contains("Test completed.");
    let complaint = (!content).then(|| {
        let lines = said.lines().take(LINES_SHOWN);
        lines.map(|line| format!("  {line}\n")).collect()
    });
    Ok(Outcome { time, complaint })
}

/// A `switchboard` that listens.
struct Process {
    child: Child,
    addr: String,
    command: String,
}

impl Process {
    async fn start(args: &[&str], ready: &str) -> anyhow::Result<Self> {
        let mut child = Command::new(binary()?)
            .args(args)
            .args(["--listen", "127.0.0.1:0", "--log", "warn"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting switchboard")?;
        let mut stdout = BufReader::new(child.stdout.take().context("stdout is piped")?);
        let mut line = String::new();
        let read = timeout(PROCESS_TIMEOUT, stdout.read_line(&mut line)).await;
        read.with_context(|| format!("switchboard {} does not get ready", args[0]))??;
        let addr = line.trim_end().strip_prefix(ready);
        let addr = addr.with_context(|| format!("switchboard {} did not start", args[0]))?;
        Ok(Self {
            child,
            addr: addr.to_owned(),
            command: args[0].to_owned(),
        })
    }

    /// Stops it as a service manager does. A call that nobody has ended would make it wait for its drain.
    async fn stop(mut self) -> anyhow::Result<()> {
        let id = self.child.id().context("it still runs")?.to_string();
        let killed = Command::new("kill").arg(id).status().await?;
        ensure!(killed.success(), "{}: it cannot be stopped", self.command);
        let ended = timeout(PROCESS_TIMEOUT, self.child.wait()).await;
        let status = ended.with_context(|| format!("{} does not stop", self.command))??;
        ensure!(status.success(), "{} ended with {status}", self.command);
        Ok(())
    }
}

/// Built by `cargo build` into the folder above that of the examples.
fn binary() -> anyhow::Result<PathBuf> {
    let own = env::current_exe().context("where this program is")?;
    let folder = own.parent().and_then(Path::parent);
    let binary = folder.context("it is in a folder")?.join("switchboard");
    ensure!(binary.exists(), "{} is not built", binary.display());
    Ok(binary)
}
