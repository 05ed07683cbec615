//! The difference of two mappings of one level and of everything below them, in the terms of the client's `crds diff`:
//! rules are compared as their texts have them, before substitutions and conditioning.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde::Serialize;

use crate::rules::lookup::mapping::is_special;
use crate::rules::lookup::provider::Texts;
use crate::rules::syntax::error::{LoadError, LoadErrorKind};
use crate::rules::values::python::repr;

mod raw;
mod selectors;

use raw::{Body, RawMapping};
use selectors::Selectors;

/// The difference of two mappings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The old mapping.
    pub old: String,
    /// The new one.
    pub new: String,
    /// The mappings of the two, themselves included.
    pub mappings: MappingChanges,
    /// The references that they name.
    pub references: NameChanges,
    /// The changes one by one, sorted: mappings from the context down, then rules in the order of their keys.
    pub changes: Vec<Change>,
    /// Unchanged rmaps that are not there, without which it is not sure whether [`Difference::references`] are in one of
    /// them too.
    #[serde(skip)]
    pub unread: Vec<String>,
}

/// The changes of mappings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MappingChanges {
    /// Old and new mapping at the same place.
    pub replaced: Vec<(String, String)>,
    /// Those that only the new context has, and that replace none.
    pub added: Vec<String>,
    /// Those that only the old context has, and that none replaces.
    pub removed: Vec<String>,
}

/// Names that only one of two mappings has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NameChanges {
    /// Those of the new one.
    pub added: Vec<String>,
    /// Those of the old one.
    pub removed: Vec<String>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// The mappings on the way to it, old and new, the context first.
    pub mappings: Vec<(String, String)>,
    /// The instrument, where the change is in an imap or rmap.
    pub instrument: Option<String>,
    /// The reference type, where the change is in an rmap.
    pub reftype: Option<String>,
    /// The key of each level of selectors: parameters with their values. In a pmap or imap the instrument or type.
    pub parameters: Vec<Vec<(String, String)>>,
    /// The kind of the change.
    pub action: Action,
    /// The field of the mapping's header that changed, if it is one.
    pub field: Option<String>,
    /// The old value: a file, a special word such as `N/A`, or the value of a field.
    pub old: Option<String>,
    /// The new value.
    pub new: Option<String>,
    /// The change in the client's words.
    pub text: String,
}

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
    /// It has another value.
    Replaced,
    /// A selector of another kind is in its place; what is below was not compared.
    Class,
    /// Its selector has other parameters; what is below was not compared.
    Parameters,
}

impl Action {
    /// The client's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Deleted => "deleted",
            Self::Replaced => "replaced",
            Self::Class => "different classes",
            Self::Parameters => "different parameter lists",
        }
    }
}

/// Two mappings cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DifferenceError {
    /// Mappings that are not there (yet): bring them and try again.
    #[error("these rules are not there: {}", .0.join(", "))]
    Absent(Vec<String>),
    /// A mapping cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A pmap and an rmap, for example.
    #[error(
        "{0} and {1} are mappings of different levels: compare two of .pmap, two of .imap or two of .rmap"
    )]
    Levels(String, String),
}

/// Fields of headers that differ between any two mappings, and say nothing of what they do.
const ROUTINE_FIELDS: [&str; 4] = ["name", "derived_from", "sha1sum", "row_keys"];

/// Compares two mappings and everything below them.
pub fn difference<T: Texts>(texts: &T, old: &str, new: &str) -> Result<Difference, DifferenceError> {
    if extension(old) != extension(new) {
        return Err(DifferenceError::Levels(old.to_owned(), new.to_owned()));
    }
    let comparison = Comparison {
        texts,
        read: RefCell::default(),
        absent: RefCell::default(),
    };
    let mut found = Found::default();
    let begin = Change::begin();
    comparison.pair((old, new), &begin, &mut found)?;
    let names = comparison.names((old, new))?;
    let absent = comparison.absent.take();
    if !absent.is_empty() {
        return Err(DifferenceError::Absent(absent.into_iter().collect()));
    }
    let (references, unread) = comparison.references(&names)?;
    found.changes.sort();
    let replaced: BTreeSet<&str> = found.replaced.iter().map(|(old, _)| old.as_str()).collect();
    let replacing: BTreeSet<&str> = found.replaced.iter().map(|(_, new)| new.as_str()).collect();
    let only = |own: &BTreeSet<String>, other: &BTreeSet<String>, known: &BTreeSet<&str>| {
        let names = own
            .difference(other)
            .filter(|name| !known.contains(name.as_str()));
        names.cloned().collect()
    };
    let mappings = MappingChanges {
        added: only(&names.new, &names.old, &replacing),
        removed: only(&names.old, &names.new, &replaced),
        replaced: found.replaced.into_iter().collect(),
    };
    Ok(Difference {
        old: old.to_owned(),
        new: new.to_owned(),
        mappings,
        references,
        changes: found.changes,
        unread,
    })
}

