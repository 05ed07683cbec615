//! Cards: keyword and value of one logical card, with astropy's reading of everything that the standard leaves open.

use std::sync::LazyLock;

use regex::Regex;

use crate::crds::literal::float_text;
use crate::dataset::header::UNDEFINED_CARD;
use crate::dataset::python;

use super::CARD;

/// A keyword that fits an ordinary card.
const KEYWORD: usize = 8;

/// One logical card.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::dataset) struct Card {
    /// Upper case; `HIERARCH` names without the prefix; empty for a blank keyword.
    pub keyword: String,
    pub value: Value,
    /// Whether the card follows a known convention, so that its value may be replaced.
    pub valid: bool,
    /// The comment after the `/`, leading blanks and all trailing blanks removed.
    pub comment: String,
    /// The number of lines of the header that it takes, more than one with `CONTINUE`.
    pub lines: usize,
}

/// The content of a card.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::dataset) enum Value {
    Logical(bool),
    /// Decimal digits without leading zeros, perhaps with a minus sign: integers may be of any length.
    Integer(String),
    Real(f64),
    Complex(f64, f64),
    Text(String),
    Undefined,
}

impl Value {
    /// As Python's `str` of what astropy makes of it.
    pub(in crate::dataset) fn text(&self) -> String {
        match self {
            Self::Logical(true) => "True".to_owned(),
            Self::Logical(false) => "False".to_owned(),
            Self::Integer(digits) => digits.clone(),
            Self::Real(number) => float_text(*number),
            Self::Complex(real, imaginary) => python::complex_text(*real, *imaginary),
            Self::Text(text) => text.clone(),
            Self::Undefined => UNDEFINED_CARD.to_owned(),
        }
    }
}

/// Splits the bytes of a header into logical cards.
pub(in crate::dataset) fn split(header: &[u8]) -> Vec<Card> {
    let lines: Vec<String> = header.chunks(CARD).map(line).collect();
    let mut cards = Vec::with_capacity(lines.len());
    let mut rest = lines.as_slice();
    while let Some((first, after)) = rest.split_first() {
        let more = after
            .iter()
            .take_while(|line| line.starts_with("CONTINUE"))
            .count();
        let (group, others) = rest.split_at(1 + more);
        cards.push(Card::parse(first, group));
        rest = others;
    }
    cards
}

/// The first card of a keyword (upper case).
pub(in crate::dataset) fn find<'a>(cards: &'a [Card], keyword: &str) -> Option<&'a Card> {
    cards.iter().find(|card| card.keyword == keyword)
}

/// The integer that the first card of a keyword holds.
pub(in crate::dataset) fn integer(cards: &[Card], keyword: &str) -> Option<i128> {
    match &find(cards, keyword)?.value {
        Value::Integer(digits) => digits.parse().ok(),
        _ => None,
    }
}

/// Eighty ASCII characters; other bytes become question marks, as in astropy.
fn line(bytes: &[u8]) -> String {
    let ascii = |byte: &u8| if byte.is_ascii() { char::from(*byte) } else { '?' };
    let mut line: String = bytes.iter().map(ascii).collect();
    line.extend(std::iter::repeat_n(' ', CARD.saturating_sub(bytes.len())));
    line
}

