//! Versions in keys and headers: `VersionAfter`, `SelectVersion` (spec/crds-rules 13).

use std::cmp::Ordering;

use super::python::repr;
use crate::crds::literal::{self, Value};

/// The three numbers of a version.
pub(crate) type Version = [u32; 3];

/// Reads the numbers of a version text.
pub(crate) fn parse_version(text: &str) -> Result<Version, String> {
    let failure = || format!("Invalid version string {}", repr(text));
    let mut version = [0; 3];
    let mut rest = text.as_bytes();
    for (index, number) in version.iter_mut().enumerate() {
        let digits = if index == 0 {
            rest
        } else {
            rest.strip_prefix(b".").unwrap_or(&[])
        };
        let length = digits
            .iter()
            .take(8)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if length == 0 {
            if index == 0 {
                return Err(failure());
            }
            break;
        }
        let (number_digits, after) = digits.split_at(length);
        *number = number_digits
            .iter()
            .fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
        rest = after;
    }
    // Python's `$` also matches before a final newline.
    let rest = rest.strip_suffix(b"\n").unwrap_or(rest);
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-' | b'.');
    if rest.len() <= 128 && rest.iter().all(allowed) {
        Ok(version)
    } else {
        Err(failure())
    }
}

/// A key of `SelectVersion`: an operator and a version.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Relation {
    /// `<`, `<=` or `=`.
    operator: &'static str,
    number: Number,
}

#[derive(Debug, Clone, PartialEq)]
enum Number {
    Single(Value),
    Several(Vec<Value>),
}

/// `default` in its spellings.
fn is_default(text: &str) -> bool {
    text.replace(['=', ' '], "") == "default"
}

impl Relation {
    /// Reads a key of a selector or, with an empty operator, a value.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if is_default(text) {
            return Ok(Self {
                operator: "=",
                number: Number::Single(Value::Int(i64::MAX)),
            });
        }
        let whole = if text.starts_with(['<', '=']) {
            text.to_owned()
        } else {
            format!("={text}")
        };
        let (operator, literal) = [("<=", "<="), ("<", "<"), ("==", "="), ("=", "=")]
            .into_iter()
            .find_map(|(sign, operator)| Some((operator, whole.strip_prefix(sign)?)))
            .ok_or_else(|| format!("Invalid version expression in: {}", repr(&whole)))?;
        let number = match literal::parse(super::python::strip(literal)) {
            Ok(value @ (Value::Int(_) | Value::BigInt(_) | Value::Float(_) | Value::Bool(_))) => {
                Number::Single(value)
            }
            Ok(Value::Tuple(values)) => Number::Several(values),
            _ => return Err(format!("Invalid version expression in: {}", repr(&whole))),
        };
        Ok(Self { operator, number })
    }

    /// Compares by version, then by operator.
    pub(crate) fn compare(&self, other: &Self) -> Result<Ordering, String> {
        let order = match (&self.number, &other.number) {
            (Number::Single(one), Number::Single(two)) => compare_numbers(one, two),
            (Number::Several(one), Number::Several(two)) => one
                .iter()
                .zip(two)
                .map(|(one, two)| compare_numbers(one, two))
                .find(|order| order.is_ne())
                .unwrap_or_else(|| one.len().cmp(&two.len())),
            (one, two) => {
                return Err(format!(
                    "Incompatible version expression types: {} and {}",
                    one.repr(),
                    two.repr()
                ));
            }
        };
        Ok(order.then(self.operator.cmp(other.operator)))
    }
}

impl Number {
    fn repr(&self) -> String {
        let value = match self {
            Self::Single(value) => value.clone(),
            Self::Several(values) => Value::Tuple(values.clone()),
        };
        literal::write(&value)
    }
}

fn compare_numbers(one: &Value, two: &Value) -> Ordering {
    if let (Value::Int(one), Value::Int(two)) = (one, two) {
        return one.cmp(two);
    }
    let number = |value: &Value| match value {
        #[expect(clippy::cast_precision_loss, reason = "versions are small numbers")]
        Value::Int(number) => *number as f64,
        Value::Float(number) => *number,
        Value::Bool(truth) => f64::from(u8::from(*truth)),
        Value::BigInt(digits) => digits.parse().unwrap_or(f64::NAN),
        _ => f64::NAN,
    };
    number(one).partial_cmp(&number(two)).unwrap_or(Ordering::Equal)
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
        ] {
            assert_eq!(parse_version(text), Ok(version));
        }
        for text in ["", "x", ".1", "1 2", "1|2", &format!("1{}", "a".repeat(129))] {
            assert!(parse_version(text).is_err(), "{text}");
        }
    }

    #[test]
    fn relations() {
        let relation = |text| Relation::parse(text).unwrap();
        assert_eq!(relation("5"), relation("==5"));
        assert_eq!(relation("default"), relation("= default"));
        assert_eq!(relation("<5").compare(&relation("=5")), Ok(Ordering::Less));
        assert_eq!(
            relation("<(1, 2)").compare(&relation("(1, 2, 0)")),
            Ok(Ordering::Less)
        );
        assert!(relation("5").compare(&relation("(1, 2)")).is_err());
        assert!(Relation::parse("INF").is_err());
    }
}
