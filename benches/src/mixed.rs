//! Short calls beside others: how long they take while something else goes on in the same server process.
//!
//! Called by `cmd::mixed`; `mixed/table.rs` shows what comes of it. The calls are an open loop whose rate leaves
//! head room, so their latencies are what callers see who come when they please. Each round measures them alone
//! and beside each neighbour, one right after the other, in turns as to which is first. Calls, neighbour and
//! server are processes of their own.

mod table;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::child::{Held, Load, Server};
use crate::kept::Shelf;
use crate::kind::Kind;
use crate::load::Shape;
use crate::neighbour::{Neighbour, Report};
use crate::outcome::Outcome;
use crate::results::Spread;
use crate::server::Setup;
pub use table::{markdown, section};

/// Where results are kept.
pub const SHELF: Shelf = Shelf::new("mixed");

/// The calls that are measured: 64 bytes, two thousand a second. Source: on two cores, which load and server
/// share, that takes a tenth of them.
pub const CALLS: Shape = Shape::Open {
    connections: 4,
    rate: 2_000,
    bytes: 64,
};

/// How long the calls go on before they are measured: longer than it takes until a call that computes has been
/// moved out of the way of others.
pub const WARM: Duration = Duration::from_millis(300);

/// Streams that a plugin may have beyond those that are asked for.
const STREAMS_TO_SPARE: u32 = 100;

/// Something that goes on beside, and in which servers.
#[derive(Clone, Debug)]
pub struct Beside {
    /// Its name in results.
    pub name: String,
    /// What it does.
    pub neighbour: Neighbour,
    /// The servers that it is measured in. A native one says what of it is the machine's.
    pub kinds: Vec<Kind>,
}

impl Beside {
    /// What is measured.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let both = vec![Kind::Reuse, Kind::Stock];
        let of = |name: &str, neighbour, kinds: &[Kind]| Self {
            name: name.to_owned(),
            neighbour,
            kinds: kinds.to_vec(),
        };
        vec![
            of(
                "another plugin computes in all of its 64 instances",
                Neighbour::Spin { calls: 64 },
                &[Kind::Reuse],
            ),
            of(
                "5000 streams are open and idle",
                Neighbour::Streams { count: 5_000 },
                &both,
            ),
            of(
                "100 messages of 1 MiB a second, each way",
                Neighbour::Big {
                    rate: 100,
                    bytes: 1 << 20,
                },
                &both,
            ),
        ]
    }
}

/// How the calls went.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calls {
    /// Answers a second: the rate, or calls are missing.
    pub per_second: Spread,
    /// Cores that the server kept busy, with the neighbour if there was one.
    pub server_cores: Spread,
    /// Median latency, in microseconds.
    pub p50_us: Spread,
    /// 90th percentile, in microseconds.
    pub p90_us: Spread,
    /// 99th percentile, in microseconds.
    pub p99_us: Spread,
    /// 99.9th percentile, in microseconds.
    pub p999_us: Spread,
}

impl Calls {
    fn of(rounds: &[Outcome]) -> Self {
        let spread = |of: fn(&Outcome) -> f64| Spread::of(rounds.iter().map(of));
        Self {
            per_second: spread(Outcome::per_second),
            server_cores: spread(Outcome::server_cores),
            p50_us: spread(|outcome| outcome.p50_us),
            p90_us: spread(|outcome| outcome.p90_us),
            p99_us: spread(|outcome| outcome.p99_us),
            p999_us: spread(|outcome| outcome.p999_us),
        }
    }
}

/// Calls to one kind of server, alone and beside one neighbour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// What was beside.
    pub name: String,
    /// The same, exactly.
    pub neighbour: Neighbour,
    /// Who served.
    pub kind: Kind,
    /// The calls alone.
    pub without: Calls,
    /// The calls beside it.
    pub with: Calls,
    /// 50th percentile with the neighbour over that without, within a round.
    pub p50_ratio: Spread,
    /// The same of the 99th.
    pub p99_ratio: Spread,
    /// The same of the 99.9th.
    pub p999_ratio: Spread,
    /// Answers a second that the neighbour got, over its whole life.
    pub neighbour_per_second: Spread,
}

