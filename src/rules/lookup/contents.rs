//! The names in a mapping and what it says of itself, read from its text without compiling it.

use std::borrow::Cow;

use crate::rules::lookup::load::{read_source, unreadable};
use crate::rules::lookup::mapping::is_special;
use crate::rules::syntax::ast::{Item, Parts, Tree};
use crate::rules::syntax::error::LoadError;
use crate::rules::syntax::fields::Fields;
use crate::rules::syntax::parser;

/// The names in a mapping.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// The mappings that a pmap or imap names.
    pub(crate) mappings: Vec<String>,
    /// The references that an rmap names, each perhaps several times.
    pub(crate) references: Vec<String>,
    /// The field `description` of its header.
    pub(crate) description: Option<String>,
}

impl Contents {
    /// Reads the text of a mapping. Its checksum is not looked at.
    pub(crate) fn read(name: &str, text: &str) -> Result<Self, LoadError> {
        let text = parser::normalize_lines(Cow::Borrowed(text));
        let source = read_source(name, &text)?;
        let (tree, mut contents) = (&source.tree, Self::default());
        if let Some(Item::Dict(header)) = source.header {
            let description = Fields { header, tree }.get("description");
            contents.description = description.map(|item| tree.text(item).trim().to_owned());
        }
        match source.selector {
            Some(Item::Dict(entries)) => collect(tree, entries, &mut contents.mappings),
            Some(Item::Call(_, entries)) => collect(tree, entries, &mut contents.references),
            _ => return Err(unreadable(name, "'selector'")),
        }
        Ok(contents)
    }
}

/// Collects the files among the values of entries, and below them.
fn collect(tree: &Tree<'_>, entries: Parts, names: &mut Vec<String>) {
    let mut left: Vec<Item> = tree.pairs(entries).map(|(_, value)| value).collect();
    while let Some(item) = left.pop() {
        match item {
            Item::Call(_, entries) | Item::Dict(entries) => {
                left.extend(tree.pairs(entries).map(|(_, value)| value));
            }
            Item::Tuple(parts) | Item::List(parts) => left.extend(tree.parts(parts)),
            Item::Str(_) => {
                let text = tree.text(item);
                if !is_special(&text) {
                    names.push(text.into_owned());
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_all_depths() {
        let pmap = "header = {'description': ' The first. '}\nselector = {'ACS': 'a.imap', 'COS': 'N/A'}\n";
        let contents = Contents::read("x.pmap", pmap).unwrap();
        assert_eq!(contents.mappings, ["a.imap"]);
        assert_eq!(contents.description.as_deref(), Some("The first."));
        let rmap = "header = {}\nselector = Match({'A': UseAfter({'2000': 'a.fits'}), 'B': 'OMIT', 'C': ('b.fits', 'c.fits')})\n";
        let mut references = Contents::read("x.rmap", rmap).unwrap().references;
        references.sort();
        assert_eq!(references, ["a.fits", "b.fits", "c.fits"]);
        assert!(Contents::read("x.pmap", "header = {}\n").is_err());
    }
}
