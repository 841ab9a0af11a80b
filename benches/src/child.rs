//! Servers, loads and neighbours in processes of their own: this program, started again.
//!
//! Called by `compare`, `mixed` and `scale`. Each ends with the value that stands for it, and with this
//! process. A server can be stopped (`SIGSTOP`) while it is another one's turn, so that not even its
//! timers run.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::kind::Kind;
use crate::load::Shape;
use crate::neighbour::{HELD, Neighbour, Report};
use crate::outcome::Outcome;
use crate::process;
use crate::server::Setup;

/// A process that ends when this is dropped.
#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Either fails only if it has ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A server process.
#[derive(Debug)]
pub struct Server {
    process: Running,
    addr: String,
    tls: bool,
    tunnel: bool,
}

impl Server {
    /// Starts `program` as a server and waits until it serves.
    ///
    /// # Errors
    /// When it does not.
    pub fn start(program: &Path, kind: Kind, setup: &Setup) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["serve", "--kind", kind.name()]);
        command.args(setup.arguments()).stdout(Stdio::piped());
        let mut process = Running(command.spawn().context("starting the server")?);
        let line = line_of(&mut process.0)?.0;
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["ready", "grpc", addr] => Ok(Self {
                process,
                addr: addr.to_owned(),
                tls: setup.tls.is_some(),
                tunnel: kind == Kind::Tunnel,
            }),
            _ => bail!("the server of {} said {line:?}", kind.name()),
        }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// Memory that it holds now, and the most it ever held, in bytes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resident_bytes(&self) -> Result<(u64, u64)> {
        process::resident_bytes(self.pid())
    }

    /// Stops it where it stands.
    ///
    /// # Errors
    /// When it has ended.
    pub fn stop(&self) -> Result<()> {
        process::stop(self.pid())
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it has ended.
    pub fn go_on(&self) -> Result<()> {
        process::go_on(self.pid())
    }

    /// Arguments of whoever calls it. The folder is that of its certificate.
    fn caller(&self, tls: Option<&Path>) -> Result<Vec<std::ffi::OsString>> {
        let mut all = vec!["--addr".into(), self.addr.clone().into()];
        if self.tls {
            all.extend(["--tls".into(), tls.context("no certificate")?.into()]);
        }
        if self.tunnel {
            all.push("--tunnel".into());
        }
        Ok(all)
    }
}

/// What a load is given beyond its shape.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// What is called, and how.
    pub shape: Shape,
    /// How long before it is measured.
    pub warm: Duration,
    /// How long it is measured.
    pub measured: Duration,
    /// The core to keep to.
    pub core: Option<usize>,
    /// Folder with the server's certificate.
    pub tls: Option<&'a Path>,
    /// Copies of the plugin that are called in turns; none for the plugin itself.
    pub copies: Option<usize>,
}

impl Load<'_> {
    /// A load of the plugin itself, over plain TCP, for a second.
    #[must_use]
    pub fn of(shape: Shape) -> Self {
        Self {
            shape,
            warm: Duration::ZERO,
            measured: Duration::from_secs(1),
            core: None,
            tls: None,
            copies: None,
        }
    }

    /// Runs it against a server, to its end.
    ///
    /// # Errors
    /// When it fails: every answer is checked.
    pub fn run(&self, program: &Path, server: &Server) -> Result<Outcome> {
        let mut command = Command::new(program);
        command.arg("load").args(server.caller(self.tls)?);
        command.args(["--server-pid", &server.pid().to_string()]);
        command.args(["--warm", &self.warm.as_secs_f64().to_string()]);
        command.args(["--seconds", &self.measured.as_secs_f64().to_string()]);
        if let Some(core) = self.core {
            command.args(["--core", &core.to_string()]);
        }
        command.args(arguments(self.shape));
        if let Some(copies) = self.copies {
            command.args(["--copies", &copies.to_string()]);
        }
        let output = command.output().context("starting the load")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the load failed: {}", said.trim());
        serde_json::from_slice(&output.stdout).context("reading what the load said")
    }
}

/// A neighbour that is there until it is told to go.
#[derive(Debug)]
pub struct Held {
    process: Running,
    output: BufReader<ChildStdout>,
}

impl Held {
    /// Starts a neighbour and waits until all of it is there.
    ///
    /// # Errors
    /// When it fails before.
    pub fn start(program: &Path, server: &Server, neighbour: &Neighbour) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg("hold").args(server.caller(None)?);
        command.args(neighbour.arguments());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Running(command.spawn().context("starting the neighbour")?);
        let (line, output) = line_of(&mut process.0)?;
        ensure!(line.trim_end() == HELD, "the neighbour said {line:?}");
        Ok(Self { process, output })
    }

    /// Tells it to go, and returns what it did.
    ///
    /// # Errors
    /// When anything it asked for was not answered as it must be.
    pub fn end(mut self) -> Result<Report> {
        // It goes when there is nothing more to read.
        drop(self.process.0.stdin.take());
        let mut said = String::new();
        self.output.read_to_string(&mut said)?;
        let status = self.process.0.wait().context("the neighbour's end")?;
        ensure!(status.success(), "the neighbour failed: {status}");
        serde_json::from_str(&said).context("reading what the neighbour said")
    }
}

/// The first line that a process writes, and where what follows can be read.
fn line_of(process: &mut Child) -> Result<(String, BufReader<ChildStdout>)> {
    let stdout = process.stdout.take().context("its output is piped")?;
    let mut output = BufReader::new(stdout);
    let mut line = String::new();
    output.read_line(&mut line)?;
    Ok((line, output))
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
