//! Evaluation of selectors (spec/crds-rules 12 and 13); Match selectors are in [`super::matching`].

use std::cmp::Ordering;
use std::sync::Arc;

use crate::rules::eval::step::Trace;
use crate::rules::model::failure::{Failure, Undated, no_selection, none_after};
use crate::rules::model::frame::{Frame, Rules};
use crate::rules::model::selector::{Choice, Keys, Selector};
use crate::rules::syntax::arena::Arena;
use crate::rules::syntax::kind::Kind;
use crate::rules::values::bitset::BitSet;
use crate::rules::values::condition::{UNDEFINED, alternatives};
use crate::rules::values::date::{self, LONGER};
use crate::rules::values::python::{repr, strip, to_float};
use crate::rules::values::version::{Relation, is_default, parse_version};

/// The result of a selector.
#[derive(Debug, Clone)]
pub(crate) enum Selected<'c> {
    /// An entry, which is no selector.
    Choice(&'c Choice),
    /// Several: a Python tuple.
    Several(Vec<Selected<'c>>),
    /// A selector as such, within a tuple.
    Object(Kind),
}

/// The result of a selector, or why it has none.
pub(crate) type Selection<'c> = Result<Selected<'c>, Failure<'c>>;

/// Memory that evaluations use again and again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(super) rows: BitSet,
    pub(super) other: BitSet,
    pub(super) ranked: Vec<Ranked>,
    text: String,
    /// The last date that was read: its text, and what it is or why it is none.
    date: Option<(String, Result<date::Moment, Undated>)>,
    /// The steps of evaluations, if they are to be noted.
    pub(crate) trace: Option<Trace>,
}

impl Scratch {
    /// Reads the date whose parts are in these slots.
    pub(crate) fn read_date<'h>(
        &mut self,
        slots: &[u16],
        value: impl Fn(u16) -> Option<&'h str>,
    ) -> Result<date::Moment, Undated> {
        self.text.clear();
        for (part, &slot) in slots.iter().enumerate() {
            let value = strip(value(slot).unwrap_or(""));
            if value == UNDEFINED {
                return Err(Undated::Undefined(part));
            }
            if !self.text.is_empty() {
                self.text.push(' ');
            }
            self.text.push_str(value);
        }
        // All types of a dataset ask for the same date.
        if let Some((known, date)) = &self.date
            && *known == self.text
        {
            return date.clone();
        }
        let plain = strip(&self.text);
        let bad = |failure| Undated::Bad(Arc::new((plain.to_owned(), failure)));
        let date = date::parse(plain).map_err(bad);
        let (known, last) = self.date.get_or_insert_with(|| (String::new(), date.clone()));
        known.clone_from(&self.text);
        last.clone_from(&date);
        date
    }
}

/// One evaluation of one rmap's selectors on one header.
pub(crate) struct Evaluation<'c, 'f, 'h> {
    pub(crate) rules: Rules<'c>,
    pub(crate) frame: Frame<'f, 'h>,
    pub(crate) scratch: &'f mut Scratch,
}

