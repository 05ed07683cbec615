//! From the source of a selector to its compiled form (spec/crds-rules 10).

use std::cmp::Ordering;
use std::rc::Rc;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::rules::model::column::Replacement;
use crate::rules::model::selector::{Choice, Keys, Selector, Table};
use crate::rules::model::slots::Slots;
use crate::rules::syntax::arena::Span;
use crate::rules::syntax::ast::{Item, Parts, Tree};
use crate::rules::syntax::kind::Kind;
use crate::rules::values::condition::{NOT_APPLICABLE, condition, is_esoteric};
use crate::rules::values::date::{LONGER, pack};
use crate::rules::values::python::{repr, repr_tuple};
use crate::rules::values::version::{Relation, parse_version};
use substitute::{Entries, Substitutions};

mod order;
pub(crate) mod substitute;
mod table;
mod words;

#[cfg(test)]
pub(crate) use words::alternatives;

use table::Distinct;
use words::Words;

/// The state that the selectors of one rmap share while they are compiled.
pub(crate) struct Compiler<'c, 's> {
    tree: &'c mut Tree<'s>,
    slots: &'c mut Slots,
    parkey: Item,
    substitutions: &'c Substitutions,
    words: Words<'s>,
    distinct: Distinct,
    /// The parameters of those levels of `parkey` that were met.
    levels: Vec<Option<Rc<Level>>>,
    /// The number of columns of its Match selectors so far.
    pub(crate) columns: u32,
}

/// The parameters of the selectors of one level.
struct Level {
    params: Vec<String>,
    slots: Arc<[u16]>,
    /// Whether one of the parameters has substitutions.
    substituted: bool,
}

type Compiled = Result<(Keys, Vec<Choice>), String>;

impl<'c, 's> Compiler<'c, 's> {
    pub(crate) fn new(
        tree: &'c mut Tree<'s>,
        slots: &'c mut Slots,
        parkey: Item,
        substitutions: &'c Substitutions,
    ) -> Self {
        Self {
            tree,
            slots,
            parkey,
            substitutions,
            words: Words::default(),
            distinct: Distinct::default(),
            levels: Vec::new(),
            columns: 0,
        }
    }

    /// Compiles a selector whose parameters are those of a level of `parkey`; failures are in the client's words.
    pub(crate) fn selector(&mut self, kind: Kind, entries: Parts, level: usize) -> Result<Selector, String> {
        let plain_dates = match kind {
            Kind::UseAfter | Kind::ClosestTime => self.plain_dates(entries),
            _ => None,
        };
        if let Some((keys, choices)) = plain_dates {
            let level = self.level(level)?;
            if !level.substituted {
                return Ok(Selector {
                    kind,
                    slots: Arc::clone(&level.slots),
                    keys,
                    plain: true,
                    choices,
                });
            }
        }
        let mut compiled = Vec::with_capacity(self.tree.pairs(entries).len());
        while let Some((key, value)) = self.tree.pair(entries, compiled.len()) {
            let choice = match value {
                Item::Call(kind, entries) => {
                    Choice::Selector(Box::new(self.selector(kind, entries, level + 1)?))
                }
                other => self.choice(other),
            };
            compiled.push((key, choice));
        }
        let level = self.level(level)?;
        if level.substituted {
            substitute::keys(self.tree, self.substitutions, &level.params, &mut compiled)?;
        }
        let (keys, choices) = match kind {
            Kind::Match => self.table(&level, compiled)?,
            Kind::UseAfter | Kind::ClosestTime => self.dates(compiled)?,
            Kind::VersionAfter => self.versions(compiled)?,
            Kind::SelectVersion => self.relations(compiled)?,
            Kind::GeometricallyNearest => self.nearest(&level.params, compiled)?,
            Kind::Bracket => self.numbers(compiled)?,
        };
        Ok(Selector {
            kind,
            slots: Arc::clone(&level.slots),
            keys,
            plain: choices.iter().all(|choice| matches!(choice, Choice::Text(_))),
            choices: choices.into(),
        })
    }

