//! Editing the text of a tree in place.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::dataset::asdf::tree::AsdfTree;
use crate::dataset::error::Trouble;
use crate::dataset::flatten;
use crate::dataset::plan::Change;
use crate::dataset::yaml::scalar::{self, Scalar};
use crate::dataset::yaml::{Document, Id, Kind};

/// A replacement of some characters.
#[derive(Debug)]
pub(super) struct Edit {
    pub span: Range<usize>,
    pub text: String,
}

/// Keys that a mapping is to get, in order.
#[derive(Debug, Default)]
struct Addition(Vec<(String, Addend)>);

#[derive(Debug)]
enum Addend {
    Value(String),
    Mapping(Addition),
}

/// The text with the changes in it; `None` if all of them are in it already.
pub(super) fn edit_tree(text: &str, changes: &[Change]) -> Result<Option<String>, Trouble> {
    let document = Document::parse(text)?;
    let root = document
        .root()
        .filter(|root| matches!(document.node(*root).kind, Kind::Mapping(_)));
    let root = root.ok_or_else(|| Trouble::refused("its tree is empty"))?;
    let characters: Vec<char> = text.chars().collect();
    let mut editor = Editor {
        document: &document,
        characters: &characters,
        edits: Vec::new(),
        additions: BTreeMap::new(),
    };
    for change in changes {
        editor.change(root, change)?;
    }
    let edits = editor.finish()?;
    if edits.is_empty() {
        return Ok(None);
    }
    let new = apply(text, edits);
    verify(document, &new, changes)?;
    Ok(Some(new))
}

/// Makes replacements that do not overlap.
pub(super) fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| edit.span.start);
    let mut new = String::with_capacity(text.len());
    let mut characters = text.chars();
    let mut at = 0;
    for edit in edits {
        new.extend(characters.by_ref().take(edit.span.start.saturating_sub(at)));
        new.push_str(&edit.text);
        characters.by_ref().take(edit.span.len()).for_each(drop);
        at = edit.span.end;
    }
    new.push_str(characters.as_str());
    new
}

/// Reads the new tree once more, and refuses it unless the changes are there and nothing else is different: a notation
/// that the editing did not foresee ends here and not in the file.
fn verify(old: Document, new: &str, changes: &[Change]) -> Result<(), Trouble> {
    let new = Document::parse(new)?;
    for change in changes {
        let root = new.root();
        let node = change.keyword.split('.').fold(root, |id, key| new.get(id?, key));
        let right = matches!(node.map(|id| &new.node(id).kind), Some(Kind::Scalar { text, .. }) if *text == change.value);
        if !right {
            return Err(Trouble::refused(format!(
                "its notation does not let us set {}",
                change.keyword
            )));
        }
    }
    let (old, new) = (header_of(old)?, header_of(new)?);
    for change in changes {
        let name = change.keyword.to_uppercase();
        // Told as it would be read: what a tag or a second key of that name hides is not there.
        if !new
            .iter()
            .any(|(found, value)| *found == name && *value == change.value)
        {
            return Err(Trouble::refused(format!(
                "its notation does not let us set {}",
                change.keyword
            )));
        }
    }
    let others = |pairs: Vec<(String, String)>| -> Vec<(String, String)> {
        let is_set = |name: &str| changes.iter().any(|change| change.keyword.to_uppercase() == name);
        pairs.into_iter().filter(|(name, _)| !is_set(name)).collect()
    };
    if others(old) == others(new) {
        return Ok(());
    }
    Err(Trouble::refused(
        "its notation (aliases, perhaps) does not let us change one value alone",
    ))
}

/// The names and texts of a tree, as its header is read.
fn header_of(document: Document) -> Result<Vec<(String, String)>, Trouble> {
    let tree = AsdfTree::new(document);
    match tree.root() {
        Some(root) => flatten::flatten(&tree, root),
        None => Ok(Vec::new()),
    }
}

struct Editor<'a> {
    document: &'a Document,
    characters: &'a [char],
    edits: Vec<Edit>,
    additions: BTreeMap<Id, Addition>,
}

