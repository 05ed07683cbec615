//! The steps of an evaluation, written down while it runs where somebody wants to know them. Nothing is decided here: the
//! evaluator notes what it does, so that what is told is what happened.

use crate::rules::compile::row;
use crate::rules::eval::merge::Merged;
use crate::rules::eval::rmap::{Reference, RmapResult};
use crate::rules::eval::selector::{Evaluation, Ranked, Scratch};
use crate::rules::eval::step::{MatchStep, MatchingKey, Mismatch, NearKey, Parameter, Step};
use crate::rules::model::column::Column;
use crate::rules::model::failure::Failure;
use crate::rules::model::frame::Frame;
use crate::rules::model::selector::{Choice, Keys, Selector, Table};
use crate::rules::syntax::arena::Arena;
use crate::rules::values::bitset::BitSet;
use crate::rules::values::condition::{NOT_APPLICABLE, UNDEFINED};
use crate::rules::values::date::Moment;

/// So many keys of a Match are written down.
const MAX_KEYS: usize = 20;

/// So many keys that nearly match are written down.
const MAX_NEAR: usize = 5;

impl Scratch {
    /// Notes a step, if anybody wants to know.
    pub(crate) fn note(&mut self, step: impl FnOnce() -> Step) {
        if let Some(trace) = &mut self.trace {
            trace.steps.push(step());
        }
    }

    /// Ends the notes on one rmap.
    pub(crate) fn end_of(&mut self, reftype: &str, rmap: &str) {
        if let Some(trace) = &mut self.trace {
            let steps = std::mem::take(&mut trace.steps);
            trace.rmaps.push((reftype.to_owned(), rmap.to_owned(), steps));
        }
    }

    /// The steps noted so far.
    fn noted(&self) -> usize {
        self.trace.as_ref().map_or(0, |trace| trace.steps.len())
    }
}

impl Reference {
    /// Notes what becomes of the header before the selectors see it.
    pub(crate) fn note_preparation(&self, frame: Frame<'_, '_>, scratch: &mut Scratch) {
        if scratch.trace.is_none() {
            return;
        }
        let outcome = self.prepared(frame, |prepared| self.changes(frame, prepared));
        match outcome {
            Ok(changes) => changes.into_iter().for_each(|step| scratch.note(|| step)),
            Err(RmapResult::Omitted) => scratch.note(|| Step::Omitted),
            Err(RmapResult::NotApplicable) => scratch.note(|| Step::Irrelevant {
                expression: self.relevance_source.to_string(),
                parameters: self.named_in_relevance(frame),
            }),
            Err(RmapResult::Failed(failure)) => scratch.note(|| Step::Failed {
                text: failure.reason.to_string(),
            }),
            Err(RmapResult::Selected(..)) => {}
        }
    }

    fn changes(&self, before: Frame<'_, '_>, after: Frame<'_, '_>) -> Vec<Step> {
        let slots = (0u16..).zip(&*self.slots).filter(|(_, slot)| !slot.in_expression);
        let changed = slots.filter_map(|(number, slot)| {
            let (from, to) = (before.get(number), after.get(number)?);
            let condition = self.conditions.iter().find(|condition| condition.slot == number);
            let because = condition.filter(|_| to == NOT_APPLICABLE);
            (from != Some(to)).then(|| Step::Changed {
                parameter: slot.name.to_string(),
                from: from.unwrap_or(UNDEFINED).to_owned(),
                to: to.to_owned(),
                because: because.map(|condition| condition.source.to_string()),
            })
        });
        changed.collect()
    }

    fn named_in_relevance(&self, frame: Frame<'_, '_>) -> Vec<Parameter> {
        let mut names = Vec::new();
        self.relevance.names(&mut names);
        let mut parameters: Vec<Parameter> = Vec::new();
        for (slot, name) in names {
            if !parameters.iter().any(|known| *known.name == *name) {
                parameters.push(Parameter {
                    name: name.to_owned(),
                    value: frame.get(slot).unwrap_or(UNDEFINED).to_owned(),
                });
            }
        }
        parameters
    }
}

