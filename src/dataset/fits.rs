//! FITS files: a walk over the headers of all HDUs, data skipped by the sizes that the headers give.
//!
//! Own code rather than a crate: the Rust FITS crates read images, and none keeps the header's cards as text in the way
//! that decides here: every card of every HDU, with the values as astropy would print them, and rewritten with all others
//! untouched.

mod card;
mod compressed;
pub(super) mod edit;

use std::io::{Read, Seek};

use super::error::Trouble;
use super::source::Source;
use card::{Card, Value};

/// Headers come in blocks of this size, and so does data.
pub(super) const BLOCK: usize = 2880;
/// One line of a header.
pub(super) const CARD: usize = 80;
/// All headers of one file together. The largest known are a hundredth of that.
const MAX_HEADERS: usize = 64 << 20;

/// Reads all cards of all HDUs as (keyword, text) pairs, as astropy shows them to the Python client.
pub(super) fn read<R: Read + Seek>(source: &mut Source<R>) -> Result<Vec<(String, String)>, Trouble> {
    if !source.peek(6)?.starts_with(b"SIMPLE") {
        return Err(Trouble::malformed("it does not begin with SIMPLE"));
    }
    let mut primary = Vec::new();
    let mut pairs = Vec::new();
    let mut budget = MAX_HEADERS;
    let mut count = 0;
    while let Some(block) = next_header(source, &mut budget, count == 0)? {
        let cards = card::split(&block);
        count += 1;
        let to = if count == 1 { &mut primary } else { &mut pairs };
        match compressed::image_header(&cards) {
            Some(image) => to.extend(image),
            None => to.extend(texts(&cards)),
        }
        if count == 1 && !is(&cards, "SIMPLE") {
            // Not standard data: its size is not known, so it reaches to the end of the file.
            break;
        }
        source.skip(data_size(&cards))?;
    }
    if count > 1 {
        tell_of_extensions(&mut primary);
    }
    primary.append(&mut pairs);
    Ok(primary)
}

/// The cards of the next header without `END`, or `None` at the end of the file. The first header has to be one.
pub(super) fn next_header<R: Read + Seek>(
    source: &mut Source<R>,
    budget: &mut usize,
    first: bool,
) -> Result<Option<Vec<u8>>, Trouble> {
    let mut header = Vec::new();
    loop {
        *budget = budget
            .checked_sub(BLOCK)
            .ok_or_else(|| Trouble::malformed(format!("its headers are longer than {MAX_HEADERS} bytes")))?;
        let start = header.len();
        header.resize(start + BLOCK, b' ');
        let got = source.fill(&mut header[start..])?;
        header.truncate(start + got);
        if got == 0 && start == 0 {
            return Ok(None);
        }
        let end = header[start..].chunks(CARD).position(is_end);
        if let Some(end) = end {
            header.truncate(start + end * CARD);
            return Ok(Some(header));
        }
        let zeros = start == 0 && header.iter().all(|byte| *byte == 0);
        if !first && (zeros || (got > 0 && got < BLOCK)) {
            // Something that is no header follows the last HDU. astropy warns of it and goes no further.
            return Ok(None);
        }
        if got < BLOCK {
            return Err(Trouble::malformed("a header has no END card"));
        }
    }
}

/// Whether a card ends the header; like astropy, also with something else than blanks after `END`.
fn is_end(card: &[u8]) -> bool {
    let Some(rest) = card.strip_prefix(b"END") else {
        return false;
    };
    match rest.iter().find(|byte| **byte != b' ') {
        None => true,
        Some(byte) => !(byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')),
    }
}

/// The bytes of data that follow a header, padding included.
fn data_size(cards: &[Card]) -> u64 {
    let number = |keyword: &str, default: i128| card::integer(cards, keyword).unwrap_or(default);
    let axes = number("NAXIS", 0).clamp(0, 999);
    if axes == 0 {
        return 0;
    }
    // Random groups say so with a first axis of zero, which counts for nothing.
    let groups = is(cards, "GROUPS") && number("NAXIS1", -1) == 0;
    let size = (if groups { 2 } else { 1 }..=axes)
        .map(|axis| number(&format!("NAXIS{axis}"), 0))
        .try_fold(1, i128::checked_mul)
        .and_then(|size| size.checked_add(number("PCOUNT", 0)))
        .and_then(|size| size.checked_mul(number("GCOUNT", 1)))
        .and_then(|size| size.checked_mul(number("BITPIX", 8).checked_abs()?));
    let bytes = u64::try_from(size.unwrap_or(i128::MAX).max(0) / 8).unwrap_or(u64::MAX);
    bytes.checked_next_multiple_of(BLOCK as u64).unwrap_or(u64::MAX)
}

/// Whether the first card of this keyword is a logical true.
fn is(cards: &[Card], keyword: &str) -> bool {
    card::find(cards, keyword).is_some_and(|card| card.value == Value::Logical(true))
}

fn texts(cards: &[Card]) -> impl Iterator<Item = (String, String)> {
    cards
        .iter()
        .filter(|card| !card.keyword.is_empty())
        .map(|card| (card.keyword.clone(), card.value.text()))
}

/// astropy sets `EXTEND` in the primary header of a file with extensions, after the axes, and the client sees that.
fn tell_of_extensions(primary: &mut Vec<(String, String)>) {
    if let Some((_, text)) = primary.iter_mut().find(|(keyword, _)| keyword == "EXTEND") {
        if matches!(text.as_str(), "False" | "0" | "0.0" | "") {
            "True".clone_into(text);
        }
        return;
    }
    let of = |keyword: &str| primary.iter().position(|(name, _)| name == keyword);
    let axes = of("NAXIS").map_or("0", |at| primary[at].1.as_str());
    let last = if axes == "0" {
        "NAXIS".to_owned()
    } else {
        format!("NAXIS{axes}")
    };
    if let Some(at) = of(&last) {
        primary.insert(at + 1, ("EXTEND".to_owned(), "True".to_owned()));
    }
}
