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
        let folder = TempDir::new().expect("a folder");
        let stderr = File::create(folder.path().join("stderr")).expect("a file");
        Self::start_in(folder, args, stderr)
    }

    fn start_in(
        folder: TempDir,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        stderr: impl Into<Stdio>,
    ) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_switchboard"))
            .args(args)
            .env_remove("SWITCHBOARD_LOG")
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
        let mut run = Run::start_in(folder, fixed.into_iter().chain(args), Stdio::piped());
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
        let mut line = String::new();
        let read = run.stdout.read_line(&mut line);
        patiently("the ready line", read).await.expect("text");
        let addr = line
            .strip_prefix(ready)
            .and_then(|rest| rest.strip_suffix('\n'))
            .unwrap_or_else(|| panic!("not a ready line: {line:?}; stderr: {}", run.stderr()));
        let addr = addr
            .parse()
            .unwrap_or_else(|_| panic!("no address: {line:?}"));
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