/// The part of a name behind its last dot: it tells the level of a mapping.
fn extension(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or_default()
}

fn is_rmap(name: &str) -> bool {
    extension(name) == "rmap"
}

/// The mappings of both contexts.
struct Names {
    old: BTreeSet<String>,
    new: BTreeSet<String>,
}

#[derive(Default)]
struct Found {
    changes: Vec<Change>,
    replaced: BTreeSet<(String, String)>,
}

/// The entries of a pmap or imap: keys with mappings or special words.
type Entries = [(String, String)];

/// A comparison under way. What is not there is noted, so that it can be brought all at once.
struct Comparison<'t, T> {
    texts: &'t T,
    read: RefCell<BTreeMap<String, Option<Rc<RawMapping>>>>,
    absent: RefCell<BTreeSet<String>>,
}

impl<T: Texts> Comparison<'_, T> {
    /// A mapping; nothing where it is not there.
    fn mapping(&self, name: &str) -> Result<Option<Rc<RawMapping>>, LoadError> {
        if let Some(known) = self.read.borrow().get(name) {
            return Ok(known.clone());
        }
        let read = match self.texts.text(name) {
            Ok(text) => Some(Rc::new(RawMapping::read(name, &text)?)),
            Err(error) if error.kind() == LoadErrorKind::Absent => None,
            Err(error) => return Err(error),
        };
        self.read.borrow_mut().insert(name.to_owned(), read.clone());
        Ok(read)
    }

    /// As [`Comparison::mapping`], for one that cannot be done without.
    fn needed(&self, name: &str) -> Result<Option<Rc<RawMapping>>, LoadError> {
        let mapping = self.mapping(name)?;
        if mapping.is_none() {
            self.absent.borrow_mut().insert(name.to_owned());
        }
        Ok(mapping)
    }

    /// Compares two mappings. `above` says what is common to all changes.
    fn pair(&self, (old, new): (&str, &str), above: &Change, found: &mut Found) -> Result<(), LoadError> {
        let (Some(was), Some(is)) = (self.needed(old)?, self.needed(new)?) else {
            return Ok(());
        };
        if old != new {
            found.replaced.insert((old.to_owned(), new.to_owned()));
        }
        let mut begin = above.clone();
        begin.mappings.push((old.to_owned(), new.to_owned()));
        begin.instrument = was.instrument.clone().or(begin.instrument);
        begin.reftype = was.filekind.clone().or(begin.reftype);
        compare_headers((&was, &is), &begin, &mut found.changes);
        match (&was.body, &is.body) {
            (Body::Entries(olds), Body::Entries(news)) => {
                let name = was.parameters.first().and_then(|names| names.first());
                let name = name.map_or("", String::as_str);
                self.entries((olds, news), name, &begin, found)
            }
            (Body::Selector(old), Body::Selector(new)) => {
                let selectors = Selectors {
                    old: &was,
                    new: &is,
                    begin: &begin,
                };
                selectors.compare((old, new), &Vec::new(), true, &mut found.changes);
                Ok(())
            }
            _ => Err(LoadError::new(
                LoadErrorKind::Mapping,
                format!("{old} and {new} are mappings of different levels"),
            )),
        }
    }

    /// Compares the entries of two pmaps or imaps, and the mappings that they lead to.
    fn entries(
        &self,
        (olds, news): (&Entries, &Entries),
        parameter: &str,
        begin: &Change,
        found: &mut Found,
    ) -> Result<(), LoadError> {
        let value = |entries: &Entries, key: &str| {
            let found = entries.iter().rev().find(|(own, _)| own == key);
            found.map(|(_, value)| value.clone())
        };
        let keys: BTreeSet<&str> = olds.iter().chain(news).map(|(key, _)| key.as_str()).collect();
        for key in keys {
            let (old, new) = (value(olds, key), value(news, key));
            let (action, text) = match (&old, &new) {
                (Some(old), Some(new)) if old == new => continue,
                (Some(old), Some(new)) => (
                    Action::Replaced,
                    format!("replaced {} with {}", repr(old), repr(new)),
                ),
                (Some(old), None) => (Action::Deleted, format!("deleted {}", repr(old))),
                (None, Some(new)) => (Action::Added, format!("added {}", repr(new))),
                (None, None) => continue,
            };
            let pair = old.as_deref().zip(new.as_deref());
            found.changes.push(Change {
                parameters: vec![vec![(parameter.to_owned(), key.to_owned())]],
                action,
                text,
                old: old.clone(),
                new: new.clone(),
                ..begin.clone()
            });
            if let Some((old, new)) = pair.filter(|(old, new)| !is_special(old) && !is_special(new)) {
                self.pair((old, new), begin, found)?;
            }
        }
        Ok(())
    }

    /// The names of all mappings of both contexts; only those are read that name others.
    fn names(&self, (old, new): (&str, &str)) -> Result<Names, LoadError> {
        Ok(Names {
            old: self.closure(old)?,
            new: self.closure(new)?,
        })
    }

    fn closure(&self, name: &str) -> Result<BTreeSet<String>, LoadError> {
        let mut names = BTreeSet::new();
        let mut left = vec![name.to_owned()];
        while let Some(name) = left.pop() {
            if !names.insert(name.clone()) || is_rmap(&name) {
                continue;
            }
            if let Some(mapping) = self.needed(&name)? {
                left.extend(mapping.children().map(str::to_owned));
            }
        }
        Ok(names)
    }

    /// The references that only one of the contexts names, and the rmaps common to both that could not be asked.
    fn references(&self, names: &Names) -> Result<(NameChanges, Vec<String>), LoadError> {
        let rmaps = |names: &mut dyn Iterator<Item = &String>| -> Result<Vec<Rc<RawMapping>>, LoadError> {
            let rmaps = names.filter(|name| is_rmap(name));
            let read = rmaps.map(|name| self.mapping(name));
            Ok(read
                .collect::<Result<Vec<_>, _>>()?
                .into_iter()
                .flatten()
                .collect())
        };
        let (old, new) = (
            rmaps(&mut names.old.difference(&names.new))?,
            rmaps(&mut names.new.difference(&names.old))?,
        );
        let of = |rmaps: &[Rc<RawMapping>]| {
            let mut names = BTreeSet::new();
            for rmap in rmaps {
                rmap.collect_references(&mut names);
            }
            names.into_iter().map(str::to_owned).collect::<BTreeSet<String>>()
        };
        let (was, is) = (of(&old), of(&new));
        let mut added: BTreeSet<String> = is.difference(&was).cloned().collect();
        let mut removed: BTreeSet<String> = was.difference(&is).cloned().collect();
        let mut unread = Vec::new();
        for name in names.old.intersection(&names.new).filter(|name| is_rmap(name)) {
            if added.is_empty() && removed.is_empty() {
                break;
            }
            let Some(rmap) = self.mapping(name)? else {
                unread.push(name.clone());
                continue;
            };
            let mut common = BTreeSet::new();
            rmap.collect_references(&mut common);
            added.retain(|name| !common.contains(name.as_str()));
            removed.retain(|name| !common.contains(name.as_str()));
        }
        let changes = NameChanges {
            added: added.into_iter().collect(),
            removed: removed.into_iter().collect(),
        };
        Ok((changes, unread))
    }
}