    fn choice(&mut self, item: Item) -> Choice {
        match item {
            Item::Str(text) => Choice::Text(text),
            Item::Tuple(parts) => Choice::Tuple(self.parts(parts)),
            Item::List(parts) => Choice::List(self.parts(parts)),
            Item::Dict(parts) => {
                let pairs: Vec<_> = self.tree.pairs(parts).collect();
                let pairs = pairs.into_iter();
                Choice::Dict(
                    pairs
                        .map(|(key, value)| (self.choice(key), self.choice(value)))
                        .collect(),
                )
            }
            other => {
                let shown = self.tree.repr(other);
                Choice::Other(self.tree.arena.add(&shown))
            }
        }
    }

    fn parts(&mut self, parts: Parts) -> Box<[Choice]> {
        let parts = self.tree.parts(parts).to_vec();
        parts.into_iter().map(|part| self.choice(part)).collect()
    }

    fn level(&mut self, level: usize) -> Result<Rc<Level>, String> {
        if let Some(Some(known)) = self.levels.get(level) {
            return Ok(Rc::clone(known));
        }
        let params = self.parameters(level)?;
        let slots = params.iter().map(|param| self.slots.parameter(param)).collect();
        let substituted = |param: &String| self.substitutions.iter().any(|(name, _)| name == param);
        let new = Rc::new(Level {
            substituted: params.iter().any(substituted),
            params,
            slots,
        });
        if self.levels.len() <= level {
            self.levels.resize(level + 1, None);
        }
        if let Some(place) = self.levels.get_mut(level) {
            *place = Some(Rc::clone(&new));
        }
        Ok(new)
    }

    fn parameters(&self, level: usize) -> Result<Vec<String>, String> {
        let levels = match self.parkey {
            Item::Tuple(levels) => {
                let levels = self.tree.parts(levels);
                levels.get(level).ok_or("tuple index out of range")?
            }
            Item::List(levels) => {
                let levels = self.tree.parts(levels);
                levels.get(level).ok_or("list index out of range")?
            }
            _ => return Err("parameters should be a list or tuple of header keys".to_owned()),
        };
        match *levels {
            Item::Tuple(names) | Item::List(names) => {
                let names = self.tree.parts(names).iter();
                Ok(names.map(|&name| self.tree.text(name).into_owned()).collect())
            }
            _ => Err("parameters should be a list or tuple of header keys".to_owned()),
        }
    }

    /// The replacements that the check of valid values follows.
    fn replacements(&self, param: &str) -> Vec<Replacement> {
        let table = self.substitutions.iter().find(|(name, _)| name == param);
        let pairs = table.map_or(&[][..], |(_, pairs)| pairs);
        pairs
            .iter()
            .filter_map(|&(old, new)| {
                let other_type = self.tree.as_str(new).is_none().then(|| new.type_name());
                Some(Replacement {
                    old: self.tree.as_str(old)?.into(),
                    new: self.tree.text(new).into(),
                    other_type,
                })
            })
            .collect()
    }

    /// The dates of a selector of plain dates and texts in order; nothing if it is another one.
    fn plain_dates(&self, entries: Parts) -> Option<(Keys, Box<[Choice]>)> {
        let entries = self.tree.pairs(entries);
        let mut texts = Vec::with_capacity(entries.len());
        let mut packed = Some(Vec::with_capacity(entries.len()));
        let mut choices = Vec::with_capacity(entries.len());
        let mut before = "";
        for pair in entries {
            let (Item::Str(key), Item::Str(value)) = pair else {
                return None;
            };
            let date = self.tree.arena.get(key);
            if date < before {
                return None;
            }
            before = date;
            texts.push(key);
            choices.push(Choice::Text(value));
            packed = packed.zip(self::packed(date.as_bytes())).map(|(mut all, date)| {
                all.push(date);
                all
            });
        }
        let keys = Keys::Dates {
            texts: texts.into(),
            packed: packed.map(Vec::into_boxed_slice),
        };
        Some((keys, choices.into()))
    }

