//! The values in a mapping's text: a tree in two pieces of memory, whatever its size.

use std::borrow::Cow;
use std::hash::Hasher as _;
use std::ops::Range;

use hashbrown::HashTable;
use rustc_hash::FxHasher;

use crate::crds::literal::float_text;
use crate::rules::syntax::arena::{ArenaBuilder, Span};
use crate::rules::syntax::kind::Kind;
use crate::rules::values::python::{push_repr, repr};

/// A value in a mapping, its texts and parts in a [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Item {
    Str(Span),
    Int(i64),
    BigInt(Span),
    Float(f64),
    Bool(bool),
    None,
    Tuple(Parts),
    List(Parts),
    /// Keys and values in turn.
    Dict(Parts),
    /// `Kind({...})`: keys and values in turn.
    Call(Kind, Parts),
    /// An identifier, which is an error as soon as its value is needed.
    Name(Span),
}

/// Items that lie side by side in a [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts {
    first: u32,
    count: u32,
}

/// The parts and texts of items.
#[derive(Debug)]
pub(crate) struct Tree<'s> {
    items: Vec<Item>,
    pub(crate) arena: ArenaBuilder<'s>,
}

impl<'s> Tree<'s> {
    /// A tree without items over the text of a mapping.
    pub(crate) fn new(source: &'s str) -> Self {
        Self {
            items: Vec::with_capacity(source.len() / 16),
            arena: ArenaBuilder::new(source),
        }
    }

    /// Makes items the parts of another one. There are far fewer than four thousand million (`literal::lexer::MAX_TEXT`).
    pub(crate) fn add(&mut self, items: &[Item]) -> Parts {
        let parts = Parts {
            first: u32::try_from(self.items.len()).unwrap_or(u32::MAX),
            count: u32::try_from(items.len()).unwrap_or(0),
        };
        self.items.extend_from_slice(items);
        parts
    }

    /// The parts of an item.
    pub(crate) fn parts(&self, parts: Parts) -> &[Item] {
        self.items.get(parts.places()).unwrap_or(&[])
    }

    /// The item at one of the places of parts.
    pub(crate) fn at(&self, place: usize) -> Item {
        self.items.get(place).copied().unwrap_or(Item::None)
    }

    /// The keys of a dict or selector with their values.
    pub(crate) fn pairs(&self, parts: Parts) -> impl ExactSizeIterator<Item = (Item, Item)> {
        let pairs = self.parts(parts).as_chunks().0.iter();
        pairs.map(|&[key, value]| (key, value))
    }

    /// One of the keys of a dict or selector with its value, by its place among them.
    pub(crate) fn pair(&self, parts: Parts, place: usize) -> Option<(Item, Item)> {
        match self.parts(parts).get(2 * place..2 * place + 2) {
            Some(&[key, value]) => Some((key, value)),
            _ => None,
        }
    }

    /// The text, if the item is one.
    pub(crate) fn as_str(&self, item: Item) -> Option<&str> {
        match item {
            Item::Str(text) => Some(self.arena.get(text)),
            _ => None,
        }
    }