impl Editor<'_> {
    fn change(&mut self, root: Id, change: &Change) -> Result<(), Trouble> {
        if change.value.chars().any(char::is_control) {
            return Err(Trouble::refused(format!(
                "the value of {} has control characters",
                change.keyword
            )));
        }
        let path: Vec<&str> = change.keyword.split('.').collect();
        let mut mapping = root;
        for (depth, key) in path.iter().enumerate() {
            let pairs = self.document.pairs(mapping);
            let found = pairs
                .iter()
                .rev()
                .find(|(name, _)| self.document.key(*name) == Some(key));
            let Some((name, value)) = found else {
                self.additions
                    .entry(mapping)
                    .or_default()
                    .add(&path[depth..], &change.value);
                return Ok(());
            };
            match &self.document.node(*value).kind {
                Kind::Mapping(_) => mapping = *value,
                Kind::Scalar { text, .. } if depth + 1 == path.len() => {
                    if *text != change.value {
                        self.replace(*name, *value, &change.value)?;
                    }
                    return Ok(());
                }
                _ => break,
            }
        }
        Err(Trouble::refused(format!(
            "its tree has something else than a text at {}",
            change.keyword
        )))
    }

    /// Replaces a scalar; a tag or anchor before it stays.
    fn replace(&mut self, key: Id, value: Id, text: &str) -> Result<(), Trouble> {
        let (key, value) = (self.document.node(key), self.document.node(value));
        let mut span = value.span.clone();
        if span.is_empty() {
            let after = self.characters.get(key.span.end..).unwrap_or_default();
            let colon = after
                .iter()
                .position(|c| *c == ':')
                .ok_or_else(|| Trouble::refused("its tree is not understood"))?;
            let at = key.span.end + colon + 1;
            self.edits.push(Edit {
                span: at..at,
                text: format!(" {}", quoted(text)),
            });
            return Ok(());
        }
        while matches!(self.characters.get(span.start), Some('!' | '&')) && !span.is_empty() {
            let word = &self.characters[span.clone()];
            let blank = word.iter().position(|c| c.is_whitespace()).unwrap_or(word.len());
            let next = word[blank..]
                .iter()
                .position(|c| !c.is_whitespace())
                .unwrap_or(word.len() - blank);
            span.start += blank + next;
        }
        if matches!(self.characters.get(span.start), Some('|' | '>')) || span.start < key.span.end {
            return Err(Trouble::refused(
                "a value to change is written as a block or an alias",
            ));
        }
        self.edits.push(Edit {
            span,
            text: quoted(text),
        });
        Ok(())
    }

    /// All edits, with what is to be added to mappings.
    fn finish(mut self) -> Result<Vec<Edit>, Trouble> {
        for (id, addition) in std::mem::take(&mut self.additions) {
            let edit = self.add(id, &addition)?;
            self.edits.push(edit);
        }
        Ok(self.edits)
    }

    /// New keys go in front of the keys that a mapping has, in its own notation.
    fn add(&self, id: Id, addition: &Addition) -> Result<Edit, Trouble> {
        let strange = || Trouble::refused("a mapping of its tree has a notation that is not understood");
        let node = self.document.node(id);
        let Kind::Mapping(mapping) = &node.kind else {
            return Err(strange());
        };
        if mapping.flow {
            let text = &self.characters[node.span.clone()];
            let brace = text.iter().position(|c| *c == '{').ok_or_else(strange)?;
            let at = node.span.start + brace + 1;
            let more = if mapping.pairs.is_empty() { "" } else { ", " };
            return Ok(Edit {
                span: at..at,
                text: format!("{}{more}", addition.flow()),
            });
        }
        let (key, _) = mapping.pairs.first().ok_or_else(strange)?;
        let at = self.document.node(*key).span.start;
        let before = &self.characters[..at];
        let line = before.iter().rposition(|c| *c == '\n').map_or(0, |end| end + 1);
        let indent = at - line;
        if !before[line..].iter().all(|c| matches!(c, ' ' | '-')) {
            return Err(strange());
        }
        let mut text = addition.block(indent).trim_start_matches(' ').to_owned();
        text.extend(std::iter::repeat_n(' ', indent));
        Ok(Edit { span: at..at, text })
    }
}

impl Addition {
    fn add(&mut self, path: &[&str], value: &str) {
        let Some((key, rest)) = path.split_first() else {
            return;
        };
        let at = self
            .0
            .iter()
            .position(|(name, _)| name == key)
            .unwrap_or_else(|| {
                let addend = match rest {
                    [] => Addend::Value(value.to_owned()),
                    _ => Addend::Mapping(Self::default()),
                };
                self.0.push(((*key).to_owned(), addend));
                self.0.len() - 1
            });
        if let Addend::Mapping(inner) = &mut self.0[at].1 {
            inner.add(rest, value);
        }
    }

    /// `key: value, key: {...}`
    fn flow(&self) -> String {
        let entry = |(key, addend): &(String, Addend)| match addend {
            Addend::Value(value) => format!("{}: {}", quoted(key), quoted(value)),
            Addend::Mapping(inner) => format!("{}: {{{}}}", quoted(key), inner.flow()),
        };
        self.0.iter().map(entry).collect::<Vec<_>>().join(", ")
    }

    /// One key a line.
    fn block(&self, indent: usize) -> String {
        let entry = |(key, addend): &(String, Addend)| match addend {
            Addend::Value(value) => format!("{:indent$}{}: {}\n", "", quoted(key), quoted(value)),
            Addend::Mapping(inner) => format!("{:indent$}{}:\n{}", "", quoted(key), inner.block(indent + 2)),
        };
        self.0.iter().map(entry).collect()
    }
}

/// A text as a YAML scalar: plain where that is safe in every context, else in single quotes.
fn quoted(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':');
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(safe)
        && !text.ends_with(':')
        && scalar::resolve(text) == Scalar::Text;
    if plain {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}
