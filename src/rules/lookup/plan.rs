//! Plans: what remains of an rmap's evaluation when all parameters but the date are known, worked out once for each
//! combination of values, followed for every header that has it.

use std::sync::Arc;

use crate::rules::eval::hooks::Hook;
use crate::rules::eval::matching::{latest, same_weight};
use crate::rules::eval::rmap::{Reference, RmapResult, Verdict};
use crate::rules::eval::selector::{Evaluation, Ranked, Scratch, Selected};
use crate::rules::model::failure::{Failure, NO_MATCH, Reason, Undated, none_after};
use crate::rules::model::frame::Frame;
use crate::rules::model::selector::{Choice, Keys, Selector};
use crate::rules::values::date::Moment;

/// The rest of an evaluation. It belongs to one rmap, in whose first selector it names entries by their indexes.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) enum Plan {
    /// An entry that is no selector.
    Entry(u32),
    NotApplicable,
    Omitted,
    Failed(Settled),
    /// Groups of `UseAfter` entries, the first that has an answer counting.
    Groups {
        groups: Box<[Box<[u32]>]>,
        /// The end if none has.
        otherwise: Box<Plan>,
        undated: OnFailure,
    },
    /// The rmap's only selector is a `UseAfter`.
    Latest(OnFailure),
    /// Evaluate each header on its own.
    Unforeseen,
}

/// The end after a failure of the selectors, for want of a date for example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum OnFailure {
    Fail,
    NotApplicable,
    /// The end is not in the plan: the header has to be evaluated.
    Evaluate,
}

impl From<Verdict> for OnFailure {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Fail => Self::Fail,
            Verdict::NotApplicable => Self::NotApplicable,
            Verdict::FallBack(_) => Self::Evaluate,
        }
    }
}

/// A failure that holds for all dates.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) enum Settled {
    Constant(&'static str),
    Text(String),
    /// The index of a column, and the value that it does not list.
    NotListed(u32, Arc<str>),
}

impl Reference {
    /// Works out the plan for a header, of whose date only the era ([`crate::rules::eval::hooks::era`]) is looked at.
    pub(crate) fn plan(&self, frame: Frame<'_, '_>, scratch: &mut Scratch) -> Plan {
        let planned = self.prepared(frame, |prepared| {
            let verdict = self.verdict(prepared);
            if !matches!(self.selector.keys, Keys::Match(_)) {
                return Plan::Latest(verdict.into());
            }
            let (groups, ending) = self.plan_match(prepared, scratch);
            match (ending, verdict) {
                (Ending::Failure(_), Verdict::FallBack(hook)) => {
                    let second = Ending::Plan(self.plan_transformed(hook, frame, scratch));
                    second.after(groups, self, OnFailure::Evaluate)
                }
                (ending, verdict) => ending.after(groups, self, verdict.into()),
            }
        });
        match planned {
            Ok(plan) => plan,
            Err(RmapResult::NotApplicable) => Plan::NotApplicable,
            Err(RmapResult::Omitted) => Plan::Omitted,
            Err(RmapResult::Failed(failure)) => self.settle(failure),
            Err(RmapResult::Selected(..)) => Plan::Unforeseen,
        }
    }

    fn plan_transformed(&self, hook: Hook, original: Frame<'_, '_>, scratch: &mut Scratch) -> Plan {
        let on_failure = if self.required {
            OnFailure::Fail
        } else {
            OnFailure::NotApplicable
        };
        let plan = self.transformed(hook, original, |transformed| {
            let (groups, ending) = match transformed {
                Ok(frame) => self.plan_match(frame, scratch),
                Err(failure) => (Vec::new(), Ending::Failure(failure)),
            };
            ending.after(groups, self, on_failure)
        });
        plan.unwrap_or_else(|broken| self.settle(broken))
    }

