//! Number literals, and floating point numbers as Python prints them.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::Value;
use super::token::TokenKind;

/// Most digits of a number; Python itself refuses to print longer integers.
const MAX_DIGITS: usize = 4300;

/// The number at the beginning of `rest` (which begins with a digit or a dot and a digit), and the length of its source.
pub(super) fn read(rest: &str) -> Result<(TokenKind<'static>, usize), String> {
    let bytes = rest.as_bytes();
    let radix = match bytes.get(..2) {
        Some(b"0x" | b"0X") => 16,
        Some(b"0o" | b"0O") => 8,
        Some(b"0b" | b"0B") => 2,
        _ => 10,
    };
    let (kind, length) = if radix == 10 {
        decimal(rest)?
    } else {
        let length = 2 + digits(bytes.get(2..).unwrap_or(&[]), radix, true)?;
        (integer(rest.get(2..length).unwrap_or(""), radix)?, length)
    };
    let tail = rest.get(length..).unwrap_or("");
    match tail.bytes().next() {
        Some(b'j' | b'J') => Err("complex numbers are not supported".to_owned()),
        Some(byte) if (byte.is_ascii_alphanumeric() || byte == b'_') && !begins_with_keyword(tail) => {
            Err("this number is not written as Python writes numbers".to_owned())
        }
        _ => Ok((kind, length)),
    }
}

/// The keywords that Python takes right behind a number.
fn begins_with_keyword(tail: &str) -> bool {
    let keywords = ["and", "else", "for", "if", "in", "is", "not", "or"];
    keywords.iter().any(|keyword| tail.starts_with(keyword))
}

fn decimal(rest: &str) -> Result<(TokenKind<'static>, usize), String> {
    let bytes = rest.as_bytes();
    let tail = |from: usize| bytes.get(from..).unwrap_or(&[]);
    let mut length = digits(bytes, 10, false)?;
    let mut float = false;
    if bytes.get(length) == Some(&b'.') {
        float = true;
        length += 1;
        length += digits(tail(length), 10, false)?;
    }
    if matches!(bytes.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        if bytes.get(length + 1 + sign).is_some_and(u8::is_ascii_digit) {
            float = true;
            length += 1 + sign;
            length += digits(tail(length), 10, false)?;
        }
    }
    let source = rest.get(..length).unwrap_or("");
    if !float {
        if source.len() > 1
            && source.starts_with('0')
            && source.bytes().any(|byte| matches!(byte, b'1'..=b'9'))
        {
            return Err("integers have no leading zeros".to_owned());
        }
        return Ok((integer(source, 10)?, length));
    }
    let plain = without_underscores(source);
    let number = plain
        .parse::<f64>()
        .map_err(|_| format!("'{source}' is not a number"))?;
    Ok((TokenKind::Float(number), length))
}

/// The number of bytes that are digits, single underscores between them counted.
fn digits(bytes: &[u8], radix: u32, underscore_first: bool) -> Result<usize, String> {
    let mut length = 0;
    let mut previous_is_digit = underscore_first;
    for &byte in bytes {
        if char::from(byte).is_digit(radix) {
            previous_is_digit = true;
        } else if byte == b'_' && previous_is_digit {
            previous_is_digit = false;
        } else {
            break;
        }
        length += 1;
    }
    if length > MAX_DIGITS {
        return Err(format!("a number has more than {MAX_DIGITS} digits"));
    }
    if length > 0 && !previous_is_digit || length == 0 && underscore_first {
        return Err("digits are missing in this number".to_owned());
    }
    Ok(length)
}

fn without_underscores(source: &str) -> Cow<'_, str> {
    if source.contains('_') {
        source.replace('_', "").into()
    } else {
        source.into()
    }
}

fn integer(source: &str, radix: u32) -> Result<TokenKind<'static>, String> {
    let plain = without_underscores(source);
    if let Ok(number) = i64::from_str_radix(&plain, radix) {
        return Ok(TokenKind::Int(number));
    }
    let text = if radix == 10 {
        plain.trim_start_matches('0').to_owned()
    } else {
        to_decimal(&plain, radix)
    };
    if text.len() > MAX_DIGITS {
        return Err(format!("a number has more than {MAX_DIGITS} digits"));
    }
    Ok(TokenKind::BigInt(text))
}

/// Decimal digits of a long number in another radix. The number of digits is limited, so this is quick enough.
fn to_decimal(digits: &str, radix: u32) -> String {
    const CHUNK: u64 = 1_000_000_000;
    let mut chunks: Vec<u64> = vec![0];
    for digit in digits.chars().filter_map(|digit| digit.to_digit(radix)) {
        let mut carry = u64::from(digit);
        for chunk in &mut chunks {
            let sum = *chunk * u64::from(radix) + carry;
            *chunk = sum % CHUNK;
            carry = sum / CHUNK;
        }
        if carry > 0 {
            chunks.push(carry);
        }
    }
    let mut text = String::new();
    for (index, chunk) in chunks.iter().rev().enumerate() {
        if index == 0 {
            text.push_str(&chunk.to_string());
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "{chunk:09}");
        }
    }
    text
}

/// The negative of a long integer; the one that fits 64 bits only when negative becomes [`Value::Int`].
pub(super) fn negated(digits: &str) -> Value {
    let text = format!("-{digits}");
    text.parse().map_or(Value::BigInt(text), Value::Int)
}

/// A floating point number as Python prints it: the shortest text that reads back as the same number, in positional
/// notation from 1e-4 up to 1e16 (spec/crds-rules 8).
pub(crate) fn float_text(number: f64) -> String {
    if !number.is_finite() {
        let text = if number.is_nan() {
            "nan"
        } else if number > 0.0 {
            "inf"
        } else {
            "-inf"
        };
        return text.to_owned();
    }
    if number == 0.0 || (1e-4..1e16).contains(&number.abs()) {
        let text = format!("{number:?}");
        return half_to_even(number, &text).unwrap_or(text);
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = exponent
                .strip_prefix('-')
                .map_or(('+', exponent), |exponent| ('-', exponent));
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}

/// The shortest text of a number as Python chooses it where two are equally close: the one with an even last digit,
/// whereas Rust's `text` is the greater one. `None` keeps `text`. A tie needs many digits: shorter texts are the only
/// closest ones.
fn half_to_even(number: f64, text: &str) -> Option<String> {
    let (_, fraction) = text.split_once('.')?;
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    if digits < 15 || fraction == "0" {
        return None;
    }
    let even = format!("{number:.*}", fraction.len());
    (even.parse() == Ok(number)).then_some(even)
}
