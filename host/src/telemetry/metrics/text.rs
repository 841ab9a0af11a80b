//! Metrics as text, in the two forms that scrapers ask for.
//!
//! Fed by whoever has numbers, at scrape time ([`Samples`]); read by the admin listener. What belongs to one
//! metric stands together and in the order of the list, whoever said it first. Knows no numbers.
//!
//! Source: Prometheus "Exposition formats", version 0.0.4, and the OpenMetrics specification, version 1.0.0. They
//! differ in the name under which a counter is described, and in the last line.

use std::fmt::{Display, Write};
use std::time::Duration;

use super::names::{METRICS, Metric, MetricInfo, MetricKind};
use super::number::{BOUNDS_NS, Seen};

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricsFormat {
    /// Prometheus text, 0.0.4.
    Prometheus,
    /// OpenMetrics text, 1.0.0.
    OpenMetrics,
}

impl MetricsFormat {
    /// What somebody wants whose `accept` header says this; OpenMetrics only where it is named.
    #[must_use]
    pub fn of_accept(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// The content type of the text.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The name that a metric is described under.
    fn family(self, info: &MetricInfo) -> &'static str {
        match self {
            Self::OpenMetrics => info.name.strip_suffix("_total").unwrap_or(info.name),
            Self::Prometheus => info.name,
        }
    }
}

/// What was scraped.
#[derive(Debug)]
pub(crate) struct Samples {
    /// The lines of each metric, in the order of [`METRICS`].
    lines: Vec<String>,
}

impl Samples {
    pub(super) fn new() -> Self {
        Self {
            lines: vec![String::new(); METRICS.len()],
        }
    }

    /// A number of a counter or a gauge, with a value for each of its labels.
    pub(crate) fn count(&mut self, metric: Metric, labels: &[&str], count: u64) {
        self.line(metric, "", labels, None, count);
    }

    /// The same for what can be counted as `usize`.
    pub(crate) fn size(&mut self, metric: Metric, labels: &[&str], size: usize) {
        self.line(metric, "", labels, None, size);
    }

    /// A number of seconds.
    pub(crate) fn seconds(&mut self, metric: Metric, labels: &[&str], time: Duration) {
        self.line(metric, "", labels, None, time.as_secs_f64());
    }

    /// A histogram.
    pub(crate) fn times(&mut self, metric: Metric, labels: &[&str], seen: &Seen) {
        let mut total = 0;
        let bounds = BOUNDS_NS.iter().map(Some).chain([None]);
        for (bound, count) in bounds.zip(seen.buckets) {
            total += count;
            let le = bound.map_or_else(
                || "+Inf".to_owned(),
                // With a point, as both forms have it: a series must not depend on how it was asked for.
                |ns| format!("{:?}", Duration::from_nanos(*ns).as_secs_f64()),
            );
            self.line(metric, "_bucket", labels, Some(&le), total);
        }
        let sum = Duration::from_nanos(seen.sum_ns).as_secs_f64();
        self.line(metric, "_sum", labels, None, sum);
        self.line(metric, "_count", labels, None, total);
    }

    fn line(
        &mut self,
        metric: Metric,
        suffix: &str,
        labels: &[&str],
        le: Option<&str>,
        value: impl Display,
    ) {
        let info = metric.info();
        debug_assert_eq!(labels.len(), info.labels.len(), "{}", info.name);
        let line = &mut self.lines[metric.index()];
        line.push_str(info.name);
        line.push_str(suffix);
        let pairs = info.labels.iter().copied().zip(labels.iter().copied());
        for (at, (name, text)) in pairs.chain(le.map(|le| ("le", le))).enumerate() {
            line.push(if at == 0 { '{' } else { ',' });
            line.push_str(name);
            line.push_str("=\"");
            escape(text, line);
            line.push('"');
        }
        if !info.labels.is_empty() || le.is_some() {
            line.push('}');
        }
        // Writing to a string does not fail.
        let _written = writeln!(line, " {value}");
    }

