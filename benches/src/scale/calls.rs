//! What a call costs beside more and more plugins and streams, and how many new instances a second there can be.
//!
//! Called by `scale`. Servers of all counts are there at once; those whose turn it is not are stopped.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::memory::{Memory, point};
use super::{Plan, Site};
use crate::child::{Held, Load, Server};
use crate::compare::{LOAD_CORE, SERVER_CORE};
use crate::kind::Kind;
use crate::neighbour::Neighbour;
use crate::outcome::Outcome;
use crate::results::Spread;
use crate::scenario::Cores;
use crate::server::Setup;

/// What a call costs where there are so many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// So many what, and what is called.
    pub beside: String,
    /// Who serves.
    pub kind: Kind,
    /// So many.
    pub count: usize,
    /// CPU time of the server for a call, in microseconds.
    pub server_cpu_us: Spread,
    /// The same over that of the smallest count, within a round.
    pub cpu_ratio: Spread,
    /// Calls a second.
    pub per_second: Spread,
}

/// New instances a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fresh {
    /// Apart: the server had one core, to itself.
    pub cores: Cores,
    /// Calls a second, each in an instance of its own.
    pub per_second: Spread,
    /// CPU time of the server for such a call, in microseconds.
    pub server_cpu_us: Spread,
    /// What of it the same call does not cost in an instance that is used again.
    pub instance_us: Spread,
}

/// A server that holds so many, and what it did so far.
struct Subject {
    count: usize,
    server: Server,
    held: Option<Held>,
    rounds: Vec<Outcome>,
}

/// Memory of a plugin, and what a call costs beside more of them: of one plugin, and of all in turns.
pub(super) fn with_plugins(
    site: &Site<'_>,
    progress: &mut impl FnMut(&str),
) -> Result<(Memory, Vec<Call>)> {
    let (mut points, mut subjects) = (Vec::new(), Vec::new());
    for &count in &site.plan.counts.plugins {
        let server = site.start_copies(count)?;
        points.push(point(&server, count)?);
        subjects.push(Subject::new(count, server, None)?);
    }
    let mut calls = Vec::new();
    for (beside, in_turns) in [
        ("plugins, one is called", false),
        ("plugins, all are called in turns", true),
    ] {
        progress(&format!("calls beside {beside}"));
        let copies = |count| Some(if in_turns { count } else { 1 });
        rounds(site.plan, &mut subjects, copies)?;
        calls.extend(Call::all(beside, Kind::Reuse, &mut subjects));
    }
    Ok((Memory::new("plugin", Kind::Reuse, points), calls))
}

/// What a call costs beside more and more streams.
pub(super) fn with_streams(site: &Site<'_>, progress: &mut impl FnMut(&str)) -> Result<Vec<Call>> {
    let mut calls = Vec::new();
    for kind in [Kind::Stock, Kind::Reuse] {
        progress(&format!("calls beside open streams, {}", kind.name()));
        let mut subjects = Vec::new();
        for &count in &site.plan.counts.streams {
            let server = site.start(kind, count)?;
            let neighbour = Neighbour::Streams { count };
            let held = Held::start(&site.plan.program, &server, &neighbour)?;
            subjects.push(Subject::new(count, server, Some(held))?);
        }
        rounds(site.plan, &mut subjects, |_| None)?;
        calls.extend(Call::all("open streams", kind, &mut subjects));
        for subject in subjects {
            subject.end()?;
        }
    }
    Ok(calls)
}

/// New instances a second, with the server on one core and on all.
pub(super) fn fresh(plan: &Plan, progress: &mut impl FnMut(&str)) -> Result<Vec<Fresh>> {
    let apart = plan.apart.then_some(Cores::Apart);
    let mut all = Vec::new();
    for cores in apart.into_iter().chain([Cores::Shared]) {
        progress(&format!("new instances, cores: {cores:?}"));
        let mut servers = Vec::new();
        for kind in [Kind::Fresh, Kind::Reuse] {
            let setup = Setup {
                core: (cores == Cores::Apart).then_some(SERVER_CORE),
                ..Setup::of(&plan.guests)
            };
            let server = Server::start(&plan.program, kind, &setup)?;
            servers.push(Subject::new(1, server, None)?);
        }
        let load = Load {
            core: (cores == Cores::Apart).then_some(LOAD_CORE),
            ..plan.load(None)
        };
        for round in 0..plan.rounds {
            for turn in 0..servers.len() {
                let subject = (round + turn) % servers.len();
                servers[subject].measure(plan, &load)?;
            }
        }
        let (fresh, reuse) = (&servers[0].rounds, &servers[1].rounds);
        let price = fresh.iter().zip(reuse);
        let price = price.map(|(fresh, reuse)| fresh.server_cpu_us() - reuse.server_cpu_us());
        all.push(Fresh {
            cores,
            per_second: Spread::of(fresh.iter().map(Outcome::per_second)),
            server_cpu_us: Spread::of(fresh.iter().map(Outcome::server_cpu_us)),
            instance_us: Spread::of(price),
        });
    }
    Ok(all)
}

/// Measures all of them in turns, beginning with another one each time.
fn rounds(
    plan: &Plan,
    subjects: &mut [Subject],
    copies: impl Fn(usize) -> Option<usize>,
) -> Result<()> {
    for round in 0..plan.rounds {
        for turn in 0..subjects.len() {
            let at = (round + turn) % subjects.len();
            let subject = &mut subjects[at];
            let load = plan.load(copies(subject.count));
            subject.measure(plan, &load)?;
        }
    }
    Ok(())
}

impl Plan {
    fn load(&self, copies: Option<usize>) -> Load<'static> {
        Load {
            warm: self.warm,
            measured: self.measured,
            copies,
            ..Load::of(self.calls)
        }
    }
}

impl Subject {
    /// One that waits for its turn.
    fn new(count: usize, server: Server, held: Option<Held>) -> Result<Self> {
        server.stop()?;
        Ok(Self {
            count,
            server,
            held,
            rounds: Vec::new(),
        })
    }

    fn measure(&mut self, plan: &Plan, load: &Load<'_>) -> Result<()> {
        self.server.go_on()?;
        let outcome = load.run(&plan.program, &self.server);
        self.server.stop()?;
        self.rounds.push(outcome?);
        Ok(())
    }

    /// What it held was there to the end, or this says so.
    fn end(self) -> Result<()> {
        self.server.go_on()?;
        self.held.map(Held::end).transpose().context("streams")?;
        Ok(())
    }
}

impl Call {
    /// What was measured of each, which is forgotten: the next is measured anew.
    fn all(beside: &str, kind: Kind, subjects: &mut [Subject]) -> Vec<Self> {
        let first = subjects.first().map(|subject| subject.rounds.clone());
        let first = first.unwrap_or_default();
        let of = |subject: &mut Subject| {
            let rounds = std::mem::take(&mut subject.rounds);
            let ratios = rounds.iter().zip(&first);
            let ratios = ratios.map(|(one, first)| one.server_cpu_us() / first.server_cpu_us());
            Self {
                beside: beside.to_owned(),
                kind,
                count: subject.count,
                server_cpu_us: Spread::of(rounds.iter().map(Outcome::server_cpu_us)),
                cpu_ratio: Spread::of(ratios),
                per_second: Spread::of(rounds.iter().map(Outcome::per_second)),
            }
        };
        subjects.iter_mut().map(of).collect()
    }
}
