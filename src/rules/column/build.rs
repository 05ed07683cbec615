//! A column of a Match selector, made from the elements of its keys.

use std::ops::Range;
use std::sync::OnceLock;

use super::super::bits::Bits;
use super::super::condition::{NOT_APPLICABLE, alternatives, is_esoteric};
use super::super::pattern::{Pattern, Verdict};
use super::super::vocabulary::Vocabulary;
use super::{Column, Matching, Replacement, Rows, Value, wide};

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
        let listed = builder.list_values(elements);
        let Index { values, few, many } = builder.index_values(&listed);
        let mut column = Self {
            slot,
            index,
            anything: false,
            known: builder.known,
            values: values.into(),
            few: few.into(),
            many: many.into(),
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
        let valid = |(text, value): (&str, &Value)| value.listed || self.check_text(text).is_ok();
        let valid: Vec<bool> = self.known.iter().zip(&self.values).map(valid).collect();
        for (value, valid) in self.values.iter_mut().zip(valid) {
            value.valid = valid;
        }
    }

    /// Only for columns in which an element is the literal `{N/A}` or its like.
    fn index_not_applicable(&mut self, size: usize) {
        let (mut accepted, mut matched) = (Bits::empty(size), Bits::empty(size));
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
    /// How many rows there are.
    size: usize,
    /// The rows of each element, one element behind the other; where they end, by element.
    rows: Vec<u32>,
    ends: Vec<u32>,
    known: Vocabulary,
    /// Known values with elements that they match.
    matches: Vec<(u32, u32)>,
    indifferent: Bits,
    general: Vec<(Pattern, Vec<u32>)>,
    esoteric: bool,
    literals_not_applicable: bool,
}

impl Builder {
    fn new(elements: &[&str], numbers: &[u32]) -> Self {
        let bytes = elements.iter().map(|element| element.len()).sum::<usize>();
        let mut known = Vocabulary::with_capacity(elements.len() + 1, bytes + 1);
        known.insert("*");
        // Where the next row of each element goes: in the end, where its rows end.
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
        Self {
            size: numbers.len(),
            rows,
            ends,
            known,
            matches: Vec::with_capacity(elements.len()),
            indifferent: Bits::empty(numbers.len()),
            general: Vec::new(),
            esoteric: false,
            literals_not_applicable: false,
        }
    }

    /// Where the rows of an element are.
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

    fn matches(&mut self, text: &str, element: u32) {
        self.matches.push((self.known.insert(text), element));
    }

    fn add(&mut self, element: u32, text: &str) -> Result<(), String> {
        let esoteric = is_esoteric(text);
        self.esoteric |= esoteric;
        if !esoteric && is_literal(text) {
            self.matches(text, element);
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

    /// By number: whether a known value is in the list of valid values. The whole list becomes known.
    fn list_values(&mut self, elements: &[&str]) -> Vec<bool> {
        let mut listed = vec![false; self.known.len()];
        if self.esoteric {
            return listed;
        }
        for text in elements.iter().flat_map(|element| alternatives(element)) {
            let number = self.known.insert(text) as usize;
            if listed.len() <= number {
                listed.resize(number + 1, false);
            }
            if let Some(place) = listed.get_mut(number) {
                *place = true;
            }
        }
        listed
    }

    /// What is known about each value, by number.
    fn index_values(&mut self, listed: &[bool]) -> Index {
        self.matches.sort_unstable();
        let mut index = Index {
            values: Vec::with_capacity(self.known.len()),
            few: self.rows.clone(),
            many: Vec::new(),
        };
        let mut rest = &self.matches[..];
        let mut rows = Vec::new();
        for (number, text) in (0..).zip(self.known.iter()) {
            let count = rest.iter().take_while(|(own, _)| *own == number).count();
            let (own, others) = rest.split_at(count);
            rest = others;
            // What matches any known value matches the one that stands for all of them.
            let own = if number == EVERYTHING { &self.matches } else { own };
            let places = match own {
                [(_, element)] if self.general.is_empty() => self.places(*element),
                _ => {
                    rows.clear();
                    rows.extend(own.iter().flat_map(|(_, element)| self.rows(*element)));
                    for (pattern, own) in &self.general {
                        if pattern.judge(text) == Verdict::Match {
                            rows.extend(own);
                        }
                    }
                    rows.sort_unstable();
                    rows.dedup();
                    index.add(&rows)
                }
            };
            let rows = index.settle(places, self.size);
            let listed = listed.get(number as usize).copied().unwrap_or(false);
            index.values.push(Value {
                listed,
                valid: listed,
                rows,
            });
        }
        index
    }
}

/// The number of the value `*`.
const EVERYTHING: u32 = 0;

/// The known values of a column with their rows.
struct Index {
    values: Vec<Value>,
    few: Vec<u32>,
    many: Vec<u64>,
}

impl Index {
    fn add(&mut self, rows: &[u32]) -> Range<u32> {
        let start = self.few.len();
        self.few.extend_from_slice(rows);
        narrow(start..self.few.len())
    }

    /// Makes many rows at the end of the others a set.
    fn settle(&mut self, places: Range<u32>, size: usize) -> Rows {
        if places.len() <= size.div_ceil(64) {
            return Rows::Few(places);
        }
        let mut set = Bits::empty(size);
        set.extend(self.few.get(wide(&places)).unwrap_or(&[]));
        let start = self.many.len();
        self.many.extend_from_slice(set.words());
        Rows::Many(narrow(start..self.many.len()))
    }
}

/// A text has fewer elements than bytes (`literal::lexer::MAX_TEXT`).
fn narrow(places: Range<usize>) -> Range<u32> {
    let narrow = |place| u32::try_from(place).unwrap_or(u32::MAX);
    narrow(places.start)..narrow(places.end)
}

/// Whether an element that is not esoteric matches nothing but itself.
fn is_literal(element: &str) -> bool {
    !element.contains(['|', '*']) && !element.starts_with(['<', '>']) && element != NOT_APPLICABLE
}
