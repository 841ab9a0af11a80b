//! What the kernel says of a process, and on which cores it runs.
//!
//! Called by `load` (CPU time of the server and of itself) and by `child` (stopping servers whose
//! turn it is not, and what they hold). Linux only, like the numbers.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

/// CPU time of each thread of a process, user and kernel, to the nanosecond, at one moment.
#[derive(Clone, Debug)]
pub struct CpuTimes(HashMap<OsString, u64>);

impl CpuTimes {
    /// Of a process, now.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: u32) -> Result<Self> {
        let folder = format!("/proc/{pid}/task");
        let mut times = HashMap::new();
        for thread in fs::read_dir(&folder).with_context(|| folder.clone())? {
            let thread = thread?;
            // A thread may end between the listing and here.
            if let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) {
                times.insert(thread.file_name(), on_cpu_ns(&text)?);
            }
        }
        Ok(Self(times))
    }

    /// What was used since `before`. A thread that has ended meanwhile is left out: its whole life
    /// would be missing from the sum, not only what it did in between.
    #[must_use]
    pub fn since(&self, before: &Self) -> Duration {
        let used = self.0.iter().map(|(thread, now)| {
            let then = before.0.get(thread).copied().unwrap_or(0);
            now.saturating_sub(then)
        });
        Duration::from_nanos(used.sum())
    }
}

/// First field of `schedstat`. Source: Documentation/scheduler/sched-stats.rst, "time spent on the
/// cpu (in nanoseconds)".
fn on_cpu_ns(schedstat: &str) -> Result<u64> {
    let field = schedstat.split_whitespace().next();
    field
        .and_then(|field| field.parse().ok())
        .with_context(|| format!("schedstat reads {schedstat:?}"))
}

/// Memory that a process holds now, and the most it ever held, in bytes.
///
/// # Errors
/// When there is no such process.
pub fn resident_bytes(pid: u32) -> Result<(u64, u64)> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok())
            .map(|kib| kib << 10)
            .with_context(|| format!("{path} has no {name}"))
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

/// Keeps this process, and every thread it starts from here on, on one core.
///
/// # Errors
/// When there is no such core.
pub fn stay_on(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("staying on core {core}"))
}

/// Ends this process when the thread that started it ends, even while it is stopped.
///
/// # Errors
/// When the kernel refuses.
pub fn end_with_parent() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .context("asking to end with the parent")
}

/// Lets this process open as many files as it may: a connection is one.
///
/// # Errors
/// When the kernel refuses.
pub fn raise_open_files() -> Result<()> {
    let most = getrlimit(Resource::Nofile).maximum;
    let all = Rlimit {
        current: most,
        maximum: most,
    };
    setrlimit(Resource::Nofile, all).context("raising the limit of open files")
}

/// Stops a process where it stands.
///
/// # Errors
/// When there is no such process.
pub fn stop(pid: u32) -> Result<()> {
    send(pid, Signal::STOP)
}

/// Lets a stopped process go on.
///
/// # Errors
/// When there is no such process.
pub fn go_on(pid: u32) -> Result<()> {
    send(pid, Signal::CONT)
}

fn send(pid: u32, signal: Signal) -> Result<()> {
    let raw = i32::try_from(pid).context("not a process number")?;
    let pid = Pid::from_raw(raw).context("not a process number")?;
    kill_process(pid, signal).with_context(|| format!("signal {signal:?} to {raw}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_the_first_field() {
        assert_eq!(on_cpu_ns("12345 678 90\n").expect("it is there"), 12_345);
        on_cpu_ns("").expect_err("nothing to read");
    }

    #[test]
    fn a_thread_that_ended_takes_nothing_away() {
        let times = |threads: &[(&str, u64)]| {
            let threads = threads.iter().map(|(name, ns)| (OsString::from(name), *ns));
            CpuTimes(threads.collect())
        };
        let before = times(&[("1", 100), ("2", 900)]);
        let after = times(&[("1", 150), ("3", 7)]);
        assert_eq!(after.since(&before), Duration::from_nanos(57));
    }

    #[test]
    fn this_process_uses_time_and_memory() {
        let now = || CpuTimes::of(std::process::id()).expect("this process is there");
        let before = now();
        let mut spent = 0_u64;
        while now().since(&before).is_zero() {
            spent = std::hint::black_box(spent.wrapping_add(1));
        }
        let (now, most) = resident_bytes(std::process::id()).expect("still there");
        assert!(now > 1 << 20 && most >= now, "{now} {most}");
    }
}
