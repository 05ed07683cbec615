//! Reference mappings and their evaluation (spec/crds-rules 14).

use crate::rules::eval::expression::Expression;
use crate::rules::eval::hooks::{self, Hook};
use crate::rules::eval::selector::{Evaluation, Scratch, Selected};
use crate::rules::eval::step::Step;
use crate::rules::model::failure::Failure;
use crate::rules::model::frame::{Cell, Frame, Rules};
use crate::rules::model::selector::{Choice, Selector};
use crate::rules::model::slots::Slot;
use crate::rules::syntax::arena::Arena;
use crate::rules::values::condition::{NOT_APPLICABLE, UNDEFINED};
use crate::rules::values::python::to_float;

/// A parameter that counts only where an expression is true.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) slot: u16,
    pub(crate) expression: Expression,
    /// The expression as its rmap has it.
    pub(crate) source: Box<str>,
}

/// The rules of one reference type.
#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) instrument: String,
    pub(crate) filekind: String,
    /// The parameters that it asks for, as written.
    pub(crate) keys: Vec<String>,
    pub(crate) key_slots: Vec<u16>,
    pub(crate) slots: Box<[Slot]>,
    pub(crate) arena: Arena,
    pub(crate) selector: Selector,
    /// The number of columns of its Match selectors.
    pub(crate) columns: u32,
    pub(crate) relevance: Expression,
    /// The expression as its rmap has it.
    pub(crate) relevance_source: Box<str>,
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
    Selected(&'c Arena, Selected<'c>),
    NotApplicable,
    Omitted,
    Failed(Failure<'c>),
}

impl Reference {
    /// The reference type, in lower case.
    pub(crate) fn filekind(&self) -> &str {
        &self.filekind
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
                    let name = self.arena.get(*text);
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

    pub(crate) fn rules(&self) -> Rules<'_> {
        Rules {
            arena: &self.arena,
            slots: &self.slots,
            merge_overlaps: self.merge_overlaps,
        }
    }

    /// Evaluates the rmap on the values of its slots.
    pub(crate) fn evaluate<'c>(&'c self, frame: Frame<'_, '_>, scratch: &mut Scratch) -> RmapResult<'c> {
        self.note_preparation(frame, scratch);
        self.prepared(frame, |prepared| match self.select(prepared, scratch) {
            Ok(found) => self.answer(found),
            Err(failure) => {
                scratch.note(|| Step::Failed {
                    text: failure.reason.to_string(),
                });
                match self.verdict(prepared) {
                    Verdict::FallBack(hook) => self.fall_back(hook, frame, scratch),
                    Verdict::Fail => RmapResult::Failed(failure),
                    Verdict::NotApplicable => {
                        scratch.note(|| Step::NotRequired);
                        RmapResult::NotApplicable
                    }
                }
            }
        })
        .unwrap_or_else(std::convert::identity)
    }

    /// Goes on with the header that the selectors see, unless there is a result before: steps 1 to 3 of
    /// spec/crds-rules 14.
    pub(crate) fn prepared<'c, T>(
        &self,
        frame: Frame<'_, '_>,
        go_on: impl FnOnce(Frame<'_, '_>) -> T,
    ) -> Result<T, RmapResult<'c>> {
        let lookup = |slot| frame.get(slot);
        let omitted = |omit: &Expression| omit.is_true(&lookup).unwrap_or(false);
        if self.omit.as_ref().is_some_and(omitted) {
            return Err(RmapResult::Omitted);
        }
        if !self.relevance.is_true(&lookup).unwrap_or(true) {
            return Err(RmapResult::NotApplicable);
        }
        let failed = |text: String| RmapResult::Failed(Failure::plain(text));
        let changes = match self.precondition {
            None => Vec::new(),
            Some(hook) => hook.apply(&self.slots, frame.cells).map_err(failed)?,
        };
        let cells;
        let transformed = if changes.is_empty() {
            frame
        } else {
            cells = hooks::changed(&self.slots, frame.cells, &changes);
            Frame {
                cells: &cells,
                ..frame
            }
        };
        if self.conditions.is_empty() {
            return Ok(go_on(transformed));
        }
        let mut conditioned = transformed.cells.to_vec();
        self.apply_conditions(transformed, &mut conditioned)
            .map_err(RmapResult::Failed)?;
        Ok(go_on(Frame {
            cells: &conditioned,
            ..transformed
        }))
    }

    fn select<'c>(
        &'c self,
        frame: Frame<'_, '_>,
        scratch: &mut Scratch,
    ) -> Result<Selected<'c>, Failure<'c>> {
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

    /// The consequence of a failure of the selectors: step 5 of spec/crds-rules 14.
    pub(crate) fn verdict(&self, prepared: Frame<'_, '_>) -> Verdict {
        if let Some((detector, gain)) = self.do_not_reprocess {
            let gain = prepared.get(gain).and_then(to_float);
            if prepared.get(detector) == Some("WFC") && matches!(gain, Some(0.5 | 1.4)) {
                return Verdict::NotApplicable;
            }
        }
        match self.fallback {
            Some(hook) => Verdict::FallBack(hook),
            None if self.required => Verdict::Fail,
            None => Verdict::NotApplicable,
        }
    }

    /// Tries again with another header.
    fn fall_back<'c>(&'c self, hook: Hook, original: Frame<'_, '_>, scratch: &mut Scratch) -> RmapResult<'c> {
        scratch.note(|| Step::SecondHeader);
        let result = self.transformed(hook, original, |transformed| {
            transformed.and_then(|frame| self.select(frame, scratch))
        });
        match result {
            Err(broken) => RmapResult::Failed(broken),
            Ok(Ok(found)) => self.answer(found),
            Ok(Err(failure)) if self.required => {
                scratch.note(|| Step::Failed {
                    text: failure.reason.to_string(),
                });
                RmapResult::Failed(failure)
            }
            Ok(Err(_)) => {
                scratch.note(|| Step::NotRequired);
                RmapResult::NotApplicable
            }
        }
    }

    /// Goes on with the header that the second transform makes, or with the failure of its conditions; if the transform
    /// itself fails, that is final.
    pub(crate) fn transformed<T>(
        &self,
        hook: Hook,
        original: Frame<'_, '_>,
        go_on: impl FnOnce(Result<Frame<'_, '_>, Failure<'static>>) -> T,
    ) -> Result<T, Failure<'static>> {
        let changes = hook.apply(&self.slots, original.cells).map_err(Failure::plain)?;
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
        let conditioned = self.apply_conditions(before, &mut reduced);
        Ok(go_on(conditioned.map(|()| Frame {
            cells: &reduced,
            ..original
        })))
    }

    pub(crate) fn answer<'c>(&'c self, found: Selected<'c>) -> RmapResult<'c> {
        if let Selected::Choice(Choice::Text(text)) = found
            && text.len() <= "TEMP_OMIT".len()
        {
            match self.arena.get(*text) {
                "N/A" | "TEMP_N/A" | "n/a" | "temp_n/a" => return RmapResult::NotApplicable,
                "OMIT" | "TEMP_OMIT" | "omit" => return RmapResult::Omitted,
                _ => {}
            }
        }
        if let Selected::Choice(Choice::Other(text)) = found
            && self.arena.get(*text) == "None"
        {
            return RmapResult::Omitted;
        }
        RmapResult::Selected(&self.arena, found)
    }
}

/// The consequence of a failure of the selectors.
pub(crate) enum Verdict {
    FallBack(Hook),
    Fail,
    NotApplicable,
}
