//! The rules of one instrument, put together for lookups: parameters and their known values are numbered, so that a
//! header is looked up once for all rmaps.

use std::borrow::Cow;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::answer::{Answer, BestRefs};
use super::condition::{UNDEFINED, condition};
use super::evaluate::Scratch;
use super::frame::{Cell, Frame};
use super::header::{Header, HeaderValue};
use super::jwst;
use super::mapping::{Mapping, Target};
use super::python::{lower, upper};
use super::reference::Reference;
use super::selector::{Choice, Keys, Selector};

/// What an instrument has for a reference type.
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
}

const NO_SLOT: u16 = u16::MAX;

/// The rules of an instrument, or of a single rmap, ready for lookups.
#[derive(Debug)]
pub(crate) struct Linked {
    /// The parameters asked for, as written.
    keys: Vec<String>,
    /// Names in headers, in upper case, with their slots.
    names: FxHashMap<Box<str>, Name>,
    /// Whether two names in headers can mean one parameter.
    aliases: bool,
    /// By slot: known values, and whether they are in normal form.
    vocabularies: Vec<FxHashMap<Box<str>, Known>>,
    types: Vec<(String, Type)>,
    places: FxHashMap<String, usize>,
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

/// A header reduced to the parameters that an instrument asks for.
#[derive(Debug)]
pub(crate) struct Reduced<'h> {
    values: Vec<(Cow<'h, str>, u32)>,
}

impl Reduced<'_> {
    fn cell(&self, slot: u16) -> Cell<'_> {
        match self.values.get(usize::from(slot)) {
            Some((text, number)) => Cell {
                text: Some(text),
                number: *number,
            },
            None => Cell::MISSING,
        }
    }
}

impl Linked {
    /// Puts rmaps together. `keys` are the parameters asked for beyond those of the rmaps.
    pub(crate) fn new(jwst: bool, keys: &[String], entries: Vec<(String, LinkedEntry)>) -> Self {
        let mut linked = Self {
            keys: Vec::new(),
            names: FxHashMap::default(),
            aliases: jwst,
            vocabularies: Vec::new(),
            types: Vec::with_capacity(entries.len()),
            places: FxHashMap::default(),
        };
        let mut written: FxHashMap<String, u16> = FxHashMap::default();
        let rmaps = entries.iter().filter_map(|(_, entry)| entry.reference());
        for key in keys.iter().chain(rmaps.flat_map(|reference| &reference.keys)) {
            if !written.contains_key(key) {
                let slot = linked.slot_of(key);
                written.insert(key.clone(), slot);
                linked.keys.push(key.clone());
            }
        }
        if jwst {
            linked.add_keywords();
        }
        let learned = entries.iter().map(|(_, entry)| match entry.reference() {
            Some(reference) => linked.learn(reference, &written),
            None => Learned::default(),
        });
        let learned: Vec<Learned> = learned.collect();
        for ((filekind, entry), learned) in entries.into_iter().zip(learned) {
            linked.places.insert(filekind.clone(), linked.types.len());
            let entry = linked.link(entry, learned);
            linked.types.push((filekind, entry));
        }
        linked
    }

    fn slot_of(&mut self, key: &str) -> u16 {
        let next = u16::try_from(self.vocabularies.len()).unwrap_or(NO_SLOT);
        let name = Name {
            slot: next,
            alias: next,
        };
        let slot = self.names.entry(upper(key).into()).or_insert(name).slot;
        if slot == next {
            self.vocabularies.push(FxHashMap::default());
        }
        slot
    }

    /// JWST: a FITS keyword in a header always means the data-model path.
    fn add_keywords(&mut self) {
        let mut alias = u16::try_from(self.names.len()).unwrap_or(NO_SLOT);
        for (keyword, path) in jwst::keywords() {
            alias = alias.saturating_add(1);
            match self.names.get(*path).copied() {
                Some(name) => {
                    self.names.insert((*keyword).into(), Name { alias, ..name });
                }
                None => {
                    self.names.remove(*keyword);
                }
            }
        }
    }

