//! The normal form of header values and match elements (spec/crds-rules 7 and 10).

use std::borrow::Cow;

use crate::crds::literal::float_text;
use crate::rules::values::python::{strip, upper};

/// The text of a parameter that a header does not have.
pub(crate) const UNDEFINED: &str = "UNDEFINED";

/// Not applicable: matches everything, says nothing.
pub(crate) const NOT_APPLICABLE: &str = "N/A";

/// The normal form of a value that is a text already.
pub(crate) fn condition(text: &str) -> Cow<'_, str> {
    if is_normal(text) {
        return text.into();
    }
    let value = upper(strip(text));
    match normal(&value) {
        Some(normal) => normal,
        None => value,
    }
}

/// The normal form of a stripped upper-case text, if it is another one.
fn normal(value: &str) -> Option<Cow<'static, str>> {
    let first = *value.as_bytes().first()?;
    match first {
        b'0'..=b'9' | b'+' | b'-' | b'.' if is_number(value) => {
            let number = number(value)?;
            Some(special(&number).map_or(Cow::Owned(number), Cow::Borrowed))
        }
        b'-' | b'(' | b'N' | b'A' | b'T' | b'F' => special(value)
            .filter(|special| *special != value)
            .map(Cow::Borrowed),
        _ => None,
    }
}

/// Texts that stand for another one.
fn special(value: &str) -> Option<&'static str> {
    let impossible = value.strip_prefix("-2147483648").is_some_and(|tail| {
        let mut tail = tail.chars();
        tail.next().is_some_and(|any| any != '\n') && tail.next() == Some('0')
    });
    let not_applicable = impossible
        || ["()", "N/A", "NOT APPLICABLE"]
            .iter()
            .any(|prefix| value.starts_with(prefix))
        || value == "NOT_APPLICABLE";
    match value {
        _ if not_applicable => Some(NOT_APPLICABLE),
        "ANY" => Some("*"),
        "4294967295.0" => Some("-1.0"),
        "T" | "TRUE" => Some("T"),
        "F" | "FALSE" => Some("F"),
        _ => None,
    }
}

/// The text of a number in normal form; nothing if it is in that form already.
fn number(value: &str) -> Option<String> {
    if is_plain_number(value) && special(value).is_none() {
        return None;
    }
    if is_plain_integer(value) {
        return Some(format!("{value}.0"));
    }
    value.parse().ok().map(float_text)
}

/// `[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?` or `[+-]?[0-9]+\.`
fn is_number(value: &str) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let bytes = value.as_bytes();
    let unsigned = match bytes.split_first() {
        Some((b'-' | b'+', unsigned)) => unsigned,
        _ => bytes,
    };
    let (whole, rest) = unsigned.split_at(digits(unsigned));
    let rest = match rest.split_first() {
        Some((b'.', after)) => {
            let (fraction, rest) = after.split_at(digits(after));
            if fraction.is_empty() {
                return !whole.is_empty() && rest.is_empty();
            }
            rest
        }
        _ if whole.is_empty() => return false,
        _ => rest,
    };
    match rest.split_first() {
        None => true,
        Some((b'e' | b'E', exponent)) => {
            let exponent = match exponent.split_first() {
                Some((b'-' | b'+', exponent)) => exponent,
                _ => exponent,
            };
            !exponent.is_empty() && digits(exponent) == exponent.len()
        }
        Some(_) => false,
    }
}

/// Whether the number is one that surely stays as it is: up to 15 digits without needless zeros, and a point among them. So
/// many digits are not lost in a floating point number, which Python shows as they are from 0.1 on.
fn is_plain_number(value: &str) -> bool {
    let unsigned = value.strip_prefix('-').unwrap_or(value);
    let Some((whole, fraction)) = unsigned.split_once('.') else {
        return false;
    };
    let needless_zero =
        whole.len() > 1 && whole.starts_with('0') || fraction != "0" && fraction.ends_with('0');
    let small = whole == "0" && fraction != "0" && fraction.starts_with('0');
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    !needless_zero && !small && unsigned.len() <= 16 && digits(whole) && digits(fraction)
}