    fn dates(&self, entries: Entries) -> Compiled {
        let mut keyed = Vec::with_capacity(entries.len());
        for &(key, _) in &entries {
            let Item::Str(key) = key else {
                return self.other_keys(entries);
            };
            keyed.push(key);
        }
        let arena = &self.tree.arena;
        let mut keyed: Vec<_> = keyed.into_iter().zip(entries).collect();
        keyed.sort_by(|(one, _), (two, _)| arena.get(*one).cmp(arena.get(*two)));
        let packed = keyed
            .iter()
            .map(|(text, _)| packed(arena.get(*text).as_bytes()))
            .collect();
        let (texts, choices): (Vec<_>, Vec<_>) = keyed
            .into_iter()
            .map(|(text, (_, choice))| (text, choice))
            .unzip();
        let texts = texts.into();
        Ok((Keys::Dates { texts, packed }, choices))
    }

    fn nearest(&mut self, params: &[String], entries: Entries) -> Compiled {
        let keyed = entries
            .into_iter()
            .map(|(key, choice)| (condition(&self.tree.text(key)).into_owned(), choice))
            .collect();
        let keyed = sorted(keyed, String::cmp, |key| repr(key))?;
        if let (Some((key, _)), false) = (keyed.first(), params.len() == 1) {
            let (key, params) = (repr(key), repr_tuple(params.iter().map(String::as_str)));
            let message = format!("GeometricallyNearest key={key} is wrong length for parameters {params}");
            return Err(message);
        }
        let esoteric = keyed.iter().any(|(key, _)| is_esoteric(key));
        let optional = !esoteric && keyed.iter().any(|(key, _)| key == NOT_APPLICABLE);
        let keys = keyed.iter().map(|(key, _)| self.tree.arena.add(key)).collect();
        let choices = keyed.into_iter().map(|(_, choice)| choice).collect();
        Ok((Keys::Nearest { keys, optional }, choices))
    }

    fn versions(&self, entries: Entries) -> Compiled {
        let mut keyed = Vec::with_capacity(entries.len());
        for (key, choice) in entries {
            let text = self.tree.as_str(key);
            let text = text.ok_or_else(|| format!("Invalid version string {}", self.tree.repr(key)))?;
            keyed.push((parse_version(text)?, choice));
        }
        let keyed = sorted(keyed, Ord::cmp, |[one, two, three]| {
            format!("({one}, {two}, {three})")
        })?;
        let (keys, choices): (Vec<_>, Vec<_>) = keyed.into_iter().unzip();
        Ok((Keys::Versions(keys.into()), choices))
    }

    fn relations(&self, entries: Entries) -> Compiled {
        let mut keyed: Vec<(Relation, Choice)> = Vec::with_capacity(entries.len());
        for (key, choice) in entries {
            keyed.push((Relation::parse(&self.tree.text(key))?, choice));
        }
        let mut known: FxHashMap<String, Vec<&Relation>> = FxHashMap::default();
        for (key, _) in &keyed {
            let alike = known.entry(key.identity()).or_default();
            if alike
                .iter()
                .any(|other| other.compare(key).is_ok_and(Ordering::is_eq))
            {
                return Err(format!("Key {} appears more than once ", key.repr()));
            }
            alike.push(key);
        }
        order::sort(&mut keyed, |(one, _), (two, _)| Ok(one.compare(two)?.is_lt()))?;
        let (keys, choices): (Vec<_>, Vec<_>) = keyed.into_iter().unzip();
        Ok((Keys::Relations(keys.into()), choices))
    }

