//! Small things done exactly as Python does them: blanks, numbers read from text, texts shown in messages
//! (spec/crds-rules 8).

use std::fmt::Write as _;

/// Whether Python's `str.strip` removes the character.
pub(crate) fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\x1c'..='\x1f').contains(&character)
}

/// `str.strip()`
pub(crate) fn strip(text: &str) -> &str {
    let ends = text.as_bytes().first().zip(text.as_bytes().last());
    if ends.is_some_and(|(first, last)| first.is_ascii_graphic() && last.is_ascii_graphic()) {
        return text;
    }
    text.trim_matches(is_space)
}

/// `str.split()`
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// `str.upper()`, without allocating when nothing changes.
pub(crate) fn upper(text: &str) -> std::borrow::Cow<'_, str> {
    if has_none(text, u8::is_ascii_lowercase) {
        text.into()
    } else {
        text.to_uppercase().into()
    }
}

/// Whether a text is ASCII without letters of the case. Looks at all of it, which is faster for short texts.
fn has_none(text: &str, cased: impl Fn(&u8) -> bool) -> bool {
    !text
        .bytes()
        .fold(false, |found, byte| found | !byte.is_ascii() | cased(&byte))
}

/// `text.lower() == lower`, where `lower` has no upper-case letters.
pub(crate) fn is_lower(text: &str, lower: &str) -> bool {
    if text.is_ascii() {
        text.eq_ignore_ascii_case(lower)
    } else {
        self::lower(text) == lower
    }
}

/// `text.upper() == upper`
pub(crate) fn is_upper(text: &str, upper: &str) -> bool {
    // An ASCII character at either end decides most comparisons.
    let differs = |own: Option<&u8>, other: Option<&u8>| {
        own.is_some_and(|own| own.is_ascii() && Some(&own.to_ascii_uppercase()) != other)
    };
    let (own, other) = (text.as_bytes(), upper.as_bytes());
    if differs(own.first(), other.first()) || differs(own.last(), other.last()) {
        return false;
    }
    if text.is_ascii() {
        let own = own.iter().map(u8::to_ascii_uppercase);
        text.len() == upper.len() && own.eq(upper.bytes())
    } else {
        self::upper(text) == upper
    }
}

/// `str.lower()`, without allocating when nothing changes.
pub(crate) fn lower(text: &str) -> std::borrow::Cow<'_, str> {
    if has_none(text, u8::is_ascii_uppercase) {
        text.into()
    } else {
        text.to_lowercase().into()
    }
}

/// `repr(text)`
pub(crate) fn repr(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 2);
    push_repr(&mut shown, text);
    shown
}

/// Appends `repr(text)`.
pub(crate) fn push_repr(shown: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    shown.push(quote);
    for character in text.chars() {
        match character {
            '\\' => shown.push_str("\\\\"),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            ' '..='~' => {
                if character == quote {
                    shown.push('\\');
                }
                shown.push(character);
            }
            _ if is_printable(character) => shown.push(character),
            _ => {
                let code = u32::from(character);
                // Writing to a string cannot fail.
                let _ = if code < 0x100 {
                    write!(shown, "\\x{code:02x}")
                } else if code < 0x10000 {
                    write!(shown, "\\u{code:04x}")
                } else {
                    write!(shown, "\\U{code:08x}")
                };
            }
        }
    }
    shown.push(quote);
}

/// Python and Rust call the same categories of characters printable, but Rust escapes combining ones at the beginning
/// of a text.
fn is_printable(character: char) -> bool {
    let mut buffer = [b'a'; 5];
    let length = character.encode_utf8(&mut buffer[1..]).len();
    std::str::from_utf8(&buffer[..=length]).is_ok_and(|text| text.escape_debug().count() == 2)
}

/// `repr` of a tuple of texts.
pub(crate) fn repr_tuple<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut shown = String::from("(");
    let count = push_items(&mut shown, texts);
    shown.push_str(if count == 1 { ",)" } else { ")" });
    shown
}

/// `repr` of a list of texts.
pub(crate) fn repr_list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut shown = String::from("[");
    push_items(&mut shown, texts);
    shown.push(']');
    shown
}

fn push_items<'a>(shown: &mut String, texts: impl IntoIterator<Item = &'a str>) -> usize {
    let mut count = 0;
    for text in texts {
        if count > 0 {
            shown.push_str(", ");
        }
        push_repr(shown, text);
        count += 1;
    }
    count
}

/// The first of the ten decimal digits of every script (Unicode 14).
const ZEROS: [u32; 65] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0,
    0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50,
    0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x11066, 0x110f0,
    0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50,
    0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140,
    0x1e2f0, 0x1e950, 0x1fbf0,
];