    /// `str(item)`
    pub(crate) fn text(&self, item: Item) -> Cow<'_, str> {
        match item {
            Item::Str(text) => self.arena.get(text).into(),
            other => self.repr(other).into(),
        }
    }

    /// `repr(item)`
    pub(crate) fn repr(&self, item: Item) -> String {
        let mut shown = String::new();
        self.push_repr(&mut shown, item);
        shown
    }

    fn push_repr(&self, shown: &mut String, item: Item) {
        let push_all = |shown: &mut String, parts: Parts| {
            for (index, &part) in self.parts(parts).iter().enumerate() {
                shown.push_str(if index == 0 { "" } else { ", " });
                self.push_repr(shown, part);
            }
        };
        match item {
            Item::Str(text) => push_repr(shown, self.arena.get(text)),
            Item::Int(number) => shown.push_str(&number.to_string()),
            Item::BigInt(text) | Item::Name(text) => shown.push_str(self.arena.get(text)),
            Item::Float(number) => shown.push_str(&float_text(number)),
            Item::Bool(truth) => shown.push_str(if truth { "True" } else { "False" }),
            Item::None => shown.push_str("None"),
            Item::Tuple(parts) => {
                shown.push('(');
                push_all(shown, parts);
                shown.push_str(if parts.count == 1 { ",)" } else { ")" });
            }
            Item::List(parts) => {
                shown.push('[');
                push_all(shown, parts);
                shown.push(']');
            }
            Item::Dict(parts) => {
                shown.push('{');
                for (index, (key, value)) in self.pairs(parts).enumerate() {
                    shown.push_str(if index == 0 { "" } else { ", " });
                    self.push_repr(shown, key);
                    shown.push_str(": ");
                    self.push_repr(shown, value);
                }
                shown.push('}');
            }
            Item::Call(kind, _) => shown.push_str(kind.name()),
        }
    }

    /// The number, if Python would compare this as one.
    #[expect(clippy::cast_precision_loss, reason = "long integers are compared as floats")]
    pub(crate) fn number(&self, item: Item) -> Option<f64> {
        match item {
            Item::Int(number) => Some(number as f64),
            Item::BigInt(digits) => self.arena.get(digits).parse().ok(),
            Item::Float(number) => Some(number),
            Item::Bool(truth) => Some(f64::from(u8::from(truth))),
            _ => None,
        }
    }

    /// Python's `==`
    pub(crate) fn equals(&self, one: Item, two: Item) -> bool {
        match (one, two) {
            (Item::Str(one), Item::Str(two)) | (Item::BigInt(one), Item::BigInt(two)) => {
                self.arena.get(one) == self.arena.get(two)
            }
            (Item::Tuple(one), Item::Tuple(two)) | (Item::List(one), Item::List(two)) => {
                let (one, two) = (self.parts(one), self.parts(two));
                one.len() == two.len() && one.iter().zip(two).all(|(&one, &two)| self.equals(one, two))
            }
            (Item::Int(one), Item::Int(two)) => one == two,
            (Item::None, Item::None) => true,
            _ => self.number(one).is_some() && self.number(one) == self.number(two),
        }
    }

    /// Python's `<`, or the text of its failure.
    pub(crate) fn is_less(&self, one: Item, two: Item) -> Result<bool, String> {
        match (one, two) {
            (Item::Str(one), Item::Str(two)) => return Ok(self.arena.get(one) < self.arena.get(two)),
            (Item::Tuple(one), Item::Tuple(two)) => {
                let (one, two) = (self.parts(one), self.parts(two));
                let mut both = one.iter().zip(two);
                return match both.find(|&(&one, &two)| !self.equals(one, two)) {
                    Some((&one, &two)) => self.is_less(one, two),
                    None => Ok(one.len() < two.len()),
                };
            }
            _ => {}
        }
        if let (Some(one), Some(two)) = (self.number(one), self.number(two)) {
            return Ok(one < two);
        }
        let (one, two) = (one.type_name(), two.type_name());
        Err(format!(
            "'<' not supported between instances of '{one}' and '{two}'"
        ))
    }

    /// The items of Python's iteration, or the name of the type over which there is none.
    pub(crate) fn iterated(&self, item: Item) -> Result<Vec<String>, &'static str> {
        let text = |&item: &Item| self.text(item).into_owned();
        match item {
            Item::Str(text) => Ok(self.arena.get(text).chars().map(String::from).collect()),
            Item::Tuple(parts) | Item::List(parts) => Ok(self.parts(parts).iter().map(text).collect()),
            Item::Dict(parts) => Ok(self.pairs(parts).map(|(key, _)| text(&key)).collect()),
            other => Err(other.type_name()),
        }
    }

    /// Whether Python calls it false.
    pub(crate) fn is_false(&self, item: Item) -> bool {
        match item {
            Item::Str(text) => self.arena.get(text).is_empty(),
            Item::Tuple(parts) | Item::List(parts) | Item::Dict(parts) => parts.count == 0,
            Item::None => true,
            other => self.number(other) == Some(0.0),
        }
    }

    /// The first part that Python cannot hash, by the name of its type.
    pub(crate) fn unhashable(&self, item: Item) -> Option<&'static str> {
        match item {
            Item::List(_) | Item::Dict(_) => Some(item.type_name()),
            Item::Tuple(parts) => self.parts(parts).iter().find_map(|&part| self.unhashable(part)),
            _ => None,
        }
    }

    /// The first identifier or impossible key, in the order in which Python evaluates.
    pub(crate) fn failure(&self, item: Item) -> Option<String> {
        match item {
            Item::Name(name) => Some(format!("name {} is not defined", repr(self.arena.get(name)))),
            Item::Tuple(parts) | Item::List(parts) => {
                self.parts(parts).iter().find_map(|&part| self.failure(part))
            }
            Item::Dict(parts) | Item::Call(_, parts) => {
                let undefined = self.parts(parts).iter().find_map(|&part| self.failure(part));
                undefined.or_else(|| {
                    let unhashable = self.pairs(parts).find_map(|(key, _)| self.unhashable(key))?;
                    Some(format!("unhashable type: '{unhashable}'"))
                })
            }
            _ => None,
        }
    }
}

impl Parts {
    /// Their range.
    pub(crate) fn places(self) -> Range<usize> {
        let first = self.first as usize;
        first..first + self.count as usize
    }
}

