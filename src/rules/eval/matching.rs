//! Evaluation of Match selectors (spec/crds-rules 12): rows that match, by weight, and the merge of equally good ones.

use crate::rules::eval::merge::{self, Merged};
use crate::rules::eval::selector::{Evaluation, Ranked, Selected, Selection, closest};
use crate::rules::model::column::{Column, Refusal};
use crate::rules::model::failure::{Failure, NO_MATCH, Reason, no_selection, none_after};
use crate::rules::model::selector::{Choice, Keys, Selector, Table};
use crate::rules::syntax::arena::Arena;
use crate::rules::syntax::kind::Kind;
use crate::rules::values::bitset::BitSet;
use crate::rules::values::condition::UNDEFINED;
use crate::rules::values::date;
use crate::rules::values::python::repr;

impl<'c> Evaluation<'c, '_, '_> {
    /// Evaluates a Match selector.
    pub(super) fn table(&mut self, table: &'c Table, choices: &'c [Choice]) -> Selection<'c> {
        let mut ranked = std::mem::take(&mut self.scratch.ranked);
        let outcome = self.first_of(table, choices, &mut ranked);
        self.scratch.ranked = ranked;
        outcome
    }

    fn first_of(
        &mut self,
        table: &'c Table,
        choices: &'c [Choice],
        ranked: &mut Vec<Ranked>,
    ) -> Selection<'c> {
        let outcome = self.rank_survivors(table, ranked);
        self.note_match(table, choices, &outcome, ranked);
        outcome?;
        for group in ranked.chunk_by(same_weight) {
            self.note_tried(table, group);
            match self.group(group, choices) {
                Err(failure) if failure.lookup => {}
                other => return other,
            }
        }
        Err(NO_MATCH)
    }

    /// Leaves in `ranked` the rows that match, with their weights: the heaviest first, else in the order of keys.
    pub(crate) fn rank_survivors(
        &mut self,
        table: &'c Table,
        ranked: &mut Vec<Ranked>,
    ) -> Result<(), Failure<'c>> {
        ranked.clear();
        for column in &table.columns {
            if self.frame.get(column.slot).is_none() && !column.optional() {
                return Err(self.required(Kind::Match, column.slot));
            }
        }
        let mut rows = std::mem::take(&mut self.scratch.rows);
        let survivors = self.survivors(table, &mut rows);
        if survivors.is_ok() {
            match rows.only() {
                Some(row) => ranked.push((0, row)),
                None => self.rank(table, &rows, ranked),
            }
        }
        self.scratch.rows = rows;
        survivors
    }

    /// Leaves in `rows` the rows that no column refuses, after the check of valid values.
    fn survivors(&mut self, table: &'c Table, rows: &mut BitSet) -> Result<(), Failure<'c>> {
        let frame = self.frame;
        for column in &table.columns {
            let (value, number) = frame.column_value(column);
            column
                .check(value, number)
                .map_err(|refusal| self.refused(column, refusal))?;
        }
        rows.fill(table.rows);
        for column in &table.columns {
            let (value, number) = frame.column_value(column);
            column.restrict(value, number, rows, &mut self.scratch.other);
            if rows.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn refused(&self, column: &'c Column, refusal: Refusal) -> Failure<'c> {
        let param = self.param(column.slot);
        match refusal {
            Refusal::NotListed(value) => Failure {
                lookup: false,
                reason: Reason::NotListed(param, value.into(), column),
            },
            Refusal::OutOfRange(value, range) => {
                let (param, value) = (repr(param), repr(&value));
                Failure::plain(format!(
                    " parameter={param} value ={value} is not in range {range}"
                ))
            }
            Refusal::Message(message) => Failure::plain(message),
        }
    }

    fn rank(&self, table: &Table, rows: &BitSet, ranked: &mut Vec<Ranked>) {
        ranked.extend(rows.iter().map(|row| {
            let counting = table.columns.iter().filter(|column| {
                let value = self.frame.get(column.slot).unwrap_or(UNDEFINED);
                column.counts(value, row)
            });
            (u32::try_from(counting.count()).unwrap_or(u32::MAX), row)
        }));
        ranked.sort_by_key(|&(weight, _)| std::cmp::Reverse(weight));
    }

    /// The candidate of rows of equal weight.
    fn group(&mut self, group: &[Ranked], choices: &'c [Choice]) -> Selection<'c> {
        let choice = |row: u32| choices.get(row as usize);
        if let [(_, row)] = *group {
            return match choice(row) {
                Some(Choice::Selector(selector)) => self.selector(selector),
                Some(choice) => Ok(Selected::Choice(choice)),
                None => Err(Failure::plain("list index out of range")),
            };
        }
        if !self.rules.merge_overlaps {
            return Err(Failure::plain("More than one match clause matched."));
        }
        let choices: Vec<&'c Choice> = group.iter().filter_map(|&(_, row)| choice(row)).collect();
        let Some(Choice::Selector(first)) = choices.first() else {
            let items = choices.into_iter().map(|choice| match choice {
                Choice::Selector(selector) => Selected::Object(selector.kind),
                other => Selected::Choice(other),
            });
            return Ok(Selected::Several(items.collect()));
        };
        if let Some(kind) = choices.iter().find_map(|choice| choice.unhashable()) {
            return Err(Failure::plain(format!("unhashable type: '{kind}'")));
        }
        if let Some(outcome) = self.latest_of_all(first, &choices) {
            return outcome;
        }
        let merged =
            merge::merge(self.rules.arena, first, choices.get(1..).unwrap_or(&[])).map_err(Failure::plain)?;
        self.merged(&merged)
    }

    /// The usual merge, of `UseAfter` selectors of plain names, without building it.
    fn latest_of_all(&mut self, first: &'c Selector, choices: &[&'c Choice]) -> Option<Selection<'c>> {
        if !choices.iter().all(|choice| choice.is_plain_use_after()) {
            return None;
        }
        if let Err(failure) = self.require(first.kind, &first.slots) {
            return Some(Err(failure));
        }
        let moment = match self.moment(first) {
            Ok(moment) => moment,
            Err(failure) => return Some(Err(failure)),
        };
        let chosen = latest(self.rules.arena, choices.iter().copied(), moment);
        self.note_latest(choices, chosen, moment);
        Some(chosen.map(Selected::Choice).ok_or(none_after(moment)))
    }

    /// Evaluates a merged selector.
    fn merged(&mut self, merged: &Merged<'c>) -> Selection<'c> {
        self.require(merged.kind, merged.slots)?;
        let entries = &merged.entries;
        let place = match merged.kind {
            Kind::VersionAfter => {
                let version = self.version_of(merged.slots)?;
                let [one, two, three] = version;
                let wanted = merge::Key::Version(version);
                merge::floor(entries, &wanted)
                    .map_err(Failure::plain)?
                    .ok_or_else(|| no_selection(&format!("({one}, {two}, {three})")))?
            }
            Kind::ClosestTime => {
                let moment = self.moment_of(merged.kind, merged.slots)?;
                closest(moment, entries.iter().map(|(key, _)| key.text()))?
            }
            _ => {
                let moment = self.moment_of(merged.kind, merged.slots)?;
                let wanted = moment.to_string();
                merge::floor(entries, &merge::Key::Text(&wanted))
                    .map_err(Failure::plain)?
                    .ok_or(none_after(moment))?
            }
        };
        self.note_merged(merged, place);
        match entries.get(place) {
            Some((_, choice)) => self.settle(choice),
            None => Err(Failure::plain("list index out of range")),
        }
    }
}

/// Rows of equal weight are one candidate.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "as slices compare their items")]
pub(crate) fn same_weight(one: &Ranked, other: &Ranked) -> bool {
    one.0 == other.0
}

/// The common result of `UseAfter` selectors of plain names: the latest of their own answers, of equally late ones the
/// greatest name.
pub(crate) fn latest<'c>(
    arena: &'c Arena,
    choices: impl Iterator<Item = &'c Choice>,
    moment: date::Moment,
) -> Option<&'c Choice> {
    let mut best: Option<(&str, &str, &'c Choice)> = None;
    for choice in choices {
        let Choice::Selector(selector) = choice else {
            continue;
        };
        let (Keys::Dates { texts, .. }, Some(place)) = (&selector.keys, selector.not_after(arena, moment))
        else {
            continue;
        };
        let (Some(&key), Some(choice @ Choice::Text(name))) = (texts.get(place), selector.choices.get(place))
        else {
            continue;
        };
        let candidate = (arena.get(key), arena.get(*name));
        if best.is_none_or(|(key, name, _)| (key, name) < candidate) {
            best = Some((candidate.0, candidate.1, choice));
        }
    }
    best.map(|(.., choice)| choice)
}
