//! The parts of a mapping that a comparison looks at, as its text has them: nothing substituted, nothing conditioned.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::crds::literal::float_text;
use crate::rules::lookup::load::{read_source, unreadable};
use crate::rules::lookup::mapping::is_special;
use crate::rules::syntax::ast::{Item, Parts, Tree};
use crate::rules::syntax::error::LoadError;
use crate::rules::syntax::fields::Fields;
use crate::rules::syntax::kind::Kind;
use crate::rules::syntax::parser;
use crate::rules::values::python::{lower, repr, words};

/// A mapping as its text has it.
#[derive(Debug)]
pub(super) struct RawMapping {
    /// The fields of its header in order, values as Python's `repr` shows what the client reads.
    pub(super) header: Vec<(String, String)>,
    pub(super) instrument: Option<String>,
    pub(super) filekind: Option<String>,
    /// The name of the key of a pmap or imap, or the parameters of each level of an rmap's selectors.
    pub(super) parameters: Vec<Vec<String>>,
    pub(super) body: Body,
}

/// The content of a mapping.
#[derive(Debug)]
pub(super) enum Body {
    /// Instruments or reference types, in lower case, to mappings or special words.
    Entries(Vec<(String, String)>),
    Selector(RawSelector),
}

/// A selector of an rmap.
#[derive(Debug)]
pub(super) struct RawSelector {
    pub(super) kind: Kind,
    /// The parameters: the level of them in [`RawMapping::parameters`].
    pub(super) level: usize,
    pub(super) entries: Vec<RawEntry>,
}

/// An entry of a selector.
#[derive(Debug)]
pub(super) struct RawEntry {
    /// A text that Python's equal keys share, and no others.
    pub(super) identity: String,
    /// The values of the selector's parameters, as the client shows them. The client leaves out a key that is false.
    pub(super) values: Vec<String>,
    pub(super) is_false: bool,
    pub(super) choice: RawChoice,
}

/// The value of an entry.
#[derive(Debug)]
pub(super) enum RawChoice {
    Value(RawValue),
    Selector(RawSelector),
}

/// A file name, a special word, or what else a mapping may hold in their place.
#[derive(Debug)]
pub(super) struct RawValue {
    /// A text that Python's equal values share, and no others.
    pub(super) identity: String,
    /// `str(value)`
    pub(super) text: String,
    /// `repr(value)`
    pub(super) repr: String,
    /// The name of its Python type.
    pub(super) class: &'static str,
    /// The names of files in it.
    files: Vec<String>,
}

impl RawMapping {
    /// Reads a mapping. Its checksum is not looked at, as the client's comparison does not.
    pub(super) fn read(name: &str, text: &str) -> Result<Self, LoadError> {
        let text = parser::normalize_lines(Cow::Borrowed(text));
        let source = read_source(name, &text)?;
        let missing = |section: &str| unreadable(name, &repr(section));
        let Some(Item::Dict(header)) = source.header else {
            return Err(missing("header"));
        };
        let tree = &source.tree;
        let fields = Fields { header, tree };
        let own = |field: &str| fields.get(field).map(|_| fields.text(field));
        let parkey = fields.get("parkey").ok_or_else(|| missing("parkey"))?;
        let (parameters, body) = match source.selector {
            Some(Item::Call(kind, entries)) => {
                let parameters = levels(tree, parkey);
                let reader = Reader {
                    tree,
                    parameters: &parameters,
                };
                let selector = reader.selector(kind, entries, 0);
                (parameters, Body::Selector(selector))
            }
            Some(Item::Dict(pairs)) => {
                let entries = tree.pairs(pairs).map(|(key, value)| {
                    let key = lower(&tree.text(key)).into_owned();
                    (key, tree.text(value).into_owned())
                });
                let parameters = vec![tree.iterated(parkey).unwrap_or_default()];
                (parameters, Body::Entries(entries.collect()))
            }
            _ => return Err(missing("selector")),
        };
        let fields_shown = tree.pairs(header).map(|(key, _)| {
            let key = tree.text(key).into_owned();
            let shown = fields.shown(&key);
            (key, shown)
        });
        Ok(Self {
            header: fields_shown.collect(),
            instrument: own("instrument"),
            filekind: own("filekind"),
            parameters,
            body,
        })
    }

