//! Versions in keys and headers: `VersionAfter`, `SelectVersion` (spec/crds-rules 13).

use std::cmp::Ordering;

use crate::crds::literal::{self, Value};
use crate::rules::values::python::{decimal_digit, repr, strip};

/// The three numbers of a version.
pub(crate) type Version = [u32; 3];

/// Reads the numbers of a version text.
pub(crate) fn parse_version(text: &str) -> Result<Version, String> {
    let failure = || format!("Invalid version string {}", repr(text));
    let mut version = [0; 3];
    let mut rest = text;
    for (index, number) in version.iter_mut().enumerate() {
        let digits = if index == 0 {
            rest
        } else {
            rest.strip_prefix('.').unwrap_or("")
        };
        let mut after = digits.chars();
        let mut value = 0;
        for _ in 0..8 {
            let Some(digit) = after.clone().next().and_then(decimal_digit) else {
                break;
            };
            after.next();
            value = value * 10 + digit;
        }
        if after.as_str().len() == digits.len() {
            if index == 0 {
                return Err(failure());
            }
            break;
        }
        *number = value;
        rest = after.as_str();
    }
    // Python's `$` also matches before a final newline.
    let rest = rest.strip_suffix('\n').unwrap_or(rest);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-' | b'.');
    if rest.len() <= 128 && rest.bytes().all(allowed) {
        Ok(version)
    } else {
        Err(failure())
    }
}

/// A key of `SelectVersion`: an operator and a version.
#[derive(Debug, Clone)]
pub(crate) struct Relation {
    /// As written, the operator added.
    text: String,
    /// `<`, `<=` or `=`.
    operator: &'static str,
    version: Value,
}

/// `default` in its spellings.
pub(crate) fn is_default(text: &str) -> bool {
    strip(&text.replace('=', "")) == "default"
}

impl Relation {
    /// Reads a key of a selector or, with an empty operator, a value.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if is_default(text) {
            return Ok(Self {
                text: text.to_owned(),
                operator: "=",
                version: Value::Int(i64::MAX),
            });
        }
        let text = if text.starts_with(['<', '=']) {
            text.to_owned()
        } else {
            format!("={text}")
        };
        // In the client's pattern the dot is no line end.
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let found = [("<=", "<="), ("<", "<"), ("==", "="), ("=", "=")]
            .into_iter()
            .find_map(|(sign, operator)| Some((operator, line.strip_prefix(sign)?)))
            .filter(|(_, literal)| !literal.contains('\n'));
        let Some((operator, literal)) = found else {
            return Err(format!("Illegal version expression in: {}", repr(&text)));
        };
        match literal::parse(strip(literal)) {
            Ok(Value::List(_)) => Err("unhashable type: 'list'".to_owned()),
            Ok(Value::Dict(_)) => Err("unhashable type: 'dict'".to_owned()),
            Ok(version) => Ok(Self {
                text,
                operator,
                version,
            }),
            Err(_) => Err(not_written(strip(literal))
                .unwrap_or_else(|| format!("Invalid version expression in: {}", repr(&text)))),
        }
    }

    /// Compares by version, then by operator.
    pub(crate) fn compare(&self, other: &Self) -> Result<Ordering, String> {
        let (one, two) = (&self.version, &other.version);
        let compatible = number(one).is_some() && number(two).is_some()
            || std::mem::discriminant(one) == std::mem::discriminant(two);
        if !compatible {
            let text = |value: &Value| {
                value
                    .as_str()
                    .map_or_else(|| literal::write(value), str::to_owned)
            };
            return Err(format!(
                "Incompatible version expression types: {} and {}",
                text(one),
                text(two)
            ));
        }
        let order = compare_values(one, two)
            .ok_or("'<' not supported between instances of 'VersionRelation' and 'VersionRelation'")?;
        Ok(order.then(self.operator.cmp(other.operator)))
    }

    /// A text that equal relations share, and few others.
    pub(crate) fn identity(&self) -> String {
        let mut identity = self.operator.to_owned();
        identify(&self.version, &mut identity);
        identity
    }

    /// The relation as written, the operator added.
    pub(crate) fn shown(&self) -> &str {
        &self.text
    }

    /// `repr(relation)`
    pub(crate) fn repr(&self) -> String {
        format!("VersionRelation({})", repr(&self.text))
    }
}

