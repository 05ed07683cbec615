//! The memory of lookups: for each rmap its plans, by the values of the parameters that decide; for each kind of header the
//! plans of all types.

use std::hash::{Hash as _, Hasher as _};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rustc_hash::{FxHashMap, FxHasher};

use crate::rules::eval::hooks::era;
use crate::rules::eval::selector::Scratch;
use crate::rules::eval::step::Step;
use crate::rules::eval::step::Trace;
use crate::rules::lookup::bestrefs::BestRefs;
use crate::rules::lookup::explanation::Explanation;
use crate::rules::lookup::plan::Plan;
use crate::rules::model::failure::Undated;
use crate::rules::model::frame::Reduced;
use crate::rules::values::date::Moment;

/// The parameters by which the plans for the types of an instrument are found.
#[derive(Debug)]
pub(crate) struct Deciding {
    /// Distinguishes the instrument's rules from all others, also from those that are gone.
    pub(crate) id: u64,
    /// The number of types.
    pub(crate) types: usize,
    /// Slots of all parameters.
    pub(crate) slots: Vec<u16>,
    /// The slots of the parts of dates.
    pub(crate) dates: Vec<Box<[u16]>>,
    /// The date whose era plans go by: a place in `dates`.
    pub(crate) era: Option<u16>,
}

/// The parameters by which the plans for an rmap are found, see [`crate::rules::lookup::dependencies::Dependencies`].
#[derive(Debug)]
pub(crate) struct LinkedDependencies {
    /// Places in [`Deciding::slots`].
    pub(crate) deciding: Box<[u16]>,
    /// A place in [`Deciding::dates`].
    pub(crate) date: u16,
    /// Whether the era of the date decides too.
    pub(crate) era: bool,
}

/// The memory of one thread's lookups from header to header: headers of one kind, whatever their dates, are worked
/// out once. It serves any number of contexts, and begins anew when it is full, at some tens of megabytes. By default it is
/// [`Memory::none`].
#[derive(Debug, Default)]
pub struct Memory {
    scratch: Scratch,
    /// By [`Deciding::id`].
    instruments: FxHashMap<u64, Instrument>,
    /// Number of plans, and of unknown values, that are remembered.
    size: usize,
    /// Kinds of headers that are remembered.
    kinds: usize,
    /// Of the current header, by [`Deciding::slots`], the era behind them.
    numbers: Vec<u32>,
    /// Of the current header, by [`Deciding::dates`].
    moments: Vec<Result<Moment, Undated>>,
    /// Whether plans are made.
    plans: bool,
}

/// This many plans and values are remembered.
const MAX_SIZE: usize = 1 << 18;

/// This many kinds of headers are remembered.
const MAX_KINDS: usize = 1 << 15;

/// Longer values are not remembered.
const MAX_TEXT: usize = 200;

/// Distinguishes the numbers of values that no rmap knows.
const STRANGER: u32 = 1 << 31;

/// In place of a plan that has not been asked for.
const NO_PLAN: u32 = u32::MAX;

/// In place of the era of a header without a date.
const NO_ERA: u32 = u32::MAX;

#[derive(Debug, Default)]
struct Instrument {
    /// By deciding parameter: values that no rmap knows.
    strangers: Vec<FxHashMap<Box<str>, u32>>,
    kinds: HashTable<HeaderKind>,
    /// By type.
    types: Vec<Plans>,
}

/// Headers that differ only in what does not decide.
#[derive(Debug)]
struct HeaderKind {
    key: Box<[u32]>,
    /// By type: places in [`Plans::kept`], or [`NO_PLAN`].
    plans: Box<[u32]>,
}

/// The plans of one type.
#[derive(Debug, Default)]
struct Plans {
    /// Different ones: there are hardly more of them than rows in the rmap.
    kept: Vec<Plan>,
    /// Places in `kept` by the plan.
    known: HashTable<u32>,
    /// Places in `kept` by the values of the type's own deciding parameters.
    places: HashTable<(Box<[u32]>, u32)>,
}

