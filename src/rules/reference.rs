//! Reference mappings and their evaluation (spec/crds-rules 14).

use super::condition::{NOT_APPLICABLE, UNDEFINED};
use super::evaluate::{Evaluation, Failure, Found, Rules, Scratch};
use super::expression::Expression;
use super::frame::{Cell, Frame};
use super::hooks::{self, Hook};
use super::pool::Pool;
use super::python::to_float;
use super::selector::{Choice, Selector};
use super::slots::Slot;

/// A parameter that counts only where an expression is true.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) slot: u16,
    pub(crate) expression: Expression,
}

/// The rules of one reference type.
#[derive(Debug)]
pub struct Reference {
    pub(crate) instrument: String,
    pub(crate) filekind: String,
    /// The parameters that it asks for, as written.
    pub(crate) keys: Vec<String>,
    pub(crate) key_slots: Vec<u16>,
    pub(crate) slots: Box<[Slot]>,
    pub(crate) pool: Pool,
    pub(crate) selector: Selector,
    /// How many columns its Match selectors have.
    pub(crate) columns: u32,
    pub(crate) relevance: Expression,
    pub(crate) omit: Option<Expression>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) precondition: Option<Hook>,
    pub(crate) fallback: Option<Hook>,
    /// Whether a failure is one.
    pub(crate) required: bool,
    pub(crate) merge_overlaps: bool,
    /// The slots of detector and gain, by which old data is known that is not calibrated any more.
    pub(crate) do_not_reprocess: Option<(u16, u16)>,
}

/// The result of one rmap.
#[derive(Debug, Clone)]
pub(crate) enum RmapResult<'c> {
    Found(&'c Pool, Found<'c>),
    NotApplicable,
    Omitted,
    Failed(Failure<'c>),
}

impl Reference {
    /// The reference type, in lower case.
    pub fn filekind(&self) -> &str {
        &self.filekind
    }

    /// The instrument, in lower case.
    pub fn instrument(&self) -> &str {
        &self.instrument
    }

    /// The references that it names, sorted, each once.
    pub(crate) fn references(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.collect(&self.selector.choices, &mut names);
        names.sort_unstable();
        names.dedup();
        names
    }