    fn numbers(&self, entries: Entries) -> Compiled {
        if entries.iter().any(|&(key, _)| self.tree.number(key).is_none()) {
            return self.other_keys(entries);
        }
        let numbered = entries.into_iter();
        let numbered = numbered.filter_map(|(key, choice)| Some((self.tree.number(key)?, choice)));
        let mut keyed: Vec<(f64, Choice)> = numbered.collect();
        keyed.sort_by(|(one, _), (two, _)| one.partial_cmp(two).unwrap_or(Ordering::Equal));
        let (keys, choices): (Vec<_>, Vec<_>) = keyed.into_iter().unzip();
        Ok((Keys::Numbers(keys.into()), choices))
    }

    /// Keys of a type that the selector cannot use, which shows when they are sorted or else in lookups.
    fn other_keys(&self, mut entries: Entries) -> Compiled {
        order::sort(&mut entries, |(one, _), (two, _)| self.tree.is_less(*one, *two))?;
        let entries = entries.into_iter();
        let (types, choices): (Vec<_>, Vec<_>) =
            entries.map(|(key, choice)| (key.type_name(), choice)).unzip();
        Ok((Keys::Other(types.into()), choices))
    }
}

/// Sorts entries by key; equal keys are refused, the first repetition in the order of the file being reported.
fn sorted<K>(
    entries: Vec<(K, Choice)>,
    compare: impl Fn(&K, &K) -> Ordering,
    repr: impl Fn(&K) -> String,
) -> Result<Vec<(K, Choice)>, String> {
    if entries.is_sorted_by(|(one, _), (two, _)| compare(one, two).is_lt()) {
        return Ok(entries);
    }
    let mut numbered: Vec<(usize, (K, Choice))> = entries.into_iter().enumerate().collect();
    numbered.sort_by(|(_, (one, _)), (_, (two, _))| compare(one, two));
    let repeated = numbered.windows(2).filter_map(|two| match two {
        [(_, (one, _)), (place, (two, _))] if compare(one, two).is_eq() => Some((place, two)),
        _ => None,
    });
    if let Some((_, key)) = repeated.min_by_key(|(place, _)| **place) {
        return Err(format!("Key {} appears more than once ", repr(key)));
    }
    Ok(numbered.into_iter().map(|(_, entry)| entry).collect())
}

/// The number of a text of the form `YYYY-MM-DD hh:mm:ss`, whatever the digits, that has the order of texts among such
/// numbers and those of moments. With `.` behind it, the number ends with [`LONGER`]; with `T` after the date, which
/// comes after the blank of all moments, it is later than all of the day.
fn packed(text: &[u8]) -> Option<u64> {
    let digit = |at: usize| {
        text.get(at)
            .map(|byte| byte.wrapping_sub(b'0'))
            .filter(|&digit| digit < 10)
    };
    let pair = |at: usize| Some(digit(at)? * 10 + digit(at + 1)?);
    let is = |at: usize, byte: u8| text.get(at) == Some(&byte);
    if !(is(4, b'-') && is(7, b'-')) {
        return None;
    }
    let year = u16::from(pair(0)?) * 100 + u16::from(pair(2)?);
    let (month, day) = (pair(5)?, pair(8)?);
    if is(10, b'T') {
        return Some(pack(year, [month, day, u8::MAX, u8::MAX, u8::MAX]));
    }
    if !(is(10, b' ') && is(13, b':') && is(16, b':')) {
        return None;
    }
    let whole = pack(year, [month, day, pair(11)?, pair(14)?, pair(17)?]);
    match text.get(19) {
        None => Some(whole),
        Some(b'.') => Some(whole | LONGER),
        Some(_) => None,
    }
}

/// The place of an element in messages and merges of Match selectors.
pub(crate) fn row(table: &Table, row: usize) -> &[Span] {
    let width = table.columns.len();
    table.elements.get(row * width..(row + 1) * width).unwrap_or(&[])
}
