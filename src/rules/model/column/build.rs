//! A column of a Match selector, made from the elements of its keys.

use std::ops::Range;
use std::sync::OnceLock;

use super::{Column, Matching, Replacement, Rows, Value, wide};
use crate::rules::values::bitset::BitSet;
use crate::rules::values::condition::{NOT_APPLICABLE, alternatives, is_esoteric};
use crate::rules::values::pattern::{Pattern, Verdict};
use crate::rules::values::vocabulary::Vocabulary;

impl Column {
    /// Compiles a column from its distinct elements and the number of each row's element.
    pub(crate) fn new(
        (slot, index): (u16, u32),
        elements: &[&str],
        numbers: &[u32],
        replacements: Vec<Replacement>,
    ) -> Result<Self, String> {
        let mut builder = Builder::new(elements, numbers);
        for (element, text) in (0..).zip(elements) {
            builder.add(element, text)?;
        }
        builder.list_values(elements);
        builder.index_values();
        let mut column = Self {
            slot,
            index,
            anything: false,
            known: builder.known,
            values: builder.values.into(),
            few: builder.rows.into(),
            many: builder.many.into(),
            indifferent: builder.indifferent,
            general: builder.general,
            not_applicable: None,
            replacements,
            shown: OnceLock::new(),
        };
        column.validate();
        let judged = |(pattern, _): &(Pattern, _)| pattern.judge(NOT_APPLICABLE) != Verdict::Indifferent;
        if builder.literals_not_applicable || column.general.iter().any(judged) {
            column.index_not_applicable(numbers.len());
        }
        Ok(column)
    }

    /// Notes which of the known values are valid.
    fn validate(&mut self) {
        let listed = |word| self.lists(word);
        self.anything =
            self.listed().next().is_none() || ["*", "ANY", NOT_APPLICABLE].into_iter().any(listed);
        for number in 1.. {
            match self.value(number) {
                None => break,
                Some(value) if value.valid => {}
                Some(_) => {
                    let valid = self.check_text(self.known.get(number - 1)).is_ok();
                    if let Some(value) = self.values.get_mut(number as usize - 1) {
                        value.valid = valid;
                    }
                }
            }
        }
    }