impl Evaluation<'_, '_, '_> {
    fn parameters(&self, slots: &[u16]) -> Vec<Parameter> {
        let parameter = |&slot: &u16| Parameter {
            name: self.param(slot).to_owned(),
            value: self.frame.get(slot).unwrap_or(UNDEFINED).to_owned(),
        };
        slots.iter().map(parameter).collect()
    }

    /// Notes how a Match has ranked its keys.
    pub(crate) fn note_match(
        &mut self,
        table: &Table,
        choices: &[Choice],
        outcome: &Result<(), Failure<'_>>,
        ranked: &[Ranked],
    ) {
        if self.scratch.trace.is_none() {
            return;
        }
        let slots: Vec<u16> = table.columns.iter().map(|column| column.slot).collect();
        let matching = ranked.iter().take(MAX_KEYS).map(|&(_, row)| {
            let matched: Vec<bool> = table
                .columns
                .iter()
                .map(|column| self.counts(column, row))
                .collect();
            MatchingKey {
                weight: matched.iter().filter(|matched| **matched).count(),
                key: self.key(table, row),
                matched,
                value: shown(self.rules.arena, choices.get(row as usize)),
            }
        });
        let matching: Vec<MatchingKey> = matching.collect();
        let (nearest, as_near) = if ranked.is_empty() {
            self.nearest(table, choices)
        } else {
            (Vec::new(), 0)
        };
        let step = MatchStep {
            parameters: self.parameters(&slots),
            keys: table.rows,
            refused: outcome.as_ref().err().map(|failure| failure.reason.to_string()),
            matching,
            count: ranked.len(),
            nearest,
            as_near,
        };
        self.scratch.note(|| Step::Match(step));
    }

    /// Notes that keys of equal weight are tried.
    pub(crate) fn note_tried(&mut self, table: &Table, group: &[Ranked]) {
        if self.scratch.trace.is_none() {
            return;
        }
        let weight = group.first().map_or(0, |&(_, row)| {
            table
                .columns
                .iter()
                .filter(|column| self.counts(column, row))
                .count()
        });
        let keys = group.iter().map(|&(_, row)| self.key(table, row)).collect();
        self.scratch.note(|| Step::Tried { weight, keys });
    }

    /// Notes that an entry of a selector is taken.
    pub(crate) fn note_entry(&mut self, selector: &Selector, place: usize) {
        if self.scratch.trace.is_none() {
            return;
        }
        let step = Step::Entry {
            selector: selector.kind.name(),
            parameters: self.parameters(&selector.slots),
            key: key_text(self.rules.arena, &selector.keys, place).unwrap_or_default(),
            value: shown(self.rules.arena, selector.choices.get(place)),
            next: key_text(self.rules.arena, &selector.keys, place + 1),
        };
        self.scratch.note(|| step);
    }

    /// Notes which of several `UseAfter` selectors of equal weight has the latest entry.
    pub(crate) fn note_latest(&mut self, selectors: &[&Choice], chosen: Option<&Choice>, moment: Moment) {
        if self.scratch.trace.is_none() {
            return;
        }
        let plain = selectors.iter().filter_map(|choice| match choice {
            Choice::Selector(selector) => Some(&**selector),
            _ => None,
        });
        let plain: Vec<&Selector> = plain.collect();
        let Some(first) = plain.first() else { return };
        let arena = self.rules.arena;
        let taken = plain.iter().find_map(|selector| {
            let place = selector.not_after(arena, moment)?;
            let is_it = chosen.is_some_and(|chosen| {
                selector
                    .choices
                    .get(place)
                    .is_some_and(|choice| std::ptr::eq(choice, chosen))
            });
            is_it.then(|| {
                (
                    key_text(arena, &selector.keys, place),
                    key_text(arena, &selector.keys, place + 1),
                )
            })
        });
        let parameters = self.parameters(&first.slots);
        let step = match taken {
            Some((key, next)) => Step::Entry {
                selector: first.kind.name(),
                parameters,
                key: key.unwrap_or_default(),
                value: shown(arena, chosen),
                next,
            },
            None => Step::NoEntry {
                selector: first.kind.name(),
                parameters,
                first: plain
                    .iter()
                    .filter_map(|selector| key_text(arena, &selector.keys, 0))
                    .min(),
                text: format!("No selection <= '{moment}'"),
            },
        };
        self.scratch.note(|| step);
    }

    /// Notes the entry that a merged selector takes.
    pub(crate) fn note_merged(&mut self, merged: &Merged<'_>, place: usize) {
        if self.scratch.trace.is_none() {
            return;
        }
        let arena = self.rules.arena;
        let key = |place: usize| merged.entries.get(place).map(|(key, _)| key.shown());
        let step = Step::Entry {
            selector: merged.kind.name(),
            parameters: self.parameters(merged.slots),
            key: key(place).unwrap_or_default(),
            value: shown(arena, merged.entries.get(place).map(|(_, choice)| *choice)),
            next: key(place + 1),
        };
        self.scratch.note(|| step);
    }

    /// The number of steps so far, for [`Evaluation::note_failure`].
    pub(crate) fn noted(&self) -> usize {
        self.scratch.noted()
    }

    /// Notes that a selector has no entry, unless something below it was noted since.
    pub(crate) fn note_failure(&mut self, selector: &Selector, failure: &Failure<'_>, before: usize) {
        if self.scratch.trace.is_none() || self.noted() > before {
            return;
        }
        let step = Step::NoEntry {
            selector: selector.kind.name(),
            parameters: self.parameters(&selector.slots),
            first: key_text(self.rules.arena, &selector.keys, 0),
            text: failure.reason.to_string(),
        };
        self.scratch.note(|| step);
    }

    fn counts(&self, column: &Column, row: u32) -> bool {
        column.counts(self.frame.get(column.slot).unwrap_or(UNDEFINED), row)
    }

    /// The elements of a key.
    fn key(&self, table: &Table, place: u32) -> Vec<String> {
        let elements = row(table, place as usize).iter();
        elements
            .map(|&span| self.rules.arena.get(span).to_owned())
            .collect()
    }

    /// The keys that differ from the header in the fewest parameters, those that match in the most first; and how many
    /// differ in as few.
    fn nearest(&mut self, table: &Table, choices: &[Choice]) -> (Vec<NearKey>, usize) {
        let mut accepting = Vec::with_capacity(table.columns.len());
        for column in &table.columns {
            let mut rows = BitSet::default();
            rows.fill(table.rows);
            let (value, number) = self.frame.column_value(column);
            column.restrict(value, number, &mut rows, &mut BitSet::default());
            accepting.push(rows);
        }
        let rows = 0..u32::try_from(table.rows).unwrap_or(u32::MAX);
        let distance = |row: u32| accepting.iter().filter(|rows| !rows.contains(row)).count();
        let Some(least) = rows.clone().map(distance).min() else {
            return (Vec::new(), 0);
        };
        let mut near: Vec<u32> = rows.filter(|&row| distance(row) == least).collect();
        let as_near = near.len();
        let weight = |row: u32| {
            let columns = table.columns.iter().zip(&accepting);
            columns
                .filter(|(column, rows)| rows.contains(row) && self.counts(column, row))
                .count()
        };
        near.sort_by_key(|&row| std::cmp::Reverse(weight(row)));
        near.truncate(MAX_NEAR);
        let told = near.into_iter().map(|row| {
            let key = self.key(table, row);
            let columns = table.columns.iter().zip(&accepting).zip(&key);
            let differing = columns.filter(|((_, rows), _)| !rows.contains(row));
            NearKey {
                differing: differing
                    .map(|((column, _), pattern)| Mismatch {
                        parameter: self.param(column.slot).to_owned(),
                        value: self.frame.get(column.slot).unwrap_or(UNDEFINED).to_owned(),
                        pattern: pattern.clone(),
                    })
                    .collect(),
                value: shown(self.rules.arena, choices.get(row as usize)),
                key,
            }
        });
        (told.collect(), as_near)
    }
}

