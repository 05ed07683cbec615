//! Dates in all the notations that datasets use (spec/crds-rules 9).

use crate::rules::values::python::{ascii_digits, float, int, repr, strip, words};

/// A moment, valid in the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Moment {
    year: u16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
    micro: u32,
}

/// In place of the zero byte of a moment's number: the text goes on behind the seconds.
pub(crate) const LONGER: u64 = 0xFF;

impl Moment {
    /// A number in the order of moments, without their microseconds: the digits of `YYYYMMDDhhmmss`, each pair in a
    /// byte of its own, and a zero byte.
    pub(crate) fn packed(self) -> u64 {
        pack(
            self.year,
            [self.month, self.day, self.hour, self.minute, self.second],
        )
    }

    /// Whether it is a whole second.
    pub(crate) fn is_whole(self) -> bool {
        self.micro == 0
    }

    /// Microseconds since the beginning of the year 1.
    pub(crate) fn micros(self) -> i64 {
        let years = i64::from(self.year) - 1;
        let leap = is_leap(self.year);
        let mut days = years * 365 + years / 4 - years / 100 + years / 400;
        days += (1..self.month)
            .map(|month| i64::from(days_in(month, leap)))
            .sum::<i64>();
        days += i64::from(self.day) - 1;
        let hours = days * 24 + i64::from(self.hour);
        let seconds = (hours * 60 + i64::from(self.minute)) * 60 + i64::from(self.second);
        seconds * 1_000_000 + i64::from(self.micro)
    }
}

/// The order-preserving number of the fields of a date.
pub(crate) const fn pack(year: u16, rest: [u8; 5]) -> u64 {
    let [month, day, hour, minute, second] = rest;
    let [high, low] = year.to_be_bytes();
    u64::from_be_bytes([high, low, month, day, hour, minute, second, 0])
}

/// `YYYY-MM-DD HH:MM:SS`, with `.ffffff` unless the microseconds are zero.
impl std::fmt::Display for Moment {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
            micro,
        } = self;
        write!(
            out,
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"
        )?;
        if *micro > 0 {
            write!(out, ".{micro:06}")?;
        }
        Ok(())
    }
}

