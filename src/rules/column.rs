//! One parameter of a Match selector: which values are valid, and which rows accept a value (spec/crds-rules 10 to 12).

use std::sync::OnceLock;

use rustc_hash::FxHashMap;

use super::bits::Bits;
use super::condition::{NOT_APPLICABLE, alternatives, condition, is_esoteric};
use super::pattern::{Pattern, Verdict};
use super::python::{float, repr_list, strip};
use crate::crds::literal::float_text;

/// A column of a Match selector.
#[derive(Debug)]
pub(crate) struct Column {
    /// The parameter, as a slot of the rmap.
    pub(crate) slot: u16,
    /// The number of the column within the rmap.
    pub(crate) index: u32,
    valid: Valid,
    /// Values that the column knows, with the number of their entry in `accepting`; numbers begin at 1.
    vocabulary: FxHashMap<Box<str>, u32>,
    /// For each known value the rows that match it, beyond those that do not care.
    accepting: Vec<Accepting>,
    /// Rows whose element does not care about any value.
    indifferent: Bits,
    /// Patterns whose verdict depends on the text of the value, with their rows.
    general: Vec<(Pattern, Vec<u32>)>,
    /// What the value `N/A` does, if it is not simply ignored: accepted rows, matching rows.
    not_applicable: Option<(Bits, Bits)>,
}

#[derive(Debug)]
struct Accepting {
    /// Whether the value passes the check of valid values.
    valid: bool,
    rows: Rows,
}

#[derive(Debug)]
enum Rows {
    Few(Box<[u32]>),
    Many(Bits),
}

/// The valid values of a parameter.
#[derive(Debug)]
struct Valid {
    /// Sorted; empty when anything goes.
    texts: Vec<Box<str>>,
    /// Whether anything goes.
    anything: bool,
    /// Replacements that apply before a value is refused.
    replacements: Vec<Replacement>,
    /// The list as messages show it.
    shown: OnceLock<Box<str>>,
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
    /// Compiles a column from its distinct elements with the rows that have them.
    pub(crate) fn new(
        (slot, index): (u16, u32),
        elements: Vec<(&str, Vec<u32>)>,
        rows: usize,
        replacements: Vec<Replacement>,
    ) -> Result<Self, String> {
        let valid = Valid::new(elements.iter().map(|(element, _)| *element), replacements);
        let mut indifferent = Bits::empty(rows);
        let mut matching: FxHashMap<Box<str>, Vec<u32>> = FxHashMap::default();
        let mut general = Vec::new();
        let mut literals_not_applicable = false;
        for (element, rows) in elements {
            match Pattern::new(element)? {
                Pattern::DontCare => indifferent.extend(&rows),
                pattern if always_indifferent(&pattern) => {
                    indifferent.extend(&rows);
                }
                Pattern::Literal(text) => {
                    literals_not_applicable |= text == NOT_APPLICABLE;
                    matching.entry(text.into()).or_default().extend(rows);
                }
                pattern => {
                    if let Some(texts) = pattern.plain_alternatives() {
                        for text in texts {
                            matching.entry(text.into()).or_default().extend(&rows);
                        }
                    } else {
                        general.push((pattern, rows));
                    }
                }
            }
        }
        for text in valid.texts.iter().map(|text| &**text).chain(["*"]) {
            matching.entry(text.into()).or_default();
        }
        let mut column = Self {
            slot,
            index,
            valid,
            vocabulary: FxHashMap::default(),
            accepting: Vec::with_capacity(matching.len()),
            indifferent,
            general,
            not_applicable: None,
        };
        column.index_values(matching, rows);
        if literals_not_applicable
            || column
                .general
                .iter()
                .any(|(pattern, _)| pattern.judge(NOT_APPLICABLE) != Verdict::Indifferent)
        {
            column.index_not_applicable(rows);
        }
        Ok(column)
    }

    fn index_values(&mut self, matching: FxHashMap<Box<str>, Vec<u32>>, size: usize) {
        let every: Vec<u32> = matching.values().flatten().copied().collect();
        for (text, mut rows) in matching {
            if &*text == "*" {
                rows.extend(&every);
            }
            for (pattern, own) in &self.general {
                if pattern.judge(&text) == Verdict::Match {
                    rows.extend(own);
                }
            }
            rows.sort_unstable();
            rows.dedup();
            let rows = if rows.len() > size.div_ceil(64) {
                let mut bits = Bits::empty(size);
                bits.extend(&rows);
                Rows::Many(bits)
            } else {
                Rows::Few(rows.into())
            };
            let valid = self.valid.check(&text).is_ok();
            self.accepting.push(Accepting { valid, rows });
            let number = u32::try_from(self.accepting.len()).unwrap_or(0);
            self.vocabulary.insert(text, number);
        }
    }

