//! What the kernel knows of this process: CPU time, memory, file descriptors.
//!
//! Read at scrape time from `/proc/self`. What cannot be read is left out: a metric that is missing says more
//! than one that is wrong. Source: proc(5), and the names of the Prometheus client libraries.

use std::sync::OnceLock;
use std::time::Duration;

use super::names::Metric;
use super::text::Samples;

/// What `/proc/self/stat` says that is wanted here.
struct Stat {
    cpu: Duration,
    /// Since the machine was started.
    begun: Duration,
    virtual_bytes: u64,
    resident_pages: u64,
}

/// Writes what can be read.
pub(super) fn write(out: &mut Samples) {
    if let Some(stat) = read("/proc/self/stat").and_then(|text| stat(&text)) {
        out.seconds(Metric::Cpu, &[], stat.cpu);
        out.count(Metric::Virtual, &[], stat.virtual_bytes);
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        out.count(Metric::Resident, &[], stat.resident_pages * page);
        if let Some(boot) = boot_time() {
            out.seconds(Metric::Begun, &[], boot + stat.begun);
        }
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        // The one that the folder is read with is none of ours.
        out.size(Metric::Fds, &[], open.count().saturating_sub(1));
    }
    if let Some(max) = read("/proc/self/limits").and_then(|text| fds_max(&text)) {
        out.count(Metric::FdsMax, &[], max);
    }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn stat(text: &str) -> Option<Stat> {
    // The second field is the name in brackets, which may hold anything; the third comes after the last one.
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<_> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let time = |ticked: u64| {
        let rest = ticked % ticks * 1_000_000_000 / ticks;
        Duration::from_secs(ticked / ticks) + Duration::from_nanos(rest)
    };
    Some(Stat {
        cpu: time(field(14)? + field(15)?),
        begun: time(field(22)?),
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

/// When the machine was started, since 1970. Asked once: it is corrected with the clock, and the time at which
/// the process began must not move.
fn boot_time() -> Option<Duration> {
    static BOOT: OnceLock<Option<Duration>> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let text = read("/proc/stat")?;
        let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
        line.trim().parse().ok().map(Duration::from_secs)
    })
}

fn fds_max(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::text::MetricsFormat;
    use super::*;

    #[test]
    fn this_process_is_found() {
        let mut samples = Samples::new();
        write(&mut samples);
        let text = samples.text(MetricsFormat::Prometheus);
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.trim().parse::<f64>().ok())
                .unwrap_or_else(|| panic!("{name}: {text}"))
        };
        assert!(value("process_resident_memory_bytes ") > 1e6);
        assert!(value("process_virtual_memory_bytes ") > value("process_resident_memory_bytes "));
        assert!(value("process_open_fds ") >= 3.0);
        assert!(value("process_max_fds ") >= value("process_open_fds "));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let age = now.expect("after 1970").as_secs_f64() - value("process_start_time_seconds ");
        assert!((-2.0..1e6).contains(&age), "{age} s old");
    }

    #[test]
    fn a_name_with_brackets_is_only_a_name() {
        let fields: Vec<String> = (3..=52).map(|number| number.to_string()).collect();
        let text = format!("7 (a) b) R {}", fields[1..].join(" "));
        let stat = stat(&text).expect("whole");
        assert_eq!((stat.virtual_bytes, stat.resident_pages), (23, 24));
        assert_eq!(
            fds_max("Max open files            20000   40000   files\n"),
            Some(20_000)
        );
    }
}
