//! Where and from what something was measured: a number without this is a rumour.
//!
//! Called by `compare`. Reads `/proc`, and asks `git` and `rustc`.

use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// What everybody answers who cannot be asked.
const UNKNOWN: &str = "unknown";

/// A machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Model of its processor.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Kernel and its version.
    pub kernel: String,
    /// Average of what else wanted to run in the minute before, in processes.
    pub load_before: f64,
    /// Niceness that it ran with; below zero it went before what else wanted to run.
    #[serde(default)]
    pub niceness: i32,
}

impl Machine {
    /// This one, now.
    #[must_use]
    pub fn this() -> Self {
        let field = |path: &str, name: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value.map_or_else(|| UNKNOWN.to_owned(), |(_, value)| value.trim().to_owned())
        };
        let memory_kib = field("/proc/meminfo", "MemTotal");
        let memory_kib = memory_kib.trim_end_matches(" kB").parse::<u64>();
        let uname = rustix::system::uname();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().and_then(|first| first.parse().ok());
        Self {
            processor: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory_kib.unwrap_or(0) << 10,
            kernel: format!(
                "{} {}",
                uname.sysname().to_string_lossy(),
                uname.release().to_string_lossy()
            ),
            load_before: load.unwrap_or(0.0),
            niceness: rustix::process::getpriority_process(None).unwrap_or(0),
        }
    }
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Commit of the sources.
    pub commit: String,
    /// Whether tracked files differed from it, but for documents and results.
    pub dirty: bool,
    /// The compiler.
    pub rustc: String,
}

impl Source {
    /// The working tree, now. Documents and results are not what is measured, and one command that measures
    /// writes them before the next one begins.
    #[must_use]
    pub fn this() -> Self {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let commit = said("git", &["-C", root, "rev-parse", "--short=12", "HEAD"]);
        let status = [
            "-C",
            root,
            "status",
            "--porcelain",
            "--untracked-files=no",
            "--",
            ".",
            ":(exclude)docs",
            ":(exclude)benches/results",
        ];
        Self {
            dirty: said("git", &status).is_some_and(|files| !files.is_empty()),
            commit: commit.unwrap_or_else(|| UNKNOWN.to_owned()),
            rustc: said("rustc", &["--version"]).unwrap_or_else(|| UNKNOWN.to_owned()),
        }
    }
}

fn said(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| said.trim().to_owned())
}
