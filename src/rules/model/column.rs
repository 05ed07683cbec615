//! One parameter of a Match selector: which values are valid, and which rows accept a value (spec/crds-rules 10 to 12).

mod build;

use std::ops::Range;
use std::sync::OnceLock;

use crate::crds::literal::float_text;
use crate::rules::values::bitset::BitSet;
use crate::rules::values::condition::{NOT_APPLICABLE, condition, is_esoteric};
use crate::rules::values::pattern::{Pattern, Verdict};
use crate::rules::values::python::{float, repr_list, strip};
use crate::rules::values::vocabulary::Vocabulary;

/// A column of a Match selector.
#[derive(Debug)]
pub(crate) struct Column {
    /// The parameter, as a slot of the rmap.
    pub(crate) slot: u16,
    /// The number of the column within the rmap.
    pub(crate) index: u32,
    /// The values that the column knows; outside of it their numbers begin at 1.
    known: Vocabulary,
    /// By number: what the column says about a known value.
    values: Box<[Value]>,
    /// Rows of known values that few rows match.
    few: Box<[u32]>,
    /// Rows of known values that many rows match: the words of sets.
    many: Box<[u64]>,
    /// Rows whose element does not care about any value.
    indifferent: BitSet,
    /// Patterns whose verdict depends on the text of the value, with their rows.
    general: Vec<(Pattern, Vec<u32>)>,
    /// The effect of the value `N/A`, if it is not simply ignored: accepted rows, matching rows.
    not_applicable: Option<(BitSet, BitSet)>,
    /// Whether the check of valid values admits anything.
    anything: bool,
    /// Replacements that apply before a value is refused.
    replacements: Vec<Replacement>,
    /// The list of valid values as messages show it.
    shown: OnceLock<Box<str>>,
}

/// The rows of a column for a value that it knows.
#[derive(Debug, Clone)]
struct Value {
    /// Whether it is in the list of valid values.
    listed: bool,
    /// Whether it passes the check of valid values.
    valid: bool,
    /// The rows that match it, beyond those that do not care.
    rows: Rows,
}

#[derive(Debug, Clone)]
enum Rows {
    /// A range of [`Column::few`].
    Few(Range<u32>),
    /// A range of [`Column::many`].
    Many(Range<u32>),
}

/// The rows that match a known value.
enum Matching<'c> {
    Few(&'c [u32]),
    Many(&'c [u64]),
}

/// A value that stands for another one.
#[derive(Debug)]
pub(crate) struct Replacement {
    pub(crate) old: Box<str>,
    /// The text of the new one.
    pub(crate) new: Box<str>,
    /// The name of its type, unless it is a text.
    pub(crate) other_type: Option<&'static str>,
}

/// A value that is not among the valid ones.
#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    /// The value in question.
    NotListed(String),
    /// The value in question, and the range.
    OutOfRange(String, String),
    /// The text of the failure.
    Message(String),
}

impl Column {
    /// The number of a value, 0 for one that the column does not know.
    pub(crate) fn number(&self, value: &str) -> u32 {
        self.known.number(value).map_or(0, |number| number + 1)
    }

    /// The values that the column knows, with their numbers.
    pub(crate) fn known(&self) -> impl Iterator<Item = (&str, u32)> {
        self.known.iter().zip(1..)
    }

    fn value(&self, number: u32) -> Option<&Value> {
        self.values.get((number as usize).wrapping_sub(1))
    }

