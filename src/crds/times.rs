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
