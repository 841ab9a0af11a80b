//! Runs server and load in processes of their own, all kinds in turns.
//!
//! Called by `cmd::compare`. A server whose turn it is not is stopped (`SIGSTOP`), so that not even
//! its timers run. Each round goes through all kinds, beginning with another one each time.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::kind::Kind;
use crate::load::Shape;
use crate::outcome::Outcome;
use crate::process;
use crate::results::{Measured, Memory};
use crate::scenario::{Cores, Scenario};
use crate::tls::Pem;

/// Where servers and loads run when they are apart.
const SERVER_CORE: &str = "0";
const LOAD_CORE: &str = "1";

/// How long a load runs before it is measured: connections, caches, and the samples by which the
/// host classes a method.
const WARM: Duration = Duration::from_millis(200);

/// A server process. Dropping it ends it.
#[derive(Debug)]
struct Running {
    process: Child,
    addr: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Either fails only if it has ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Runs scenarios; keeps servers for the next one.
#[derive(Debug)]
pub struct Runner {
    /// This program, which also serves and loads.
    program: PathBuf,
    guests: PathBuf,
    tls: tempfile::TempDir,
    /// By TLS, apart, and kind.
    servers: BTreeMap<(bool, bool, Kind), Running>,
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

    /// Measures a scenario for `rounds` rounds.
    ///
    /// # Errors
    /// When a server does not start, or a load fails: every answer is checked.
    pub fn measure(&mut self, scenario: &Scenario, rounds: usize) -> Result<Measured> {
        let mut all: BTreeMap<Kind, Vec<Outcome>> = BTreeMap::new();
        for round in 0..rounds {
            for turn in 0..Kind::ALL.len() {
                let kind = Kind::ALL[(round + turn) % Kind::ALL.len()];
                let outcome = self
                    .once(scenario, kind)
                    .with_context(|| format!("{} of {}", scenario.name, kind.name()))?;
                all.entry(kind).or_default().push(outcome);
            }
        }
        Ok(Measured::new(scenario, &all))
    }

    /// What the servers hold that were measured on shared cores without TLS.
    ///
    /// # Errors
    /// When one has ended.
    pub fn memory(&self) -> Result<BTreeMap<Kind, Memory>> {
        let plain = self
            .servers
            .iter()
            .filter(|((tls, apart, _), _)| !tls && !apart);
        plain
            .map(|((_, _, kind), server)| {
                let (now_bytes, most_bytes) = process::resident_bytes(server.process.id())?;
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
        let key = (scenario.tls, apart, kind);
        if !self.servers.contains_key(&key) {
            let server = self.start(scenario.tls, apart, kind)?;
            process::stop(server.process.id())?;
            self.servers.insert(key, server);
        }
        let server = &self.servers[&key];
        process::go_on(server.process.id())?;
        let outcome = self.load(server, scenario, kind);
        process::stop(server.process.id())?;
        outcome
    }

    fn start(&self, tls: bool, apart: bool, kind: Kind) -> Result<Running> {
        let mut command = Command::new(&self.program);
        command.args(["serve", "--kind", kind.name(), "--guests"]);
        command.arg(&self.guests).stdout(Stdio::piped());
        if tls {
            command.arg("--tls").arg(self.tls.path());
        }
        if apart {
            command.args(["--core", SERVER_CORE]);
        }
        let mut process = command.spawn().context("starting the server")?;
        let stdout = process.stdout.take().context("its output is piped")?;
        // From here on dropping it ends the process, also when it says something else.
        let mut server = Running {
            process,
            addr: String::new(),
        };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["ready", "grpc", addr] => addr.clone_into(&mut server.addr),
            _ => bail!("the server of {} said {line:?}", kind.name()),
        }
        Ok(server)
    }

    fn load(&self, server: &Running, scenario: &Scenario, kind: Kind) -> Result<Outcome> {
        let mut command = Command::new(&self.program);
        command.args(["load", "--addr", &server.addr]);
        command.args(["--server-pid", &server.process.id().to_string()]);
        command.args(["--warm", &WARM.as_secs_f64().to_string()]);
        command.args(["--seconds", &self.measured.as_secs_f64().to_string()]);
        if scenario.tls {
            command.arg("--tls").arg(self.tls.path());
        }
        if kind == Kind::Tunnel {
            command.arg("--tunnel");
        }
        if scenario.cores == Cores::Apart {
            command.args(["--core", LOAD_CORE]);
        }
        command.args(arguments(scenario.shape));
        let output = command.output().context("starting the load")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the load failed: {}", said.trim());
        serde_json::from_slice(&output.stdout).context("reading what the load said")
    }
}

/// A shape as `load` wants it.
fn arguments(shape: Shape) -> Vec<String> {
    let (name, numbers) = match shape {
        Shape::Unary {
            connections,
            in_flight,
            bytes,
        } => (
            "unary",
            vec![
                ("--connections", connections),
                ("--in-flight", in_flight),
                ("--bytes", bytes),
            ],
        ),
        Shape::Open {
            connections,
            rate,
            bytes,
        } => (
            "open",
            vec![
                ("--connections", connections),
                ("--rate", usize::try_from(rate).unwrap_or(usize::MAX)),
                ("--bytes", bytes),
            ],
        ),
        Shape::Stream {
            connections,
            streams,
            window,
            bytes,
        } => (
            "stream",
            vec![
                ("--connections", connections),
                ("--streams", streams),
                ("--window", window),
                ("--bytes", bytes),
            ],
        ),
        Shape::Idle => ("idle", Vec::new()),
    };
    let numbers = numbers
        .into_iter()
        .flat_map(|(flag, number)| [flag.to_owned(), number.to_string()]);
    std::iter::once(name.to_owned()).chain(numbers).collect()
}
