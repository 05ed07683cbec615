//! The parameters that decide about an rmap's answer, beside the date.

use crate::rules::eval::expression::Expression;
use crate::rules::eval::hooks::{self, Hook};
use crate::rules::eval::rmap::Reference;
use crate::rules::model::selector::{Choice, Keys, Selector};

/// The parameters of an rmap whose date comes last: what the others decide is a [`crate::rules::lookup::plan::Plan`].
#[derive(Debug)]
pub(crate) struct Dependencies {
    /// Slots of all parameters that decide, each once.
    pub(crate) deciding: Vec<u16>,
    /// Slots of the parts of the date.
    pub(crate) date: Vec<u16>,
    /// Whether the era of the date decides too.
    pub(crate) era: bool,
}

impl Dependencies {
    /// Nothing if more than `UseAfter` selectors of plain names remains when all parameters but the date are known.
    pub(crate) fn of(reference: &Reference) -> Option<Self> {
        let date = date_slots(&reference.selector)?;
        let mut deciding = Vec::new();
        if let Keys::Match(table) = &reference.selector.keys {
            deciding.extend(table.columns.iter().map(|column| column.slot));
        }
        let conditions = reference.conditions.iter().map(|condition| &condition.expression);
        let expressions = std::iter::once(&reference.relevance).chain(&reference.omit);
        for expression in expressions.chain(conditions) {
            expression.each_slot(&mut |slot| deciding.push(slot));
        }
        if let Some((detector, gain)) = reference.do_not_reprocess {
            deciding.extend([detector, gain]);
        }
        let slots = || (0u16..).zip(&reference.slots);
        let mut era = false;
        let hooks = reference.precondition.into_iter().chain(reference.fallback);
        for name in hooks.flat_map(Hook::parameters) {
            if hooks::DATE.contains(&name) {
                era = true;
            } else {
                let named = slots().filter(|(_, slot)| *slot.name == *name);
                deciding.extend(named.map(|(slot, _)| slot));
            }
        }
        deciding.sort_unstable();
        deciding.dedup();
        let in_date = |slot: &u16| date.contains(slot);
        let conditioned = reference.conditions.iter().map(|condition| condition.slot);
        if deciding.iter().any(in_date) || conditioned.into_iter().any(|slot| in_date(&slot)) {
            return None;
        }
        let name = |slot: &u16| reference.slots.get(usize::from(*slot)).map(|slot| &*slot.name);
        let same_date = || date.iter().map(name).eq(hooks::DATE.map(Some));
        (!era || same_date()).then_some(Self { deciding, date, era })
    }
}

/// The parts of the date if all selectors that remain after a first Match are `UseAfter` of plain names with the same
/// ones.
fn date_slots(selector: &Selector) -> Option<Vec<u16>> {
    if selector.is_plain_use_after() {
        return Some(selector.slots.to_vec());
    }
    if !matches!(selector.keys, Keys::Match(_)) {
        return None;
    }
    let mut date: Option<&[u16]> = None;
    for choice in &selector.choices {
        if let Choice::Selector(nested) = choice {
            let known = *date.get_or_insert(&nested.slots);
            if !nested.is_plain_use_after() || *known != *nested.slots {
                return None;
            }
        }
    }
    Some(date.unwrap_or_default().to_vec())
}

impl Expression {
    /// Visits the slots of its names.
    fn each_slot(&self, visit: &mut impl FnMut(u16)) {
        match self {
            Self::Constant(_) => {}
            Self::Name(slot, _) => visit(*slot),
            Self::Negative(one) | Self::Not(one) => one.each_slot(visit),
            Self::And(all) | Self::Or(all) | Self::Tuple(all) | Self::List(all) => {
                for one in all {
                    one.each_slot(visit);
                }
            }
            Self::If(three) => three.iter().for_each(|one| one.each_slot(visit)),
            Self::Comparison(first, others) => {
                first.each_slot(visit);
                for (_, one) in others {
                    one.each_slot(visit);
                }
            }
            Self::Dict(pairs) => pairs.iter().for_each(|(key, value)| {
                key.each_slot(visit);
                value.each_slot(visit);
            }),
        }
    }
}
