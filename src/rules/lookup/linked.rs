//! The rules of one instrument, put together for lookups: parameters and their known values are numbered, so that a
//! header is looked up once for all rmaps.

mod build;
#[cfg(test)]
mod tests;

pub(crate) use build::required_keys;

use std::borrow::Cow;

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::rules::eval::rmap::Reference;
use crate::rules::eval::selector::Scratch;
use crate::rules::lookup::bestrefs::{BestRef, BestRefs};
use crate::rules::lookup::cache::{Deciding, LinkedDependencies, Memory, Recall};
use crate::rules::lookup::last_made::LastMade;
use crate::rules::lookup::mapping::{Mapping, Target};
use crate::rules::model::frame::{Cell, Frame, Reduced};
use crate::rules::values::condition::{UNDEFINED, condition};
use crate::rules::values::header::{Header, HeaderValue};
use crate::rules::values::naming::Naming;
use crate::rules::values::python::{lower, upper};

/// The rules of an instrument for a reference type.
#[derive(Debug)]
pub(crate) enum LinkedEntry {
    Rmap(Arc<Mapping>),
    NotApplicable,
    Omitted,
}

#[derive(Debug)]
enum Type {
    Rmap(LinkedRmap),
    NotApplicable,
    Omitted,
}

/// An rmap and how its slots are found.
#[derive(Debug)]
struct LinkedRmap {
    mapping: Arc<Mapping>,
    /// For each slot of the rmap that of the instrument, or [`NO_SLOT`].
    slots: Box<[u16]>,
    /// By column, then by number in the instrument's vocabulary of its parameter.
    translations: Box<[Box<[u32]>]>,
    /// The parameters by which plans for this rmap are found; nothing if each header must be evaluated.
    dependencies: Option<LinkedDependencies>,
}

const NO_SLOT: u16 = u16::MAX;

/// The rules of an instrument, or of a single rmap, ready for lookups.
#[derive(Debug)]
pub(crate) struct Linked {
    naming: Naming,
    /// The parameters asked for, as written.
    keys: Vec<String>,
    /// Names in headers, in upper case, with their slots.
    names: FxHashMap<Box<str>, Name>,
    /// By slot: known values, and whether they are in normal form.
    vocabularies: Vec<FxHashMap<Box<str>, Known>>,
    types: Vec<(String, Type)>,
    places: FxHashMap<String, usize>,
    deciding: Deciding,
    /// By slot, the number of a parameter that a header does not have.
    undefined: Vec<u32>,
    /// Slots of the parameters that name the instrument.
    instrument: Vec<u16>,
}

#[derive(Debug, Clone, Copy)]
struct Name {
    slot: u16,
    /// Distinguishes the names of one parameter.
    alias: u16,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    number: u32,
    /// Whether a header value that reads so needs no conditioning.
    normal: bool,
}

impl Linked {
    /// Links the rmaps of an imap, unless those that were linked last are the same: contexts that have the same rmaps of an
    /// imap share them. See [`Linked::new`].
    pub(crate) fn shared(
        last: &LastMade,
        naming: &Naming,
        keys: &[String],
        entries: Vec<(String, LinkedEntry)>,
    ) -> Arc<Self> {
        last.get_or_make(
            entries,
            |known: &Self, entries| known.is_of(naming, entries),
            |entries| Self::new(naming, keys, entries),
        )
    }

    /// Whether it is of these very rmaps.
    fn is_of(&self, naming: &Naming, entries: &[(String, LinkedEntry)]) -> bool {
        let same = |((own, linked), (filekind, entry)): (&(String, Type), &(String, LinkedEntry))| {
            own == filekind
                && match (linked, entry) {
                    (Type::Rmap(linked), LinkedEntry::Rmap(mapping)) => Arc::ptr_eq(&linked.mapping, mapping),
                    (Type::NotApplicable, LinkedEntry::NotApplicable)
                    | (Type::Omitted, LinkedEntry::Omitted) => true,
                    _ => false,
                }
        };
        self.naming == *naming
            && self.types.len() == entries.len()
            && self.types.iter().zip(entries).all(same)
    }

    /// The parameters asked for, as written.
    pub(crate) fn keys(&self) -> &Vec<String> {
        &self.keys
    }

    /// The types, in order.
    pub(crate) fn filekinds(&self) -> impl Iterator<Item = &str> {
        self.types.iter().map(|(filekind, _)| filekind.as_str())
    }

