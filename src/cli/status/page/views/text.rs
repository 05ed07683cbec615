//! Numbers and times in words.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use maud::{Markup, html};

use crate::crds::times;

/// A number with its thousands apart: `40,123`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Thousandths as a percentage: `98.2 %`, `100.0 %`.
pub(super) fn percent(thousandths: u64) -> String {
    format!("{}.{} %", thousandths / 10, thousandths % 10)
}

/// A time span by its two largest units: `12 s`, `12 min`, `3 h 12 min`, `5 d 3 h`.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let two = |of: u64, unit: &str, part: u64, small: &str| match part {
        0 => format!("{of} {unit}"),
        part => format!("{of} {unit} {part} {small}"),
    };
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// The time since a moment of a report: `3 h 12 min ago`. Nothing for what is no moment.
pub(super) fn ago(text: &str, now: SystemTime) -> Option<Markup> {
    let passed = passed(text, now)?;
    Some(html! { time datetime=(text) title=(text) { (passed) " ago" } })
}

/// The time for which something has been so since a moment of a report: `for 3 h 12 min`. Nothing for what is no moment.
pub(super) fn lasting(text: &str, now: SystemTime) -> Option<Markup> {
    let passed = passed(text, now)?;
    Some(html! { "for " time datetime=(text) title=(text) { (passed) } })
}

fn passed(text: &str, now: SystemTime) -> Option<String> {
    let time = SystemTime::from(text.parse::<Timestamp>().ok()?);
    // Clocks may differ, or have been set.
    Some(span(now.duration_since(time).unwrap_or_default()))
}

/// A moment of today, in UTC: `12:34:56 UTC`.
pub(super) fn moment(time: SystemTime) -> Markup {
    let text = times::rfc3339(time);
    let clock = text.split(['T', 'Z']).nth(1).unwrap_or_default();
    html! { time datetime=(text) { (clock) " UTC" } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (40_123, "40,123"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number), text);
        }
        for (thousandths, text) in [(982, "98.2 %"), (1000, "100.0 %"), (5, "0.5 %")] {
            assert_eq!(percent(thousandths), text);
        }
    }

    #[test]
    fn times_read_well() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (150, "2 min"),
            (3600, "1 h"),
            (11_520, "3 h 12 min"),
            (172_800, "2 d"),
            (442_800, "5 d 3 h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(90);
        let passed = ago("1970-01-01T00:00:00Z", now).unwrap().into_string();
        assert!(passed.contains(">1 min ago<"), "{passed}");
        assert!(
            ago("1971-01-01T00:00:00Z", now)
                .unwrap()
                .into_string()
                .contains(">0 s ago<")
        );
        assert!(ago("-", now).is_none());
        let lasting = lasting("1970-01-01T00:01:00Z", now).unwrap().into_string();
        assert!(
            lasting.starts_with("for <time") && lasting.contains(">30 s<"),
            "{lasting}"
        );
        assert!(moment(now).into_string().contains(">00:01:30 UTC<"));
    }
}
