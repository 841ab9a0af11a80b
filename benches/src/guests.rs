//! The sample plugins side by side: what each language and toolchain makes of a handler.
//!
//! Called by `cmd::guests`, which measures with servers in processes of their own (`cmd::cold`), and by the test that
//! keeps `docs/benchmarks.md` true. A guest joins with a line in [`all`]: one unary method whose message has some 16
//! bytes each way. `faulty` and `granted` are left out: they exist to misbehave, and to be allowed things.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use switchboard_host::{EngineConfig, inspect};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::client::{Connection, Target};
use crate::kept::{Kept, Shelf};
use crate::messages::{AddRequest, Call, Hello, Number, Payload, SimpleRequest, SimpleResponse};
use crate::process::{CpuTimes, resident_bytes};
use crate::results::Spread;

/// Where results of guests are kept.
pub const SHELF: Shelf = Shelf::new("guests");

/// Calls on their way, on one connection, while CPU time is measured.
const IN_FLIGHT: usize = 16;

/// Instances in advance of the two servers whose memory is compared: what one more costs, without what is there
/// anyway. So many more that what the two differ by for other reasons, some hundred KiB, does not show.
const WARM: [u32; 2] = [1, 513];

/// A plugin that is measured.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Its file's, without the ending.
    pub name: &'static str,
    /// What it is written in.
    pub language: &'static str,
    /// What is called.
    pub call: Call,
}

/// All of them, the smallest first.
#[must_use]
pub fn all() -> Vec<Guest> {
    let guest = |name, language, call| Guest {
        name,
        language,
        call,
    };
    let text = |text: &str| Hello {
        text: text.to_owned(),
    };
    let payload = || Some(Payload { body: vec![0; 16] });
    let hello = ("/helloworld.Greeter/SayHello", text("sixteen bytes it"));
    let hello = Call::unary(hello.0, &hello.1, &text("Hello sixteen bytes it"));
    let sum = AddRequest {
        a: 1 << 50,
        b: 1 << 51,
    };
    let sum = Call::unary(
        "/testservice.TestService/Add",
        &sum,
        &Number { value: 3 << 50 },
    );
    let wanted = SimpleRequest {
        response_size: 16,
        payload: payload(),
    };
    let given = SimpleResponse { payload: payload() };
    let simple = Call::unary("/grpc.testing.TestService/UnaryCall", &wanted, &given);
    let echo = Call::raw("/echo.Echo/Unary", b"sixteen bytes it", b"sixteen bytes it");
    vec![
        guest("echo", "Rust, no std", echo),
        guest("greeter", "Rust", hello),
        guest("testservice", "Rust", sum),
        guest("interop", "Rust", simple),
    ]
}

/// The guest of this name.
///
/// # Errors
/// When there is none.
pub fn of(name: &str) -> Result<Guest> {
    let named = all().into_iter().find(|guest| guest.name == name);
    named.with_context(|| format!("{name} is not one of the guests that are measured"))
}

/// All guests, measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Guests {
    /// Rounds over all guests.
    pub rounds: usize,
    /// Seconds for which CPU time was measured, in each round.
    pub seconds: f64,
    /// In the order of the table.
    pub guests: Vec<Measured>,
}

/// One guest, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// What it is written in.
    pub language: String,
    /// What was called.
    pub method: String,
    /// Size of its file.
    pub file_bytes: u64,
    /// Size of its machine code.
    pub compiled_bytes: u64,
    /// From the file to the first answer, in microseconds.
    pub compiled_start_us: Spread,
    /// The same when compiled code is kept from before, in microseconds.
    pub cached_start_us: Spread,
    /// CPU time of the server for a call, in microseconds.
    pub server_cpu_us: Spread,
    /// Memory that one more instance takes which waits for its first call, in bytes.
    pub instance_bytes: Spread,
}

/// What a server of `cmd::cold` says of itself, in a line.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Started {
    /// Where it serves.
    pub addr: std::net::SocketAddr,
    /// From the file to the first answer, in microseconds.
    pub first_us: f64,
}

/// A server of `cmd::cold` in a process of its own, which ends when this is dropped.
struct Server {
    child: Child,
    started: Started,
}

