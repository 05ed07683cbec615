//! The block index at the end of an ASDF file: a YAML list of the blocks' offsets.

use std::io::{Read, Seek, SeekFrom};

use crate::dataset::asdf::BLOCK_MAGIC;
use crate::dataset::error::Trouble;
use crate::dataset::source::read_up_to;
use crate::dataset::yaml::{Document, Kind};

use super::text::{Edit, apply};

const TITLE: &[u8] = b"#ASDF BLOCK INDEX";
/// The most blocks and the longest index, in bytes; real files have far less of both.
const MAX_BLOCKS: usize = 1 << 20;
const MAX_INDEX: u64 = 32 << 20;

/// Finds the index behind the blocks, the first of which begins at `first`: its offset and its text.
pub(super) fn find<R: Read + Seek>(file: &mut R, first: u64) -> Result<Option<(u64, String)>, Trouble> {
    let mut at = first;
    for _ in 0..MAX_BLOCKS {
        file.seek(SeekFrom::Start(at))?;
        // Magic, the size of what follows, flags, compression, and the size of the data with its slack.
        let mut head = [0; 22];
        let got = read_up_to(file, &mut head)?;
        if !head[..got].starts_with(BLOCK_MAGIC) {
            return read_index(file, at);
        }
        let number = |range: std::ops::Range<usize>| {
            head[range]
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let streamed = number(6..10) & 1 == 1;
        if streamed || got < head.len() {
            // Such a block reaches to the end of the file.
            return Ok(None);
        }
        at = (at + 6 + number(4..6))
            .checked_add(number(14..22))
            .ok_or_else(|| Trouble::malformed("one of its blocks has an impossible size"))?;
    }
    Err(Trouble::malformed(format!(
        "it has more than {MAX_BLOCKS} blocks"
    )))
}

fn read_index<R: Read + Seek>(file: &mut R, at: u64) -> Result<Option<(u64, String)>, Trouble> {
    file.seek(SeekFrom::Start(at))?;
    let mut text = Vec::new();
    file.take(MAX_INDEX).read_to_end(&mut text)?;
    if !text.starts_with(TITLE) || text.len() as u64 == MAX_INDEX {
        return Ok(None);
    }
    let text = String::from_utf8(text).map_err(|_| Trouble::malformed("its block index is not text"))?;
    Ok(Some((at, text)))
}

/// The index with each offset moved by `shift` bytes.
pub(super) fn shift(index: &str, shift: i128) -> Result<String, Trouble> {
    let wrong = || Trouble::refused("its block index is not a list of numbers");
    let document = Document::parse(index)?;
    let root = document.node(document.root().ok_or_else(wrong)?);
    let Kind::Sequence(items) = &root.kind else {
        return Err(wrong());
    };
    let mut edits = Vec::new();
    for item in items {
        let node = document.node(*item);
        let offset: i128 = match &node.kind {
            Kind::Scalar { text, plain: true } => text.parse().map_err(|_| wrong())?,
            _ => return Err(wrong()),
        };
        edits.push(Edit {
            span: node.span.clone(),
            text: (offset + shift).to_string(),
        });
    }
    Ok(apply(index, edits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_move_together() {
        let index = "#ASDF BLOCK INDEX\n%YAML 1.1\n---\n- 1821\n- 99\n...\n";
        let moved = shift(index, 200).unwrap();
        assert_eq!(moved, "#ASDF BLOCK INDEX\n%YAML 1.1\n---\n- 2021\n- 299\n...\n");
        assert_eq!(
            shift("#\n--- [1, 22]\n...\n", -1).unwrap(),
            "#\n--- [0, 21]\n...\n"
        );
        assert!(shift("---\nfoo: 1\n", 1).is_err());
    }
}