impl<'c> Evaluation<'c, '_, '_> {
    pub(crate) fn param(&self, slot: u16) -> &'c str {
        self.rules
            .slots
            .get(usize::from(slot))
            .map_or("", |slot| &slot.name)
    }

    /// Evaluates a selector.
    pub(crate) fn selector(&mut self, selector: &'c Selector) -> Selection<'c> {
        if let Keys::Match(table) = &selector.keys {
            return self.table(table, &selector.choices);
        }
        let before = self.noted();
        let selection = self.entry(selector);
        if let Err(failure) = &selection {
            self.note_failure(selector, failure, before);
        }
        selection
    }

    /// Evaluates a selector that is no Match.
    fn entry(&mut self, selector: &'c Selector) -> Selection<'c> {
        let listed = match &selector.keys {
            Keys::Nearest { optional, .. } => !*optional,
            Keys::Relations(_) | Keys::Numbers(_) => false,
            Keys::Other(_) => selector.kind != Kind::Bracket,
            _ => true,
        };
        if listed {
            self.require(selector.kind, &selector.slots)?;
        }
        match &selector.keys {
            Keys::Match(_) => Err(Failure::plain("")),
            Keys::Dates { .. } if selector.kind == Kind::UseAfter => {
                let moment = self.moment(selector)?;
                let found = selector.not_after(self.rules.arena, moment);
                self.pick(selector, found.ok_or(none_after(moment))?)
            }
            Keys::Dates { texts, .. } => {
                let moment = self.moment(selector)?;
                let texts = texts.iter().map(|&text| self.rules.arena.get(text));
                let place = closest(moment, texts)?;
                self.pick(selector, place)
            }
            Keys::Versions(keys) => {
                let version = self.version(selector)?;
                let count = keys.partition_point(|key| *key <= version);
                let [one, two, three] = version;
                let none = || no_selection(&format!("({one}, {two}, {three})"));
                self.pick(selector, count.checked_sub(1).ok_or_else(none)?)
            }
            Keys::Relations(keys) => self.select_version(selector, keys),
            Keys::Nearest { keys, .. } => {
                let value = self.number(selector)?;
                let mut distances = Vec::with_capacity(keys.len());
                for &key in keys {
                    let key = self.rules.arena.get(key);
                    let key = crate::rules::values::python::float(key).map_err(Failure::plain)?;
                    distances.push((single(key) - single(value)).abs());
                }
                self.pick(selector, first_smallest(&distances)?)
            }
            Keys::Numbers(keys) => self.bracket(selector, keys),
            Keys::Other(types) => Err(self.unusable(selector, types)),
        }
    }

    /// The failure of a selector with keys of a type that it cannot compare with what it looks for.
    fn unusable(&mut self, selector: &'c Selector, types: &[&'static str]) -> Failure<'c> {
        let read = match selector.kind {
            Kind::Bracket => self.number(selector).map(drop),
            _ => self.moment(selector).map(drop),
        };
        if let Err(failure) = read {
            return failure;
        }
        let first = types.first().copied().unwrap_or_default();
        Failure::plain(match selector.kind {
            Kind::Bracket => format!("'>' not supported between instances of 'float' and '{first}'"),
            Kind::ClosestTime if first == "tuple" => "'tuple' object has no attribute 'endswith'".to_owned(),
            Kind::ClosestTime => format!("argument of type '{first}' is not iterable"),
            _ => {
                let middle = types.get(types.len() / 2).copied().unwrap_or_default();
                format!("'>=' not supported between instances of 'str' and '{middle}'")
            }
        })
    }

    /// Evaluates a chosen entry of a selector that is not a Match.
    pub(super) fn settle(&mut self, choice: &'c Choice) -> Selection<'c> {
        let Choice::Selector(selector) = choice else {
            return Ok(Selected::Choice(choice));
        };
        self.selector(selector).map_err(|failure| {
            if failure.lookup {
                let text = format!("All lookup attempts failed. last exception: {}", failure.reason);
                Failure::lookup(text)
            } else {
                failure
            }
        })
    }

    fn pick(&mut self, selector: &'c Selector, place: usize) -> Selection<'c> {
        self.note_entry(selector, place);
        match selector.choices.get(place) {
            Some(choice) => self.settle(choice),
            None => Err(Failure::plain("list index out of range")),
        }
    }

    /// Fails if a parameter that is needed is missing.
    pub(super) fn require(&self, kind: Kind, slots: &[u16]) -> Result<(), Failure<'c>> {
        match slots.iter().find(|&&slot| self.frame.get(slot).is_none()) {
            Some(&slot) => Err(self.required(kind, slot)),
            None => Ok(()),
        }
    }

    pub(super) fn required(&self, kind: Kind, slot: u16) -> Failure<'c> {
        let param = repr(self.param(slot));
        Failure::plain(format!(
            "{} required lookup parameter {param} is undefined.",
            kind.name()
        ))
    }

    /// The date of the header, for `UseAfter` and `ClosestTime`.
    pub(super) fn moment(&mut self, selector: &'c Selector) -> Result<date::Moment, Failure<'c>> {
        self.moment_of(selector.kind, &selector.slots)
    }

    pub(crate) fn moment_of(&mut self, kind: Kind, slots: &'c [u16]) -> Result<date::Moment, Failure<'c>> {
        let frame = self.frame;
        let date = self.scratch.read_date(slots, |slot| frame.get(slot));
        date.map_err(|why| self.rules.undated(kind, slots, why))
    }

    fn version(&self, selector: &Selector) -> Result<[u32; 3], Failure<'c>> {
        let values: Vec<&str> = selector
            .slots
            .iter()
            .map(|&slot| self.frame.get(slot).unwrap_or(""))
            .collect();
        let text = values.join(".");
        parse_version(&alternatives(&text).join("|")).map_err(Failure::plain)
    }

    pub(crate) fn version_of(&self, slots: &[u16]) -> Result<[u32; 3], Failure<'c>> {
        let values: Vec<&str> = slots
            .iter()
            .map(|&slot| self.frame.get(slot).unwrap_or(""))
            .collect();
        parse_version(&alternatives(&values.join(".")).join("|")).map_err(Failure::plain)
    }

    /// The text of the only parameter of a numeric selector.
    fn only_value(&self, selector: &Selector) -> Result<(&'c str, &str), Failure<'c>> {
        let slot = selector.slots.first().copied().unwrap_or(u16::MAX);
        let param = self.param(slot);
        let value = self.frame.get(slot).ok_or_else(|| Failure::plain(repr(param)))?;
        Ok((param, value))
    }

    fn number(&self, selector: &Selector) -> Result<f64, Failure<'c>> {
        let (param, value) = self.only_value(selector)?;
        to_float(value).ok_or_else(|| {
            let (kind, param, value) = (selector.kind.name(), repr(param), repr(value));
            Failure::plain(format!("{kind} Invalid number for {param} value = {value}"))
        })
    }

    fn select_version(&mut self, selector: &'c Selector, keys: &[Relation]) -> Selection<'c> {
        let (_, value) = self.only_value(selector)?;
        if !is_default(value) {
            self.number(selector)?;
        }
        if keys.is_empty() {
            return Err(Failure::plain("list index out of range"));
        }
        let wanted = Relation::parse(value).map_err(Failure::plain)?;
        for (place, key) in keys.iter().enumerate() {
            if key.compare(&wanted).map_err(Failure::plain)? != Ordering::Less {
                return self.pick(selector, place);
            }
        }
        Err(Failure::plain("list index out of range"))
    }

    fn bracket(&mut self, selector: &'c Selector, keys: &[f64]) -> Selection<'c> {
        let value = self.number(selector)?;
        if keys.is_empty() {
            return Err(Failure::plain("list index out of range"));
        }
        let above = if value.is_nan() {
            0
        } else {
            keys.partition_point(|&key| key < value)
        };
        let (low, high) = match keys.get(above) {
            None => (keys.len() - 1, keys.len() - 1),
            Some(_) if above == 0 => (0, 0),
            #[expect(clippy::float_cmp, reason = "the rules say equal")]
            Some(&key) if key == value => (above, above),
            Some(_) => (above - 1, above),
        };
        let first = self.pick(selector, low)?;
        let second = if low == high {
            first.clone()
        } else {
            self.pick(selector, high)?
        };
        Ok(Selected::Several(vec![first, second]))
    }
}

/// A row that matches, behind its weight.
pub(crate) type Ranked = (u32, u32);

impl Selector {
    /// The index of the last entry of a `UseAfter` that is not after the moment.
    pub(crate) fn not_after(&self, arena: &Arena, moment: date::Moment) -> Option<usize> {
        let Keys::Dates { texts, packed } = &self.keys else {
            return None;
        };
        let by_text = || {
            let wanted = moment.to_string();
            texts.partition_point(|&key| arena.get(key) <= wanted.as_str())
        };
        let count = match packed {
            Some(packed) => {
                let wanted = moment.packed();
                let count = packed.partition_point(|&key| key <= wanted);
                // The same second, and more behind it on both sides.
                let close = !moment.is_whole() && packed.get(count) == Some(&(wanted | LONGER));
                if close { by_text() } else { count }
            }
            None => by_text(),
        };
        count.checked_sub(1)
    }
}

/// The index of the date closest to the moment.
pub(super) fn closest<'c, 't>(
    moment: date::Moment,
    texts: impl Iterator<Item = &'t str>,
) -> Result<usize, Failure<'c>> {
    let mut distances = Vec::new();
    for text in texts {
        let key = date::parse(text).map_err(Failure::plain)?;
        #[expect(
            clippy::cast_precision_loss,
            reason = "the client rounds to single precision in the end"
        )]
        let micros = moment.micros().abs_diff(key.micros()) as f64;
        distances.push(single(micros / 1e6));
    }
    first_smallest(&distances)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the client works in single precision"
)]
fn single(number: f64) -> f32 {
    number as f32
}

/// The index of the smallest distance, as numpy's `argmin` gives it: a NaN is smaller than anything.
fn first_smallest<'c>(distances: &[f32]) -> Result<usize, Failure<'c>> {
    let mut best: Option<(usize, f32)> = None;
    for (place, &distance) in distances.iter().enumerate() {
        match best {
            Some((_, least)) if least.is_nan() => break,
            Some((_, least)) if !(distance.is_nan() || distance < least) => {}
            _ => best = Some((place, distance)),
        }
    }
    let (place, _) = best.ok_or_else(|| Failure::plain("attempt to get argmin of an empty sequence"))?;
    Ok(place)
}
