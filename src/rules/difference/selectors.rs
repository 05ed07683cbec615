//! Comparison of two selectors, entry by entry, in the client's terms.

use std::collections::HashMap;

use super::raw::{RawChoice, RawEntry, RawMapping, RawSelector, RawValue};
use super::{Action, Change};
use crate::rules::values::python::repr_tuple;

/// The two rmaps of a comparison, and what is common to all its changes.
pub(super) struct Selectors<'m> {
    pub(super) old: &'m RawMapping,
    pub(super) new: &'m RawMapping,
    /// A change without an action.
    pub(super) begin: &'m Change,
}

/// The keys on the way to a selector: the parameters of each with their values.
type Path = Vec<Vec<(String, String)>>;

impl<'m> Selectors<'m> {
    /// Adds what changes from one selector to another. `top`: they are the outermost ones of their rmaps.
    pub(super) fn compare(
        &self,
        (old, new): (&'m RawSelector, &'m RawSelector),
        path: &Path,
        top: bool,
        changes: &mut Vec<Change>,
    ) {
        if old.kind != new.kind {
            let text = format!("different classes {} : {}", old.kind.name(), new.kind.name());
            changes.push(self.change(path.clone(), Action::Class, (None, None), text));
            return;
        }
        let (was, is) = (parameters(self.old, old.level), parameters(self.new, new.level));
        if was != is {
            let shown = |names: &[String]| repr_tuple(names.iter().map(String::as_str));
            let (was, is) = (shown(was), shown(is));
            let text = format!("different parameter lists  {was} : {is}");
            changes.push(self.change(path.clone(), Action::Parameters, (Some(was), Some(is)), text));
            return;
        }
        let by_key = |selector: &'m RawSelector| -> HashMap<&'m str, &'m RawEntry> {
            let entries = selector.entries.iter();
            entries.map(|entry| (entry.identity.as_str(), entry)).collect()
        };
        let (olds, news) = (by_key(old), by_key(new));
        for entry in &old.entries {
            match news.get(entry.identity.as_str()) {
                Some(other) => self.compare_entries((entry, other), was, path, changes),
                None => self.lost_or_new(Action::Deleted, (old, entry), was, (path, top), changes),
            }
        }
        for entry in &new.entries {
            if !olds.contains_key(entry.identity.as_str()) {
                self.lost_or_new(Action::Added, (new, entry), is, (path, top), changes);
            }
        }
    }

    fn compare_entries(
        &self,
        (old, new): (&'m RawEntry, &'m RawEntry),
        names: &[String],
        path: &Path,
        changes: &mut Vec<Change>,
    ) {
        match (&old.choice, &new.choice) {
            (RawChoice::Selector(was), RawChoice::Selector(is)) => {
                self.compare((was, is), &below(path, old, names), false, changes);
            }
            (RawChoice::Selector(was), RawChoice::Value(is)) => {
                let class = if is.text == "N/A" { "N/A" } else { is.class };
                let text = format!("different classes {} : {class}", was.kind.name());
                let (was, is) = (None, Some(is.text.clone()));
                changes.push(self.change(below(path, old, names), Action::Class, (was, is), text));
            }
            (RawChoice::Value(was), RawChoice::Selector(is)) => {
                let parameters = parameters(self.new, is.level);
                let shown = format!(
                    "{}({}, nselections={})",
                    is.kind.class(),
                    repr_tuple(parameters.iter().map(String::as_str)),
                    is.entries.len()
                );
                let text = format!("replaced {} with {shown}", was.repr);
                let values = (Some(was.text.clone()), Some(shown));
                changes.push(self.change(at_key(path, old, names), Action::Replaced, values, text));
            }
            (RawChoice::Value(was), RawChoice::Value(is)) if was.identity != is.identity => {
                let text = format!("replaced {} with {}", was.repr, is.repr);
                let values = (Some(was.text.clone()), Some(is.text.clone()));
                changes.push(self.change(at_key(path, old, names), Action::Replaced, values, text));
            }
            (RawChoice::Value(_), RawChoice::Value(_)) => {}
        }
    }

    /// Adds the changes for an entry that only one of the selectors has.
    fn lost_or_new(
        &self,
        action: Action,
        (selector, entry): (&'m RawSelector, &'m RawEntry),
        names: &[String],
        (path, top): (&Path, bool),
        changes: &mut Vec<Change>,
    ) {
        let rule = format!("{} rule for", selector.kind.name());
        match &entry.choice {
            RawChoice::Selector(nested) => {
                let path = below(path, entry, names);
                self.all_below(action, &rule, nested, &path, changes);
            }
            RawChoice::Value(value) => {
                let what = if top { rule.as_str() } else { "terminal" };
                let path = at_key(path, entry, names);
                changes.push(self.of_value(action, what, value, path));
            }
        }
    }

    /// Adds a change for each value below a selector that only one of the rmaps has.
    fn all_below(
        &self,
        action: Action,
        what: &str,
        selector: &'m RawSelector,
        path: &Path,
        changes: &mut Vec<Change>,
    ) {
        let mapping = if action == Action::Added {
            self.new
        } else {
            self.old
        };
        let names = parameters(mapping, selector.level);
        for entry in &selector.entries {
            match &entry.choice {
                RawChoice::Selector(nested) => {
                    self.all_below(action, what, nested, &below(path, entry, names), changes);
                }
                RawChoice::Value(value) => {
                    let path = at_key(path, entry, names);
                    changes.push(self.of_value(action, what, value, path));
                }
            }
        }
    }

    fn of_value(&self, action: Action, what: &str, value: &RawValue, path: Path) -> Change {
        let text = format!("{} {what} {}", action.as_str(), value.repr);
        let value = Some(value.text.clone());
        let values = if action == Action::Added {
            (None, value)
        } else {
            (value, None)
        };
        self.change(path, action, values, text)
    }

    fn change(
        &self,
        parameters: Path,
        action: Action,
        (old, new): (Option<String>, Option<String>),
        text: String,
    ) -> Change {
        Change {
            parameters,
            action,
            old,
            new,
            text,
            ..self.begin.clone()
        }
    }
}

fn parameters(mapping: &RawMapping, level: usize) -> &[String] {
    mapping.parameters.get(level).map_or(&[], Vec::as_slice)
}

/// The path to what is below an entry.
fn below(path: &Path, entry: &RawEntry, names: &[String]) -> Path {
    let key = names.iter().cloned().zip(entry.values.iter().cloned());
    let mut path = path.clone();
    path.push(key.collect());
    path
}

/// The path to an entry itself. As in the client a key that Python calls false is not shown.
fn at_key(path: &Path, entry: &RawEntry, names: &[String]) -> Path {
    if entry.is_false {
        return path.clone();
    }
    below(path, entry, names)
}