/// The value of a decimal digit of any script: Python's numbers and `\d` know all of them.
pub(crate) fn decimal_digit(character: char) -> Option<u32> {
    if character.is_ascii() {
        return character.to_digit(10);
    }
    let code = u32::from(character);
    let place = ZEROS.partition_point(|&zero| zero <= code);
    let zero = place.checked_sub(1).and_then(|place| ZEROS.get(place))?;
    Some(code - zero).filter(|&digit| digit < 10)
}

/// The text with the digits of all scripts as ASCII.
pub(crate) fn ascii_digits(text: &str) -> std::borrow::Cow<'_, str> {
    if text.is_ascii() {
        return text.into();
    }
    let ascii = |character| {
        let digit = decimal_digit(character).and_then(|digit| char::from_digit(digit, 10));
        digit.unwrap_or(character)
    };
    text.chars().map(ascii).collect()
}

/// `int(text)`, or the text of its failure. Numbers beyond 64 bits are as good as the greatest.
pub(crate) fn int(text: &str) -> Result<i64, String> {
    let failure = || format!("invalid literal for int() with base 10: {}", repr(text));
    let plain = ascii_digits(strip(text));
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let digits = without_underscores(digits).ok_or_else(failure)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(failure());
    }
    Ok(sign * digits.parse::<i64>().unwrap_or(i64::MAX))
}

/// `float(text)`, or the text of its failure.
pub(crate) fn float(text: &str) -> Result<f64, String> {
    to_float(text).ok_or_else(|| format!("could not convert string to float: {}", repr(text)))
}

/// `float(text)`, if that succeeds.
pub(crate) fn to_float(text: &str) -> Option<f64> {
    let plain = &*ascii_digits(strip(text));
    let unsigned = plain.strip_prefix(['-', '+']).unwrap_or(plain);
    let first = *unsigned.as_bytes().first()?;
    if first.is_ascii_digit() || first == b'.' {
        // Rust reads what Python reads, but for underscores.
        return without_underscores(plain)?.parse().ok();
    }
    let known = ["inf", "infinity", "nan"];
    if known.iter().any(|word| unsigned.eq_ignore_ascii_case(word)) {
        return plain.parse().ok();
    }
    None
}

/// Removes single underscores between digits; nothing, if others are there.
fn without_underscores(text: &str) -> Option<std::borrow::Cow<'_, str>> {
    if !text.contains('_') {
        return Some(text.into());
    }
    let bytes = text.as_bytes();
    let digit = |index: Option<usize>| {
        index
            .and_then(|index| bytes.get(index))
            .is_some_and(u8::is_ascii_digit)
    };
    let fine = (0..bytes.len())
        .filter(|&index| bytes.get(index) == Some(&b'_'))
        .all(|index| digit(index.checked_sub(1)) && digit(Some(index + 1)));
    fine.then(|| text.replace('_', "").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_shown_as_python_shows_them() {
        for (text, shown) in [
            ("a", "'a'"),
            ("it's", "\"it's\""),
            ("it's \"both\"", "'it\\'s \"both\"'"),
            ("\\ \n\r\t\x00\x7f\u{a0}\u{ad}", r"'\\ \n\r\t\x00\x7f\xa0\xad'"),
            (
                "é \u{301} 🔭 \u{200b} \u{e000} \u{10ffff}",
                "'é \u{301} 🔭 \\u200b \\ue000 \\U0010ffff'",
            ),
        ] {
            assert_eq!(repr(text), shown);
        }
        assert_eq!(repr_tuple(["A"]), "('A',)");
        assert_eq!(repr_tuple([]), "()");
        assert_eq!(repr_list(["A", "B"]), "['A', 'B']");
    }

    #[test]
    fn numbers_are_read_as_python_reads_them() {
        assert_eq!(int(" +1_0 "), Ok(10));
        assert_eq!(int("\u{661}\u{1d7cf}\u{ff19}"), Ok(119));
        assert_eq!(to_float("\u{96f}.5"), Some(9.5));
        assert_eq!(
            int("5x").unwrap_err(),
            "invalid literal for int() with base 10: '5x'"
        );
        for bad in ["", "_1", "1_", "1__0", "- 1", "0a"] {
            assert!(int(bad).is_err(), "{bad}");
        }
        assert_eq!(to_float(" -1_0.5e1 "), Some(-105.0));
        assert_eq!(to_float("Infinity"), Some(f64::INFINITY));
        assert_eq!(to_float("1."), Some(1.0));
        assert!(to_float("-nan").is_some_and(f64::is_nan));
        for bad in ["", ".", "1_.0", "1e", "e1", "0x1", "1 2", "i", "in"] {
            assert_eq!(to_float(bad), None, "{bad}");
        }
    }
}