    /// The groups of entries to search by date, and how it ends if they have nothing.
    fn plan_match<'c>(
        &'c self,
        frame: Frame<'_, '_>,
        scratch: &mut Scratch,
    ) -> (Vec<Box<[u32]>>, Ending<'c>) {
        let Keys::Match(table) = &self.selector.keys else {
            return (Vec::new(), Ending::Plan(Plan::Unforeseen));
        };
        let mut evaluation = Evaluation {
            rules: self.rules(),
            frame,
            scratch,
        };
        let mut ranked = Vec::new();
        if let Err(failure) = evaluation.rank_survivors(table, &mut ranked) {
            return (Vec::new(), Ending::Failure(failure));
        }
        let mut groups: Vec<Box<[u32]>> = Vec::new();
        let dated = |&(_, row): &Ranked| {
            let choice = self.selector.choices.get(row as usize);
            choice.is_some_and(Choice::is_plain_use_after)
        };
        for group in ranked.chunk_by(same_weight) {
            match group {
                [(_, row)] if !group.iter().all(dated) => return (groups, Ending::Plan(Plan::Entry(*row))),
                [_] => {}
                _ if self.merge_overlaps && group.iter().all(dated) => {}
                _ => return (groups, Ending::Plan(Plan::Unforeseen)),
            }
            groups.push(group.iter().map(|&(_, row)| row).collect());
        }
        (groups, Ending::Failure(NO_MATCH))
    }

    /// A failure as a plan.
    fn settle(&self, failure: Failure<'_>) -> Plan {
        Plan::Failed(match failure.reason {
            Reason::Constant(text) => Settled::Constant(text),
            Reason::Text(text) => Settled::Text(text),
            Reason::NotListed(_, value, column) => {
                let columns = match &self.selector.keys {
                    Keys::Match(table) => &table.columns[..],
                    _ => &[],
                };
                let place = columns.iter().position(|own| own.index == column.index);
                match place.and_then(|place| u32::try_from(place).ok()) {
                    Some(place) => Settled::NotListed(place, value),
                    None => return Plan::Unforeseen,
                }
            }
            Reason::BadDate(..) | Reason::NotAfter(_) | Reason::Undefined(_) => return Plan::Unforeseen,
        })
    }

    /// The result by a plan for this date; nothing if the plan cannot tell.
    pub(crate) fn follow(&self, plan: &Plan, moment: &Result<Moment, Undated>) -> Option<RmapResult<'_>> {
        Some(match plan {
            Plan::Entry(row) => self.answer(Selected::Choice(self.choice(*row)?)),
            Plan::NotApplicable => RmapResult::NotApplicable,
            Plan::Omitted => RmapResult::Omitted,
            Plan::Failed(failure) => RmapResult::Failed(self.failure(failure)?),
            Plan::Groups {
                groups,
                otherwise,
                undated,
            } => {
                let found = match moment {
                    Ok(moment) => groups.iter().find_map(|rows| self.latest_of(rows, *moment)),
                    Err(why) => {
                        let Choice::Selector(first) = self.choice(*groups.first()?.first()?)? else {
                            return None;
                        };
                        return self.undated(*undated, first, why);
                    }
                };
                match found {
                    Some(choice) => self.answer(Selected::Choice(choice)),
                    None => return self.follow(otherwise, moment),
                }
            }
            Plan::Latest(on_failure) => {
                let moment = match moment {
                    Ok(moment) => *moment,
                    Err(why) => return self.undated(*on_failure, &self.selector, why),
                };
                let place = self.selector.not_after(&self.arena, moment);
                match place.and_then(|place| self.selector.choices.get(place)) {
                    Some(choice) => self.answer(Selected::Choice(choice)),
                    None => return on_failure.result(|| none_after(moment)),
                }
            }
            Plan::Unforeseen => return None,
        })
    }

    fn undated<'c>(
        &'c self,
        on_failure: OnFailure,
        selector: &'c Selector,
        why: &Undated,
    ) -> Option<RmapResult<'c>> {
        on_failure.result(|| self.rules().undated(selector.kind, &selector.slots, why.clone()))
    }

    /// The result of the `UseAfter` entries in these rows together.
    fn latest_of(&self, rows: &[u32], moment: Moment) -> Option<&Choice> {
        let choices = rows.iter().filter_map(|&row| self.choice(row));
        match *rows {
            [row] => {
                let Choice::Selector(selector) = self.choice(row)? else {
                    return None;
                };
                selector.choices.get(selector.not_after(&self.arena, moment)?)
            }
            _ => latest(&self.arena, choices, moment),
        }
    }

    fn choice(&self, row: u32) -> Option<&Choice> {
        self.selector.choices.get(row as usize)
    }

    fn failure(&self, failure: &Settled) -> Option<Failure<'_>> {
        let reason = match failure {
            Settled::Constant(text) => Reason::Constant(text),
            Settled::Text(text) => Reason::Text(text.clone()),
            Settled::NotListed(place, value) => {
                let Keys::Match(table) = &self.selector.keys else {
                    return None;
                };
                let column = table.columns.get(*place as usize)?;
                let slot = self.slots.get(usize::from(column.slot))?;
                Reason::NotListed(&slot.name, value.clone(), column)
            }
        };
        Some(Failure {
            lookup: false,
            reason,
        })
    }
}

/// The end of a Match whose dated entries have nothing.
enum Ending<'c> {
    Failure(Failure<'c>),
    Plan(Plan),
}

impl Ending<'_> {
    /// The plan that searches the groups before it ends so.
    fn after(self, groups: Vec<Box<[u32]>>, reference: &Reference, on_failure: OnFailure) -> Plan {
        let otherwise = match (self, on_failure) {
            (Self::Plan(plan), _) => plan,
            (Self::Failure(failure), OnFailure::Fail) => reference.settle(failure),
            (Self::Failure(_), OnFailure::NotApplicable) => Plan::NotApplicable,
            (Self::Failure(_), OnFailure::Evaluate) => Plan::Unforeseen,
        };
        if groups.is_empty() {
            return otherwise;
        }
        Plan::Groups {
            groups: groups.into(),
            otherwise: Box::new(otherwise),
            undated: on_failure,
        }
    }
}

impl OnFailure {
    fn result<'c>(self, failure: impl FnOnce() -> Failure<'c>) -> Option<RmapResult<'c>> {
        match self {
            Self::Fail => Some(RmapResult::Failed(failure())),
            Self::NotApplicable => Some(RmapResult::NotApplicable),
            Self::Evaluate => None,
        }
    }
}
