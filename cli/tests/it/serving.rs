//! Runs the real binary: one that serves, or one that ends by itself.
//!
//! Used by the tests beside it. stderr goes to a file, so that it can be read while the program runs
//! and never holds it up; stdout is read to its end, because what is on it is a promise.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::net::SocketAddr;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use switchboard_test_support::{RawClient, eventually, patiently};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    /// All of stdout, but for the ready line of [`Serving`].
    pub(crate) stdout: String,
    /// All of stderr.
    pub(crate) stderr: String,
}

/// `switchboard serve` or `switchboard forward`, after its ready line.
pub(crate) struct Serving {
    /// What the ready line says.
    pub(crate) addr: SocketAddr,
    run: Run,
}

struct Run {
    child: Child,
    stdout: BufReader<ChildStdout>,
    folder: TempDir,
}

impl Run {
    fn start(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        Self::start_with([], args)
    }

    fn start_with<'a>(
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Self {
        let folder = TempDir::new().expect("a folder");
        let stderr = File::create(folder.path().join("stderr")).expect("a file");
        Self::start_in(folder, variables, args, stderr)
    }

    fn start_in<'a>(
        folder: TempDir,
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        stderr: impl Into<Stdio>,
    ) -> Self {
        let ours = std::env::vars_os().map(|(name, _)| name);
        let ours = ours.filter(|name| name.to_string_lossy().starts_with("SWITCHBOARD_"));
        // Whoever runs the tests may have SIGHUP ignored, as `nohup` does, and the program would inherit that.
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_switchboard")]);
        // What whoever runs the tests has set is not what they are about.
        for name in ours {
            command.env_remove(name);
        }
        let mut child = command
            .args(args)
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Self {
            child,
            stdout,
            folder,
        }
    }

    /// What it said; nothing if its stderr is not ours to read.
    fn stderr(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// What the next line of stdout names, which must begin so.
    async fn ready_line(&mut self, ready: &str) -> String {
        let mut line = String::new();
        let read = self.stdout.read_line(&mut line);
        patiently("the ready line", read).await.expect("text");
        let name = line
            .strip_prefix(ready)
            .and_then(|rest| rest.strip_suffix('\n'));
        let name = name.map(str::to_owned);
        name.unwrap_or_else(|| panic!("not a ready line: {line:?}; stderr: {}", self.stderr()))
    }

    async fn ended(mut self) -> Ended {
        let mut stdout = String::new();
        let read = self.stdout.read_to_string(&mut stdout);
        patiently("the end of stdout", read).await.expect("text");
        let status = patiently("the end of the program", self.child.wait()).await;
        Ended {
            code: status.expect("a status").code(),
            stdout,
            stderr: self.stderr(),
        }
    }
}

/// Runs the binary until it ends by itself.
pub(crate) async fn run(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ended {
    Run::start(args).ended().await
}

/// The same, with these variables in its environment.
pub(crate) async fn run_with<'a>(
    variables: impl IntoIterator<Item = (&'a str, &'a str)>,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Ended {
    Run::start_with(variables, args).ended().await
}

impl Serving {
    /// `switchboard serve --listen 127.0.0.1:0` and `args`.
    pub(crate) async fn start(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        Self::listening("serve", "127.0.0.1:0", "ready grpc ", args).await
    }

    /// `switchboard serve --listen 127.0.0.1:0` and `args`, with a pipe for its stderr that nobody reads;
    /// dropping its end closes it.
    pub(crate) async fn start_unread(
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> (Self, ChildStderr) {
        let fixed = ["serve", "--listen", "127.0.0.1:0"].map(OsString::from);
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        let folder = TempDir::new().expect("a folder");
        let mut run = Run::start_in(folder, [], fixed.into_iter().chain(args), Stdio::piped());
        let stderr = run.child.stderr.take().expect("piped");
        (Self::ready(run, "ready grpc ").await, stderr)
    }

    /// `switchboard serve --listen` there and `args`.
    pub(crate) async fn start_at(
        listen: SocketAddr,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Self {
        Self::listening("serve", &listen.to_string(), "ready grpc ", args).await
    }

    /// `switchboard serve` at these addresses and `args`, and what its ready lines name.
    pub(crate) async fn at(
        addresses: &[&str],
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> (Self, Vec<String>) {
        let listen = addresses.iter().flat_map(|address| ["--listen", address]);
        let fixed = std::iter::once("serve").chain(listen).map(OsString::from);
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        let mut run = Run::start(fixed.chain(args));
        let mut names = Vec::new();
        for _ in addresses {
            names.push(run.ready_line("ready grpc ").await);
        }
        let addr = names.iter().find_map(|name| name.parse().ok());
        // One that has no port has no address either.
        let addr = addr.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        (Self { addr, run }, names)
    }

    /// `switchboard serve --listen 127.0.0.1:0 --admin 127.0.0.1:0` and `args`, and where its admin listener is.
    pub(crate) async fn with_admin(
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> (Self, String) {
        let fixed = ["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        let fixed = fixed.map(OsString::from).into_iter();
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        let mut run = Run::start(fixed.chain(args));
        let admin = run.ready_line("ready admin ").await;
        (Self::ready(run, "ready grpc ").await, admin)
    }

    /// `switchboard forward --listen 127.0.0.1:0` and `args`.
    pub(crate) async fn forward(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        Self::listening("forward", "127.0.0.1:0", "ready forward ", args).await
    }

    async fn listening(
        command: &str,
        listen: &str,
        ready: &str,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Self {
        let fixed = [command, "--listen", listen]
            .map(OsStr::new)
            .map(OsStr::to_owned);
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        Self::ready(Run::start(fixed.into_iter().chain(args)), ready).await
    }

    async fn ready(mut run: Run, ready: &str) -> Self {
        let name = run.ready_line(ready).await;
        let addr = name
            .parse()
            .unwrap_or_else(|_| panic!("no address: {name:?}"));
        Self { addr, run }
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.run.child.id()?).ok()?)
    }

    /// A client of it.
    pub(crate) async fn client(&self) -> RawClient {
        RawClient::connect(self.addr).await
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.id().expect("it runs"), signal).expect("a signal");
    }

    /// Waits until stderr has `text`.
    pub(crate) async fn says(&self, text: &str) {
        let what = format!("stderr says {text:?}");
        eventually(&what, || self.run.stderr().contains(text)).await;
    }

    /// Waits until stderr has `text` so many times.
    pub(crate) async fn says_times(&self, text: &str, count: usize) {
        let what = format!("stderr says {text:?} {count} times");
        let said = || self.run.stderr().matches(text).count() >= count;
        eventually(&what, said).await;
    }

    /// Waits for its end.
    pub(crate) async fn ended(self) -> Ended {
        self.run.ended().await
    }

    /// Stops it as a service manager does, and waits for its end.
    pub(crate) async fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.ended().await
    }
}