    /// All of it as text.
    pub(super) fn text(&self, format: MetricsFormat) -> String {
        let len = self.lines.iter().map(|lines| lines.len() + 200).sum();
        let mut text = String::with_capacity(len);
        for (info, lines) in METRICS.iter().zip(&self.lines) {
            if lines.is_empty() {
                continue;
            }
            let family = format.family(info);
            let kind = match info.kind {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
                MetricKind::Histogram => "histogram",
            };
            let help = info.help;
            // Writing to a string does not fail.
            let _written = writeln!(text, "# HELP {family} {help}\n# TYPE {family} {kind}");
            text.push_str(lines);
        }
        if format == MetricsFormat::OpenMetrics {
            text.push_str("# EOF\n");
        }
        text
    }
}

/// "label_value can be any sequence of UTF-8 characters, but the backslash, double-quote and line feed
/// characters have to be escaped".
fn escape(text: &str, line: &mut String) {
    for c in text.chars() {
        match c {
            '\\' => line.push_str("\\\\"),
            '"' => line.push_str("\\\""),
            '\n' => line.push_str("\\n"),
            c => line.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::number::Histogram;
    use super::*;

    fn sample() -> Samples {
        let mut samples = Samples::new();
        samples.count(Metric::Idle, &["a\\b\"c\nd"], 3);
        samples.count(Metric::Made, &["echo"], 2);
        samples.count(Metric::Idle, &["echo"], 4);
        samples.count(Metric::ConnectionsOpen, &[], 5);
        samples
    }

    #[test]
    fn prometheus_text_is_as_it_must_be() {
        let expected = "# HELP switchboard_pool_idle Instances that are ready for a call.\n\
             # TYPE switchboard_pool_idle gauge\n\
             switchboard_pool_idle{plugin=\"a\\\\b\\\"c\\nd\"} 3\n\
             switchboard_pool_idle{plugin=\"echo\"} 4\n\
             # HELP switchboard_pool_made_total Instances made.\n\
             # TYPE switchboard_pool_made_total counter\n\
             switchboard_pool_made_total{plugin=\"echo\"} 2\n\
             # HELP switchboard_connections Open connections, whatever they speak.\n\
             # TYPE switchboard_connections gauge\n\
             switchboard_connections 5\n";
        assert_eq!(sample().text(MetricsFormat::Prometheus), expected);
    }

    #[test]
    fn openmetrics_names_the_counter_without_total_and_has_an_end() {
        let text = sample().text(MetricsFormat::OpenMetrics);
        assert!(text.contains("# TYPE switchboard_pool_made counter\n"));
        assert!(text.contains("\nswitchboard_pool_made_total{plugin=\"echo\"} 2\n"));
        assert!(text.ends_with("switchboard_connections 5\n# EOF\n"));
    }

    #[test]
    fn buckets_count_all_that_is_not_longer() {
        let histogram = Histogram::default();
        for micros in [40, 60, 20_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let mut samples = Samples::new();
        samples.times(Metric::Compile, &[], &histogram.seen());
        let text = samples.text(MetricsFormat::Prometheus);
        for line in [
            "switchboard_plugin_compile_seconds_bucket{le=\"5e-5\"} 1",
            "switchboard_plugin_compile_seconds_bucket{le=\"0.0001\"} 2",
            "switchboard_plugin_compile_seconds_bucket{le=\"10.0\"} 2",
            "switchboard_plugin_compile_seconds_bucket{le=\"+Inf\"} 3",
            "switchboard_plugin_compile_seconds_sum 20.0001",
            "switchboard_plugin_compile_seconds_count 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }

    #[test]
    fn the_form_is_the_one_that_is_asked_for() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.3,*/*;q=0.2";
        assert_eq!(
            MetricsFormat::of_accept(prometheus),
            MetricsFormat::OpenMetrics
        );
        assert_eq!(MetricsFormat::of_accept("*/*"), MetricsFormat::Prometheus);
    }
}