impl Plans {
    /// The place of a plan, which is added if it is new.
    fn place_of(&mut self, plan: Plan) -> Option<u32> {
        let Self { kept, known, .. } = self;
        let entry = known.entry(
            hash_of(&plan),
            |&place| kept.get(place as usize) == Some(&plan),
            |&place| kept.get(place as usize).map_or(0, hash_of),
        );
        match entry {
            Entry::Occupied(entry) => Some(*entry.get()),
            Entry::Vacant(entry) => {
                let place = u32::try_from(kept.len()).ok()?;
                entry.insert(place);
                kept.push(plan);
                Some(place)
            }
        }
    }
}

/// The memory at work on one header.
pub(crate) struct Recall<'m> {
    pub(crate) scratch: &'m mut Scratch,
    types: &'m mut [Plans],
    size: &'m mut usize,
    numbers: &'m [u32],
    moments: &'m [Result<Moment, Undated>],
    /// The plans of the header's kind; none if the header is too unusual to be remembered.
    plans: &'m mut [u32],
}

impl Memory {
    /// An empty memory.
    pub fn new() -> Self {
        Self {
            plans: true,
            ..Self::default()
        }
    }

    /// A memory that keeps nothing: for a single header.
    pub fn none() -> Self {
        Self::default()
    }

    /// A memory that keeps nothing but the steps of the evaluations of a single header.
    pub(crate) fn of_steps() -> Self {
        let mut memory = Self::default();
        memory.scratch.trace = Some(Trace::default());
        memory
    }

    /// The explanations of the answers for the header, in their order; those of types that are omitted behind them.
    pub(crate) fn explanations(self, answers: &BestRefs<'_>) -> Vec<Explanation> {
        let traced = self.scratch.trace.map(|trace| trace.rmaps).unwrap_or_default();
        let mut traced: FxHashMap<String, (String, Vec<Step>)> = traced
            .into_iter()
            .map(|(reftype, rmap, steps)| (reftype, (rmap, steps)))
            .collect();
        let mut explanations: Vec<Explanation> = answers
            .iter()
            .map(|(reftype, answer)| {
                let (rmap, steps) = traced.remove(reftype).unzip();
                Explanation {
                    reftype: reftype.to_owned(),
                    rmap,
                    answer: serde_json::to_value(answer).ok(),
                    steps: steps.unwrap_or_default(),
                }
            })
            .collect();
        let omitted = traced.into_iter().map(|(reftype, (rmap, steps))| Explanation {
            reftype,
            rmap: Some(rmap),
            answer: None,
            steps,
        });
        let mut omitted: Vec<Explanation> = omitted.collect();
        omitted.sort_by(|one, other| one.reftype.cmp(&other.reftype));
        explanations.append(&mut omitted);
        explanations
    }

    /// Makes ready for a header.
    pub(crate) fn recall(&mut self, deciding: &Deciding, reduced: &Reduced<'_>) -> Recall<'_> {
        if !self.plans {
            return Recall {
                scratch: &mut self.scratch,
                types: &mut [],
                size: &mut self.size,
                numbers: &[],
                moments: &[],
                plans: &mut [],
            };
        }
        self.make_room();
        let instrument = self
            .instruments
            .entry(deciding.id)
            .or_insert_with(|| Instrument::new(deciding));
        self.moments.clear();
        for slots in &deciding.dates {
            let moment = self.scratch.read_date(slots, |slot| reduced.cell(slot).text);
            self.moments.push(moment);
        }
        self.numbers.clear();
        let mut usual = true;
        for (&slot, strangers) in deciding.slots.iter().zip(&mut instrument.strangers) {
            let cell = reduced.cell(slot);
            let number = match cell.number {
                0 => stranger(strangers, cell.text.unwrap_or_default(), &mut self.size),
                number => Some(number),
            };
            usual &= number.is_some();
            self.numbers.push(number.unwrap_or_default());
        }
        if let Some(date) = deciding.era {
            let moment = self.moments.get(usize::from(date));
            let moment = moment.and_then(|moment| moment.as_ref().ok());
            self.numbers.push(moment.map_or(NO_ERA, |moment| era(*moment)));
        }
        let plans: &mut [u32] = if usual {
            plans_of_kind(
                &mut instrument.kinds,
                instrument.types.len(),
                &self.numbers,
                &mut self.kinds,
            )
        } else {
            &mut []
        };
        Recall {
            scratch: &mut self.scratch,
            types: &mut instrument.types,
            size: &mut self.size,
            numbers: &self.numbers,
            moments: &self.moments,
            plans,
        }
    }

    fn make_room(&mut self) {
        if self.size > MAX_SIZE {
            self.instruments.clear();
            (self.size, self.kinds) = (0, 0);
        }
        if self.kinds > MAX_KINDS {
            for instrument in self.instruments.values_mut() {
                instrument.kinds.clear();
            }
            self.kinds = 0;
        }
    }
}

impl Instrument {
    fn new(deciding: &Deciding) -> Self {
        let mut types = Vec::new();
        types.resize_with(deciding.types, Plans::default);
        Self {
            strangers: vec![FxHashMap::default(); deciding.slots.len()],
            kinds: HashTable::new(),
            types,
        }
    }
}

/// The plans of headers with these numbers.
fn plans_of_kind<'k>(
    kinds: &'k mut HashTable<HeaderKind>,
    types: usize,
    numbers: &[u32],
    count: &mut usize,
) -> &'k mut [u32] {
    let entry = kinds.entry(
        hash(numbers.iter().copied()),
        |kind| *kind.key == *numbers,
        |kind| hash(kind.key.iter().copied()),
    );
    let kind = entry.or_insert_with(|| {
        *count += 1;
        HeaderKind {
            key: numbers.into(),
            plans: vec![NO_PLAN; types].into(),
        }
    });
    &mut kind.into_mut().plans
}

