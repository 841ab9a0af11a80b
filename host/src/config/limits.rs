//! How much one plugin may use: memory, CPU, time, and room in the log.
//!
//! A leaf. `guest` holds instances to it, `grpc` calls, `imports::log` lines. What is not set here is as for all
//! plugins: [`super::EngineConfig`] and [`super::CallConfig`] have that, and no plugin is allowed more memory than
//! the engine makes room for.

use std::time::Duration;

use super::EngineConfig;

/// Longest time of any kind that can be asked for: a day.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// Least memory that an instance can start with: one page.
const MEMORY_BYTES_MIN: usize = 64 << 10;

/// What one plugin may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Linear memory of one instance, all its memories together, in bytes. None: as much as the engine allows,
    /// [`EngineConfig::memory_bytes_max`]. At the limit the plugin is told that there is none, and a call that
    /// traps on it ends with `RESOURCE_EXHAUSTED`.
    pub memory_bytes_max: Option<usize>,
    /// Elements of all tables of one instance. Count. None: as many as the engine allows.
    pub table_elements_max: Option<usize>,
    /// CPU time of one call inside the plugin, host functions that it calls included. None, the default: no
    /// limit but the call's deadline. Looked at each [`EngineConfig::tick`]. At the limit the instance is dropped,
    /// the call ends with `RESOURCE_EXHAUSTED`, and it counts as a failure of the plugin.
    pub cpu_time_max: Option<Duration>,
    /// Longest time that a call may take, waiting included. None: as for all calls,
    /// [`super::CallConfig::timeout_max`]; the shorter of the two counts, and so does a caller's deadline. At the
    /// limit: `DEADLINE_EXCEEDED`.
    pub timeout_max: Option<Duration>,
    /// How much it may write to the log.
    pub log: LogLimits,
}

/// How much a plugin may write to the log, all its instances together: a burst, then so much a second. What is
/// more is left out, and the log says how many lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Lines at once. Count; default 1000: a plugin that logs each of its calls gets the first thousand out.
    pub burst_lines: u64,
    /// Lines a second from then on. Count; default 100.
    pub lines_per_second: u64,
    /// Text at once, in bytes. Default 1 MiB.
    pub burst_bytes: u64,
    /// Text a second from then on, in bytes. Default 64 KiB: 5.5 GB a day, which log rotation copes with.
    pub bytes_per_second: u64,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            burst_lines: 1000,
            lines_per_second: 100,
            burst_bytes: 1 << 20,
            bytes_per_second: 64 << 10,
        }
    }
}

impl LimitsConfig {
    /// A fault for each value that nothing works with.
    pub(super) fn faults(&self, engine: &EngineConfig) -> Vec<String> {
        let mut faults = Vec::new();
        let memory = MEMORY_BYTES_MIN..=engine.memory_bytes_max;
        if self
            .memory_bytes_max
            .is_some_and(|max| !memory.contains(&max))
        {
            faults.push(format!(
                "limits: memory_bytes_max must be {} to {} bytes, which is what the engine allows",
                memory.start(),
                memory.end()
            ));
        }
        let tables = engine.table_elements_max;
        if self.table_elements_max.is_some_and(|max| max > tables) {
            faults.push(format!(
                "limits: table_elements_max must be {tables} at most, which is what the engine allows"
            ));
        }
        for (name, time) in [
            ("cpu_time_max", self.cpu_time_max),
            ("timeout_max", self.timeout_max),
        ] {
            if time.is_some_and(|time| time.is_zero() || time > TIME_MAX) {
                faults.push(format!(
                    "limits: {name} must be above zero, and a day at most"
                ));
            }
        }
        let log = &self.log;
        for (name, value) in [
            ("burst_lines", log.burst_lines),
            ("lines_per_second", log.lines_per_second),
            ("burst_bytes", log.burst_bytes),
            ("bytes_per_second", log.bytes_per_second),
        ] {
            if value == 0 || value > 1 << 40 {
                faults.push(format!(
                    "limits: log {name} must be above zero, and 2^40 at most"
                ));
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named() {
        let engine = EngineConfig::default();
        assert_eq!(LimitsConfig::default().faults(&engine), [""; 0]);
        let wrong = LimitsConfig {
            memory_bytes_max: Some(engine.memory_bytes_max + 1),
            table_elements_max: Some(engine.table_elements_max + 1),
            cpu_time_max: Some(Duration::ZERO),
            timeout_max: Some(TIME_MAX * 2),
            log: LogLimits {
                burst_lines: 0,
                lines_per_second: 0,
                burst_bytes: 0,
                bytes_per_second: u64::MAX,
            },
        };
        let faults = wrong.faults(&engine);
        assert_eq!(faults.len(), 8, "{faults:#?}");
    }
}