fn is_leap(year: u16) -> bool {
    (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
}

fn days_in(month: u8, leap: bool) -> u8 {
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Reads a date, or says why not in the client's words.
pub(crate) fn parse(text: &str) -> Result<Moment, String> {
    if let Some(moment) = parse_usual(text) {
        return Ok(moment);
    }
    if text.contains("UNDEFINED") {
        return Err("One or more required date/time values is UNDEFINED".to_owned());
    }
    let text = text.strip_suffix(" UT").unwrap_or(text);
    let text = if is_iso(ascii_digits(text).as_bytes()) {
        text.replace('T', " ")
    } else {
        text.to_owned()
    };
    if has_word(&text) {
        alphabetical(&text)
    } else {
        numerical(&text)
    }
}

/// The common cases `YYYY-MM-DD hh:mm:ss` and `YYYY-MM-DD hh:mm:ss.ffffff` with a valid date, also with `T` between date
/// and time, without any detour; nothing for every other text.
fn parse_usual(text: &str) -> Option<Moment> {
    let (whole, fraction) = text.as_bytes().split_at_checked(19)?;
    if !matches!(
        (whole[4], whole[7], whole[10], whole[13], whole[16]),
        (b'-', b'-', b' ' | b'T', b':', b':')
    ) {
        return None;
    }
    let digit = |index: usize| {
        whole
            .get(index)
            .map(|byte| byte.wrapping_sub(b'0'))
            .filter(|&digit| digit < 10)
    };
    let pair = |index: usize| Some(digit(index)? * 10 + digit(index + 1)?);
    let micro = match fraction {
        [] => 0,
        [b'.', digits @ ..] if (1..=6).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) => {
            micros(text.get(17..)?.parse().ok()?)
        }
        _ => return None,
    };
    let fields = Fields {
        year: i64::from(pair(0)?) * 100 + i64::from(pair(2)?),
        month: i64::from(pair(5)?),
        day: i64::from(pair(8)?),
        time: Time {
            hour: i64::from(pair(11)?),
            minute: i64::from(pair(14)?),
            second: i64::from(pair(17)?),
            micro,
        },
    };
    fields.check().ok()
}

/// The microseconds in a number of seconds, cut off as Python's `int()` does.
#[expect(clippy::cast_possible_truncation, reason = "that is what is wanted")]
fn micros(seconds: f64) -> i64 {
    ((seconds - seconds.trunc()) * 1_000_000.0) as i64
}

/// `^\d\d\d\d[-/]\d\d[-/]\d\dT\d\d(:\d\d){1,2}(\.\d{1,6})?$`
fn is_iso(bytes: &[u8]) -> bool {
    // Python's `$` also matches before a final newline.
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let shape = |pattern: &[u8], bytes: &[u8]| {
        pattern.len() == bytes.len()
            && pattern.iter().zip(bytes).all(|(&pattern, &byte)| match pattern {
                b'0' => byte.is_ascii_digit(),
                b'-' => matches!(byte, b'-' | b'/'),
                other => byte == other,
            })
    };
    let Some((head, fraction)) = bytes
        .split_at_checked(19)
        .filter(|(head, _)| shape(b"0000-00-00T00:00:00", head))
        .or_else(|| {
            bytes
                .split_at_checked(16)
                .filter(|(head, _)| shape(b"0000-00-00T00:00", head))
        })
    else {
        return false;
    };
    debug_assert!(!head.is_empty(), "a matched head has digits");
    match fraction.split_first() {
        None => true,
        Some((b'.', digits)) => (1..=6).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    }
}

/// Whether three letters stand in a row.
fn has_word(text: &str) -> bool {
    text.as_bytes()
        .windows(3)
        .any(|three| three.iter().all(u8::is_ascii_alphabetic))
}

#[derive(Debug, Clone, Copy)]
struct Time {
    hour: i64,
    minute: i64,
    second: i64,
    micro: i64,
}

#[derive(Debug, Clone, Copy)]
struct Fields {
    year: i64,
    month: i64,
    day: i64,
    time: Time,
}

impl Fields {
    fn check(self) -> Result<Moment, String> {
        let Time {
            hour,
            minute,
            second,
            micro,
        } = self.time;
        let all = [self.year, self.month, self.day, hour, minute, second, micro];
        if let Some(failure) = all.into_iter().find_map(beyond_c) {
            return Err(failure.to_owned());
        }
        let year = u16::try_from(self.year)
            .ok()
            .filter(|year| (1..=9999).contains(year))
            .ok_or_else(|| format!("year {} is out of range", self.year))?;
        let ranged = |value: i64, first: u8, last: u8, failure: &str| {
            u8::try_from(value)
                .ok()
                .filter(|value| (first..=last).contains(value))
                .ok_or_else(|| failure.to_owned())
        };
        let month = ranged(self.month, 1, 12, "month must be in 1..12")?;
        let last_day = days_in(month, is_leap(year));
        Ok(Moment {
            year,
            month,
            day: ranged(self.day, 1, last_day, "day is out of range for month")?,
            hour: ranged(hour, 0, 23, "hour must be in 0..23")?,
            minute: ranged(minute, 0, 59, "minute must be in 0..59")?,
            second: ranged(second, 0, 59, "second must be in 0..59")?,
            micro: u32::try_from(micro).map_err(|_| "microsecond must be in 0..999999")?,
        })
    }
}

/// Python's message for a number that does not fit an `int` of C. None is far below zero: a `-` is no sign in dates.
fn beyond_c(number: i64) -> Option<&'static str> {
    // Longer numbers come here as the greatest of 64 bits.
    if number == i64::MAX {
        Some("Python int too large to convert to C long")
    } else if number > i64::from(i32::MAX) {
        Some("signed integer is greater than maximum")
    } else {
        None
    }
}