    /// Numbers the values that the rmap knows.
    fn learn(&mut self, reference: &Reference, written: &FxHashMap<String, u16>) -> Learned {
        let mut learned = Learned {
            slots: link_slots(reference, written),
            columns: Vec::with_capacity(reference.columns as usize),
        };
        each_column(&reference.selector, &mut |column| {
            let slot = learned.slots.get(usize::from(column.slot)).copied();
            let slot = slot.unwrap_or(NO_SLOT);
            let numbers = match self.vocabularies.get_mut(usize::from(slot)) {
                Some(vocabulary) => column.known().map(|(text, _)| learn(vocabulary, text)).collect(),
                None => Vec::new(),
            };
            learned.columns.push((column.index, slot, numbers));
        });
        learned
    }

    fn link(&self, entry: LinkedEntry, learned: Learned) -> Type {
        let mapping = match entry {
            LinkedEntry::NotApplicable => return Type::NotApplicable,
            LinkedEntry::Omitted => return Type::Omitted,
            LinkedEntry::Rmap(mapping) => mapping,
        };
        if !matches!(mapping.target(), Target::Reference(_)) {
            return Type::Omitted;
        }
        let mut translations = vec![Box::default(); learned.columns.len()];
        for (index, slot, known) in learned.columns {
            let vocabulary = self.vocabularies.get(usize::from(slot));
            let mut numbers = vec![0; vocabulary.map_or(0, FxHashMap::len) + 1];
            for (number, known) in (1..).zip(known) {
                if let Some(place) = numbers.get_mut(known as usize) {
                    *place = number;
                }
            }
            if let Some(translation) = translations.get_mut(index as usize) {
                *translation = numbers.into_boxed_slice();
            }
        }
        let slots = learned.slots;
        Type::Rmap(LinkedRmap {
            slots,
            translations: translations.into(),
            mapping,
        })
    }

    /// The parameters asked for.
    pub(crate) fn keys(&self) -> &[String] {
        &self.keys
    }

    /// The types, in order.
    pub(crate) fn filekinds(&self) -> impl Iterator<Item = &str> {
        self.types.iter().map(|(filekind, _)| filekind.as_str())
    }

    /// Takes from a header, which is as it came, what the rules ask for. `meta` is put before names that begin with
    /// `META` (Roman).
    pub(crate) fn reduce<'h>(&self, header: &'h Header, meta: &str) -> Reduced<'h> {
        let mut values: Vec<(Cow<'h, str>, u32)> = self
            .vocabularies
            .iter()
            .map(|vocabulary| {
                let number = vocabulary.get(UNDEFINED).map_or(0, |known| known.number);
                (Cow::Borrowed(UNDEFINED), number)
            })
            .collect();
        let mut winners = Winners::new(if self.aliases { values.len() } else { 0 });
        for (name, value) in header.iter() {
            let Some(found) = self.name(name, meta) else {
                continue;
            };
            if self.aliases && !winners.wins(found) {
                continue;
            }
            let slot = usize::from(found.slot);
            if let (Some(place), Some(vocabulary)) = (values.get_mut(slot), self.vocabularies.get(slot)) {
                *place = normal_value(value, vocabulary);
            }
        }
        Reduced { values }
    }

    fn name(&self, name: &str, meta: &str) -> Option<Name> {
        if !meta.is_empty() {
            let first = name.split('.').next().unwrap_or("");
            if first.eq_ignore_ascii_case("META") {
                return self.names.get(&*upper(&format!("{meta}{name}"))).copied();
            }
        }
        self.names.get(&*upper(name)).copied()
    }

    /// The value of a parameter in a reduced header.
    pub(crate) fn value<'r>(&self, reduced: &'r Reduced<'_>, name: &str) -> Option<&'r str> {
        let slot = self
            .keys
            .iter()
            .find(|key| upper(key) == name)
            .and_then(|key| self.names.get(&*upper(key)))?;
        reduced.cell(slot.slot).text
    }

    /// The answers for some types, or for all of them.
    pub(crate) fn best_references<'c, S: AsRef<str>>(
        &'c self,
        reduced: &Reduced<'_>,
        reftypes: Option<&[S]>,
    ) -> BestRefs<'c> {
        let mut scratch = Scratch::default();
        let mut cells = Vec::new();
        let Some(reftypes) = reftypes.filter(|reftypes| !reftypes.is_empty()) else {
            let mut answers = Vec::with_capacity(self.types.len());
            for (filekind, entry) in &self.types {
                let answer = entry.answer(reduced, &mut cells, &mut scratch);
                answers.extend(answer.map(|answer| (Cow::Borrowed(filekind.as_str()), answer)));
            }
            return BestRefs { answers };
        };
        let mut answers: Vec<(Cow<'c, str>, Answer<'c>)> = Vec::with_capacity(reftypes.len());
        for reftype in reftypes {
            let filekind = lower(reftype.as_ref());
            if answers.iter().any(|(known, _)| *known == filekind) {
                continue;
            }
            if let Some((own, entry)) = self
                .places
                .get(&*filekind)
                .and_then(|&place| self.types.get(place))
            {
                let answer = entry.answer(reduced, &mut cells, &mut scratch);
                answers.extend(answer.map(|answer| (Cow::Borrowed(own.as_str()), answer)));
            } else {
                let answer = Answer::unknown_type(&filekind);
                answers.push((filekind.into_owned().into(), answer));
            }
        }
        BestRefs { answers }
    }
}