    fn collect<'c>(&'c self, choices: &'c [Choice], names: &mut Vec<&'c str>) {
        for choice in choices {
            match choice {
                Choice::Text(text) => {
                    let name = self.pool.get(*text);
                    let special = ["N/A", "TEMP_N/A", "OMIT", "TEMP_OMIT"];
                    if !special.iter().any(|special| name.eq_ignore_ascii_case(special)) {
                        names.push(name);
                    }
                }
                Choice::Tuple(items) | Choice::List(items) => self.collect(items, names),
                Choice::Dict(pairs) => {
                    for (_, value) in pairs {
                        self.collect(std::slice::from_ref(value), names);
                    }
                }
                Choice::Selector(nested) => self.collect(&nested.choices, names),
                Choice::Other(_) => {}
            }
        }
    }

    /// The parameters that it asks for.
    pub fn required_parkeys(&self) -> &[String] {
        &self.keys
    }

    pub(crate) fn rules(&self) -> Rules<'_> {
        Rules {
            pool: &self.pool,
            slots: &self.slots,
            merge_overlaps: self.merge_overlaps,
        }
    }

    /// Evaluates the rmap on the values of its slots.
    pub(crate) fn evaluate<'c>(&'c self, frame: Frame<'_, '_>, scratch: &mut Scratch) -> RmapResult<'c> {
        let lookup = |slot| frame.get(slot);
        let omitted = |omit: &Expression| omit.is_true(&lookup).unwrap_or(false);
        if self.omit.as_ref().is_some_and(omitted) {
            return RmapResult::Omitted;
        }
        if !self.relevance.is_true(&lookup).unwrap_or(true) {
            return RmapResult::NotApplicable;
        }
        let changes = match self.precondition.map(|hook| hook.apply(&self.slots, frame.cells)) {
            None => Vec::new(),
            Some(Ok(changes)) => changes,
            Some(Err(failure)) => return RmapResult::Failed(Failure::plain(failure)),
        };
        let cells;
        let frame_now = if changes.is_empty() {
            frame
        } else {
            cells = hooks::changed(&self.slots, frame.cells, &changes);
            Frame {
                cells: &cells,
                ..frame
            }
        };
        let mut conditioned;
        let frame_now = if self.conditions.is_empty() {
            frame_now
        } else {
            conditioned = frame_now.cells.to_vec();
            if let Err(failure) = self.apply_conditions(frame_now, &mut conditioned) {
                return RmapResult::Failed(failure);
            }
            Frame {
                cells: &conditioned,
                ..frame_now
            }
        };
        match self.select(frame_now, scratch) {
            Ok(found) => self.answer(found),
            Err(failure) => self.recover(frame, frame_now, failure, scratch),
        }
    }

    fn select<'c>(&'c self, frame: Frame<'_, '_>, scratch: &mut Scratch) -> Result<Found<'c>, Failure<'c>> {
        let mut evaluation = Evaluation {
            rules: self.rules(),
            frame,
            scratch,
        };
        evaluation.selector(&self.selector)
    }

    /// Sets parameters that do not count to `N/A`.
    fn apply_conditions(
        &self,
        before: Frame<'_, '_>,
        cells: &mut [Cell<'_>],
    ) -> Result<(), Failure<'static>> {
        let lookup = |slot: u16| {
            before
                .get(slot)
                .or_else(|| self.is_key(slot).then_some(UNDEFINED))
        };
        for condition in &self.conditions {
            let counts = condition.expression.is_true(&lookup).map_err(Failure::plain)?;
            if !counts && let Some(cell) = cells.get_mut(usize::from(condition.slot)) {
                *cell = Cell::text(NOT_APPLICABLE);
            }
        }
        Ok(())
    }

    /// Whether the name in an expression is that of a key.
    fn is_key(&self, slot: u16) -> bool {
        self.slots.get(usize::from(slot)).is_some_and(|slot| {
            self.keys
                .iter()
                .any(|key| **key == *slot.name || key.contains('.') && key.replace('.', "_") == *slot.name)
        })
    }

    /// What to do about a failure of the selectors: step 5 of spec/crds-rules 14.
    fn recover<'c>(
        &'c self,
        original: Frame<'_, '_>,
        evaluated: Frame<'_, '_>,
        failure: Failure<'c>,
        scratch: &mut Scratch,
    ) -> RmapResult<'c> {
        if let Some((detector, gain)) = self.do_not_reprocess {
            let gain = evaluated.get(gain).and_then(to_float);
            if evaluated.get(detector) == Some("WFC") && matches!(gain, Some(0.5 | 1.4)) {
                return RmapResult::NotApplicable;
            }
        }
        let mut failure = failure;
        if let Some(hook) = self.fallback {
            match self.fall_back(hook, original, scratch) {
                Fallback::Found(found) => return self.answer(found),
                Fallback::Broken(failure) => return RmapResult::Failed(failure),
                Fallback::Failed(again) => failure = again,
            }
        }
        if self.required {
            RmapResult::Failed(failure)
        } else {
            RmapResult::NotApplicable
        }
    }

    fn fall_back<'c>(&'c self, hook: Hook, original: Frame<'_, '_>, scratch: &mut Scratch) -> Fallback<'c> {
        let changes = match hook.apply(&self.slots, original.cells) {
            Ok(changes) => changes,
            Err(failure) => return Fallback::Broken(Failure::plain(failure)),
        };
        let cells = hooks::changed(&self.slots, original.cells, &changes);
        // Only the keys remain, and none of them is missing.
        let mut reduced: Vec<Cell<'_>> = (0u16..)
            .zip(&cells)
            .map(|(slot, cell)| {
                let is_key = self.key_slots.contains(&slot) || self.is_key(slot);
                match cell.text {
                    Some(_) if is_key => *cell,
                    None if is_key => Cell::text(UNDEFINED),
                    _ => Cell::MISSING,
                }
            })
            .collect();
        let before = reduced.clone();
        let before = Frame {
            cells: &before,
            ..original
        };
        if let Err(failure) = self.apply_conditions(before, &mut reduced) {
            return Fallback::Failed(failure);
        }
        let frame = Frame {
            cells: &reduced,
            ..original
        };
        match self.select(frame, scratch) {
            Ok(found) => Fallback::Found(found),
            Err(failure) => Fallback::Failed(failure),
        }
    }

    fn answer<'c>(&'c self, found: Found<'c>) -> RmapResult<'c> {
        if let Found::Choice(Choice::Text(text)) = found {
            match self.pool.get(*text) {
                "N/A" | "TEMP_N/A" | "n/a" | "temp_n/a" => return RmapResult::NotApplicable,
                "OMIT" | "TEMP_OMIT" | "omit" => return RmapResult::Omitted,
                _ => {}
            }
        }
        if let Found::Choice(Choice::Other(text)) = found
            && self.pool.get(*text) == "None"
        {
            return RmapResult::Omitted;
        }
        RmapResult::Found(&self.pool, found)
    }
}

enum Fallback<'c> {
    Found(Found<'c>),
    /// The transform itself failed, which is final.
    Broken(Failure<'c>),
    Failed(Failure<'c>),
}