    /// Takes from a header, which is as it came, what the rules ask for.
    pub(crate) fn reduce<'h>(&self, header: &'h Header) -> Reduced<'h> {
        let undefined = |&number: &u32| (Cow::Borrowed(UNDEFINED), number);
        let mut values: Vec<(Cow<'h, str>, u32)> = self.undefined.iter().map(undefined).collect();
        // Two names in headers can mean one parameter.
        let aliases = self.naming.is_jwst();
        let mut winners = Winners::new(if aliases { values.len() } else { 0 });
        for (name, value) in header.iter() {
            let Some(&found) = self.names.get(&*upper(name)) else {
                continue;
            };
            if aliases && !winners.wins(found) {
                continue;
            }
            let slot = usize::from(found.slot);
            if let (Some(place), Some(vocabulary)) = (values.get_mut(slot), self.vocabularies.get(slot)) {
                *place = normal_value(value, vocabulary);
            }
        }
        Reduced { values }
    }

    /// Whether a reduced header says which instrument it is of.
    pub(crate) fn knows_instrument(&self, reduced: &Reduced<'_>) -> bool {
        let value = |&slot: &u16| reduced.cell(slot).text;
        self.instrument
            .iter()
            .any(|slot| value(slot).is_some_and(|value| value != UNDEFINED))
    }

    /// The answers for some types, or for all of them.
    pub(crate) fn best_references<'c, S: AsRef<str>>(
        &'c self,
        memory: &mut Memory,
        reduced: &Reduced<'_>,
        reftypes: Option<&[S]>,
    ) -> BestRefs<'c> {
        let mut recall = memory.recall(&self.deciding, reduced);
        let mut cells = Vec::new();
        let mut answer = |place: usize, filekind: &str, entry: &'c Type| match entry {
            Type::NotApplicable => Some(BestRef::NotApplicable),
            Type::Omitted => None,
            Type::Rmap(linked) => linked.answer((place, filekind), reduced, &mut cells, &mut recall),
        };
        let Some(reftypes) = reftypes.filter(|reftypes| !reftypes.is_empty()) else {
            let mut answers = Vec::with_capacity(self.types.len());
            for (place, (filekind, entry)) in self.types.iter().enumerate() {
                let answer = answer(place, filekind, entry);
                answers.extend(answer.map(|answer| (Cow::Borrowed(filekind.as_str()), answer)));
            }
            return BestRefs { answers };
        };
        let mut answers: Vec<(Cow<'c, str>, BestRef<'c>)> = Vec::with_capacity(reftypes.len());
        for reftype in reftypes {
            let filekind = lower(reftype.as_ref());
            if answers.iter().any(|(known, _)| *known == filekind) {
                continue;
            }
            let place = self.places.get(&*filekind).copied();
            if let Some((place, (own, entry))) = place.and_then(|place| Some((place, self.types.get(place)?)))
            {
                let answer = answer(place, own, entry);
                answers.extend(answer.map(|answer| (Cow::Borrowed(own.as_str()), answer)));
            } else {
                let answer = BestRef::unknown_type(&filekind);
                answers.push((filekind.into_owned().into(), answer));
            }
        }
        BestRefs { answers }
    }
}

impl LinkedRmap {
    fn answer<'c, 'h>(
        &'c self,
        (place, filekind): (usize, &str),
        reduced: &'h Reduced<'_>,
        cells: &mut Vec<Cell<'h>>,
        recall: &mut Recall<'_>,
    ) -> Option<BestRef<'c>> {
        let Target::Reference(reference) = self.mapping.target() else {
            return None;
        };
        let plan = self.dependencies.as_ref().and_then(|dependencies| {
            recall.plan(place, dependencies, |scratch| {
                reference.plan(self.frame(reduced, cells), scratch)
            })
        });
        let result = plan.and_then(|(plan, moment)| reference.follow(plan, moment));
        let result = result.unwrap_or_else(|| {
            let result = reference.evaluate(self.frame(reduced, cells), recall.scratch);
            recall.scratch.end_of(filekind, self.mapping.name());
            result
        });
        BestRef::new(result)
    }

    fn frame<'f, 'h>(&'f self, reduced: &'h Reduced<'_>, cells: &'f mut Vec<Cell<'h>>) -> Frame<'f, 'h> {
        cells.clear();
        cells.extend(self.slots.iter().map(|&slot| reduced.cell(slot)));
        Frame {
            cells,
            translations: &self.translations,
        }
    }
}

/// The name of each parameter that counts: the one that comes later for the first time.
struct Winners {
    /// By slot.
    winners: Vec<u16>,
    /// By alias, all that were met.
    seen: Vec<bool>,
}

impl Winners {
    fn new(slots: usize) -> Self {
        Self {
            winners: vec![NO_SLOT; slots],
            seen: vec![false; slots * 4],
        }
    }

    /// Records an entry under a name. Whether it counts.
    fn wins(&mut self, name: Name) -> bool {
        let alias = usize::from(name.alias);
        if self.seen.len() <= alias {
            self.seen.resize(alias + 1, false);
        }
        let Some(winner) = self.winners.get_mut(usize::from(name.slot)) else {
            return false;
        };
        if let Some(seen) = self.seen.get_mut(alias)
            && !*seen
        {
            *seen = true;
            *winner = name.alias;
        }
        *winner == name.alias
    }
}

/// The normal form of a header value and its number.
fn normal_value<'h>(value: &'h HeaderValue, vocabulary: &FxHashMap<Box<str>, Known>) -> (Cow<'h, str>, u32) {
    let number = |text: &str| vocabulary.get(text).map_or(0, |known| known.number);
    match value {
        HeaderValue::Text(text) => {
            if let Some(known) = vocabulary.get(text.as_str())
                && known.normal
            {
                return (text.into(), known.number);
            }
            let text = condition(text);
            let number = number(&text);
            (text, number)
        }
        other => {
            let text = other.conditioned();
            let number = number(&text);
            (text, number)
        }
    }
}

/// Evaluates an rmap on a header exactly as it is: nothing conditioned, renamed or added.
pub(crate) fn evaluate_raw<'c>(reference: &'c Reference, header: &Header) -> Option<BestRef<'c>> {
    let texts: Vec<(&str, Cow<'_, str>)> = header.iter().map(|(name, value)| (name, value.text())).collect();
    let find = |wanted: &dyn Fn(&str) -> bool| texts.iter().rev().find(|(name, _)| wanted(name));
    let cells: Vec<Cell<'_>> = reference
        .slots
        .iter()
        .map(|slot| {
            let exact = find(&|name| name == &*slot.name);
            let dotted = |name: &str| name.contains('.') && name.replace('.', "_") == *slot.name;
            let found = exact.or_else(|| slot.in_expression.then(|| find(&dotted))?);
            found.map_or(Cell::MISSING, |(_, text)| Cell::text(text))
        })
        .collect();
    let frame = Frame {
        cells: &cells,
        translations: &[],
    };
    BestRef::new(reference.evaluate(frame, &mut Scratch::default()))
}