fn identify(value: &Value, identity: &mut String) {
    match (number(value), value) {
        // Zero has two signs.
        (Some(number), _) => identity.push_str(&(number + 0.0).to_string()),
        (None, Value::Tuple(items)) => {
            for item in items {
                identity.push(',');
                identify(item, identity);
            }
        }
        (None, value) => identity.push_str(&literal::write(value)),
    }
}

/// Python's message for a number that `float()` reads and that is not written as in programs.
fn not_written(number: &str) -> Option<String> {
    if let Some(digit) = number
        .chars()
        .find(|&letter| !letter.is_ascii() && decimal_digit(letter).is_some())
    {
        let code = u32::from(digit);
        return Some(format!(
            "invalid character '{digit}' (U+{code:04X}) (<unknown>, line 1)"
        ));
    }
    let unsigned = number.strip_prefix(['-', '+']).unwrap_or(number);
    let digits = unsigned.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    (digits && unsigned.starts_with('0')).then(|| {
        "leading zeros in decimal integer literals are not permitted; use an 0o prefix for octal integers \
         (<unknown>, line 1)"
            .to_owned()
    })
}

fn number(value: &Value) -> Option<f64> {
    match value {
        #[expect(clippy::cast_precision_loss, reason = "versions are small numbers")]
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        Value::BigInt(digits) => digits.parse().ok(),
        _ => None,
    }
}

/// The order of two versions, if Python has one.
fn compare_values(one: &Value, two: &Value) -> Option<Ordering> {
    match (one, two) {
        (Value::Int(one), Value::Int(two)) => Some(one.cmp(two)),
        (Value::Str(one), Value::Str(two)) => Some(one.cmp(two)),
        (Value::Tuple(one), Value::Tuple(two)) | (Value::List(one), Value::List(two)) => one
            .iter()
            .zip(two)
            .find(|(one, two)| one != two && compare_values(one, two) != Some(Ordering::Equal))
            .map_or_else(
                || Some(one.len().cmp(&two.len())),
                |(one, two)| compare_values(one, two),
            ),
        (Value::Int(one), Value::Float(two)) => compare_numbers(*one, *two),
        (Value::Float(one), Value::Int(two)) => compare_numbers(*two, *one).map(Ordering::reverse),
        _ => number(one)?.partial_cmp(&number(two)?),
    }
}

/// Exact, as in Python: the greatest integer, which stands for `default`, is less than the float next to it.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "where the conversion to a float loses anything, the float is a whole number, which is compared"
)]
fn compare_numbers(one: i64, two: f64) -> Option<Ordering> {
    let order = (one as f64).partial_cmp(&two)?;
    Some(order.then_with(|| i128::from(one).cmp(&(two as i128))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, version) in [
            ("1", [1, 0, 0]),
            ("1.2", [1, 2, 0]),
            ("1.2.3", [1, 2, 3]),
            ("1.2.3.4", [1, 2, 3]),
            ("1.2.3rc1+x-y_z", [1, 2, 3]),
            ("1.", [1, 0, 0]),
            ("123456789", [12_345_678, 0, 0]),
            ("\u{661}\u{662}.3", [12, 3, 0]),
        ] {
            assert_eq!(parse_version(text), Ok(version));
        }
        for text in [
            "",
            "x",
            ".1",
            "1.2.3.\u{663}",
            "1 2",
            "1|2",
            &format!("1{}", "a".repeat(129)),
        ] {
            assert!(parse_version(text).is_err(), "{text}");
        }
    }

    #[test]
    fn relations() {
        let relation = |text| Relation::parse(text).unwrap();
        assert_eq!(relation("5").compare(&relation("==5.0")), Ok(Ordering::Equal));
        assert_eq!(
            relation("default").compare(&relation("= default ")),
            Ok(Ordering::Equal)
        );
        assert_eq!(relation("<5").compare(&relation("=5")), Ok(Ordering::Less));
        assert_eq!(
            relation("<(1, 2)").compare(&relation("(1, 2, 0)")),
            Ok(Ordering::Less)
        );
        assert_eq!(
            relation("default").compare(&relation("9.223372036854776e+18")),
            Ok(Ordering::Less)
        );
        assert!(relation("5").compare(&relation("(1, 2)")).is_err());
        assert_eq!(
            Relation::parse("1\u{663}").unwrap_err(),
            "invalid character '\u{663}' (U+0663) (<unknown>, line 1)"
        );
        assert!(Relation::parse("01").unwrap_err().starts_with("leading zeros"));
        for text in ["INF", "de fault", "<default", ">1", "1\n2"] {
            assert!(Relation::parse(text).is_err(), "{text}");
        }
    }
}
