//! Merging of selectors whose keys match equally well (spec/crds-rules 12).

use std::cmp::Ordering;

use crate::rules::model::selector::{Choice, Keys, Selector};
use crate::rules::syntax::arena::{Arena, Span};
use crate::rules::syntax::kind::Kind;

/// A key of a merged selector.
#[derive(Debug, Clone)]
pub(crate) enum Key<'c> {
    Text(&'c str),
    Version([u32; 3]),
    /// The elements of a Match key.
    Elements(Vec<&'c str>),
    Number(f64),
    Relation,
    /// One that the selector cannot use: the name of its type.
    Other(&'static str),
}

impl<'c> Key<'c> {
    /// The text of a date.
    pub(crate) fn text(&self) -> &'c str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }

    /// As people read it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Version([one, two, three]) => format!("{one}.{two}.{three}"),
            other => other.text().to_owned(),
        }
    }

    fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "str",
            Self::Version(_) | Self::Elements(_) => "tuple",
            Self::Number(_) => "float",
            Self::Relation => "VersionRelation",
            Self::Other(name) => name,
        }
    }

    fn compare(&self, other: &Key<'_>, operator: &str) -> Result<Ordering, String> {
        match (self, other) {
            (Self::Text(one), Key::Text(two)) => Ok((*one).cmp(two)),
            (Self::Version(one), Key::Version(two)) => Ok(one.cmp(two)),
            (Self::Elements(one), Key::Elements(two)) => Ok(one.as_slice().cmp(two.as_slice())),
            (Self::Number(one), Key::Number(two)) => Ok(one.partial_cmp(two).unwrap_or(Ordering::Equal)),
            (Self::Version(_), Key::Elements(_)) => Err(unsupported(operator, "int", "str")),
            (Self::Elements(_), Key::Version(_)) => Err(unsupported(operator, "str", "int")),
            (one, two) => Err(unsupported(operator, one.type_name(), two.type_name())),
        }
    }
}

fn unsupported(operator: &str, one: &str, two: &str) -> String {
    format!("'{operator}' not supported between instances of '{one}' and '{two}'")
}

/// A merged selector.
pub(crate) struct Merged<'c> {
    pub(crate) kind: Kind,
    pub(crate) slots: &'c [u16],
    pub(crate) entries: Vec<(Key<'c>, &'c Choice)>,
}

/// Merges selectors into the first; failures are in the client's words.
pub(crate) fn merge<'c>(
    arena: &'c Arena,
    first: &'c Selector,
    others: &[&'c Choice],
) -> Result<Merged<'c>, String> {
    let mut entries = entries(arena, first);
    for other in others {
        if !matches!(
            first.kind,
            Kind::UseAfter | Kind::ClosestTime | Kind::VersionAfter
        ) {
            return Err(format!(
                "More than one match was found at the same weight and {} does not support merging.",
                first.kind.name()
            ));
        }
        let Choice::Selector(other) = other else {
            let kind = other.exact_type_name(arena);
            return Err(format!("'{kind}' object has no attribute '_selections'"));
        };
        entries = merge_two(arena, entries, self::entries(arena, other))?;
    }
    Ok(Merged {
        kind: first.kind,
        slots: &first.slots,
        entries,
    })
}

type Entries<'c> = Vec<(Key<'c>, &'c Choice)>;

fn entries<'c>(arena: &'c Arena, selector: &'c Selector) -> Entries<'c> {
    let texts = |spans: &'c [Span]| -> Vec<Key<'c>> {
        spans.iter().map(|&span| Key::Text(arena.get(span))).collect()
    };
    let keys: Vec<Key<'c>> = match &selector.keys {
        Keys::Match(table) => (0..table.rows)
            .map(|row| {
                let elements = crate::rules::compile::row(table, row);
                Key::Elements(elements.iter().map(|&span| arena.get(span)).collect())
            })
            .collect(),
        Keys::Dates { texts: spans, .. } => texts(spans),
        Keys::Nearest { keys, .. } => texts(keys),
        Keys::Versions(versions) => versions.iter().map(|&version| Key::Version(version)).collect(),
        Keys::Relations(relations) => relations.iter().map(|_| Key::Relation).collect(),
        Keys::Numbers(numbers) => numbers.iter().map(|&number| Key::Number(number)).collect(),
        Keys::Other(types) => types.iter().map(|&name| Key::Other(name)).collect(),
    };
    keys.into_iter().zip(&selector.choices).collect()
}

