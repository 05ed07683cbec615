//! Match selectors (spec/crds-rules 10 to 12).

use std::cmp::Ordering;
use std::ops::Range;

use super::words::Words;
use super::{Compiled, Compiler, Level, sorted};
use crate::rules::compile::substitute::Entries;
use crate::rules::model::column::Column;
use crate::rules::model::selector::{Choice, Keys, Table};
use crate::rules::syntax::arena::ArenaBuilder;
use crate::rules::syntax::ast::Item;
use crate::rules::values::condition::{NOT_APPLICABLE, is_esoteric};
use crate::rules::values::pattern::Pattern;
use crate::rules::values::python::{repr, repr_tuple};

/// The keys of a Match selector: each is a range of words.
struct Rows<'k, 's> {
    elements: &'k [u32],
    words: &'k Words<'s>,
    arena: &'k ArenaBuilder<'s>,
}

impl Rows<'_, '_> {
    fn word(&self, place: usize) -> &str {
        let word = self.elements.get(place).copied().unwrap_or(u32::MAX);
        self.words.span(word).map_or("", |span| self.arena.get(span))
    }

    fn compare(&self, one: &Range<usize>, two: &Range<usize>) -> Ordering {
        let (ones, twos) = (self.elements.get(one.clone()), self.elements.get(two.clone()));
        let mut both = ones.unwrap_or(&[]).iter().zip(twos.unwrap_or(&[]));
        match both.position(|(one, two)| one != two) {
            Some(place) => self.word(one.start + place).cmp(self.word(two.start + place)),
            None => one.len().cmp(&two.len()),
        }
    }

    fn repr(&self, key: &Range<usize>) -> String {
        repr_tuple(key.clone().map(|place| self.word(place)))
    }

    /// Refuses a key of the wrong length. As in the client, keys behind one with a pattern in a column are not looked at
    /// for that column.
    fn check_lengths(&self, rows: &[(Range<usize>, Choice)], params: &[String]) -> Result<(), String> {
        if rows.iter().all(|(key, _)| key.len() == params.len()) {
            return Ok(());
        }
        for place in 0..params.len() {
            for (key, _) in rows {
                if key.len() != params.len() {
                    let (key, params) = (self.repr(key), repr_tuple(params.iter().map(String::as_str)));
                    return Err(format!("Match key={key} is wrong length for parameters {params}"));
                }
                if is_esoteric(self.word(key.start + place)) {
                    break;
                }
            }
        }
        self.check_patterns(rows)?;
        match rows.iter().map(|(key, _)| key).min_by_key(|key| key.len()) {
            Some(key) if key.len() < params.len() => {
                let params = repr_tuple(params.iter().map(String::as_str));
                let (key, params) = (repr(&self.repr(key)), repr(&params));
                Err(format!(
                    "('Match case', {key}, 'wrong length for parameter list', {params})"
                ))
            }
            _ => Ok(()),
        }
    }

    /// Compiles all elements, to report the first one that is wrong: row by row, as the client does.
    fn check_patterns(&self, rows: &[(Range<usize>, Choice)]) -> Result<(), String> {
        let mut places = rows.iter().flat_map(|(key, _)| key.clone());
        places.try_for_each(|place| Pattern::new(self.word(place)).map(drop))
    }
}

/// Numbers the different words of a column; made once, used for all columns of an rmap.
#[derive(Default)]
pub(super) struct Distinct {
    /// By word: the last column that had it, and its number there.
    met: Vec<(u32, u32)>,
    column: u32,
    /// The words of the column by number.
    words: Vec<u32>,
}

impl Distinct {
    fn begin(&mut self, words: usize) {
        self.met.resize(words, (0, 0));
        self.column += 1;
        self.words.clear();
    }

    fn number(&mut self, word: u32) -> u32 {
        let new = u32::try_from(self.words.len()).unwrap_or(u32::MAX);
        match self.met.get_mut(word as usize) {
            Some((column, number)) if *column == self.column => return *number,
            Some(place) => *place = (self.column, new),
            None => {}
        }
        self.words.push(word);
        new
    }
}

impl Compiler<'_, '_> {
    pub(super) fn table(&mut self, level: &Level, entries: Entries) -> Compiled {
        let params = &level.params;
        let (elements, rows) = self.elements(entries, params.len());
        let keys = Rows {
            elements: &elements,
            words: &self.words,
            arena: &self.tree.arena,
        };
        let rows = sorted(rows, |one, two| keys.compare(one, two), |key| keys.repr(key))?;
        keys.check_lengths(&rows, params)?;
        let not_applicable = self.words.normal(&mut self.tree.arena, NOT_APPLICABLE.into());
        let keys = Rows {
            elements: &elements,
            words: &self.words,
            arena: &self.tree.arena,
        };
        let mut columns = Vec::with_capacity(params.len());
        for (place, (param, &slot)) in params.iter().zip(&*level.slots).enumerate() {
            self.distinct.begin(self.words.len());
            let numbers: Vec<u32> = rows
                .iter()
                .map(|(key, _)| {
                    let word = key.clone().nth(place).and_then(|place| elements.get(place));
                    self.distinct.number(word.copied().unwrap_or(not_applicable))
                })
                .collect();
            let texts = self.distinct_texts();
            let column = Column::new((slot, self.columns), &texts, &numbers, self.replacements(param));
            columns.push(column.map_err(|error| keys.check_patterns(&rows).err().unwrap_or(error))?);
            self.columns += 1;
        }
        let empty = self.tree.arena.add("");
        let width = 0..params.len();
        let mut spans = Vec::with_capacity(rows.len() * params.len());
        let mut choices = Vec::with_capacity(rows.len());
        for (key, choice) in rows {
            spans.extend(width.clone().map(|place| {
                let word = key.clone().nth(place).and_then(|place| elements.get(place));
                word.and_then(|&word| self.words.span(word)).unwrap_or(empty)
            }));
            choices.push(choice);
        }
        let table = Table {
            columns: columns.into(),
            elements: spans.into(),
            rows: choices.len(),
        };
        Ok((Keys::Match(table), choices))
    }

    /// The words of all keys, and for each entry the range of its own.
    fn elements(&mut self, entries: Entries, width: usize) -> (Vec<u32>, Vec<(Range<usize>, Choice)>) {
        let mut elements: Vec<u32> = Vec::with_capacity(entries.len() * width);
        let mut rows = Vec::with_capacity(entries.len());
        self.words.reserve(entries.len());
        for (key, choice) in entries {
            let first = elements.len();
            if let Item::Tuple(parts) = key {
                for place in parts.places() {
                    let element = self.tree.at(place);
                    elements.push(self.words.of(self.tree, element));
                }
            } else {
                elements.push(self.words.of(self.tree, key));
            }
            rows.push((first..elements.len(), choice));
        }
        (elements, rows)
    }

    /// The different words of the column that was numbered last, by number.
    fn distinct_texts(&self) -> Vec<&str> {
        let words = self.distinct.words.iter();
        let spans = words.filter_map(|&word| self.words.span(word));
        spans.map(|span| self.tree.arena.get(span)).collect()
    }
}
