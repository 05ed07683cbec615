//! Times and time spans as texts.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// A moment to the second, in UTC: `2026-01-01T00:00:00Z`.
pub(crate) fn rfc3339(time: impl TryInto<Timestamp>) -> String {
    let time = time.try_into().unwrap_or(Timestamp::MAX);
    format!("{time:.0}")
}

/// A moment to the microsecond, in UTC: `2026-01-01T00:00:00.000000Z`.
pub(crate) fn rfc3339_exact(time: impl TryInto<Timestamp>) -> String {
    let time = time.try_into().unwrap_or(Timestamp::MAX);
    format!("{time:.6}")
}

/// The moment of a text as these functions make it.
pub(crate) fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// The whole seconds from one moment to a later one; 0 if it is not later.
pub(crate) fn seconds_between(earlier: Timestamp, later: Timestamp) -> u64 {
    u64::try_from(later.duration_since(earlier).as_secs()).unwrap_or_default()
}

/// A time span for people in its two largest units: `3s`, `2m 5s`, `4h 0m`, `12d 3h`.
pub(crate) fn coarse(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m {}s", seconds % 60),
        3600..86_400 => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// A time span for people: `1m 30s`, `300ms`.
pub(crate) fn friendly(span: Duration) -> String {
    let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
    format!("{span:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_utc_to_the_second() {
        let time = Timestamp::from_millisecond(1_767_225_600_999).unwrap();
        assert_eq!(rfc3339(time), "2026-01-01T00:00:00Z");
        assert_eq!(rfc3339_exact(time), "2026-01-01T00:00:00.999000Z");
    }

    #[test]
    fn what_is_written_is_read_and_spans_are_counted() {
        let time = parse_rfc3339("2026-01-01T00:00:00Z").unwrap();
        assert_eq!(rfc3339(time), "2026-01-01T00:00:00Z");
        let later = parse_rfc3339("2026-01-01T00:01:01Z").unwrap();
        assert_eq!(
            (seconds_between(time, later), seconds_between(later, time)),
            (61, 0)
        );
        assert_eq!(parse_rfc3339("yesterday"), None);
    }

    #[test]
    fn a_coarse_span_has_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (125, "2m 5s"),
            (14_400, "4h 0m"),
            (86_399, "23h 59m"),
            (1_050_000, "12d 3h"),
        ] {
            assert_eq!(coarse(seconds), text);
        }
    }

    #[test]
    fn a_span_has_the_units_it_needs() {
        for (span, text) in [
            (Duration::from_millis(300), "300ms"),
            (Duration::from_secs(61), "1m 1s"),
            (Duration::from_secs(180_000), "50h"),
            (Duration::ZERO, "0s"),
        ] {
            assert_eq!(friendly(span), text);
        }
    }
}