fn merge_two<'c>(arena: &Arena, one: Entries<'c>, two: Entries<'c>) -> Result<Entries<'c>, String> {
    let mut merged = Vec::with_capacity(one.len() + two.len());
    let (mut one, mut two) = (one.into_iter().peekable(), two.into_iter().peekable());
    while let (Some((first, own)), Some((second, other))) = (one.peek(), two.peek()) {
        match first.compare(second, "<")? {
            Ordering::Less => merged.extend(one.next()),
            Ordering::Greater => merged.extend(two.next()),
            Ordering::Equal => {
                let keep_own = own.compare(other, arena)?.is_ge();
                let (own, other) = (one.next(), two.next());
                merged.extend(if keep_own { own } else { other });
            }
        }
    }
    merged.extend(one);
    merged.extend(two);
    Ok(merged)
}

/// The index of the greatest key not above the wanted one.
pub(crate) fn floor(entries: &[(Key<'_>, &Choice)], wanted: &Key<'_>) -> Result<Option<usize>, String> {
    let mut place = None;
    for (index, (key, _)) in entries.iter().enumerate() {
        if key.compare(wanted, "<=")?.is_gt() {
            break;
        }
        place = Some(index);
    }
    Ok(place)
}

impl Choice {
    /// The name of the type, as Python's messages have it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "str",
            Self::Tuple(_) => "tuple",
            Self::List(_) => "list",
            Self::Dict(_) => "dict",
            Self::Other(_) => "int",
            Self::Selector(selector) => selector.kind.class(),
        }
    }

    /// The name of the type, known also for numbers and the like.
    fn exact_type_name(&self, arena: &Arena) -> &'static str {
        match self {
            Self::Other(text) => match arena.get(*text) {
                "None" => "NoneType",
                "True" | "False" => "bool",
                number if number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') => "int",
                _ => "float",
            },
            _ => self.type_name(),
        }
    }

    /// The first part that Python cannot hash, by the name of its type.
    pub(crate) fn unhashable(&self) -> Option<&'static str> {
        match self {
            Self::Dict(_) | Self::List(_) => Some(self.type_name()),
            Self::Tuple(items) => items.iter().find_map(Choice::unhashable),
            _ => None,
        }
    }

    fn number(&self, arena: &Arena) -> Option<f64> {
        match self {
            Self::Other(text) => match arena.get(*text) {
                "True" => Some(1.0),
                "False" => Some(0.0),
                number => number.parse().ok(),
            },
            _ => None,
        }
    }

    fn equals(&self, other: &Self, arena: &Arena) -> bool {
        match (self, other) {
            (Self::Text(one), Self::Text(two)) => arena.get(*one) == arena.get(*two),
            (Self::Tuple(one), Self::Tuple(two)) | (Self::List(one), Self::List(two)) => {
                one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.equals(two, arena))
            }
            (Self::Other(one), Self::Other(two)) if arena.get(*one) == arena.get(*two) => true,
            _ => self.number(arena).is_some() && self.number(arena) == other.number(arena),
        }
    }

    /// The order of two choices, as far as Python has one.
    fn compare(&self, other: &Self, arena: &Arena) -> Result<Ordering, String> {
        match (self, other) {
            (Self::Text(one), Self::Text(two)) => Ok(arena.get(*one).cmp(arena.get(*two))),
            (Self::Tuple(one), Self::Tuple(two)) | (Self::List(one), Self::List(two)) => {
                for (one, two) in one.iter().zip(two) {
                    if !one.equals(two, arena) {
                        return one.compare(two, arena);
                    }
                }
                Ok(one.len().cmp(&two.len()))
            }
            (one, two) => {
                if let (Some(one), Some(two)) = (one.number(arena), two.number(arena)) {
                    return Ok(one.partial_cmp(&two).unwrap_or(Ordering::Less));
                }
                let (one, two) = (one.exact_type_name(arena), two.exact_type_name(arena));
                Err(unsupported(">=", one, two))
            }
        }
    }
}