impl Server {
    fn start(place: &Place<'_>, guest: &Guest, cache: Option<&Path>, warm: u32) -> Result<Self> {
        let mut command = Command::new(place.program);
        command.args(["cold", "--guest", guest.name, "--warm", &warm.to_string()]);
        command.arg("--guests").arg(place.guests);
        if let Some(cache) = cache {
            command.arg("--cache").arg(cache);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().context("starting")?;
        let out = child.stdout.take().context("it was piped")?;
        let mut line = String::new();
        let read = BufReader::new(out).read_line(&mut line);
        let started = read.map_err(Into::into).and_then(|_| {
            serde_json::from_str(&line).with_context(|| format!("{} did not start", guest.name))
        });
        match started {
            Ok(started) => Ok(Self { child, started }),
            Err(error) => {
                drop(child.kill());
                drop(child.wait());
                Err(error)
            }
        }
    }

    fn resident_bytes(&self) -> Result<u64> {
        Ok(resident_bytes(self.child.id())?.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Either fails only if it has ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where things are.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    /// `switchboard-bench`.
    program: &'a Path,
    /// Folder of the plugins.
    guests: &'a Path,
    /// Folder of compiled code that is kept.
    cache: &'a Path,
}

/// What one round found out about a guest.
#[derive(Clone, Copy, Debug)]
struct Round {
    compiled_start_us: f64,
    cached_start_us: f64,
    server_cpu_us: f64,
    instance_bytes: f64,
}

/// Measures guests in turns, with servers that are `program`, this package's own.
///
/// # Errors
/// When a server does not start, or an answer is wrong.
pub fn measure(
    program: &Path,
    chosen: &[Guest],
    guests: &Path,
    rounds: usize,
    measured: Duration,
    mut progress: impl FnMut(&str),
) -> Result<Guests> {
    ensure!(rounds > 0 && !chosen.is_empty(), "nothing to measure");
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let cache = tempfile::tempdir().context("a folder for compiled code")?;
    let place = Place {
        program,
        guests,
        cache: cache.path(),
    };
    for guest in chosen {
        drop(Server::start(&place, guest, Some(place.cache), WARM[0])?);
    }
    let mut all = vec![Vec::with_capacity(rounds); chosen.len()];
    for round in 1..=rounds {
        progress(&format!("round {round} of {rounds}"));
        for (guest, found) in chosen.iter().zip(&mut all) {
            found.push(one_round(&runtime, &place, guest, measured)?);
        }
    }
    let each = chosen.iter().zip(&all).map(|(guest, rounds)| {
        let path = guests.join(format!("{}.wasm", guest.name));
        summary(&runtime, guest, path, rounds)
    });
    Ok(Guests {
        rounds,
        seconds: measured.as_secs_f64(),
        guests: each.collect::<Result<_>>()?,
    })
}

fn one_round(
    runtime: &Runtime,
    place: &Place<'_>,
    guest: &Guest,
    measured: Duration,
) -> Result<Round> {
    let compiled = Server::start(place, guest, None, WARM[0])?;
    let cached = Server::start(place, guest, Some(place.cache), WARM[0])?;
    let more = Server::start(place, guest, Some(place.cache), WARM[1])?;
    // Idle servers have timers: only the one that is called runs on.
    let (cold_us, cached_us) = (compiled.started.first_us, cached.started.first_us);
    let [few, many] = [cached.resident_bytes()?, more.resident_bytes()?].map(precise);
    drop((compiled, more));
    Ok(Round {
        compiled_start_us: cold_us,
        cached_start_us: cached_us,
        instance_bytes: (many - few) / f64::from(WARM[1] - WARM[0]),
        server_cpu_us: runtime.block_on(cpu_us(&cached, &guest.call, measured))?,
    })
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
fn precise(bytes: u64) -> f64 {
    bytes as f64
}

/// CPU time of a server for a call, in microseconds.
async fn cpu_us(server: &Server, call: &Call, measured: Duration) -> Result<f64> {
    let target = Target {
        addr: server.started.addr,
        tls: None,
        tunnel: false,
    };
    let connection = Connection::open(&target).await?;
    let pid = server.child.id();
    calls(&connection, call, measured / 4).await?;
    let before = CpuTimes::of(pid)?;
    let answered = calls(&connection, call, measured).await?;
    let used = CpuTimes::of(pid)?.since(&before);
    Ok(used.as_secs_f64() * 1e6 / precise(answered))
}

/// Calls for so long; answers how often.
async fn calls(connection: &Connection, call: &Call, measured: Duration) -> Result<u64> {
    let end = Instant::now() + measured;
    let mut callers = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (mut caller, call) = (connection.caller(), call.clone());
        callers.spawn(async move {
            let mut answered = 0;
            while Instant::now() < end {
                caller.call(&call).await?;
                answered += 1;
            }
            Ok::<u64, anyhow::Error>(answered)
        });
    }
    let mut all = 0;
    while let Some(ended) = callers.join_next().await {
        all += ended.context("a caller panicked")??;
    }
    Ok(all)
}

fn summary(runtime: &Runtime, guest: &Guest, path: PathBuf, rounds: &[Round]) -> Result<Measured> {
    let file = fs::metadata(&path).with_context(|| path.display().to_string())?;
    let found = runtime.block_on(inspect(&EngineConfig::default(), &path))?;
    let compiled = found.compiled_bytes.context("it was served a moment ago")?;
    let spread = |of: fn(&Round) -> f64| Spread::of(rounds.iter().map(of));
    Ok(Measured {
        name: guest.name.to_owned(),
        language: guest.language.to_owned(),
        method: guest.call.path.to_owned(),
        file_bytes: file.len(),
        compiled_bytes: compiled as u64,
        compiled_start_us: spread(|round| round.compiled_start_us),
        cached_start_us: spread(|round| round.cached_start_us),
        server_cpu_us: spread(|round| round.server_cpu_us),
        instance_bytes: spread(|round| round.instance_bytes),
    })
}

/// What stands in a document between the marks: where the numbers are from, and the table.
#[must_use]
pub fn section(kept: &Kept<Guests>, file: &str) -> String {
    format!("{}\n{}", kept.origin(&SHELF, file), table(&kept.measured))
}

/// All guests, a line for each.
///
/// # Panics
/// Never: writing to a string does not fail.
#[must_use]
pub fn table(guests: &Guests) -> String {
    let mut out = "| guest | written in | file, KiB | compiled, KiB | first answer, ms | with compiled code kept, ms \
                   | server CPU per call, us | idle instance, KiB |\n|---|---|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    for guest in &guests.guests {
        let kib = |bytes: f64| bytes / 1024.0;
        writeln!(
            out,
            "| `{}` | {} | {:.0} | {:.0} | {:.1} | {:.1} | {:.2} | {:.0} |",
            guest.name,
            guest.language,
            kib(precise(guest.file_bytes)),
            kib(precise(guest.compiled_bytes)),
            guest.compiled_start_us.median / 1e3,
            guest.cached_start_us.median / 1e3,
            guest.server_cpu_us.median,
            kib(guest.instance_bytes.median),
        )
        .expect("writing to a string does not fail");
    }
    out
}
