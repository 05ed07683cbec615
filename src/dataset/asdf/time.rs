//! Times in ASDF trees, as the Python client shows them: in UTC, to the second.

use std::fmt::Write as _;

use crate::dataset::yaml::scalar::{self, Scalar};

/// Days (from 1970) on which TAI - UTC grew by a second, to 11 s after the first of them.
const LEAP_DAYS: [i64; 27] = [
    912, 1096, 1461, 1826, 2191, 2557, 2922, 3287, 3652, 4199, 4564, 4929, 5660, 6574, 7305, 7670, 8217,
    8582, 8947, 9496, 10044, 10592, 13149, 14245, 15522, 16617, 17167,
];
/// TAI - UTC before the first of those days, back to 1972-01-01, in seconds.
const FIRST_OFFSET: i64 = 10;
/// 1972-01-01 in days from 1970: before it, UTC did not run in whole seconds.
const FIRST_DAY: i64 = 730;
/// TT - TAI in milliseconds.
const TT_TAI: i64 = 32_184;
const DAY: i64 = 86_400_000;

/// An ISO time in `scale` as `YYYY-MM-DDTHH:MM:SS` in UTC; `None` for other notations and scales.
pub(super) fn iso_text(text: &str, scale: &str) -> Option<String> {
    let (day, millis) = parse(text.trim())?;
    in_utc(day, millis, scale)
}

fn in_utc(day: i64, millis: i64, scale: &str) -> Option<String> {
    let (day, millis) = match scale {
        "utc" | "local" => (day, millis),
        "tai" => to_utc(day, millis, 0)?,
        "tt" => to_utc(day, millis, TT_TAI)?,
        _ => return None,
    };
    Some(format_time(day + millis.div_euclid(DAY), millis.rem_euclid(DAY)))
}

/// From atomic time that is `ahead` milliseconds ahead of TAI to UTC.
fn to_utc(day: i64, millis: i64, ahead: i64) -> Option<(i64, i64)> {
    let tai = day * DAY + millis - ahead;
    // The offset that is valid at the result: try with the greatest that could be, then with the one it leads to.
    let offset = |day: i64| {
        let leaps = LEAP_DAYS.iter().filter(|leap| **leap <= day).count();
        FIRST_OFFSET + i64::try_from(leaps).unwrap_or_default()
    };
    let guess = tai - offset(tai.div_euclid(DAY)) * 1000;
    let utc = tai - offset(guess.div_euclid(DAY)) * 1000;
    (utc >= FIRST_DAY * DAY).then(|| (utc.div_euclid(DAY), utc.rem_euclid(DAY)))
}

/// Days from 1970 and milliseconds of the day, rounded from any number of decimals as astropy rounds.
fn parse(text: &str) -> Option<(i64, i64)> {
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
    let mut parts = date.split('-');
    let day = day_number(
        digits(parts.next()?, 4)?,
        digits(parts.next()?, 2)?,
        digits(parts.next()?, 2)?,
    )?;
    let mut clock = time.split(':');
    let hour = digits(clock.next()?, 2)?;
    let minute = digits(clock.next()?, 2)?;
    let (second, fraction) = match clock.next() {
        Some(seconds) => {
            let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
            (digits(whole, 2)?, fraction)
        }
        None => (0, ""),
    };
    let complete = parts.next().is_none() && clock.next().is_none();
    let in_range =
        hour < 24 && minute < 60 && second < 61 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !complete || !in_range {
        return None;
    }
    let scaled: String = fraction.chars().chain("0000".chars()).take(4).collect();
    let tenths: i64 = scaled.parse().ok()?;
    let millis = ((hour * 60 + minute) * 60 + second) * 1000 + (tenths + 5) / 10;
    Some((day, millis))
}

/// A number of exactly so many digits.
fn digits(text: &str, count: usize) -> Option<i64> {
    let right = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    right.then(|| text.parse().ok()).flatten()
}

/// Days from 1970-01-01 in the Gregorian calendar.
fn day_number(year: i64, month: i64, day: i64) -> Option<i64> {
    let date = jiff::civil::Date::new(
        i16::try_from(year).ok()?,
        i8::try_from(month).ok()?,
        i8::try_from(day).ok()?,
    );
    let epoch = jiff::civil::date(1970, 1, 1);
    Some(i64::from(epoch.until(date.ok()?).ok()?.get_days()))
}

