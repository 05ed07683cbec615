//! String literals: prefixes, quotes, escapes.

use std::borrow::Cow;

use super::character_names::named_character;
use super::scan::text_end;
use super::token::Problem;

/// The prefix of the string literal that begins here, if letters and a quote begin here.
pub(super) fn prefixed(rest: &str) -> Option<&str> {
    let length = rest
        .bytes()
        .take(3)
        .position(|byte| matches!(byte, b'\'' | b'"'))?;
    let prefix = rest.get(..length)?;
    prefix
        .bytes()
        .all(|byte| matches!(byte.to_ascii_lowercase(), b'r' | b'u' | b'b' | b'f'))
        .then_some(prefix)
}

/// The text of the literal at the beginning of `rest`, and the length of its source. `at` is the offset of `rest`, for
/// messages.
pub(super) fn read(rest: &str, at: usize) -> Result<(Cow<'_, str>, usize), Problem> {
    let prefix = prefixed(rest).unwrap_or("");
    let raw = match prefix {
        "" | "u" | "U" => false,
        "r" | "R" => true,
        _ => {
            let what = format!("texts with the prefix '{prefix}' (bytes, f-strings) are not supported");
            return Err(Problem::new(at, what));
        }
    };
    let bytes = rest.as_bytes();
    let quote = bytes.get(prefix.len()).copied().unwrap_or(b'\'');
    let triple = bytes.get(prefix.len()..prefix.len() + 3) == Some(&[quote; 3]);
    let start = prefix.len() + if triple { 3 } else { 1 };
    let (end, escapes) = find_end(bytes, start, quote, triple)
        .ok_or_else(|| Problem::new(at, "this text has no closing quote"))?;
    let inner = rest.get(start..end).unwrap_or("");
    let text = if escapes && !raw {
        Cow::Owned(unescape(inner, at + start)?)
    } else {
        Cow::Borrowed(inner)
    };
    Ok((text, end + if triple { 3 } else { 1 }))
}

/// The end of the text whose opening quote is before `rest`, if it is in one line and has no escapes.
pub(super) fn plain_length(rest: &[u8], quote: u8) -> Option<usize> {
    let length = text_end(rest, quote)?;
    // Two quotes may begin a text of many lines.
    let empty = length == 0 && rest.get(1) == Some(&quote);
    (!empty && rest.get(length) == Some(&quote)).then_some(length)
}

/// The offset of the closing quote, and whether there was a backslash before it.
fn find_end(bytes: &[u8], start: usize, quote: u8, triple: bool) -> Option<(usize, bool)> {
    let mut escapes = false;
    let mut at = start;
    loop {
        match *bytes.get(at)? {
            b'\\' => {
                escapes = true;
                // A backslash and CR LF are three bytes; the LF would else end a short string.
                let crlf = bytes.get(at + 1..at + 3) == Some(b"\r\n");
                at += if crlf { 3 } else { 2 };
            }
            byte if byte == quote => {
                if !triple || bytes.get(at..at + 3) == Some(&[quote; 3]) {
                    return Some((at, escapes));
                }
                at += 1;
            }
            b'\n' | b'\r' if !triple => return None,
            _ => at += 1,
        }
    }
}

fn unescape(inner: &str, at: usize) -> Result<String, Problem> {
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(backslash) = memchr::memchr(b'\\', rest.as_bytes()) {
        text.push_str(rest.get(..backslash).unwrap_or(""));
        rest = rest.get(backslash + 1..).unwrap_or("");
        let offset = at + inner.len() - rest.len() - 1;
        let used = escape(rest, offset, &mut text)?;
        rest = rest.get(used..).unwrap_or("");
    }
    text.push_str(rest);
    Ok(text)
}

/// Decodes the escape after a backslash into `text`; returns its length in bytes.
fn escape(rest: &str, at: usize, text: &mut String) -> Result<usize, Problem> {
    let Some(first) = rest.chars().next() else {
        return Err(Problem::new(at, "a text ends in a single backslash"));
    };
    let plain = match first {
        '\n' => return Ok(1),
        '\r' => return Ok(if rest.starts_with("\r\n") { 2 } else { 1 }),
        '\\' | '\'' | '"' => first,
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        '0'..='7' => {
            let digits = rest
                .bytes()
                .take(3)
                .take_while(|byte| matches!(byte, b'0'..=b'7'));
            let (length, code) = digits.fold((0, 0), |(length, code), digit| {
                (length + 1, code * 8 + u32::from(digit - b'0'))
            });
            text.push(character(code, at)?);
            return Ok(length);
        }
        'x' => return hex(rest, 2, at, text),
        'u' => return hex(rest, 4, at, text),
        'U' => return hex(rest, 8, at, text),
        'N' => return named(rest, at, text),
        other => {
            // Python keeps the pair as it is.
            text.push('\\');
            other
        }
    };
    text.push(plain);
    Ok(first.len_utf8())
}

fn hex(rest: &str, digits: usize, at: usize, text: &mut String) -> Result<usize, Problem> {
    let code = hex_digits(rest, 1, digits)
        .ok_or_else(|| Problem::new(at, format!("this escape needs {digits} hexadecimal digits")))?;
    if digits == 4
        && (0xd800..0xdc00).contains(&code)
        && rest.get(5..7) == Some("\\u")
        && let Some(low @ 0xdc00..0xe000) = hex_digits(rest, 7, 4)
    {
        text.push(character(0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00), at)?);
        return Ok(11);
    }
    text.push(character(code, at)?);
    Ok(1 + digits)
}

fn hex_digits(rest: &str, from: usize, digits: usize) -> Option<u32> {
    let digits = rest.get(from..from + digits)?;
    digits
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then(|| u32::from_str_radix(digits, 16).ok())?
}

fn named(rest: &str, at: usize, text: &mut String) -> Result<usize, Problem> {
    // The longest name of a character has fewer than 100 bytes.
    let name = rest
        .strip_prefix("N{")
        .and_then(|tail| tail.get(..tail.bytes().take(128).position(|byte| byte == b'}')?));
    let found = name.and_then(|name| Some((name, named_character(name)?)));
    let Some((name, found)) = found else {
        return Err(Problem::new(
            at,
            "this escape does not name a character that is known here",
        ));
    };
    text.push(found);
    Ok(name.len() + 3)
}

fn character(code: u32, at: usize) -> Result<char, Problem> {
    char::from_u32(code).ok_or_else(|| {
        Problem::new(
            at,
            format!("the escape stands for {code:#x}, which is no character"),
        )
    })
}
