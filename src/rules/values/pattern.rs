//! Match patterns: what an element of a match key says about a header value (spec/crds-rules 11).

use crate::rules::values::condition::{NOT_APPLICABLE, alternatives};
use crate::rules::values::glob::Glob;
use crate::rules::values::python::{float, to_float, upper, words};
use crate::rules::values::regex::PythonRegex;

/// The result of comparing a pattern with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It matches.
    Match,
    /// It does not care.
    Indifferent,
    /// It does not match.
    Mismatch,
}

impl Verdict {
    fn of(matches: bool) -> Self {
        if matches { Self::Match } else { Self::Mismatch }
    }
}

/// A prepared match element.
#[derive(Debug, Clone)]
pub(crate) enum Pattern {
    /// Only the basic rule.
    Literal(String),
    Regex(String, PythonRegex),
    Glob(Vec<Glob>),
    DontCare,
    Inequality(String, Relation, f64),
    /// Text, whether both must match, the two.
    Pair(String, bool, Box<[Pattern; 2]>),
    Not(Box<Pattern>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Relation {
    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Less => value < bound,
            Self::LessEqual => value <= bound,
            Self::Greater => value > bound,
            Self::GreaterEqual => value >= bound,
        }
    }
}

impl Pattern {
    /// Prepares a conditioned element, or says in the client's words what is wrong with it.
    pub(crate) fn new(element: &str) -> Result<Self, String> {
        Self::nested(element, 0)
    }

    fn nested(element: &str, depth: usize) -> Result<Self, String> {
        // Python's own recursion ends at about a thousand calls.
        const MAX_NESTING: usize = 100;
        if depth > MAX_NESTING {
            return Err("maximum recursion depth exceeded".to_owned());
        }
        if let Some(inner) = enclosed(element, '(', ')') {
            return Ok(Self::Regex(inner.to_owned(), PythonRegex::new(inner)?));
        }
        if let Some(inner) = enclosed(element, '{', '}') {
            return Ok(Self::Literal(inner.to_owned()));
        }
        if let Some(inner) = enclosed(element, '#', '#') {
            let inner = upper(inner);
            if inner.contains(" AND ") {
                return Self::pair(&upper(element), true, depth);
            }
            if inner.contains(" OR ") {
                return Self::pair(&upper(element), false, depth);
            }
            return Self::nested(&inner, depth + 1);
        }
        if element.starts_with("BETWEEN") {
            return Self::range(element, depth);
        }
        if let Some(rest) = element.strip_prefix("NOT ") {
            let inner = Self::nested(crate::rules::values::python::strip(rest), depth + 1)?;
            return Ok(Self::Not(Box::new(inner)));
        }
        if element.contains(['|', '*']) {
            let mut pieces = alternatives(element);
            if pieces.is_empty() {
                // Without alternatives the client's pattern is empty, and matches an empty text.
                pieces.push("");
            }
            return Ok(Self::Glob(pieces.into_iter().map(Glob::new).collect()));
        }
        if element == NOT_APPLICABLE {
            return Ok(Self::DontCare);
        }
        if element.starts_with(['<', '>']) {
            return Self::inequality(element);
        }
        Ok(Self::Literal(element.to_owned()))
    }

    fn pair(text: &str, both: bool, depth: usize) -> Result<Self, String> {
        let mut pieces = enclosed(text, '#', '#')
            .unwrap_or(text)
            .split(if both { "AND" } else { "OR" })
            .map(crate::rules::values::python::strip);
        let mut piece = || Self::nested(pieces.next().unwrap_or(""), depth + 1);
        let two = [piece()?, piece()?];
        Ok(Self::Pair(text.to_owned(), both, Box::new(two)))
    }

    fn range(element: &str, depth: usize) -> Result<Self, String> {
        let pieces: Vec<&str> = words(element).collect();
        let [_, low, high] = pieces[..] else {
            return Err(format!(
                "Invalid between relation {}",
                crate::rules::values::python::repr(element)
            ));
        };
        let (lower, upper) = (float(low)?, float(high)?);
        if lower > upper || lower.is_nan() || upper.is_nan() {
            let element = crate::rules::values::python::repr(element);
            return Err(format!(
                "Invalid between relation {element} should be 'between lower_bound upper_bound'"
            ));
        }
        let text = format!(">={low} AND <{high}");
        Self::pair(&text, true, depth)
    }

    /// `^([><]=?)\s*NUMBER`, what follows ignored.
    fn inequality(element: &str) -> Result<Self, String> {
        let (relation, rest) = [
            (">=", Relation::GreaterEqual),
            ("<=", Relation::LessEqual),
            (">", Relation::Greater),
            ("<", Relation::Less),
        ]
        .into_iter()
        .find_map(|(sign, relation)| Some((relation, element.strip_prefix(sign)?)))
        .ok_or("an inequality begins with < or >")?;
        let number = leading_number(rest.trim_start_matches(crate::rules::values::python::is_space))
            .ok_or_else(|| {
                format!(
                    "no number in the relation {}",
                    crate::rules::values::python::repr(element)
                )
            })?;
        Ok(Self::Inequality(element.to_owned(), relation, float(number)?))
    }

