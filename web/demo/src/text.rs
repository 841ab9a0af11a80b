//! Numbers as people read them. Pure.
//!
//! Used wherever the page shows one. Integers only: the code that prints floating point numbers would be
//! a tenth of the page's program.

/// A time, in the unit in which it has three digits: `412 µs`, `1.24 ms`, `12.4 ms`, `2.35 s`.
#[must_use]
pub fn time(micros: u32) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{}.{:02} ms", micros / 1_000, micros / 10 % 100),
        10_000..100_000 => format!("{}.{} ms", micros / 1_000, micros / 100 % 10),
        100_000..1_000_000 => format!("{} ms", micros / 1_000),
        1_000_000..10_000_000 => format!("{}.{:02} s", micros / 1_000_000, micros / 10_000 % 100),
        _ => format!("{}.{} s", micros / 1_000_000, micros / 100_000 % 10),
    }
}

/// A mark of the chart's scale: `200 µs`, `1 ms`.
#[must_use]
pub fn tick(micros: u32) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{} s", micros / 1_000_000),
    }
}

/// A count, its digits in groups of three from five digits on: `8192`, `12 500`.
#[must_use]
pub fn count(count: u32) -> String {
    let digits = count.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            // A space that is narrow and does not break.
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// How long something has lasted: `0:07`, `12:30`, `1:02:03`.
#[must_use]
pub fn age(seconds: u32) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours == 0 {
        format!("{minutes}:{seconds:02}")
    } else {
        format!("{hours}:{minutes:02}:{seconds:02}")
    }
}

/// `1 message`, `2 messages`.
#[must_use]
pub fn messages(number: u32) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} message{plural}", count(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        for (micros, expected) in [
            (0, "0 µs"),
            (999, "999 µs"),
            (1_000, "1.00 ms"),
            (1_239, "1.23 ms"),
            (12_345, "12.3 ms"),
            (123_456, "123 ms"),
            (2_350_000, "2.35 s"),
            (62_000_000, "62.0 s"),
            (u32::MAX, "4294.9 s"),
        ] {
            assert_eq!(time(micros), expected);
        }
    }

    #[test]
    fn marks_are_short() {
        for (micros, expected) in [(50, "50 µs"), (2_000, "2 ms"), (5_000_000, "5 s")] {
            assert_eq!(tick(micros), expected);
        }
    }

    #[test]
    fn counts_are_grouped_when_long() {
        for (number, expected) in [
            (0, "0"),
            (8192, "8192"),
            (12_500, "12\u{202f}500"),
            (1_000_000, "1\u{202f}000\u{202f}000"),
        ] {
            assert_eq!(count(number), expected);
        }
        assert_eq!(messages(1), "1 message");
        assert_eq!(messages(0), "0 messages");
    }

    #[test]
    fn ages_have_hours_when_they_need_them() {
        for (seconds, expected) in [(7, "0:07"), (750, "12:30"), (3_723, "1:02:03")] {
            assert_eq!(age(seconds), expected);
        }
    }
}