    fn matching(&self, number: u32) -> Option<Matching<'_>> {
        match &self.value(number)?.rows {
            Rows::Few(places) => self.few.get(wide(places)).map(Matching::Few),
            Rows::Many(places) => self.many.get(wide(places)).map(Matching::Many),
        }
    }

    /// Whether the list of valid values has `N/A`: then the parameter may be missing.
    pub(crate) fn optional(&self) -> bool {
        self.lists(NOT_APPLICABLE)
    }

    /// The check of valid values.
    pub(crate) fn check(&self, value: &str, number: u32) -> Result<(), Refusal> {
        match self.value(number) {
            Some(value) if value.valid => Ok(()),
            _ => self.check_text(value),
        }
    }

    fn lists(&self, text: &str) -> bool {
        self.value(self.number(text)).is_some_and(|value| value.listed)
    }

    /// The valid values, in no order.
    fn listed(&self) -> impl Iterator<Item = &str> {
        let all = self.known.iter().zip(&self.values);
        all.filter_map(|(text, value)| value.listed.then_some(text))
    }

    fn check_text(&self, value: &str) -> Result<(), Refusal> {
        if self.anything {
            return Ok(());
        }
        let mut value = value;
        // Each turn removes characters or follows a substitution.
        for _ in 0..1000 {
            if self.lists(value) || self.lists(&condition(value)) {
                return Ok(());
            }
            if let Some(rest) = value.strip_prefix("NOT") {
                value = strip(rest);
                continue;
            }
            if is_esoteric(value) || matches!(value, "*" | NOT_APPLICABLE | "ANY") {
                return Ok(());
            }
            let mut listed = self.listed();
            if let (Some(only), None) = (listed.next(), listed.next())
                && let Some((low, high)) = only.split_once(':')
            {
                return in_range(value, low, high);
            }
            match self
                .replacements
                .iter()
                .find(|replacement| *replacement.old == *value)
            {
                Some(Replacement {
                    new,
                    other_type: Some(kind),
                    ..
                }) => {
                    if self.lists(&condition(new)) {
                        return Ok(());
                    }
                    let message = format!("'{kind}' object has no attribute 'startswith'");
                    return Err(Refusal::Message(message));
                }
                Some(Replacement { new, .. }) => value = new,
                None => return Err(Refusal::NotListed(value.to_owned())),
            }
        }
        Err(Refusal::Message("maximum recursion depth exceeded".to_owned()))
    }

    /// Keeps the rows that accept the value.
    pub(crate) fn restrict(&self, value: &str, number: u32, rows: &mut BitSet, scratch: &mut BitSet) {
        if value == NOT_APPLICABLE {
            if let Some((accepted, _)) = &self.not_applicable {
                rows.intersect(accepted);
            }
            return;
        }
        match self.matching(number) {
            Some(Matching::Many(matching)) => rows.intersect_union(matching, &self.indifferent),
            Some(Matching::Few(matching)) => {
                scratch.assign(&self.indifferent);
                scratch.extend(matching);
                rows.intersect(scratch);
            }
            None if self.general.is_empty() => rows.intersect(&self.indifferent),
            None => {
                scratch.assign(&self.indifferent);
                for (pattern, own) in &self.general {
                    if pattern.judge(value) == Verdict::Match {
                        scratch.extend(own);
                    }
                }
                rows.intersect(scratch);
            }
        }
    }

    /// Whether a row that accepts the value says more than that it does not care.
    pub(crate) fn counts(&self, value: &str, row: u32) -> bool {
        if value == NOT_APPLICABLE {
            return self
                .not_applicable
                .as_ref()
                .is_some_and(|(_, matched)| matched.contains(row));
        }
        !self.indifferent.contains(row)
    }

    /// The list of valid values as messages show it.
    pub(crate) fn shown_values(&self) -> &str {
        self.shown.get_or_init(|| {
            let mut texts: Vec<&str> = self.listed().collect();
            texts.sort_unstable();
            repr_list(texts).into()
        })
    }
}

fn wide(places: &Range<u32>) -> Range<usize> {
    places.start as usize..places.end as usize
}

fn in_range(value: &str, low: &str, high: &str) -> Result<(), Refusal> {
    let number = |text: &str| float(text).map_err(Refusal::Message);
    let (low, high, wanted) = (number(low)?, number(high)?, number(value)?);
    if low <= wanted && wanted <= high {
        return Ok(());
    }
    let (low, high) = (float_text(low), float_text(high));
    Err(Refusal::OutOfRange(
        value.to_owned(),
        format!("[{low} .. {high}]"),
    ))
}