impl Change {
    /// A change of which nothing is said yet.
    fn begin() -> Self {
        Self {
            mappings: Vec::new(),
            instrument: None,
            reftype: None,
            parameters: Vec::new(),
            action: Action::Replaced,
            field: None,
            old: None,
            new: None,
            text: String::new(),
        }
    }
}

fn compare_headers((old, new): (&RawMapping, &RawMapping), begin: &Change, changes: &mut Vec<Change>) {
    let names: BTreeSet<&str> = old
        .header
        .iter()
        .chain(&new.header)
        .map(|(name, _)| name.as_str())
        .collect();
    for name in names.into_iter().filter(|name| !ROUTINE_FIELDS.contains(name)) {
        let (was, is) = (old.field(name), new.field(name));
        let shown = repr(name);
        let (action, text) = match (was, is) {
            (Some(was), Some(is)) if was == is => continue,
            (Some(was), Some(is)) => (
                Action::Replaced,
                format!("header replaced {shown} = {was} with {is}"),
            ),
            (Some(was), None) => (Action::Deleted, format!("deleted header {shown} = {was}")),
            (None, Some(is)) => (Action::Added, format!("header added {shown} = {is}")),
            (None, None) => continue,
        };
        changes.push(Change {
            action,
            field: Some(name.to_owned()),
            old: was.map(str::to_owned),
            new: is.map(str::to_owned),
            text,
            ..begin.clone()
        });
    }
}
