//! GEIS headers: lines of text, loosely FITS-like (spec, section 21).

use std::io::{Read, Seek};

use super::error::Trouble;
use super::plan::Change;
use super::replace::Piece;
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

/// The width of a line without its end.
const LINE: usize = 80;
/// The column at which comments begin.
const COMMENT: usize = 31;

/// The new header with the changes in it, or `None` if all of them are in the file already.
pub(super) fn edit<R: Read + Seek>(
    source: &mut Source<R>,
    changes: &[Change],
) -> Result<Option<Vec<Piece>>, Trouble> {
    let bytes = source.rest(MAX_HEADER)?;
    let text = String::from_utf8(bytes).map_err(|_| Trouble::refused("its header is not text"))?;
    let mut lines = lines(&text);
    let mut different = false;
    for change in changes {
        different |= set(&mut lines, change)?;
    }
    Ok(different.then(|| vec![Piece::New(lines.concat().into_bytes())]))
}

/// The lines as [`parse`] sees them, each with its end: LF, CR, or both.
fn lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['\n', '\r']) {
        let end = if rest[at..].starts_with("\r\n") { 2 } else { 1 };
        let (line, more) = rest.split_at(at + end);
        lines.push(line.to_owned());
        rest = more;
    }
    lines.push(rest.to_owned());
    lines.retain(|line| !line.is_empty());
    lines
}

fn set(lines: &mut Vec<String>, change: &Change) -> Result<bool, Trouble> {
    let keyword = change.keyword.trim().to_uppercase();
    let value = change.value.trim();
    let printable = |text: &str| {
        text.bytes()
            .all(|byte| matches!(byte, b' '..=b'~') && byte != b'\'')
    };
    let line = format!("{keyword:8}= '{value:8}'");
    if !(1..=8).contains(&keyword.len()) || !printable(&keyword) || !printable(value) || line.len() > LINE {
        return Err(Trouble::refused(format!(
            "'{keyword}' = '{value}' cannot stand in a GEIS header"
        )));
    }
    // Of a repeated keyword the last is the one that counts.
    let key = |line: &str| Some(without_comment(line).split_once('=')?.0.trim().to_owned());
    let Some(existing) = lines
        .iter_mut()
        .rfind(|line| key(line).as_deref() == Some(&keyword))
    else {
        let end = lines.first().map_or("", |line| line_end(line));
        let end = if end.is_empty() { "\n" } else { end }.to_owned();
        let at = lines
            .iter()
            .rposition(|line| key(line).is_some() && !line.starts_with("HISTORY"));
        // The last line may lack its end.
        if let Some(before) = at
            .and_then(|at| lines.get_mut(at))
            .filter(|line| line_end(line).is_empty())
        {
            before.push_str(&end);
        }
        lines.insert(at.map_or(0, |at| at + 1), format!("{line:LINE$}{end}"));
        return Ok(true);
    };
    let old = without_comment(existing)
        .split_once('=')
        .map(|(_, value)| unquoted(value));
    if old.as_deref() == Some(value) {
        return Ok(false);
    }
    let comment = existing
        .get(COMMENT..)
        .filter(|rest| rest.starts_with('/') && line.len() <= COMMENT);
    let comment = comment.unwrap_or_default().trim_end_matches(['\r', '\n']);
    *existing = format!(
        "{:LINE$}{}",
        format!("{line:COMMENT$}{comment}"),
        line_end(existing)
    );
    Ok(true)
}

fn line_end(line: &str) -> &str {
    &line[line.trim_end_matches(['\r', '\n']).len()..]
}