impl Item {
    /// The name of the type, as Python's messages have it.
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Str(_) | Self::Name(_) => "str",
            Self::Int(_) | Self::BigInt(_) => "int",
            Self::Float(_) => "float",
            Self::Bool(_) => "bool",
            Self::None => "NoneType",
            Self::Tuple(_) => "tuple",
            Self::List(_) => "list",
            Self::Dict(_) => "dict",
            Self::Call(..) => "Parameters",
        }
    }
}

/// Keys of dicts: equal are those that Python calls equal (`1`, `1.0` and `True`).
impl Tree<'_> {
    /// Applies Python's rule for equal keys to pairs side by side: the last value, at the place and in the spelling of
    /// the first.
    pub(crate) fn merge_duplicates(&self, pairs: &mut Vec<Item>, from: usize) {
        let (entries, _) = pairs.get(from..).unwrap_or(&[]).as_chunks::<2>();
        let increasing = entries
            .windows(2)
            .all(|two| matches!(two, [[one, _], [two, _]] if self.surely_less(*one, *two)));
        if increasing {
            return;
        }
        let mut kept: Vec<[Item; 2]> = Vec::with_capacity(entries.len());
        let mut places: HashTable<usize> = HashTable::with_capacity(entries.len());
        for &[key, value] in entries {
            let key_at = |place: usize| kept.get(place).map(|[key, _]| *key);
            let place = *places
                .entry(
                    self.key_hash(key),
                    |&place| key_at(place).is_some_and(|other| self.same_key(key, other)),
                    |&place| key_at(place).map_or(0, |key| self.key_hash(key)),
                )
                .or_insert(kept.len())
                .get();
            match kept.get_mut(place) {
                Some([_, old]) => *old = value,
                None => kept.push([key, value]),
            }
        }
        pairs.truncate(from);
        pairs.extend(kept.into_flattened());
    }

    /// Whether a key comes before another one in an order of texts, and of tuples of texts and numbers.
    fn surely_less(&self, one: Item, two: Item) -> bool {
        match (one, two) {
            (Item::Str(one), Item::Str(two)) => self.arena.get(one) < self.arena.get(two),
            (Item::Tuple(one), Item::Tuple(two)) => {
                let mut both = self.parts(one).iter().zip(self.parts(two));
                let first = both.find(|(one, two)| !self.surely_equal(**one, **two));
                first.is_some_and(|(&one, &two)| match (one, two) {
                    (Item::Str(_), Item::Str(_)) => self.surely_less(one, two),
                    _ => match (self.number(one), self.number(two)) {
                        (Some(one), Some(two)) => one < two,
                        (Some(_), None) => matches!(two, Item::Str(_)),
                        _ => false,
                    },
                })
            }
            _ => false,
        }
    }

    fn surely_equal(&self, one: Item, two: Item) -> bool {
        match (one, two) {
            (Item::Str(one), Item::Str(two)) => self.arena.get(one) == self.arena.get(two),
            _ => one == two,
        }
    }

    /// The hash of a key.
    pub(crate) fn key_hash(&self, key: Item) -> u64 {
        let mut hasher = FxHasher::default();
        self.hash_key(key, &mut hasher);
        hasher.finish()
    }

    fn hash_key(&self, key: Item, hasher: &mut FxHasher) {
        match key {
            Item::Str(text) | Item::BigInt(text) => hasher.write(self.arena.get(text).as_bytes()),
            Item::Tuple(parts) => {
                hasher.write_u32(parts.count);
                for &part in self.parts(parts) {
                    self.hash_key(part, hasher);
                }
            }
            Item::None => hasher.write_u8(0),
            // Adding zero makes one of the two zeros.
            _ => match self.number(key) {
                Some(number) => hasher.write_u64((number + 0.0).to_bits()),
                None => hasher.write(self.repr(key).as_bytes()),
            },
        }
    }

    /// Whether Python calls two keys equal.
    pub(crate) fn same_key(&self, one: Item, two: Item) -> bool {
        match (one, two) {
            (Item::Str(one), Item::Str(two)) | (Item::BigInt(one), Item::BigInt(two)) => {
                self.arena.get(one) == self.arena.get(two)
            }
            (Item::Tuple(one), Item::Tuple(two)) => {
                let (one, two) = (self.parts(one), self.parts(two));
                one.len() == two.len() && one.iter().zip(two).all(|(&one, &two)| self.same_key(one, two))
            }
            (Item::Str(_) | Item::BigInt(_) | Item::Tuple(_) | Item::None, _)
            | (_, Item::Str(_) | Item::BigInt(_) | Item::Tuple(_) | Item::None) => {
                one == Item::None && two == Item::None
            }
            _ => match (self.number(one), self.number(two)) {
                (Some(one), Some(two)) => (one + 0.0).to_bits() == (two + 0.0).to_bits(),
                (None, None) => self.repr(one) == self.repr(two),
                _ => false,
            },
        }
    }
}
