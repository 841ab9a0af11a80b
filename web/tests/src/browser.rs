//! The browser: one process for all tests that run at the same time, and a place in it for each.
//!
//! Called by tests; calls `devtools`, makes `page`s. Chromium is started headless with a profile of
//! its own and with its debugging protocol on two pipes instead of a port: nobody has to find a free
//! one, and the browser ends when its pipe does, so it cannot outlive a test that was killed.
//! Invariants: at most [`PLACES`] tests use it at once; the process, and its group, end when the last
//! of them does; pages of different tests share neither storage nor cookies.

use std::convert::Infallible;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::devtools::DevTools;
use crate::page::Page;
use crate::patiently;

/// Tests in the browser at a time. Count: small machines have as many cores.
const PLACES: u32 = 2;

/// How long a browser that was asked to end may take before it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Lines of the browser's own log that a failure quotes. Count.
const LOG_LINES: usize = 30;

const FLAGS: [&str; 21] = [
    "--headless",
    // Inside containers and as root there is no sandbox to be had; the only pages are ours.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-breakpad",
    "--disable-sync",
    "--disable-component-update",
    "--disable-background-networking",
    "--disable-client-side-phishing-detection",
    "--disable-default-apps",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--mute-audio",
    "--password-store=basic",
    // Pages of several tests are open at once, and none of them is in front.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--remote-debugging-pipe",
];

static PERMITS: Semaphore = Semaphore::const_new(PLACES as usize);
static SHARED: Mutex<Weak<Process>> = Mutex::new(Weak::new());

/// A place in a browser; pages are opened in it.
pub struct Browser {
    // In this order: the process ends before the next test may start another one.
    process: Arc<Process>,
    _place: SemaphorePermit<'static>,
}

impl std::fmt::Debug for Browser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Browser").finish_non_exhaustive()
    }
}

impl Browser {
    /// A place beside other tests.
    ///
    /// # Panics
    /// If there is no browser here.
    pub async fn start() -> Self {
        Self::with_places(1).await
    }

    /// All places: for tests that measure what the process they share takes.
    ///
    /// # Panics
    /// If there is no browser here.
    pub async fn start_alone() -> Self {
        Self::with_places(PLACES).await
    }

    async fn with_places(count: u32) -> Self {
        let place = PERMITS
            .acquire_many(count)
            .await
            .expect("nobody closes the semaphore");
        Self {
            process: Process::shared(),
            _place: place,
        }
    }

    /// Its name and version.
    pub async fn version(&self) -> String {
        let version = self.process.command(None, "Browser.getVersion", json!({}));
        version.await["product"].as_str().unwrap_or("?").to_owned()
    }

    /// Opens a page in a tab of its own, and waits until it is loaded.
    pub async fn open(&self, url: &str) -> Page {
        Page::open(Arc::clone(&self.process), url).await
    }
}

/// A running browser.
pub(crate) struct Process {
    devtools: DevTools,
    child: Mutex<Child>,
    ended: Mutex<Receiver<Infallible>>,
    profile: TempDir,
}

impl Process {
    /// The one that runs already, or a new one.
    fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(process) = shared.upgrade()
            && process.devtools.is_alive()
        {
            return process;
        }
        let process = Arc::new(Self::start());
        *shared = Arc::downgrade(&process);
        process
    }

    fn start() -> Self {
        let profile = tempfile::tempdir().expect("a folder for the browser's profile");
        let log = File::create(profile.path().join("log")).expect("a log for the browser");
        // The protocol is on descriptors 3 and 4, where only a shell can put a pipe safely.
        let script = r#"exec "$@" 3<&0 4>&1 </dev/null >/dev/null"#;
        let data = format!("--user-data-dir={}", profile.path().display());
        let mut child = Command::new("sh")
            .args(["-c", script, "sh", "chromium"])
            .args(FLAGS)
            .args([&data, "about:blank"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("a shell");
        let commands = child.stdin.take().expect("a pipe");
        let answers = child.stdout.take().expect("a pipe");
        let (end, ended) = sync_channel(1);
        let devtools = DevTools::start(commands, answers, end);
        Self {
            devtools,
            child: Mutex::new(child),
            ended: Mutex::new(ended),
            profile,
        }
    }

    pub(crate) fn devtools(&self) -> &DevTools {
        &self.devtools
    }

    /// Gives a command and waits for its result.
    ///
    /// # Panics
    /// If the browser refuses it, does not answer or is gone.
    pub(crate) async fn command(
        &self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> Value {
        let answer = self.devtools.command(session, method, params);
        match patiently(method, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(refusal)) => panic!("{method}: {refusal}"),
            Err(_gone) => panic!("{method}: {}", self.obituary()),
        }
    }

    /// What is to be said when the browser has ended.
    pub(crate) fn obituary(&self) -> String {
        let log = fs::read(self.profile.path().join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n  ");
        format!("the browser has ended (is Chromium installed? `make setup-browser`)\n  {last}")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Asked first, so that it leaves its profile in peace before that is removed.
        drop(self.devtools.command(None, "Browser.close", json!({})));
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ended = ended.recv_timeout(END_TIMEOUT);
        self.devtools.hang_up();
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _there = kill_process_group(group, Signal::KILL);
        }
        drop(child.wait());
    }
}
