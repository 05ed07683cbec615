//! From the source of a selector to its compiled form (spec/crds-rules 10).

use std::borrow::Cow;

use rustc_hash::FxHashMap;

use super::column::{Column, Replacement};
use super::condition::{NOT_APPLICABLE, condition, condition_element, is_esoteric};
use super::date::pack;
use super::pool::{PoolBuilder, Span};
use super::python::repr_tuple;
use super::selector::{Choice, Keys, Kind, Selector, Table};
use super::slots::Slots;
use super::source::{Call, Item};
use super::version::{Relation, parse_version};

/// `substitutions`: a parameter with its table of old and new elements.
pub(crate) type Substitutions<'s> = Vec<(Cow<'s, str>, Vec<(Item<'s>, Item<'s>)>)>;

/// What the selectors of one rmap share while they are compiled.
pub(crate) struct Compiler<'s, 'c> {
    pub(crate) pool: &'c mut PoolBuilder<'s>,
    pub(crate) slots: &'c mut Slots,
    pub(crate) parkey: &'c Item<'s>,
    pub(crate) substitutions: &'c Substitutions<'s>,
    pub(crate) columns: u32,
}

type Entries<'s> = Vec<(Item<'s>, Choice)>;

impl<'s> Compiler<'s, '_> {
    /// Compiles a selector whose parameters are those of a level of `parkey`; failures are in the client's words.
    pub(crate) fn selector(&mut self, call: Call<'s>, level: usize) -> Result<Selector, String> {
        let kind = Kind::from_name(call.kind).ok_or("unknown selector")?;
        let mut entries = Vec::with_capacity(call.entries.len());
        for (key, value) in call.entries {
            let choice = match value {
                Item::Call(nested) => Choice::Selector(Box::new(self.selector(*nested, level + 1)?)),
                other => self.choice(other),
            };
            entries.push((key, choice));
        }
        let params = self.parameters(level)?;
        self.substitute(&params, &mut entries);
        let slots: Box<[u16]> = params.iter().map(|param| self.slots.parameter(param)).collect();
        let (keys, choices) = match kind {
            Kind::Match => self.table(&params, &slots, entries)?,
            Kind::UseAfter | Kind::ClosestTime => self.dates(entries),
            Kind::VersionAfter => versions(entries)?,
            Kind::SelectVersion => relations(entries)?,
            Kind::GeometricallyNearest => self.nearest(&params, entries)?,
            Kind::Bracket => numbers(entries)?,
        };
        Ok(Selector {
            kind,
            slots,
            keys,
            plain: choices.iter().all(|choice| matches!(choice, Choice::Text(_))),
            choices: choices.into(),
        })
    }

    fn choice(&mut self, item: Item<'s>) -> Choice {
        match item {
            Item::Str(text) => Choice::Text(self.pool.span(&text)),
            Item::Tuple(items) | Item::List(items) => {
                Choice::Tuple(items.into_iter().map(|item| self.choice(item)).collect())
            }
            Item::Dict(pairs) => Choice::Dict(
                pairs
                    .into_iter()
                    .map(|(key, value)| (self.choice(key), self.choice(value)))
                    .collect(),
            ),
            other => Choice::Other(self.pool.add(&other.repr())),
        }
    }

    fn parameters(&self, level: usize) -> Result<Vec<String>, String> {
        let levels = match self.parkey {
            Item::Tuple(levels) => levels.get(level).ok_or("tuple index out of range")?,
            Item::List(levels) => levels.get(level).ok_or("list index out of range")?,
            _ => return Err("parameters should be a list or tuple of header keys".to_owned()),
        };
        match levels {
            Item::Tuple(names) | Item::List(names) => {
                Ok(names.iter().map(|name| name.text().into_owned()).collect())
            }
            _ => Err("parameters should be a list or tuple of header keys".to_owned()),
        }
    }

    /// Replaces elements of keys; a replaced entry takes the place of one that has the new key already.
    fn substitute(&self, params: &[String], entries: &mut Entries<'s>) {
        for (index, param) in params.iter().enumerate() {
            let Some((_, table)) = self.substitutions.iter().find(|(name, _)| name == param) else {
                continue;
            };
            let replaced = |key: &Item<'s>| substituted(key, index, table);
            if entries.iter().any(|(key, _)| replaced(key).is_some()) {
                *entries = substitute_column(std::mem::take(entries), replaced);
            }
        }
    }

    /// The replacements that the check of valid values follows.
    fn replacements(&self, param: &str) -> Vec<Replacement> {
        let table = self.substitutions.iter().find(|(name, _)| name == param);
        let pairs = table.map_or(&[][..], |(_, pairs)| pairs);
        pairs
            .iter()
            .filter_map(|(old, new)| {
                Some(Replacement {
                    old: old.as_str()?.into(),
                    new: new.text().into(),
                    other_type: new.as_str().is_none().then(|| new.type_name()),
                })
            })
            .collect()
    }

    fn table(
        &mut self,
        params: &[String],
        slots: &[u16],
        entries: Entries<'s>,
    ) -> Result<(Keys, Vec<Choice>), String> {
        let rows: Vec<(Vec<Cow<'s, str>>, Choice)> = entries
            .into_iter()
            .map(|(key, choice)| (match_key(key), choice))
            .collect();
        let rows = sorted(rows, |key| repr_tuple(key.iter().map(|element| &**element)))?;
        check_lengths(&rows, params)?;
        let mut columns = Vec::with_capacity(params.len());
        for (place, (param, &slot)) in params.iter().zip(slots).enumerate() {
            let mut distinct: FxHashMap<&str, usize> = FxHashMap::default();
            let mut elements: Vec<(&str, Vec<u32>)> = Vec::new();
            for (row, (key, _)) in (0..).zip(&rows) {
                let element = key.get(place).map_or(NOT_APPLICABLE, |element| &**element);
                let known = *distinct.entry(element).or_insert(elements.len());
                match elements.get_mut(known) {
                    Some((_, rows)) => rows.push(row),
                    None => elements.push((element, vec![row])),
                }
            }
            let column = (slot, self.columns);
            columns.push(Column::new(
                column,
                elements,
                rows.len(),
                self.replacements(param),
            )?);
            self.columns += 1;
        }
        let mut elements = Vec::with_capacity(rows.len() * params.len());
        let mut choices = Vec::with_capacity(rows.len());
        for (key, choice) in rows {
            let padding = std::iter::repeat(Cow::Borrowed(""));
            let key: Vec<Cow<'s, str>> = key.into_iter().chain(padding).take(params.len()).collect();
            elements.extend(key.iter().map(|element| self.pool.span(element)));
            choices.push(choice);
        }
        let table = Table {
            columns: columns.into(),
            elements: elements.into(),
            rows: choices.len(),
        };
        Ok((Keys::Match(table), choices))
    }

    fn dates(&mut self, entries: Entries<'s>) -> (Keys, Vec<Choice>) {
        let mut keyed: Vec<(Cow<'s, str>, Choice)> = entries
            .into_iter()
            .map(|(key, choice)| match key {
                Item::Str(text) => (text, choice),
                other => (other.repr().into(), choice),
            })
            .collect();
        if !keyed.is_sorted_by(|one, two| one.0 <= two.0) {
            keyed.sort_by(|one, two| one.0.cmp(&two.0));
        }
        let packed = keyed.iter().map(|(text, _)| packed(text.as_bytes())).collect();
        let texts = keyed.iter().map(|(text, _)| self.pool.span(text)).collect();
        let choices = keyed.into_iter().map(|(_, choice)| choice).collect();
        (Keys::Dates { texts, packed }, choices)
    }

    fn nearest(&mut self, params: &[String], entries: Entries<'s>) -> Result<(Keys, Vec<Choice>), String> {
        let keyed = entries
            .into_iter()
            .map(|(key, choice)| (condition(&key.text()).into_owned(), choice))
            .collect();
        let keyed = sorted(keyed, |key: &String| super::python::repr(key))?;
        if let (Some((key, _)), false) = (keyed.first(), params.len() == 1) {
            let (key, params) = (
                super::python::repr(key),
                repr_tuple(params.iter().map(String::as_str)),
            );
            let message = format!("GeometricallyNearest key={key} is wrong length for parameters {params}");
            return Err(message);
        }
        let esoteric = keyed.iter().any(|(key, _)| is_esoteric(key));
        let optional = !esoteric
            && keyed
                .iter()
                .any(|(key, _)| key == super::condition::NOT_APPLICABLE);
        let keys = keyed.iter().map(|(key, _)| self.pool.add(key)).collect();
        let choices = keyed.into_iter().map(|(_, choice)| choice).collect();
        Ok((Keys::Nearest { keys, optional }, choices))
    }
}

/// Refuses a key of the wrong length. As in the client, keys behind one with a pattern in a column are not looked at
/// for that column.
fn check_lengths(rows: &[(Vec<Cow<'_, str>>, Choice)], params: &[String]) -> Result<(), String> {
    for place in 0..params.len() {
        for (key, _) in rows {
            if key.len() != params.len() {
                let key = repr_tuple(key.iter().map(|element| &**element));
                let params = repr_tuple(params.iter().map(String::as_str));
                return Err(format!("Match key={key} is wrong length for parameters {params}"));
            }
            if key.get(place).is_some_and(|element| is_esoteric(element)) {
                break;
            }
        }
    }
    Ok(())
}

fn substitute_column<'s>(
    entries: Entries<'s>,
    replaced: impl Fn(&Item<'s>) -> Option<Item<'s>>,
) -> Entries<'s> {
    let identities = entries.iter().map(|(key, _)| key.identity());
    let mut places: FxHashMap<String, usize> = identities.zip(0..).collect();
    let mut entries: Vec<Option<(Item<'s>, Choice)>> = entries.into_iter().map(Some).collect();
    for place in 0..entries.len() {
        let Some((key, choice)) = entries.get_mut(place).and_then(Option::take) else {
            continue;
        };
        let Some(new) = replaced(&key) else {
            entries[place] = Some((key, choice));
            continue;
        };
        let old = key.identity();
        if places.get(&old) == Some(&place) {
            places.remove(&old);
        }
        let existing = places
            .get(&new.identity())
            .copied()
            .filter(|&existing| existing != place);
        if let Some(Some((_, old))) = existing.and_then(|existing| entries.get_mut(existing)) {
            *old = choice;
        } else {
            places.insert(new.identity(), place);
            entries[place] = Some((new, choice));
        }
    }
    entries.into_iter().flatten().collect()
}

/// The key with one element replaced, if the table says so.
fn substituted<'s>(key: &Item<'s>, index: usize, table: &[(Item<'s>, Item<'s>)]) -> Option<Item<'s>> {
    let element = match key {
        Item::Tuple(elements) => elements.get(index)?,
        other => other,
    };
    let (_, new) = table.iter().find(|(old, _)| old.equals(element))?;
    let new = match new {
        Item::List(items) => Item::Tuple(items.clone()),
        other => other.clone(),
    };
    match key {
        Item::Tuple(elements) => {
            let mut elements = elements.clone();
            if let Some(element) = elements.get_mut(index) {
                *element = new;
            }
            Some(Item::Tuple(elements))
        }
        _ => Some(new),
    }
}

/// A key of a Match selector: conditioned texts.
fn match_key(key: Item<'_>) -> Vec<Cow<'_, str>> {
    match key {
        Item::Tuple(elements) => elements.into_iter().map(element).collect(),
        single => vec![element(single)],
    }
}

/// The normal form of an element of a match key.
pub(crate) fn element(item: Item<'_>) -> Cow<'_, str> {
    match item {
        Item::Str(Cow::Borrowed(text)) => condition_element(text),
        Item::Str(Cow::Owned(text)) => condition_element(&text).into_owned().into(),
        Item::Tuple(items) => {
            let items: Vec<String> = items
                .iter()
                .map(|item| condition(&item.text()).into_owned())
                .collect();
            items.join("|").into()
        }
        other => condition(&other.text()).into_owned().into(),
    }
}

/// Sorts entries by key; equal keys are refused, the first repetition in the order of the file being reported.
fn sorted<K: Ord>(
    entries: Vec<(K, Choice)>,
    repr: impl Fn(&K) -> String,
) -> Result<Vec<(K, Choice)>, String> {
    let mut order: Vec<u32> = (0..).take(entries.len()).collect();
    let key = |place: u32| entries.get(place as usize).map(|(key, _)| key);
    order.sort_by(|&one, &two| key(one).cmp(&key(two)));
    let repeated = order
        .windows(2)
        .filter_map(|two| match *two {
            [one, two] if key(one) == key(two) => Some(two),
            _ => None,
        })
        .min();
    if let Some(key) = repeated.and_then(key) {
        return Err(format!("Key {} appears more than once ", repr(key)));
    }
    let mut entries: Vec<Option<(K, Choice)>> = entries.into_iter().map(Some).collect();
    let take = |place: u32| entries.get_mut(place as usize).and_then(Option::take);
    Ok(order.into_iter().filter_map(take).collect())
}

/// The order-preserving number of a text of the form `YYYY-MM-DD hh:mm:ss`, whatever the digits.
fn packed(text: &[u8]) -> Option<u64> {
    let separators = [(4, b'-'), (7, b'-'), (10, b' '), (13, b':'), (16, b':')];
    if text.len() != 19 || separators.iter().any(|&(at, byte)| text.get(at) != Some(&byte)) {
        return None;
    }
    let digit = |at: usize| {
        text.get(at)
            .map(|byte| byte.wrapping_sub(b'0'))
            .filter(|&digit| digit < 10)
    };
    let pair = |at: usize| Some(digit(at)? * 10 + digit(at + 1)?);
    let year = u16::from(pair(0)?) * 100 + u16::from(pair(2)?);
    Some(pack(year, [pair(5)?, pair(8)?, pair(11)?, pair(14)?, pair(17)?]))
}

fn versions(entries: Entries<'_>) -> Result<(Keys, Vec<Choice>), String> {
    let mut keyed = Vec::with_capacity(entries.len());
    for (key, choice) in entries {
        keyed.push((parse_version(&key.text())?, choice));
    }
    let keyed = sorted(keyed, |[one, two, three]| format!("({one}, {two}, {three})"))?;
    let (keys, choices): (Vec<_>, Vec<_>) = keyed.into_iter().unzip();
    Ok((Keys::Versions(keys.into()), choices))
}

fn relations(entries: Entries<'_>) -> Result<(Keys, Vec<Choice>), String> {
    let mut keyed = Vec::with_capacity(entries.len());
    for (key, choice) in entries {
        keyed.push((Relation::parse(&key.text())?, choice));
    }
    for two in keyed.windows(2) {
        if let [(one, _), (two, _)] = two {
            two.compare(one)?;
        }
    }
    keyed.sort_by(|(one, _), (two, _)| one.compare(two).unwrap_or(std::cmp::Ordering::Equal));
    let (keys, choices): (Vec<_>, Vec<_>) = keyed.into_iter().unzip();
    Ok((Keys::Relations(keys.into()), choices))
}

fn numbers(entries: Entries<'_>) -> Result<(Keys, Vec<Choice>), String> {
    let mut keyed = Vec::with_capacity(entries.len());
    for (key, choice) in entries {
        let number = key.number().ok_or_else(|| {
            let kind = key.type_name();
            format!("'<' not supported between instances of '{kind}' and 'float'")
        })?;
        keyed.push((number, choice));
    }
    keyed.sort_by(|(one, _), (two, _)| one.partial_cmp(two).unwrap_or(std::cmp::Ordering::Equal));
    let (keys, choices): (Vec<_>, Vec<_>) = keyed.into_iter().unzip();
    Ok((Keys::Numbers(keys.into()), choices))
}

/// The place of an element in messages and merges of Match selectors.
pub(crate) fn row(table: &Table, row: usize) -> &[Span] {
    let width = table.columns.len();
    table.elements.get(row * width..(row + 1) * width).unwrap_or(&[])
}