    /// Only for columns in which an element is the literal `{N/A}` or its like.
    fn index_not_applicable(&mut self, size: usize) {
        let (mut accepted, mut matched) = (BitSet::empty(size), BitSet::empty(size));
        accepted.fill(size);
        match self.matching(self.number(NOT_APPLICABLE)) {
            Some(Matching::Few(rows)) => matched.extend(rows),
            Some(Matching::Many(rows)) => matched.unite(rows),
            None => {}
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
}

/// `NOT N/A` and the like, which never care.
fn always_indifferent(pattern: &Pattern) -> bool {
    match pattern {
        Pattern::DontCare => true,
        Pattern::Not(inner) => always_indifferent(inner),
        _ => false,
    }
}

struct Builder {
    /// The number of rows.
    size: usize,
    /// The rows of each element, one element behind the other, then other rows of known values.
    rows: Vec<u32>,
    /// The end of the rows of each element.
    ends: Vec<u32>,
    many: Vec<u64>,
    known: Vocabulary,
    /// By number of the known value.
    values: Vec<Value>,
    /// Known values with elements that they match.
    matches: Vec<(u32, u32)>,
    indifferent: BitSet,
    general: Vec<(Pattern, Vec<u32>)>,
    /// Known values that are elements with nothing special about them.
    literals: Vec<u32>,
    esoteric: bool,
    literals_not_applicable: bool,
}

impl Builder {
    fn new(elements: &[&str], numbers: &[u32]) -> Self {
        let bytes = elements.iter().map(|element| element.len()).sum::<usize>();
        // The place of the next row of each element; in the end, the end of its rows.
        let mut ends = vec![0; elements.len() + 1];
        for &number in numbers {
            if let Some(count) = ends.get_mut(number as usize + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for count in &mut ends {
            sum += *count;
            *count = sum;
        }
        let mut rows = vec![0; numbers.len()];
        for (row, &number) in (0..).zip(numbers) {
            if let Some(next) = ends.get_mut(number as usize) {
                if let Some(place) = rows.get_mut(*next as usize) {
                    *place = row;
                }
                *next += 1;
            }
        }
        let mut builder = Self {
            size: numbers.len(),
            rows,
            ends,
            many: Vec::new(),
            known: Vocabulary::with_capacity(elements.len() + 1, bytes + 1),
            values: Vec::with_capacity(elements.len() + 1),
            matches: Vec::with_capacity(elements.len()),
            indifferent: BitSet::empty(numbers.len()),
            general: Vec::new(),
            literals: Vec::with_capacity(elements.len()),
            esoteric: false,
            literals_not_applicable: false,
        };
        builder.number("*");
        builder
    }

    /// The range of the rows of an element.
    fn places(&self, element: u32) -> Range<u32> {
        let element = element as usize;
        let start = element
            .checked_sub(1)
            .and_then(|before| self.ends.get(before))
            .copied();
        start.unwrap_or(0)..self.ends.get(element).copied().unwrap_or(0)
    }

    fn rows(&self, element: u32) -> &[u32] {
        self.rows.get(wide(&self.places(element))).unwrap_or(&[])
    }

    /// The number of a value, which is known from now on.
    fn number(&mut self, text: &str) -> u32 {
        let number = self.known.insert(text);
        if self.values.len() <= number as usize {
            self.values.push(Value {
                listed: false,
                valid: false,
                rows: Rows::Few(0..0),
            });
        }
        number
    }

    fn matches(&mut self, text: &str, element: u32) {
        let number = self.number(text);
        self.matches.push((number, element));
    }

    fn add(&mut self, element: u32, text: &str) -> Result<(), String> {
        if is_esoteric(text) {
            self.esoteric = true;
        } else if is_literal(text) {
            let number = self.number(text);
            self.matches.push((number, element));
            self.literals.push(number);
            return Ok(());
        } else if let Some(texts) = plain_alternatives(text) {
            for text in texts {
                self.matches(text, element);
            }
            return Ok(());
        }
        match Pattern::new(text)? {
            pattern if always_indifferent(&pattern) => {
                let rows = self.rows.get(wide(&self.places(element)));
                self.indifferent.extend(rows.unwrap_or(&[]));
            }
            Pattern::Literal(text) => {
                self.literals_not_applicable |= text == NOT_APPLICABLE;
                self.matches(&text, element);
            }
            pattern => {
                if let Some(texts) = pattern.plain_alternatives() {
                    for text in texts {
                        self.matches(&text, element);
                    }
                } else {
                    self.general.push((pattern, self.rows(element).to_vec()));
                }
            }
        }
        Ok(())
    }

    /// Notes which values are in the list of valid ones, all of which become known.
    fn list_values(&mut self, elements: &[&str]) {
        if self.esoteric {
            return;
        }
        for number in std::mem::take(&mut self.literals) {
            self.list(number);
        }
        for element in elements.iter().filter(|element| !is_literal(element)) {
            for text in alternatives(element) {
                let number = self.number(text);
                self.list(number);
            }
        }
    }

    fn list(&mut self, number: u32) {
        if let Some(value) = self.values.get_mut(number as usize) {
            (value.listed, value.valid) = (true, true);
        }
    }

    /// Finds the rows of each known value.
    fn index_values(&mut self) {
        self.matches.sort_unstable();
        let matches = std::mem::take(&mut self.matches);
        let mut rest = &matches[..];
        let mut rows = Vec::new();
        for number in 0..u32::try_from(self.values.len()).unwrap_or(0) {
            let count = rest.iter().take_while(|(own, _)| *own == number).count();
            let (own, others) = rest.split_at(count);
            rest = others;
            // Elements that match any known value match the one that stands for all of them.
            let own = if number == EVERYTHING { &matches } else { own };
            let places = match own {
                [(_, element)] if self.general.is_empty() => Some(self.places(*element)),
                _ => None,
            };
            let settled = match places {
                Some(places) if places.len() <= self.few() => Rows::Few(places),
                _ => {
                    rows.clear();
                    rows.extend(own.iter().flat_map(|(_, element)| self.rows(*element)));
                    for (pattern, own) in &self.general {
                        if pattern.judge(self.known.get(number)) == Verdict::Match {
                            rows.extend(own);
                        }
                    }
                    self.settle(&mut rows)
                }
            };
            if let Some(value) = self.values.get_mut(number as usize) {
                value.rows = settled;
            }
        }
    }

    /// The number of rows that are kept one by one: as much memory as a set takes.
    fn few(&self) -> usize {
        self.size.div_ceil(64)
    }

    /// Keeps rows, which come in any order and more than once.
    fn settle(&mut self, rows: &mut Vec<u32>) -> Rows {
        if rows.len() <= self.few() {
            rows.sort_unstable();
            rows.dedup();
            let start = self.rows.len();
            self.rows.extend_from_slice(rows);
            return Rows::Few(narrow(start..self.rows.len()));
        }
        let start = self.many.len();
        self.many.resize(start + self.size.div_ceil(64), 0);
        let words = self.many.get_mut(start..).unwrap_or(&mut []);
        for row in rows {
            if let Some(word) = words.get_mut(*row as usize / 64) {
                *word |= 1 << (*row % 64);
            }
        }
        Rows::Many(narrow(start..self.many.len()))
    }
}

/// The number of the value `*`.
const EVERYTHING: u32 = 0;

/// A text has fewer elements than bytes (`literal::lexer::MAX_TEXT`).
fn narrow(places: Range<usize>) -> Range<u32> {
    let narrow = |place| u32::try_from(place).unwrap_or(u32::MAX);
    narrow(places.start)..narrow(places.end)
}

/// The texts that an element matches which is not esoteric, if they are simple alternatives.
fn plain_alternatives(element: &str) -> Option<Vec<&str>> {
    if element.contains(['*', '?', '[']) || !element.contains('|') {
        return None;
    }
    let texts = alternatives(element);
    (!texts.is_empty() && !texts.contains(&NOT_APPLICABLE)).then_some(texts)
}

/// Whether an element that is not esoteric matches nothing but itself.
fn is_literal(element: &str) -> bool {
    !element.contains(['|', '*']) && !element.starts_with(['<', '>']) && element != NOT_APPLICABLE
}