    /// Only for columns in which an element is the literal `{N/A}` or its like.
    fn index_not_applicable(&mut self, size: usize) {
        let (mut accepted, mut matched) = (Bits::empty(size), Bits::empty(size));
        accepted.fill(size);
        if let Some(number) = self.vocabulary.get(NOT_APPLICABLE) {
            self.rows_of(*number).for_each(|row| matched.insert(row));
        }
        for (pattern, rows) in &self.general {
            for &row in rows {
                match pattern.judge(NOT_APPLICABLE) {
                    Verdict::Match => matched.insert(row),
                    Verdict::Mismatch => accepted.remove(row),
                    Verdict::Indifferent => {}
                }
            }
        }
        self.not_applicable = Some((accepted, matched));
    }

    fn rows_of(&self, number: u32) -> impl Iterator<Item = u32> {
        let rows = self
            .accepting
            .get(number as usize - 1)
            .map(|accepting| &accepting.rows);
        let (few, many) = match rows {
            Some(Rows::Few(few)) => (Some(few.iter().copied()), None),
            Some(Rows::Many(many)) => (None, Some(many.iter())),
            None => (None, None),
        };
        few.into_iter().flatten().chain(many.into_iter().flatten())
    }

    /// The number of a value, 0 for one that the column does not know.
    pub(crate) fn number(&self, value: &str) -> u32 {
        self.vocabulary.get(value).copied().unwrap_or(0)
    }

    /// The values that the column knows.
    pub(crate) fn known(&self) -> impl Iterator<Item = (&str, u32)> {
        self.vocabulary.iter().map(|(text, number)| (&**text, *number))
    }

    /// Whether the list of valid values has `N/A`: then the parameter may be missing.
    pub(crate) fn optional(&self) -> bool {
        self.valid.lists(NOT_APPLICABLE)
    }

    /// The check of valid values.
    pub(crate) fn check(&self, value: &str, number: u32) -> Result<(), Refusal> {
        match self.accepting.get((number as usize).wrapping_sub(1)) {
            Some(accepting) if accepting.valid => Ok(()),
            _ => self.valid.check(value),
        }
    }

    /// Keeps the rows that accept the value.
    pub(crate) fn restrict(&self, value: &str, number: u32, rows: &mut Bits, scratch: &mut Bits) {
        if value == NOT_APPLICABLE {
            if let Some((accepted, _)) = &self.not_applicable {
                rows.intersect(accepted);
            }
            return;
        }
        match self
            .accepting
            .get((number as usize).wrapping_sub(1))
            .map(|accepting| &accepting.rows)
        {
            Some(Rows::Many(matching)) => rows.intersect_union(matching, &self.indifferent),
            Some(Rows::Few(matching)) => {
                scratch.assign(&self.indifferent);
                scratch.extend(&**matching);
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
        self.valid
            .shown
            .get_or_init(|| repr_list(self.valid.texts.iter().map(|text| &**text)).into())
    }
}

/// `NOT N/A` and the like, which never care.
fn always_indifferent(pattern: &Pattern) -> bool {
    match pattern {
        Pattern::DontCare => true,
        Pattern::Not(inner) => always_indifferent(inner),
        _ => false,
    }
}

impl Valid {
    fn new<'e>(elements: impl Iterator<Item = &'e str>, replacements: Vec<Replacement>) -> Self {
        let mut texts: Vec<Box<str>> = Vec::new();
        let mut esoteric = false;
        for element in elements {
            esoteric |= is_esoteric(element);
            texts.extend(alternatives(element).into_iter().map(Box::from));
        }
        if esoteric {
            texts.clear();
        }
        texts.sort_unstable();
        texts.dedup();
        let lists = |word: &str| texts.iter().any(|text| &**text == word);
        Self {
            anything: texts.is_empty() || lists("*") || lists("ANY") || lists(NOT_APPLICABLE),
            texts,
            replacements,
            shown: OnceLock::new(),
        }
    }

    fn lists(&self, value: &str) -> bool {
        self.texts.binary_search_by(|text| (**text).cmp(value)).is_ok()
    }

    fn check(&self, value: &str) -> Result<(), Refusal> {
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
            if let [only] = &self.texts[..]
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