impl LinkedEntry {
    fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Rmap(mapping) => match mapping.target() {
                Target::Reference(reference) => Some(reference),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Type {
    fn answer<'c, 'h>(
        &'c self,
        reduced: &'h Reduced<'_>,
        cells: &mut Vec<Cell<'h>>,
        scratch: &mut Scratch,
    ) -> Option<Answer<'c>> {
        let linked = match self {
            Self::NotApplicable => return Some(Answer::NotApplicable),
            Self::Omitted => return None,
            Self::Rmap(linked) => linked,
        };
        let Target::Reference(reference) = linked.mapping.target() else {
            return None;
        };
        cells.clear();
        cells.extend(linked.slots.iter().map(|&slot| reduced.cell(slot)));
        let frame = Frame {
            cells,
            translations: &linked.translations,
        };
        Answer::new(reference.evaluate(frame, scratch))
    }
}

/// Which of the names of each parameter counts: the one that comes later for the first time.
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

    /// Notes an entry under a name; whether it counts.
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

/// What linking finds out about an rmap first.
#[derive(Default)]
struct Learned {
    /// For each slot of the rmap that of the instrument, or [`NO_SLOT`].
    slots: Box<[u16]>,
    /// The index of each column, its slot of the instrument, and the numbers that its known values have there.
    columns: Vec<(u32, u16, Vec<u32>)>,
}

/// The number of a value, which is a new one if it was not known.
fn learn(vocabulary: &mut FxHashMap<Box<str>, Known>, text: &str) -> u32 {
    if let Some(known) = vocabulary.get(text) {
        return known.number;
    }
    let number = u32::try_from(vocabulary.len()).unwrap_or(0) + 1;
    let normal = condition(text) == text;
    vocabulary.insert(text.into(), Known { number, normal });
    number
}

/// The instrument's slots of an rmap's slots.
fn link_slots(reference: &Reference, written: &FxHashMap<String, u16>) -> Box<[u16]> {
    let by_underscores = |name: &str| {
        let dotted = |key: &&String| key.contains('.') && key.replace('.', "_") == name;
        written.keys().find(dotted).and_then(|key| written.get(key))
    };
    reference
        .slots
        .iter()
        .map(|slot| {
            let exact = written.get(&*slot.name);
            let found = exact.or_else(|| slot.in_expression.then(|| by_underscores(&slot.name))?);
            found.copied().unwrap_or(NO_SLOT)
        })
        .collect()
}

/// Visits the columns of all Match selectors.
fn each_column(selector: &Selector, visit: &mut impl FnMut(&super::column::Column)) {
    if let Keys::Match(table) = &selector.keys {
        table.columns.iter().for_each(&mut *visit);
    }
    if selector.plain {
        return;
    }
    for choice in &selector.choices {
        if let Choice::Selector(nested) = choice {
            each_column(nested, visit);
        }
    }
}

/// Evaluates an rmap on a header exactly as it is: nothing conditioned, renamed or added.
pub(crate) fn evaluate_raw<'c>(reference: &'c Reference, header: &Header) -> Option<Answer<'c>> {
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
    Answer::new(reference.evaluate(frame, &mut Scratch::default()))
}