/// A key of a selector that is no Match, as its rmap has it.
fn key_text(arena: &Arena, keys: &Keys, place: usize) -> Option<String> {
    match keys {
        Keys::Dates { texts, .. } | Keys::Nearest { keys: texts, .. } => {
            texts.get(place).map(|&text| arena.get(text).to_owned())
        }
        Keys::Versions(versions) => versions
            .get(place)
            .map(|[one, two, three]| format!("{one}.{two}.{three}")),
        Keys::Numbers(numbers) => numbers.get(place).map(ToString::to_string),
        Keys::Relations(relations) => relations.get(place).map(|relation| relation.shown().to_owned()),
        Keys::Match(_) | Keys::Other(_) => None,
    }
}

/// The value of an entry: a file, a word, or which selector goes on.
fn shown(arena: &Arena, choice: Option<&Choice>) -> String {
    match choice {
        Some(Choice::Text(text) | Choice::Other(text)) => arena.get(*text).to_owned(),
        Some(Choice::Tuple(items) | Choice::List(items)) => {
            let items: Vec<String> = items.iter().map(|item| shown(arena, Some(item))).collect();
            format!("({})", items.join(", "))
        }
        Some(Choice::Dict(pairs)) => {
            let pair = |(key, value): &(Choice, Choice)| {
                format!("{}: {}", shown(arena, Some(key)), shown(arena, Some(value)))
            };
            let pairs: Vec<String> = pairs.iter().map(pair).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        Some(Choice::Selector(selector)) => {
            let (kind, count) = (selector.kind.name(), selector.choices.len());
            let entries = if count == 1 { "entry" } else { "entries" };
            format!("{kind} of {count} {entries}")
        }
        None => String::new(),
    }
}