/// Whether it is an integer of up to 15 digits without needless zeros.
fn is_plain_integer(value: &str) -> bool {
    (1..=15).contains(&value.len())
        && !(value.len() > 1 && value.starts_with('0'))
        && value.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a text is a pattern rather than a plain value.
pub(crate) fn is_esoteric(text: &str) -> bool {
    let starts = |word: &str| {
        text.get(..word.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(word))
    };
    let Some((first, last)) = text.bytes().next().zip(text.bytes().next_back()) else {
        return false;
    };
    match first {
        b'{' | b'(' | b'#' => matches!(last, b'}' | b')' | b'#'),
        b'b' | b'B' => starts("BETWEEN"),
        b'n' | b'N' => starts("NOT"),
        _ if first.is_ascii() => false,
        // A letter that becomes one of these only when upper-cased.
        _ => {
            let upper = upper(text);
            upper.starts_with("BETWEEN") || upper.starts_with("NOT")
        }
    }
}

/// The alternatives of a match element, sorted; duplicates stay.
pub(crate) fn alternatives(text: &str) -> Vec<&str> {
    if !text.contains('|') || is_esoteric(text) {
        return vec![text];
    }
    let mut pieces: Vec<&str> = text
        .split('|')
        .map(strip)
        .filter(|piece| !piece.is_empty())
        .collect();
    pieces.sort_unstable();
    pieces
}

/// Whether a text is in normal form and no pattern, as far as that is seen at once.
fn is_normal(text: &str) -> bool {
    let Some((&first, &last)) = text.as_bytes().first().zip(text.as_bytes().last()) else {
        return false;
    };
    first.is_ascii_uppercase()
        && !matches!(first, b'N' | b'A' | b'T' | b'F')
        && last != b' '
        && text.bytes().all(|byte| matches!(byte, b' '..=b'`'))
}

/// The normal form of an element of a match key that is a text.
pub(crate) fn condition_element(text: &str) -> Cow<'_, str> {
    if is_normal(text) {
        return text.into();
    }
    let enclosed = |open, close| text.starts_with(open) && text.ends_with(close);
    if enclosed('{', '}') || enclosed('(', ')') {
        return text.into();
    }
    if text.contains('|') {
        let pieces: Vec<Cow<'_, str>> = alternatives(text).into_iter().map(condition).collect();
        return pieces.join("|").into();
    }
    condition(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_forms() {
        for (text, normal) in [
            (" wfc ", "WFC"),
            ("straße", "STRASSE"),
            ("1", "1.0"),
            ("01", "1.0"),
            ("+1", "1.0"),
            ("1.", "1.0"),
            ("1.00", "1.0"),
            ("1e0", "1.0"),
            ("-0", "-0.0"),
            (".5", "0.5"),
            ("1E16", "1e+16"),
            ("1e999", "inf"),
            ("inf", "INF"),
            ("20050304", "20050304.0"),
            ("0.10", "0.1"),
            ("1.0", "1.0"),
            ("-2147483648", "N/A"),
            ("()", "N/A"),
            ("n/a (none)", "N/A"),
            ("not applicable here", "N/A"),
            ("NOT_APPLICABLE", "N/A"),
            ("NOT_APPLICABLE X", "NOT_APPLICABLE X"),
            ("any", "*"),
            ("4294967295", "-1.0"),
            ("4294967295.0", "-1.0"),
            ("true", "T"),
            ("False", "F"),
            ("", ""),
            ("1.2.3", "1.2.3"),
            ("1e", "1E"),
            (".", "."),
            ("-", "-"),
            ("1_0", "1_0"),
            ("undefined", "UNDEFINED"),
        ] {
            assert_eq!(condition(text), normal, "{text}");
        }
    }

    #[test]
    fn elements() {
        for (text, normal) in [
            ("{wfc|x}", "{wfc|x}"),
            ("(a0)", "(a0)"),
            ("b| a |2", "2.0|A|B"),
            ("not a|b", "NOT A|B"),
            ("|", ""),
        ] {
            assert_eq!(condition_element(text), normal);
        }
        assert!(is_esoteric("nothing") && is_esoteric("# >1 #") && is_esoteric("between 1 2"));
        assert!(!is_esoteric("A|B") && !is_esoteric("{a") && !is_esoteric(""));
    }
}
