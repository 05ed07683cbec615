//! The meaning of plain scalars in YAML 1.1, by the patterns of Python's YAML library.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// The meaning of a plain scalar.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::dataset) enum Scalar {
    /// The text itself.
    Text,
    Null,
    Bool(bool),
    /// In decimal.
    Integer(String),
    Float(f64),
    /// A day without time.
    Date,
    /// `YYYY-MM-DD`, `HH:MM:SS`, microseconds; a time zone is not taken into account, just as in the client.
    Timestamp {
        date: String,
        time: String,
        micros: u32,
    },
}

/// Numbers and times; the other scalars are few words.
struct Patterns {
    integer: Regex,
    float: Regex,
    timestamp: Regex,
}

static PATTERNS: LazyLock<Option<Patterns>> = LazyLock::new(|| {
    let integer = r"^[-+]?(0b[0-1_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|[1-9][0-9_]*(?::[0-5]?[0-9])+)$";
    let float = concat!(
        r"^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?",
        r"|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    );
    let timestamp = concat!(
        r"^([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})",
        r"(?:(?:[Tt]|[ \t]+)([0-9]{1,2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]*))?",
        r"(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?)?$"
    );
    Some(Patterns {
        integer: Regex::new(integer).ok()?,
        float: Regex::new(float).ok()?,
        timestamp: Regex::new(timestamp).ok()?,
    })
});

/// The meaning of a plain scalar without a tag.
pub(in crate::dataset) fn resolve(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Scalar::Bool(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Scalar::Bool(false);
        }
        _ => {}
    }
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    let Some(patterns) = PATTERNS.as_ref().filter(|_| numeric) else {
        return Scalar::Text;
    };
    if patterns.integer.is_match(text) {
        return integer(text);
    }
    if patterns.float.is_match(text) {
        return float(text);
    }
    match patterns.timestamp.captures(text) {
        Some(found) => timestamp(&found),
        None => Scalar::Text,
    }
}

fn integer(text: &str) -> Scalar {
    let text = text.replace('_', "");
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (if text.starts_with('-') { "-" } else { "" }, digits),
        None => ("", text.as_str()),
    };
    let radix = |digits: &str, radix| {
        u128::from_str_radix(digits, radix)
            .ok()
            .map(|number| number.to_string())
    };
    let decimal = if let Some(digits) = digits.strip_prefix("0b") {
        radix(digits, 2)
    } else if let Some(digits) = digits.strip_prefix("0x") {
        radix(digits, 16)
    } else if digits.contains(':') {
        sexagesimal(digits).map(|number| number.to_string())
    } else if digits.starts_with('0') && digits.len() > 1 {
        radix(&digits[1..], 8)
    } else {
        Some(digits.to_owned())
    };
    match decimal.as_deref() {
        Some("0") => Scalar::Integer("0".to_owned()),
        Some(decimal) => Scalar::Integer(format!("{sign}{decimal}")),
        None => Scalar::Text,
    }
}

fn sexagesimal(digits: &str) -> Option<u128> {
    digits.split(':').try_fold(0_u128, |sum, part| {
        sum.checked_mul(60)?.checked_add(part.parse().ok()?)
    })
}

fn float(text: &str) -> Scalar {
    let text = text.replace('_', "").to_lowercase();
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (if text.starts_with('-') { -1.0 } else { 1.0 }, digits),
        None => (1.0, text.as_str()),
    };
    let number = match digits {
        ".inf" => Some(f64::INFINITY),
        ".nan" => Some(f64::NAN),
        _ => digits
            .split(':')
            .try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?)),
    };
    number.map_or(Scalar::Text, |number| Scalar::Float(sign * number))
}

fn timestamp(found: &Captures<'_>) -> Scalar {
    let part = |index: usize| found.get(index).map_or("", |part| part.as_str());
    if found.get(4).is_none() {
        // Without a time, only the full form is a date.
        let full = part(2).len() == 2 && part(3).len() == 2;
        return if full { Scalar::Date } else { Scalar::Text };
    }
    let fraction: String = part(7).chars().chain("000000".chars()).take(6).collect();
    Scalar::Timestamp {
        date: format!("{}-{:0>2}-{:0>2}", part(1), part(2), part(3)),
        time: format!("{:0>2}:{}:{}", part(4), part(5), part(6)),
        micros: fraction.parse().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_as_in_python() {
        let integer = |text: &str| Scalar::Integer(text.to_owned());
        for (text, meaning) in [
            ("", Scalar::Null),
            ("~", Scalar::Null),
            ("yes", Scalar::Bool(true)),
            ("Off", Scalar::Bool(false)),
            ("y", Scalar::Text),
            ("tRue", Scalar::Text),
            ("0", integer("0")),
            ("-0", integer("0")),
            ("+12_3", integer("123")),
            ("010", integer("8")),
            ("08", Scalar::Text),
            ("0o17", Scalar::Text),
            ("0x1F", integer("31")),
            ("-0b101", integer("-5")),
            ("1:30", integer("90")),
            (
                "12345678901234567890123456789012345678901234567890",
                integer("12345678901234567890123456789012345678901234567890"),
            ),
            ("1e5", Scalar::Text),
            ("1.0e5", Scalar::Text),
            ("1.0e+5", Scalar::Float(1e5)),
            (".5", Scalar::Float(0.5)),
            ("-.inf", Scalar::Float(f64::NEG_INFINITY)),
            ("1:30.5", Scalar::Float(90.5)),
            ("2026-10-11", Scalar::Date),
            ("2026-1-1", Scalar::Text),
            (
                "2026-1-1T1:02:03.5Z",
                Scalar::Timestamp {
                    date: "2026-01-01".to_owned(),
                    time: "01:02:03".to_owned(),
                    micros: 500_000,
                },
            ),
        ] {
            assert_eq!(resolve(text), meaning, "{text}");
        }
    }
}