/// The number of a value that no rmap knows; nothing if it is not to be remembered.
fn stranger(strangers: &mut FxHashMap<Box<str>, u32>, text: &str, size: &mut usize) -> Option<u32> {
    if let Some(&number) = strangers.get(text) {
        return Some(number);
    }
    if text.len() > MAX_TEXT {
        return None;
    }
    let number = STRANGER | u32::try_from(strangers.len()).ok()?;
    strangers.insert(text.into(), number);
    *size += 1;
    Some(number)
}

impl Recall<'_> {
    /// The plan of a type for the header, worked out if it is new, and the date of the header.
    pub(crate) fn plan(
        &mut self,
        place: usize,
        dependencies: &LinkedDependencies,
        work_out: impl FnOnce(&mut Scratch) -> Plan,
    ) -> Option<(&Plan, &Result<Moment, Undated>)> {
        let moment = self.moments.get(usize::from(dependencies.date))?;
        if dependencies.era && moment.is_err() {
            return None;
        }
        let known = self.plans.get_mut(place)?;
        let own = self.types.get_mut(place)?;
        if *known == NO_PLAN {
            let numbers = self.numbers;
            let number = |&place: &u16| numbers.get(usize::from(place)).copied().unwrap_or_default();
            let era = self.numbers.last().filter(|_| dependencies.era);
            let key = || dependencies.deciding.iter().map(number).chain(era.copied());
            let hash = hash(key());
            let found = own.places.find(hash, |(own, _)| own.iter().copied().eq(key()));
            *known = if let Some((_, known)) = found {
                *known
            } else {
                let known = own.place_of(work_out(self.scratch))?;
                let rehash = |(own, _): &(Box<[u32]>, u32)| self::hash(own.iter().copied());
                own.places.insert_unique(hash, (key().collect(), known), rehash);
                *self.size += 1;
                known
            };
        }
        Some((own.kept.get(*known as usize)?, moment))
    }
}

fn hash_of(plan: &Plan) -> u64 {
    let mut hasher = FxHasher::default();
    plan.hash(&mut hasher);
    hasher.finish()
}

fn hash(numbers: impl Iterator<Item = u32>) -> u64 {
    let mut hasher = FxHasher::default();
    numbers.for_each(|number| hasher.write_u32(number));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_kept_once() {
        let mut plans = Plans::default();
        for row in [7, 8, 7, 9, 8] {
            plans.place_of(Plan::Entry(row));
        }
        assert_eq!(plans.place_of(Plan::Entry(9)), Some(2));
        assert_eq!(plans.place_of(Plan::Omitted), Some(3));
        assert_eq!(
            plans.kept,
            [7, 8, 9]
                .map(Plan::Entry)
                .into_iter()
                .chain([Plan::Omitted])
                .collect::<Vec<_>>()
        );
    }
}
