//! GEIS headers: lines of text, loosely FITS-like (spec, section 21).

use std::io::{Read, Seek};

use super::error::Trouble;
use super::source::Source;

/// The longest header that is read.
const MAX_HEADER: u64 = 16 << 20;

/// Reads all lines into (name, text) pairs; a repeated name replaces, `HISTORY` lines are collected and come last.
pub(super) fn read<R: Read + Seek>(source: &mut Source<R>) -> Result<Vec<(String, String)>, Trouble> {
    let bytes = source.rest(MAX_HEADER)?;
    Ok(parse(&super::text_of(&bytes)))
}

fn parse(text: &str) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut at = std::collections::HashMap::new();
    let mut history = Vec::new();
    for line in text.split(['\n', '\r']) {
        let line = without_comment(line);
        if let Some(rest) = line.strip_prefix("HISTORY") {
            history.push(rest.trim());
        } else if let Some((key, value)) = line.split_once('=') {
            let value = unquoted(value);
            let index = *at.entry(key.trim()).or_insert(pairs.len());
            match pairs.get_mut(index) {
                Some((_, text)) => *text = value,
                None => pairs.push((key.trim().to_owned(), value)),
            }
        }
    }
    pairs.push(("HISTORY".to_owned(), history.join("\n")));
    pairs
}

/// The line up to a `/` that is its 32nd character.
fn without_comment(line: &str) -> &str {
    match line.char_indices().nth(31) {
        Some((at, '/')) => &line[..at],
        _ => line,
    }
}

/// The text of a value: pieces between `=` signs trimmed, one pair of enclosing quotes dropped.
fn unquoted(value: &str) -> String {
    let joined = value.split('=').map(str::trim).collect::<Vec<_>>().join("=");
    let text = joined.trim();
    match text.strip_prefix('\'') {
        Some("") => String::new(),
        Some(rest) => rest.strip_suffix('\'').map_or(text, str::trim).to_owned(),
        None => text.to_owned(),
    }
}
