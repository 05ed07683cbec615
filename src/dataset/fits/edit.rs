//! Values into the primary header of a FITS file: the header is rebuilt from its own lines, all but the changed ones as
//! they are; data and other HDUs are copied unread.

use std::fmt::Write as _;
use std::io::{Read, Seek};

use crate::dataset::error::Trouble;
use crate::dataset::plan::Change;
use crate::dataset::replace::Piece;
use crate::dataset::source::Source;

use super::card::{Card, Value, split};
use super::{BLOCK, CARD, MAX_HEADERS, next_header};

/// A keyword that fits an ordinary card.
const KEYWORD: usize = 8;
/// The longest part of a string on one line.
const STRING: usize = 67;
/// The longest part of a comment on a `CONTINUE` line.
const COMMENT: usize = 64;

/// The new file, or `None` if all changes are in the file already.
pub(in crate::dataset) fn edit<R: Read + Seek>(
    source: &mut Source<R>,
    changes: &[Change],
) -> Result<Option<Vec<Piece>>, Trouble> {
    if !source.peek(6)?.starts_with(b"SIMPLE") {
        return Err(Trouble::malformed("it does not begin with SIMPLE"));
    }
    let mut budget = MAX_HEADERS;
    let header = next_header(source, &mut budget, true)?.ok_or_else(|| Trouble::malformed("it is empty"))?;
    let old_end = (header.len() + CARD).next_multiple_of(BLOCK) as u64;
    let Some(mut new) = edit_header(&header, changes)? else {
        return Ok(None);
    };
    new.extend_from_slice(b"END");
    new.resize(new.len().next_multiple_of(BLOCK), b' ');
    Ok(Some(vec![Piece::New(new), Piece::Old(old_end..u64::MAX)]))
}

/// A card with its lines as they are in the file.
struct Lines {
    card: Card,
    bytes: Vec<u8>,
}

/// The lines of a header with the changes in it, without `END`; `None` if nothing changes.
pub(in crate::dataset) fn edit_header(header: &[u8], changes: &[Change]) -> Result<Option<Vec<u8>>, Trouble> {
    let mut rest = header;
    let mut cards: Vec<Lines> = Vec::new();
    for card in split(header) {
        let (bytes, after) = rest.split_at((card.lines * CARD).min(rest.len()));
        cards.push(Lines {
            card,
            bytes: bytes.to_owned(),
        });
        rest = after;
    }
    let mut different = false;
    for change in changes {
        different |= set(&mut cards, change)?;
    }
    Ok(different.then(|| cards.into_iter().flat_map(|card| card.bytes).collect()))
}

/// Sets one value, in its own card or in a new one. Whether that changed anything.
fn set(cards: &mut Vec<Lines>, change: &Change) -> Result<bool, Trouble> {
    let keyword = change.keyword.trim().to_uppercase();
    check(&keyword, &change.value)?;
    let value = Value::Text(change.value.trim_end().to_owned());
    let Some(existing) = cards.iter_mut().find(|line| line.card.keyword == keyword) else {
        let lines = format(&keyword, &change.value, "");
        append(
            cards,
            Card {
                keyword,
                value,
                valid: true,
                comment: String::new(),
                lines: lines.len() / CARD,
            },
            lines,
        );
        return Ok(true);
    };
    if !existing.card.valid {
        return Err(Trouble::refused(format!(
            "its card {keyword} has no value that could be replaced"
        )));
    }
    if existing.card.value == value {
        return Ok(false);
    }
    let spelling = spelling(&existing.bytes).unwrap_or_else(|| keyword.clone());
    existing.bytes = format(&spelling, &change.value, &existing.card.comment).into_bytes();
    existing.card.value = value;
    Ok(true)
}

/// The name of a `HIERARCH` card as it is written: its case is free.
fn spelling(card: &[u8]) -> Option<String> {
    let name = card
        .strip_prefix(b"HIERARCH ")?
        .split(|byte| *byte == b'=')
        .next()?;
    Some(std::str::from_utf8(name).ok()?.trim().to_owned())
}