/// The beginning of a line.
enum Head<'a> {
    /// Blank, `COMMENT`, `HISTORY`: the rest is text.
    Commentary(&'a str),
    /// A keyword and what follows the value indicator.
    Valued { keyword: String, rest: &'a str },
    /// `DP1 = 'AXIS.1: 2'`: a record within a keyword.
    Record { keyword: String, number: f64 },
    /// No known convention.
    Unknown(&'a str),
}

impl<'a> Head<'a> {
    fn of(line: &'a str) -> Self {
        let (start, rest) = line.split_at(KEYWORD);
        let start = start.trim();
        match start.to_ascii_uppercase().as_str() {
            "" | "COMMENT" | "HISTORY" | "END" => return Self::Commentary(start),
            "CONTINUE" => {
                return Self::Valued {
                    keyword: "CONTINUE".to_owned(),
                    rest,
                };
            }
            "HIERARCH" => {
                if let Some((name, rest)) = rest.strip_prefix(' ').and_then(|rest| rest.split_once('=')) {
                    return Self::Valued {
                        keyword: name.trim().to_uppercase(),
                        rest,
                    };
                }
            }
            _ => {}
        }
        let Some(at) = line.find("= ").filter(|at| *at <= KEYWORD) else {
            return Self::Unknown(start);
        };
        let keyword = start.get(..at).unwrap_or(start).to_uppercase();
        let rest = &line[at + 2..];
        match record(rest) {
            Some((field, number)) => Self::Record {
                keyword: format!("{keyword}.{}", field.to_uppercase()),
                number,
            },
            None => Self::Valued { keyword, rest },
        }
    }
}

impl Card {
    fn parse(first: &str, lines: &[String]) -> Self {
        let card = |keyword: &str, value, comment| Self {
            keyword: keyword.to_uppercase(),
            value,
            valid: true,
            comment,
            lines: lines.len(),
        };
        let as_text = || {
            let text = lines.concat();
            Value::Text(text[KEYWORD..].trim_end().to_owned())
        };
        match Head::of(first) {
            Head::Commentary(keyword) => card(keyword, as_text(), String::new()),
            Head::Unknown(keyword) => Self {
                valid: false,
                ..card(keyword, as_text(), String::new())
            },
            Head::Record { keyword, number } => card(&keyword, Value::Real(number), String::new()),
            Head::Valued { keyword, .. } if matches!(keyword.as_str(), "COMMENT" | "HISTORY" | "END") => {
                card(&keyword, as_text(), String::new())
            }
            Head::Valued { keyword, rest } => {
                let joined = if lines.len() > 1 {
                    continued(rest, &lines[1..])
                } else {
                    None
                };
                let (value, comment) = value_and_comment(joined.as_deref().unwrap_or(rest).trim());
                card(&keyword, value, comment)
            }
        }
    }
}

/// Joins a long string with its `CONTINUE` lines into one value field.
fn continued(rest: &str, lines: &[String]) -> Option<String> {
    let mut text = String::new();
    let mut comments = Vec::new();
    let pieces = std::iter::once(rest).chain(lines.iter().map(|line| &line[KEYWORD..]));
    for piece in pieces {
        let piece = piece.trim();
        let (string, after) = if piece.starts_with('\'') {
            string(piece)?
        } else {
            ("", piece)
        };
        let string = string.trim_end();
        text.push_str(string.strip_suffix('&').unwrap_or(string));
        let comment = comment_of(after)?;
        if !comment.is_empty() {
            comments.push(comment);
        }
    }
    Some(format!("'{text}' / {}", comments.join(" ")))
}

/// Reads a value field. What is no value at all is taken as text up to the first `/`.
fn value_and_comment(field: &str) -> (Value, String) {
    let parsed = value(field).and_then(|(value, after)| Some((value, comment_of(after)?.to_owned())));
    parsed.unwrap_or_else(|| {
        let (text, comment) = field.split_once('/').unwrap_or((field, ""));
        (Value::Text(text.trim().to_owned()), comment.trim().to_owned())
    })
}

/// Reads what follows a value: nothing, or a comment.
fn comment_of(after: &str) -> Option<&str> {
    let after = after.trim_start_matches(' ');
    match after.strip_prefix('/') {
        Some(comment) => Some(comment.trim_start_matches(' ').trim_end()),
        None => after.is_empty().then_some(""),
    }
}

/// The value at the start of a field and what follows it.
fn value(field: &str) -> Option<(Value, &str)> {
    match field.as_bytes().first() {
        None | Some(b'/') => Some((Value::Undefined, field)),
        Some(b'\'') => {
            let (text, after) = string(field)?;
            Some((Value::Text(text.replace("''", "'").trim_end().to_owned()), after))
        }
        Some(b'T' | b'F') => Some((Value::Logical(field.starts_with('T')), &field[1..])),
        Some(b'(') => {
            let (real, after) = number(field[1..].trim_start_matches(' '))?;
            let after = after.trim_start_matches(' ').strip_prefix(',')?;
            let (imaginary, after) = number(after.trim_start_matches(' '))?;
            let after = after.trim_start_matches(' ').strip_prefix(')')?;
            Some((complex(&real, &imaginary), after))
        }
        Some(_) => number(field),
    }
}

/// The content of a quoted string and what follows: the first quote that a blank, a comment or the end follows closes it.
fn string(field: &str) -> Option<(&str, &str)> {
    let content = field.strip_prefix('\'')?;
    let closing = content.match_indices('\'').map(|(at, _)| at).find(|at| {
        let after = &content[at + 1..];
        let blanks = after.trim_start_matches(' ');
        blanks.is_empty() || blanks.starts_with('/')
    })?;
    let text = &content[..closing];
    let printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    printable.then(|| (text, &content[closing + 1..]))
}

/// A number at the start of a field, blanks allowed between its parts.
fn number(field: &str) -> Option<(Value, &str)> {
    static NUMBER: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"^[+-]? *(?:\.\d+|\d+(?:\.\d*)?) *(?:[deDE] *[+-]? *\d+)?").ok());
    let found = NUMBER.as_ref()?.find(field)?;
    let text: String = found.as_str().chars().filter(|c| *c != ' ').collect();
    let after = &field[found.end()..];
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) if text.starts_with('-') => ("-", digits),
        Some(digits) => ("", digits),
        None => ("", text.as_str()),
    };
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let digits = digits.trim_start_matches('0');
        let integer = if digits.is_empty() {
            "0".to_owned()
        } else {
            format!("{sign}{digits}")
        };
        return Some((Value::Integer(integer), after));
    }
    let real = format!("{sign}{digits}").replace(['d', 'D'], "e").parse().ok()?;
    Some((Value::Real(real), after))
}

/// `'FIELD: NUMBER'`, which makes a card a record of its keyword.
fn record(rest: &str) -> Option<(&str, f64)> {
    static RECORD: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let field = r"[a-zA-Z_]\w*(?:\.\d+)?";
        let number = r"[+-]?(?:\.\d+|\d+(?:\.\d*)?)(?:[DE][+-]?\d+)?";
        Regex::new(&format!(
            r"^ *'({field}(?:\.{field})*): +({number})' *(?:/ *[ -~]*)?$"
        ))
        .ok()
    });
    let rest = rest.trim_start();
    // Nearly all cards are told apart by this alone.
    if !rest.starts_with('\'') || !rest.contains(": ") {
        return None;
    }
    let found = RECORD.as_ref()?.captures(rest)?;
    let number = found.get(2)?.as_str().parse().ok()?;
    Some((found.get(1)?.as_str(), number))
}

/// A complex number, put together as Python's `real + imaginary * 1j` does.
fn complex(real: &Value, imaginary: &Value) -> Value {
    let float = |value: &Value| match value {
        Value::Integer(digits) => digits.parse().unwrap_or(f64::INFINITY),
        Value::Real(number) => *number,
        _ => 0.0,
    };
    let (real, imaginary) = (float(real), float(imaginary));
    Value::Complex(real + (imaginary * 0.0 - 0.0), imaginary + 0.0)
}