fn format_time(day: i64, millis: i64) -> String {
    let epoch = jiff::civil::date(1970, 1, 1);
    let date = jiff::Span::new()
        .try_days(day)
        .ok()
        .and_then(|span| epoch.checked_add(span).ok())
        .unwrap_or(epoch);
    let seconds = millis / 1000;
    format!(
        "{date}T{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// A YAML timestamp; microseconds are shown if there are any, after the same detour through a double as in the client,
/// which loses one now and then.
pub(super) fn timestamp_text(date: &str, time: &str, micros: u32) -> String {
    let mut text = format!("{date}T{time}");
    let seconds: f64 = time
        .rsplit(':')
        .next()
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or_default();
    let exact = format!("{seconds:02}.{micros:06}").parse().unwrap_or(seconds);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "below a million, and cut off on purpose"
    )]
    let kept = ((exact - seconds) * 1e6) as u32;
    if kept > 0 {
        let _ = write!(text, ".{kept:06}");
    }
    text
}

/// The time of an entry of the history: `YYYY-MM-DD HH:MM:SS`, and the offset of its time zone where it has one and no
/// decimals, because the client cuts the text off at the decimal point.
pub(super) fn history_time(text: &str) -> Option<String> {
    let Scalar::Timestamp { date, time, micros } = scalar::resolve(text.trim()) else {
        return None;
    };
    let zone = text.trim().rsplit_once(&time).map_or("", |(_, zone)| zone).trim();
    if micros > 0 || zone.is_empty() || zone.starts_with('.') {
        return Some(format!("{date} {time}"));
    }
    let (sign, offset) = match zone.strip_prefix('-') {
        Some(offset) => ('-', offset),
        None => ('+', zone.trim_start_matches('+')),
    };
    let (hours, minutes) = offset
        .split_once(':')
        .unwrap_or((offset.trim_start_matches('Z'), "00"));
    Some(format!("{date} {time}{sign}{hours:0>2}:{minutes}"))
}

/// A (modified) Julian date in `scale` as UTC, like [`iso_text`]; `None` for other formats.
pub(super) fn number_text(number: &str, format: &str, scale: &str) -> Option<String> {
    /// 1970-01-01 as a modified Julian day.
    const EPOCH: f64 = 40587.0;
    let number: f64 = number.parse().ok()?;
    let mjd = match format {
        "mjd" => number,
        "jd" => number - 2_400_000.5,
        _ => return None,
    };
    let whole = mjd.floor();
    if !(-600_000.0..3_000_000.0).contains(&whole) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "both are small whole numbers")]
    let (day, millis) = (
        (whole - EPOCH) as i64,
        ((mjd - whole) * 86_400_000.0).round() as i64,
    );
    in_utc(day, millis, scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales() {
        for (text, scale, utc) in [
            ("2026-10-11T12:13:14.567", "utc", "2026-10-11T12:13:14"),
            ("2026-10-11T12:13:14.9996", "utc", "2026-10-11T12:13:15"),
            ("2026-10-11 12:13:14.567", "tt", "2026-10-11T12:12:05"),
            ("2026-10-11T12:13:14", "tai", "2026-10-11T12:12:37"),
            ("2017-01-01T00:00:37", "tai", "2017-01-01T00:00:00"),
            ("2016-12-31T23:59:59.4", "tt", "2016-12-31T23:58:51"),
            ("1975-06-07T08:09:10", "tai", "1975-06-07T08:08:56"),
            ("2026-10-11", "utc", "2026-10-11T00:00:00"),
        ] {
            assert_eq!(iso_text(text, scale).as_deref(), Some(utc), "{text} {scale}");
        }
        assert_eq!(iso_text("2026-10-11T12:13:14", "tcb"), None);
        assert_eq!(iso_text("2026-13-11T12:13:14", "utc"), None);
        assert_eq!(
            number_text("60000.5", "mjd", "utc").as_deref(),
            Some("2023-02-25T12:00:00")
        );
    }

    #[test]
    fn times_of_the_history() {
        for (text, shown) in [
            ("2024-01-02 03:04:05", "2024-01-02 03:04:05"),
            ("2024-01-02T03:04:05.678Z", "2024-01-02 03:04:05"),
            ("2024-01-02T03:04:05Z", "2024-01-02 03:04:05+00:00"),
            ("2024-01-02 03:04:05 -5:30", "2024-01-02 03:04:05-05:30"),
        ] {
            assert_eq!(history_time(text).as_deref(), Some(shown));
        }
        assert_eq!(history_time("yesterday"), None);
    }

    #[test]
    fn timestamps_lose_what_doubles_lose() {
        assert_eq!(
            timestamp_text("2026-10-11", "12:13:01", 130_000),
            "2026-10-11T12:13:01.129999"
        );
        assert_eq!(
            timestamp_text("2026-10-11", "12:13:14", 567_000),
            "2026-10-11T12:13:14.567000"
        );
        assert_eq!(timestamp_text("2026-10-11", "12:13:14", 0), "2026-10-11T12:13:14");
    }
}
