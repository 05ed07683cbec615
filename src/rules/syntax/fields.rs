//! The header of a mapping.

use std::borrow::Cow;

use crate::rules::syntax::ast::{Item, Parts, Tree};
use crate::rules::syntax::error::{LoadError, LoadErrorKind};
use crate::rules::values::python::{lower, repr};

/// The header of a mapping.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'t, 's> {
    pub(crate) header: Parts,
    pub(crate) tree: &'t Tree<'s>,
}

impl Fields<'_, '_> {
    /// A field.
    pub(crate) fn get(&self, name: &str) -> Option<Item> {
        let named = |(key, _): &(Item, Item)| self.tree.as_str(*key) == Some(name);
        self.tree.pairs(self.header).find(named).map(|(_, value)| value)
    }

    /// A text by the rule for reading header values: lower case, unless it is in parentheses.
    pub(crate) fn text(&self, name: &str) -> String {
        match self.get(name) {
            Some(Item::Str(text)) => read(self.tree.arena.get(text)).into_owned(),
            Some(other) => self.tree.repr(other),
            None => String::new(),
        }
    }

    /// A field as Python's `repr` shows what is read of it.
    pub(crate) fn shown(&self, name: &str) -> String {
        match self.get(name) {
            Some(Item::Str(text)) => repr(&read(self.tree.arena.get(text))),
            Some(other) => self.tree.repr(other),
            None => String::new(),
        }
    }

    /// Fails unless the header has these fields and those of every mapping.
    pub(crate) fn require(&self, names: &[&str]) -> Result<(), LoadError> {
        let all = ["mapping", "parkey", "name", "derived_from"].iter().chain(names);
        match all.into_iter().find(|name| self.get(name).is_none()) {
            Some(name) => Err(LoadError::new(
                LoadErrorKind::MissingHeaderKey,
                format!("Required header key '{name}' is missing."),
            )),
            None => Ok(()),
        }
    }

    /// The names in a field. Of a text, which Python takes apart too, they are its letters.
    pub(crate) fn iterated(&self, name: &str) -> Result<Vec<String>, LoadError> {
        let names = match self.get(name) {
            None => Ok(Vec::new()),
            Some(Item::Str(_)) => Ok(self.text(name).chars().map(String::from).collect()),
            Some(item) => self.tree.iterated(item),
        };
        names.map_err(|kind| LoadError::new(LoadErrorKind::Mapping, not_iterable(kind)))
    }

    /// Python's message for fields that selectors need and that are no lists or dicts.
    pub(crate) fn check_lists(&self) -> Result<(), String> {
        if let Some(item) = self.get("comment_parkeys") {
            self.tree.iterated(item).map_err(not_iterable)?;
            if let Item::Tuple(parts) | Item::List(parts) = item
                && let Some(other) = self.tree.parts(parts).iter().find(|part| !is_text(**part))
            {
                let kind = other.type_name();
                return Err(format!("'{kind}' object has no attribute 'upper'"));
            }
        }
        let wrong_length = |length: usize| {
            format!("dictionary update sequence element #0 has length {length}; 2 is required")
        };
        match self.get("substitutions") {
            None | Some(Item::Dict(_)) => Ok(()),
            Some(item @ (Item::Str(_) | Item::Tuple(_) | Item::List(_))) if self.tree.is_false(item) => {
                Ok(())
            }
            Some(Item::Str(_)) => Err(wrong_length(1)),
            Some(Item::Tuple(parts) | Item::List(parts)) => {
                let first = self.tree.parts(parts).first();
                Err(match first.map(|&first| self.tree.iterated(first)) {
                    Some(Ok(pair)) => wrong_length(pair.len()),
                    _ => "cannot convert dictionary update sequence element #0 to a sequence".to_owned(),
                })
            }
            Some(other) => Err(not_iterable(other.type_name())),
        }
    }

    /// Refuses fields of an rmap with values of a type that the client cannot use.
    pub(crate) fn check_types(&self) -> Result<(), LoadError> {
        const TEXTS: [&str; 8] = [
            "observatory",
            "instrument",
            "filekind",
            "reffile_switch",
            "reffile_format",
            "reffile_required",
            "rmap_relevance",
            "rmap_omit",
        ];
        let wrong = |name: &str, value: Item| {
            let what = format!("the header field '{name}' cannot be a '{}'", value.type_name());
            Err(LoadError::new(LoadErrorKind::Mapping, what))
        };
        for name in TEXTS {
            if let Some(value) = self.get(name).filter(|&value| !is_text(value)) {
                return wrong(name, value);
            }
        }
        self.iterated("extra_keys")?;
        for name in ["parkey_relevance", "hooks"] {
            match self.get(name) {
                Some(Item::Dict(parts)) => {
                    if let Some((_, value)) = self.tree.pairs(parts).find(|&(_, value)| !is_text(value)) {
                        return wrong(name, value);
                    }
                }
                Some(item @ (Item::Tuple(_) | Item::List(_))) if self.tree.is_false(item) => {}
                Some(item) if name == "hooks" && self.tree.is_false(item) => {}
                Some(item) => return wrong(name, item),
                None => {}
            }
        }
        Ok(())
    }

    /// All texts in a field, however nested.
    pub(crate) fn names(&self, field: &str) -> Vec<String> {
        let mut names = Vec::new();
        if let Some(item) = self.get(field) {
            self.collect_names(item, &mut names);
        }
        names
    }

    fn collect_names(&self, item: Item, names: &mut Vec<String>) {
        match item {
            Item::Tuple(parts) | Item::List(parts) => {
                for &part in self.tree.parts(parts) {
                    self.collect_names(part, names);
                }
            }
            other => names.push(self.tree.text(other).into_owned()),
        }
    }
}

/// The rule for reading header values that are texts.
fn read(text: &str) -> Cow<'_, str> {
    if text.starts_with('(') && text.ends_with(')') {
        text.into()
    } else {
        lower(text)
    }
}

fn is_text(item: Item) -> bool {
    matches!(item, Item::Str(_))
}

fn not_iterable(kind: &str) -> String {
    format!("'{kind}' object is not iterable")
}
