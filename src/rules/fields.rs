//! The header of a mapping.

use std::borrow::Cow;

use super::item::{Item, Parts, Tree};
use super::load::{LoadError, LoadErrorKind};
use super::python::lower;

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
            Some(Item::Str(text)) => read(self.tree.pool.get(text)).into_owned(),
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