    /// The value of a field of its header, as Python's `repr` shows it.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let found = self.header.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The mappings that it names.
    pub(super) fn children(&self) -> impl Iterator<Item = &str> {
        let entries = match &self.body {
            Body::Entries(entries) => &entries[..],
            Body::Selector(_) => &[],
        };
        let names = entries.iter().map(|(_, value)| value.as_str());
        names.filter(|name| !is_special(name))
    }

    /// Adds the references that an rmap names.
    pub(super) fn collect_references<'m>(&'m self, names: &mut BTreeSet<&'m str>) {
        if let Body::Selector(selector) = &self.body {
            selector.collect_references(names);
        }
    }
}

impl RawSelector {
    fn collect_references<'m>(&'m self, names: &mut BTreeSet<&'m str>) {
        for entry in &self.entries {
            match &entry.choice {
                RawChoice::Value(value) => names.extend(value.files.iter().map(String::as_str)),
                RawChoice::Selector(nested) => nested.collect_references(names),
            }
        }
    }
}

/// The parameters of each level of an rmap's selectors.
fn levels(tree: &Tree<'_>, parkey: Item) -> Vec<Vec<String>> {
    let (Item::Tuple(levels) | Item::List(levels)) = parkey else {
        return Vec::new();
    };
    let levels = tree.parts(levels).iter();
    levels
        .map(|&level| tree.iterated(level).unwrap_or_default())
        .collect()
}

struct Reader<'r, 's> {
    tree: &'r Tree<'s>,
    parameters: &'r [Vec<String>],
}

impl Reader<'_, '_> {
    fn selector(&self, kind: Kind, entries: Parts, level: usize) -> RawSelector {
        let count = self.parameters.get(level).map_or(0, Vec::len);
        let entries = self.tree.pairs(entries).map(|(key, value)| RawEntry {
            identity: self.identity(key),
            values: self.values(kind, key, count),
            is_false: self.tree.is_false(key),
            choice: match value {
                Item::Call(kind, entries) => RawChoice::Selector(self.selector(kind, entries, level + 1)),
                value => RawChoice::Value(self.value(value)),
            },
        });
        RawSelector {
            kind,
            level,
            entries: entries.collect(),
        }
    }

    fn value(&self, item: Item) -> RawValue {
        let mut files = Vec::new();
        self.collect_files(item, &mut files);
        RawValue {
            identity: self.identity(item),
            text: self.tree.text(item).into_owned(),
            repr: self.tree.repr(item),
            class: item.type_name(),
            files,
        }
    }

    fn collect_files(&self, item: Item, files: &mut Vec<String>) {
        match item {
            Item::Str(_) => {
                let text = self.tree.text(item);
                if !is_special(&text) {
                    files.push(text.into_owned());
                }
            }
            Item::Tuple(parts) | Item::List(parts) => {
                for &part in self.tree.parts(parts) {
                    self.collect_files(part, files);
                }
            }
            Item::Dict(pairs) => {
                for (_, value) in self.tree.pairs(pairs) {
                    self.collect_files(value, files);
                }
            }
            _ => {}
        }
    }

    /// The values of a selector's parameters in a key: dates have their parts in one text, versions too.
    fn values(&self, kind: Kind, key: Item, count: usize) -> Vec<String> {
        let text = self.tree.text(key);
        match (kind, key) {
            (Kind::UseAfter | Kind::ClosestTime, _) if count != 1 => {
                words(&text).map(str::to_owned).take(count).collect()
            }
            (Kind::VersionAfter, _) if count != 1 => text.split('.').map(str::to_owned).take(count).collect(),
            (Kind::UseAfter | Kind::ClosestTime | Kind::VersionAfter, _) => vec![text.into_owned()],
            (_, Item::Tuple(parts)) => {
                let parts = self.tree.parts(parts).iter().take(count);
                parts.map(|&part| self.tree.text(part).into_owned()).collect()
            }
            _ => std::iter::once(text.into_owned()).take(count).collect(),
        }
    }

    fn identity(&self, item: Item) -> String {
        match item {
            Item::Tuple(parts) => {
                let parts = self.tree.parts(parts).iter();
                let parts: Vec<String> = parts.map(|&part| self.identity(part)).collect();
                format!("({})", parts.join(","))
            }
            // One, 1.0 and True are the same key, and zero has two signs.
            item => match self.tree.number(item) {
                Some(number) => float_text(number + 0.0),
                None => self.tree.repr(item),
            },
        }
    }
}