fn check(keyword: &str, value: &str) -> Result<(), Trouble> {
    let printable = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if matches!(
        keyword,
        "" | "END" | "COMMENT" | "HISTORY" | "CONTINUE" | "HIERARCH"
    ) || !printable(keyword)
        || keyword.contains('=')
        || keyword.len() > CARD / 2
    {
        return Err(Trouble::refused(format!("'{keyword}' cannot be a FITS keyword")));
    }
    if !printable(value) || value.len() > 4096 {
        return Err(Trouble::refused(format!(
            "the value of {keyword} cannot stand in a FITS header"
        )));
    }
    Ok(())
}

/// Puts a new card after the last one that is neither comment nor blank; blank cards at the end make room for it.
fn append(cards: &mut Vec<Lines>, card: Card, lines: String) {
    let commentary = |line: &Lines| matches!(line.card.keyword.as_str(), "" | "COMMENT" | "HISTORY" | "END");
    let count = card.lines;
    let at = cards
        .iter()
        .rposition(|line| !commentary(line))
        .map_or(0, |at| at + 1);
    cards.insert(
        at,
        Lines {
            card,
            bytes: lines.into_bytes(),
        },
    );
    for _ in 0..count {
        if cards
            .last()
            .is_some_and(|line| line.bytes.iter().all(|byte| *byte == b' '))
        {
            cards.pop();
        }
    }
}

/// The line or lines of a card, laid out as astropy lays them out.
fn format(keyword: &str, value: &str, comment: &str) -> String {
    let ordinary = keyword.len() <= KEYWORD
        && keyword
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'));
    let head = if ordinary {
        format!("{keyword:8}")
    } else {
        format!("HIERARCH {keyword} ")
    };
    let quoted = match value.replace('\'', "''").as_str() {
        "" => "''".to_owned(),
        text => format!("'{text:8}'"),
    };
    let field = if keyword.len() > KEYWORD {
        quoted
    } else {
        format!("{quoted:20}")
    };
    let note = if comment.is_empty() {
        String::new()
    } else {
        format!(" / {comment}")
    };
    let width = head.len() + 2 + field.len();
    if width == CARD + 1 && !ordinary {
        return format!("{:80}", format!("{}= {field}", head.trim_end()))
            .chars()
            .take(CARD)
            .collect();
    }
    if width > CARD {
        return format_long(&head, value, comment);
    }
    // A comment that does not fit is cut.
    format!("{head}= {field}{note:80}").chars().take(CARD).collect()
}

/// A string that needs `CONTINUE` lines.
fn format_long(head: &str, value: &str, comment: &str) -> String {
    let head = format!("{head}= ");
    let first = (STRING + KEYWORD + 2).saturating_sub(head.len());
    let value = value.replace('\'', "''");
    let parts = word_groups(&value, STRING, first);
    let mut lines = String::new();
    for (index, part) in parts.iter().enumerate() {
        let last = comment.is_empty() && index + 1 == parts.len();
        let head = if index == 0 { head.as_str() } else { "CONTINUE  " };
        let line = format!("{head}'{part}{}'", if last { "" } else { "&" });
        let _ = write!(lines, "{line:80}");
    }
    let parts = if comment.is_empty() {
        Vec::new()
    } else {
        word_groups(comment, COMMENT, COMMENT)
    };
    for (index, part) in parts.iter().enumerate() {
        let more = if index + 1 == parts.len() { "" } else { "&" };
        let line = format!("CONTINUE  '{more}' / {part}");
        let _ = write!(lines, "{line:80}");
    }
    lines
}

/// Cuts ASCII text after blanks into parts of at most `width` (the first of `first`), long words in the middle.
fn word_groups(text: &str, width: usize, first: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    let mut width_here = first.max(1);
    while rest.len() > width_here {
        let cut = rest[..width_here]
            .rfind(' ')
            .map_or(width_here, |blank| blank + 1);
        let (part, after) = rest.split_at(cut);
        parts.push(part);
        rest = after;
        width_here = width;
    }
    parts.push(rest);
    parts
}
