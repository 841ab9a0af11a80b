//! The log as JSON: one object on each line, for whoever collects logs.
//!
//! Used by `process::init_log`. A line has `timestamp`, `level`, `target`, `message` and the fields of the event by
//! their names; of a call that is traced also `trace_id` and `span_id`, as OpenTelemetry names them. Other spans around
//! it stand as objects, such as `span.client`. Invariant: whatever is in a text, a line stays one line and one object.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// The span whose fields belong to every line within it.
const CALL: &str = "call";

/// Fields as members of an object, each with a comma before it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct JsonFields;

impl<'writer> FormatFields<'writer> for JsonFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut members = Members {
            writer,
            written: Ok(()),
        };
        fields.record(&mut members);
        members.written
    }
}

/// A line of the log.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        writer.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        let metadata = event.metadata();
        write!(writer, "\",\"level\":\"{}\",\"target\":", metadata.level())?;
        text(&mut writer, metadata.target())?;
        for span in context.event_scope().into_iter().flatten() {
            let extensions = span.extensions();
            let Some(fields) = extensions.get::<FormattedFields<N>>() else {
                continue;
            };
            let members = fields.fields.trim_start_matches(',');
            if members.is_empty() {
                continue;
            }
            match span.name() {
                CALL => write!(writer, ",{members}")?,
                name => write!(writer, ",\"span.{name}\":{{{members}}}")?,
            }
        }
        context.format_fields(writer.by_ref(), event)?;
        writer.write_str("}\n")
    }
}

/// Writes each field as it comes.
struct Members<'writer> {
    writer: Writer<'writer>,
    written: fmt::Result,
}

impl Members<'_> {
    fn member(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.written.is_ok() {
            self.written = (|| {
                self.writer.write_char(',')?;
                text(&mut self.writer, field.name())?;
                self.writer.write_char(':')?;
                value(&mut self.writer)
            })();
        }
    }
}

impl Visit for Members<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.member(field, |writer| {
            if value.is_finite() {
                write!(writer, "{value}")
            } else {
                // JSON has no such numbers.
                write!(writer, "\"{value}\"")
            }
        });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, |writer| write!(writer, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, |writer| write!(writer, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, |writer| write!(writer, "{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field, |writer| text(writer, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.member(field, |writer| {
            writer.write_char('"')?;
            write!(Escaped(writer), "{value:?}")?;
            writer.write_char('"')
        });
    }
}

/// A text in quotes.
fn text(writer: &mut Writer<'_>, value: &str) -> fmt::Result {
    writer.write_char('"')?;
    Escaped(writer).write_str(value)?;
    writer.write_char('"')
}

/// Escapes what JSON wants escaped. Source: RFC 8259, section 7; beyond it what ends a line elsewhere, U+2028 and
/// U+2029, and DEL.
struct Escaped<'a, 'writer>(&'a mut Writer<'writer>);

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '"' => self.0.write_str("\\\"")?,
                '\\' => self.0.write_str("\\\\")?,
                '\n' => self.0.write_str("\\n")?,
                '\r' => self.0.write_str("\\r")?,
                '\t' => self.0.write_str("\\t")?,
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                    write!(self.0, "\\u{:04x}", u32::from(c))?;
                }
                c => self.0.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .expect("nobody panics")
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn a_line_is_one_object_whatever_is_in_it() {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .event_format(JsonLine)
            .fmt_fields(JsonFields)
            .with_writer(lines.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let _client = tracing::info_span!("client", peer = "192.0.2.1:1").entered();
            let _call = tracing::error_span!("call", trace_id = "ab", span_id = "cd").entered();
            let (text, number) = ("a \"quote\"\nand \u{7} more", 7);
            tracing::warn!(
                text,
                number,
                ratio = 0.5,
                yes = true,
                gone = f64::NAN,
                "said {text}"
            );
        });
        let written = lines.0.lock().expect("nobody panics").clone();
        let written = String::from_utf8(written).expect("UTF-8");
        let (stamp, rest) = written.split_once(',').expect("members");
        assert!(
            stamp.starts_with("{\"timestamp\":\"20") && stamp.ends_with("Z\""),
            "{stamp}"
        );
        let expected = "\"level\":\"WARN\",\"target\":\"switchboard::cmd::json_log::tests\",\
            \"trace_id\":\"ab\",\"span_id\":\"cd\",\"span.client\":{\"peer\":\"192.0.2.1:1\"},\
            \"message\":\"said a \\\"quote\\\"\\nand \\u0007 more\",\
            \"text\":\"a \\\"quote\\\"\\nand \\u0007 more\",\"number\":7,\"ratio\":0.5,\"yes\":true,\
            \"gone\":\"NaN\"}\n";
        assert_eq!(rest, expected);
    }
}