    /// For alternatives without wildcards, the values that match.
    pub(crate) fn plain_alternatives(&self) -> Option<Vec<String>> {
        match self {
            Self::Glob(alternatives) => alternatives
                .iter()
                .map(|glob| glob.plain().filter(|text| text != NOT_APPLICABLE))
                .collect(),
            _ => None,
        }
    }

    /// Compares the pattern with a value.
    pub(crate) fn judge(&self, value: &str) -> Verdict {
        match self {
            Self::Literal(text) => basic(text, value).unwrap_or(Verdict::Mismatch),
            Self::Regex(text, regex) => {
                basic(text, value).unwrap_or_else(|| Verdict::of(regex.begins(value)))
            }
            Self::Glob(alternatives) => match value {
                "*" => Verdict::Match,
                NOT_APPLICABLE => Verdict::Indifferent,
                _ => Verdict::of(alternatives.iter().any(|glob| glob.matches(value))),
            },
            Self::DontCare => Verdict::Indifferent,
            Self::Inequality(text, relation, bound) => basic(text, value).unwrap_or_else(|| {
                Verdict::of(to_float(value).is_some_and(|value| relation.holds(value, *bound)))
            }),
            Self::Pair(text, both, two) => {
                let value = upper(value);
                basic(text, &value).unwrap_or_else(|| {
                    let mut matches = two.iter().map(|one| one.judge(&value) == Verdict::Match);
                    Verdict::of(if *both {
                        matches.all(|yes| yes)
                    } else {
                        matches.any(|yes| yes)
                    })
                })
            }
            Self::Not(pattern) => match pattern.judge(value) {
                Verdict::Match => Verdict::Mismatch,
                Verdict::Mismatch => Verdict::Match,
                Verdict::Indifferent => Verdict::Indifferent,
            },
        }
    }
}

/// The rule that most patterns apply first.
fn basic(text: &str, value: &str) -> Option<Verdict> {
    if value == text || value == "*" {
        Some(Verdict::Match)
    } else if value == NOT_APPLICABLE {
        Some(Verdict::Indifferent)
    } else {
        None
    }
}

/// The text between an opening and a closing character, which may be the same one.
fn enclosed(text: &str, open: char, close: char) -> Option<&str> {
    (text.starts_with(open) && text.ends_with(close))
        .then(|| text.get(1..text.len().max(2) - 1).unwrap_or(""))
}

/// The longest beginning that matches `[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?`.
fn leading_number(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let digits = |from: usize| {
        bytes.get(from..).map_or(0, |rest| {
            rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
        })
    };
    let start = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
    let whole = digits(start);
    let mut end = start + whole;
    if bytes.get(end) == Some(&b'.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
    } else if whole == 0 {
        return None;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'-' | b'+')));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    text.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(pattern: &str, value: &str) -> Verdict {
        Pattern::new(pattern).unwrap().judge(value)
    }

    #[test]
    fn every_kind_of_pattern() {
        use Verdict::{Indifferent, Match, Mismatch};
        for (pattern, value, verdict) in [
            ("WFC", "WFC", Match),
            ("WFC", "HRC", Mismatch),
            ("WFC", "*", Match),
            ("WFC", "N/A", Indifferent),
            ("N/A", "WFC", Indifferent),
            ("N/A", "*", Indifferent),
            ("(A0)", "A0ZZ", Match),
            ("(A0)", "BA0", Mismatch),
            ("{A|B}", "A|B", Match),
            ("{A|B}", "A", Mismatch),
            ("A|B", "B", Match),
            ("F*", "FR", Match),
            ("A?", "AB", Mismatch),
            ("A?|C", "AB", Match),
            (">= 5", "5.0", Match),
            ("<5E0 and more", "4.9", Match),
            ("<5", "INF", Mismatch),
            ("<5", "X", Mismatch),
            ("# >1 AND <=3 #", "3.0", Match),
            ("# >1 AND <=3 #", "1.0", Mismatch),
            ("# A OR B #", "b", Match),
            ("BETWEEN 1 3", "1.0", Match),
            ("BETWEEN 1 3", "3.0", Mismatch),
            ("NOT X", "X", Mismatch),
            ("NOT X", "*", Mismatch),
            ("NOT X", "N/A", Indifferent),
            ("NOT A|B", "C", Match),
            ("NOT N/A", "C", Indifferent),
            ("NOT |", "", Mismatch),
            ("NOT |", "A", Match),
            ("##>1 AND <3##", "#>1", Mismatch),
            ("##>1 OR <3##", "#>1", Match),
            ("", "", Match),
        ] {
            assert_eq!(judge(pattern, value), verdict, "{pattern} on {value}");
        }
    }

    #[test]
    fn bad_patterns_are_refused_in_the_clients_words() {
        for (pattern, message) in [
            ("BETWEEN 5", "Invalid between relation 'BETWEEN 5'"),
            (
                "BETWEEN 5 1",
                "Invalid between relation 'BETWEEN 5 1' should be 'between lower_bound upper_bound'",
            ),
            ("BETWEEN A 1", "could not convert string to float: 'A'"),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap_err(), message);
        }
        assert!(Pattern::new(">A").is_err() && Pattern::new("([)").is_err());
        assert!(Pattern::new(&format!("{}X", "NOT ".repeat(10_000))).is_err());
    }
}