fn parse_time(text: &str) -> Result<Time, String> {
    let text = strip(text);
    let tail = text
        .len()
        .checked_sub(2)
        .and_then(|at| text.get(at..))
        .unwrap_or("");
    let (morning, afternoon) = (tail.eq_ignore_ascii_case("am"), tail.eq_ignore_ascii_case("pm"));
    let text = if morning || afternoon {
        text.get(..text.len() - 2).unwrap_or("")
    } else {
        text
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (hour, minute, second) = match parts[..] {
        [hour, minute] => (hour, minute, "00"),
        [hour, minute, second] | [hour, minute, second, _] => (hour, minute, second),
        [_] => return Err("not enough values to unpack (expected 4, got 1)".to_owned()),
        _ => return Err("too many values to unpack (expected 4)".to_owned()),
    };
    let (mut hour, minute, second) = (int(hour)?, int(minute)?, float(second)?);
    if second.is_nan() {
        return Err("cannot convert float NaN to integer".to_owned());
    }
    if second.is_infinite() {
        return Err("cannot convert float infinity to integer".to_owned());
    }
    if afternoon && hour < 12 {
        hour += 12;
    } else if morning && hour == 12 {
        hour = 0;
    }
    #[expect(clippy::cast_possible_truncation, reason = "cut off as Python's int() does")]
    let whole = second as i64;
    Ok(Time {
        hour,
        minute,
        second: whole,
        micro: micros(second),
    })
}

fn numerical(text: &str) -> Result<Moment, String> {
    let text = text.replace('-', "/");
    let mut pieces = words(&text);
    let date = pieces.next().ok_or("list index out of range")?;
    let time: Vec<&str> = pieces.collect();
    let time = if time.is_empty() {
        "00:00:00".to_owned()
    } else {
        time.join(" ")
    };
    let time = parse_time(&time)?;
    let date = &*ascii_digits(date);
    let bytes = date.as_bytes();
    let all_digits = |range: std::ops::Range<usize>| {
        bytes
            .get(range)
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_digit))
    };
    let number = |range: std::ops::Range<usize>| date.get(range).map_or(Ok(0), int);
    let moment = |year: i64, month: i64, day: i64, time: Time| {
        Fields {
            year,
            month,
            day,
            time,
        }
        .check()
    };
    let slashes =
        |first: usize, second: usize| bytes.get(first) == Some(&b'/') && bytes.get(second) == Some(&b'/');
    if bytes.len() == 10 && slashes(2, 5) && all_digits(0..2) && all_digits(3..5) && all_digits(6..10) {
        return moment(number(6..10)?, number(0..2)?, number(3..5)?, time);
    }
    if bytes.len() == 10 && slashes(4, 7) && all_digits(0..4) && all_digits(5..7) && all_digits(8..10) {
        return moment(number(0..4)?, number(5..7)?, number(8..10)?, time);
    }
    if bytes.len() == 8 && slashes(2, 5) && all_digits(0..2) && all_digits(3..5) && all_digits(6..8) {
        let (day, month, year) = (number(0..2)?, number(3..5)?, number(6..8)?);
        let century = match year {
            90..=99 => Some(1900),
            0..=39 => Some(2000),
            _ => None,
        };
        if let Some(century) = century {
            return moment(century + year, month, day, time);
        }
    }
    if bytes.len() == 15 && bytes.get(8) == Some(&b':') && all_digits(0..8) && all_digits(9..15) {
        let time = Time {
            hour: number(9..11)?,
            minute: number(11..13)?,
            second: number(13..15)?,
            micro: 0,
        };
        return moment(number(0..4)?, number(4..6)?, number(6..8)?, time);
    }
    Err(format!("Unknown numerical date format: {}", repr(&text)))
}

fn alphabetical(whole: &str) -> Result<Moment, String> {
    let mut text = whole.to_owned();
    while ends_with_half_day(&text) {
        text = text.to_lowercase().replace(" am", "am").replace(" pm", "pm");
    }
    let text = text.replace(['-', '/'], " ");
    let pieces: Vec<&str> = words(&text).collect();
    let (month, day, year, time) = match pieces[..] {
        [month, day, year, time] => (month, day, year, time),
        [month, day, year] => (month, day, year, "00:00AM"),
        [] | [_] | [_, _] => {
            let count = pieces.len();
            return Err(format!("not enough values to unpack (expected 3, got {count})"));
        }
        _ => return Err("too many values to unpack (expected 3)".to_owned()),
    };
    let day = day.strip_suffix(',').unwrap_or(day);
    let date = |month: &str, day: &str| Ok::<_, String>((month_number(month, whole)?, int(day)?, int(year)?));
    let (month, day, year) = date(month, day).or_else(|_| date(day, month))?;
    let time = parse_time(time)?;
    Fields {
        year,
        month,
        day,
        time,
    }
    .check()
}

fn ends_with_half_day(text: &str) -> bool {
    text.len()
        .checked_sub(3)
        .and_then(|at| text.get(at..))
        .is_some_and(|tail| tail.eq_ignore_ascii_case(" am") || tail.eq_ignore_ascii_case(" pm"))
}

fn month_number(month: &str, text: &str) -> Result<i64, String> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let letters: String = month.chars().take(3).collect();
    let mut rest = letters.chars();
    let first: String = rest.next().into_iter().flat_map(char::to_uppercase).collect();
    let short = first + &rest.as_str().to_lowercase();
    match MONTHS.iter().zip(1..).find(|(name, _)| **name == short) {
        Some((_, number)) => Ok(number),
        None => Err(format!(
            "Invalid month value {} in base date {}",
            repr(month),
            repr(text)
        )),
    }
}