/// One run of `cmd::mixed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mixed {
    /// Rounds of each line.
    pub rounds: usize,
    /// How long each measurement of calls took, in seconds.
    pub seconds: f64,
    /// The calls.
    pub calls: Shape,
    /// All that was measured.
    pub lines: Vec<Line>,
}

/// How it is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// This program, which also serves and loads.
    pub program: PathBuf,
    /// Folder with echo.wasm and faulty.wasm.
    pub guests: PathBuf,
    /// Rounds.
    pub rounds: usize,
    /// How long the calls go on before.
    pub warm: Duration,
    /// How long they are measured each time.
    pub measured: Duration,
    /// The calls; an open loop.
    pub calls: Shape,
}

impl Plan {
    /// Measures all lines; says of each round of a line that it begins.
    ///
    /// # Errors
    /// When a server does not start, or anything is answered otherwise than it must be.
    pub fn measure(&self, all: &[Beside], mut progress: impl FnMut(&str)) -> Result<Mixed> {
        ensure!(self.rounds > 0, "no rounds");
        let mut lines = Vec::new();
        for beside in all {
            let subjects = beside.kinds.iter().map(|kind| self.start(*kind, beside));
            let mut subjects: Vec<Subject> = subjects.collect::<Result<_>>()?;
            for round in 0..self.rounds {
                for subject in &mut subjects {
                    let kind = subject.kind.name();
                    progress(&format!("{}, {kind}: round {}", beside.name, round + 1));
                    let done = subject.round(self, beside.neighbour, round % 2 == 0);
                    done.with_context(|| format!("{} of {kind}", beside.name))?;
                }
            }
            lines.extend(subjects.iter().map(|subject| subject.line(beside)));
        }
        Ok(Mixed {
            rounds: self.rounds,
            seconds: self.measured.as_secs_f64(),
            calls: self.calls,
            lines,
        })
    }

    fn start(&self, kind: Kind, beside: &Beside) -> Result<Subject> {
        let mut setup = Setup::of(&self.guests);
        if let Neighbour::Streams { count } = beside.neighbour {
            setup.streams = u32::try_from(count)?.saturating_add(STREAMS_TO_SPARE);
        }
        if let Neighbour::Spin { .. } = beside.neighbour {
            setup.beside = Some(self.guests.join("faulty.wasm"));
        }
        let server = Server::start(&self.program, kind, &setup)?;
        server.stop()?;
        Ok(Subject {
            kind,
            server,
            without: Vec::new(),
            with: Vec::new(),
            reports: Vec::new(),
        })
    }
}

/// A server, and how calls to it went so far.
struct Subject {
    kind: Kind,
    server: Server,
    without: Vec<Outcome>,
    with: Vec<Outcome>,
    reports: Vec<Report>,
}

impl Subject {
    fn round(&mut self, plan: &Plan, neighbour: Neighbour, alone_first: bool) -> Result<()> {
        self.server.go_on()?;
        if alone_first {
            self.without.push(self.load(plan)?);
        }
        let held = Held::start(&plan.program, &self.server, &neighbour)?;
        let with = self.load(plan)?;
        self.reports.push(held.end().context("the neighbour")?);
        self.with.push(with);
        if !alone_first {
            self.without.push(self.load(plan)?);
        }
        self.server.stop()
    }

    fn load(&self, plan: &Plan) -> Result<Outcome> {
        let load = Load {
            warm: plan.warm,
            measured: plan.measured,
            ..Load::of(plan.calls)
        };
        load.run(&plan.program, &self.server)
    }

    fn line(&self, beside: &Beside) -> Line {
        let ratio = |of: fn(&Outcome) -> f64| {
            let pairs = self.with.iter().zip(&self.without);
            Spread::of(pairs.map(|(with, without)| of(with) / of(without)))
        };
        let per_second = self.reports.iter().map(Report::per_second);
        Line {
            name: beside.name.clone(),
            neighbour: beside.neighbour,
            kind: self.kind,
            without: Calls::of(&self.without),
            with: Calls::of(&self.with),
            p50_ratio: ratio(|outcome| outcome.p50_us),
            p99_ratio: ratio(|outcome| outcome.p99_us),
            p999_ratio: ratio(|outcome| outcome.p999_us),
            neighbour_per_second: Spread::of(per_second),
        }
    }
}
