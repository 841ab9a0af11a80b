//! Runs the scenarios: all kinds in turns, a server for each way to serve.
//!
//! Called by `cmd::compare`. A server whose turn it is not is stopped. Each round goes through all kinds,
//! beginning with another one each time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::child::{Load, Server};
use crate::kind::Kind;
use crate::outcome::Outcome;
use crate::results::{Measured, Memory};
use crate::scenario::{Cores, Scenario};
use crate::server::Setup;
use crate::tls::Pem;

/// Where servers and loads run when they are apart.
pub(crate) const SERVER_CORE: usize = 0;
pub(crate) const LOAD_CORE: usize = 1;

/// How long a load runs before it is measured: connections, caches, and the samples by which the
/// host classes a method.
pub(crate) const WARM: Duration = Duration::from_millis(200);

/// What makes a server another one: TLS, cores of its own, how many instances, and its kind.
type Key = (bool, bool, Option<u32>, Kind);

/// Runs scenarios; keeps servers for the next one.
#[derive(Debug)]
pub struct Runner {
    /// This program, which also serves and loads.
    program: PathBuf,
    guests: PathBuf,
    tls: tempfile::TempDir,
    servers: BTreeMap<Key, Server>,
    /// How long each measurement takes.
    measured: Duration,
}

impl Runner {
    /// Serves the plugin from the folder `guests`.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn new(guests: PathBuf, measured: Duration) -> Result<Self> {
        let program = std::env::current_exe().context("asking where this program is")?;
        let tls = tempfile::tempdir().context("a folder for the certificate")?;
        Pem::generate()?.write(tls.path())?;
        Ok(Self {
            program,
            guests,
            tls,
            servers: BTreeMap::new(),
            measured,
        })
    }

    /// Measures a scenario for `rounds` rounds, or as many of them as it is worth.
    ///
    /// # Errors
    /// When a server does not start, or a load fails: every answer is checked.
    pub fn measure(&mut self, scenario: &Scenario, rounds: usize) -> Result<Measured> {
        let mut all: BTreeMap<Kind, Vec<Outcome>> = BTreeMap::new();
        let kinds = scenario.kinds;
        for round in 0..scenario.rounds(rounds) {
            for turn in 0..kinds.len() {
                let kind = kinds[(round + turn) % kinds.len()];
                let outcome = self
                    .once(scenario, kind)
                    .with_context(|| format!("{} of {}", scenario.name, kind.name()))?;
                all.entry(kind).or_default().push(outcome);
            }
        }
        Ok(Measured::new(scenario, &all))
    }

    /// What the servers hold that were measured on shared cores, without TLS and with as many instances
    /// as they wanted.
    ///
    /// # Errors
    /// When one has ended.
    pub fn memory(&self) -> Result<BTreeMap<Kind, Memory>> {
        let usual = |key: &Key| !key.0 && !key.1 && key.2.is_none();
        let plain = self.servers.iter().filter(|(key, _)| usual(key));
        plain
            .map(|((.., kind), server)| {
                let (now_bytes, most_bytes) = server.resident_bytes()?;
                let memory = Memory {
                    now_bytes,
                    most_bytes,
                };
                Ok((*kind, memory))
            })
            .collect()
    }

    fn once(&mut self, scenario: &Scenario, kind: Kind) -> Result<Outcome> {
        let apart = scenario.cores == Cores::Apart;
        let key = (scenario.tls, apart, scenario.instances, kind);
        if !self.servers.contains_key(&key) {
            let server = Server::start(&self.program, kind, &self.setup(scenario))?;
            server.stop()?;
            self.servers.insert(key, server);
        }
        let load = Load {
            warm: WARM,
            measured: scenario.measured(self.measured),
            core: apart.then_some(LOAD_CORE),
            tls: Some(self.tls.path()),
            ..Load::of(scenario.shape)
        };
        let server = &self.servers[&key];
        server.go_on()?;
        let outcome = load.run(&self.program, server);
        server.stop()?;
        outcome
    }

    fn setup(&self, scenario: &Scenario) -> Setup {
        let usual = Setup::of(&self.guests);
        Setup {
            tls: scenario.tls.then(|| self.tls.path().to_owned()),
            core: (scenario.cores == Cores::Apart).then_some(SERVER_CORE),
            instances: scenario.instances.unwrap_or(usual.instances),
            ..usual
        }
    }
}
