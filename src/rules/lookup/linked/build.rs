//! Putting the rmaps of an instrument together.

use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Known, Linked, LinkedEntry, LinkedRmap, NO_SLOT, Name, Type};
use crate::rules::eval::rmap::Reference;
use crate::rules::lookup::cache::{Deciding, LinkedDependencies};
use crate::rules::lookup::dependencies::Dependencies;
use crate::rules::lookup::mapping::Target;
use crate::rules::model::selector::{Choice, Keys, Selector};
use crate::rules::values::condition::{UNDEFINED, condition};
use crate::rules::values::jwst;
use crate::rules::values::naming::{Naming, begins_with_meta};
use crate::rules::values::python::{is_upper, upper};

impl Linked {
    /// Puts rmaps together. `keys` are the parameters asked for beyond those of the rmaps and the one that names the
    /// instrument.
    pub(crate) fn new(naming: &Naming, keys: &[String], entries: Vec<(String, LinkedEntry)>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut linked = Self {
            naming: naming.clone(),
            keys: Vec::new(),
            names: FxHashMap::default(),
            vocabularies: Vec::new(),
            types: Vec::with_capacity(entries.len()),
            places: FxHashMap::default(),
            deciding: Deciding {
                id: NEXT.fetch_add(1, Ordering::Relaxed),
                types: entries.len(),
                slots: Vec::new(),
                dates: Vec::new(),
                era: None,
            },
            undefined: Vec::new(),
            instrument: Vec::new(),
        };
        linked.keys = required_keys(naming, keys, &entries);
        let keys = linked.keys.clone().into_iter();
        let written: FxHashMap<String, u16> = keys.map(|key| (key.clone(), linked.slot_of(&key))).collect();
        if naming.is_jwst() {
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
        linked.undefined = linked
            .vocabularies
            .iter()
            .map(|vocabulary| vocabulary.get(UNDEFINED).map_or(0, |known| known.number))
            .collect();
        linked.instrument = linked.slots_of(naming.instrument_names());
        linked.add_prefixed(naming.prefix());
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

    fn link(&mut self, entry: LinkedEntry, learned: Learned) -> Type {
        let mapping = match entry {
            LinkedEntry::NotApplicable => return Type::NotApplicable,
            LinkedEntry::Omitted => return Type::Omitted,
            LinkedEntry::Rmap(mapping) => mapping,
        };
        let Target::Reference(reference) = mapping.target() else {
            return Type::Omitted;
        };
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
        let dependencies = Dependencies::of(reference)
            .and_then(|dependencies| self.link_dependencies(&dependencies, &slots));
        Type::Rmap(LinkedRmap {
            slots,
            translations: translations.into(),
            mapping,
            dependencies,
        })
    }

    fn link_dependencies(
        &mut self,
        dependencies: &Dependencies,
        slots: &[u16],
    ) -> Option<LinkedDependencies> {
        let linked = |slot: &u16| {
            slots
                .get(usize::from(*slot))
                .copied()
                .filter(|slot| *slot != NO_SLOT)
        };
        let date = dependencies
            .date
            .iter()
            .map(linked)
            .collect::<Option<Box<[u16]>>>()?;
        let date = place_of(&mut self.deciding.dates, date)?;
        if dependencies.era && *self.deciding.era.get_or_insert(date) != date {
            return None;
        }
        // A parameter without a slot here is missing from every header.
        let deciding = dependencies.deciding.iter().filter_map(linked);
        let deciding = deciding.map(|slot| place_of(&mut self.deciding.slots, slot));
        let deciding = deciding.collect::<Option<Box<[u16]>>>()?;
        Some(LinkedDependencies {
            deciding,
            date,
            era: dependencies.era,
        })
    }

    /// The slots of these parameters, of those that are asked for.
    fn slots_of<'n>(&self, names: impl Iterator<Item = &'n str>) -> Vec<u16> {
        let slots = names.filter_map(|name| {
            let asked = self.keys.iter().any(|key| is_upper(key, name));
            self.names.get(name).filter(|_| asked).map(|name| name.slot)
        });
        slots.collect()
    }

    /// Has names in headers that begin with `META` mean those with `prefix` before it, and nothing else (Roman).
    fn add_prefixed(&mut self, prefix: &str) {
        if prefix.is_empty() {
            return;
        }
        self.names.retain(|name, _| !begins_with_meta(name));
        let prefixed = self.names.iter().filter_map(|(name, found)| {
            let tail = name.strip_prefix(prefix)?;
            begins_with_meta(tail).then(|| (tail.into(), *found))
        });
        let prefixed: Vec<(Box<str>, Name)> = prefixed.collect();
        self.names.extend(prefixed);
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

/// The parameters that rules ask for, each once: `keys`, the one that names the instrument, and those of the rmaps.
pub(crate) fn required_keys(
    naming: &Naming,
    keys: &[String],
    entries: &[(String, LinkedEntry)],
) -> Vec<String> {
    let rmaps = entries.iter().filter_map(|(_, entry)| entry.reference());
    let all = keys.iter().chain(&naming.parkey);
    let mut known = FxHashSet::default();
    let all = all.chain(rmaps.flat_map(|reference| &reference.keys));
    all.filter(|key| known.insert(*key)).cloned().collect()
}

/// The facts about an rmap that linking finds out first.
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

/// The index of an item, which is added if it is new.
fn place_of<T: PartialEq>(items: &mut Vec<T>, item: T) -> Option<u16> {
    let place = items.iter().position(|known| *known == item);
    let place = place.unwrap_or_else(|| {
        items.push(item);
        items.len() - 1
    });
    u16::try_from(place).ok()
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
fn each_column(selector: &Selector, visit: &mut impl FnMut(&crate::rules::model::column::Column)) {
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
