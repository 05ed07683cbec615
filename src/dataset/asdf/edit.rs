//! Values into the tree of an ASDF file. The text of the tree is edited where a value stands or has to stand, all else
//! stays as it is; blocks are copied unread, and the block index at the end follows them when they move.

mod index;
mod text;

use std::io::{Read, Seek, SeekFrom};

use crate::dataset::error::Trouble;
use crate::dataset::plan::Change;
use crate::dataset::replace::Piece;
use crate::dataset::source::{Source, read_up_to};

use super::{BLOCK_MAGIC, read_tree};

/// The longest gap between tree and blocks; writers leave some room for the tree to grow.
const MAX_PADDING: u64 = 16 << 20;

/// The new file, or `None` if all changes are in the file already.
pub(in crate::dataset) fn edit<R: Read + Seek>(
    source: &mut Source<R>,
    changes: &[Change],
) -> Result<Option<Vec<Piece>>, Trouble> {
    if !source.peek(5)?.starts_with(b"#ASDF") {
        return Err(Trouble::malformed("it does not begin with #ASDF"));
    }
    let tree =
        String::from_utf8(read_tree(source)?).map_err(|_| Trouble::refused("its tree is not UTF-8"))?;
    if !tree.trim_end().ends_with("\n...") {
        return Err(Trouble::refused("its tree has no end"));
    }
    let Some(new) = text::edit_tree(&tree, changes)? else {
        return Ok(None);
    };
    let file = source
        .plain()
        .ok_or_else(|| Trouble::refused("it is compressed; decompress it first"))?;
    let (old_size, new_size) = (tree.len() as u64, new.len() as u64);
    let mut pieces = vec![Piece::New(new.into_bytes())];
    let Some(first) = first_block(file, old_size)? else {
        pieces.push(Piece::Old(old_size..u64::MAX));
        return Ok(Some(pieces));
    };
    if old_size < first && new_size <= first || new_size == old_size {
        // It fits into the room that was left for it: no block moves.
        let kept = first.saturating_sub(new_size).min(first - old_size);
        pieces.push(Piece::New(vec![
            0;
            usize::try_from(first - new_size - kept)
                .unwrap_or(0)
        ]));
        pieces.push(Piece::Old(first - kept..u64::MAX));
        return Ok(Some(pieces));
    }
    pieces.push(Piece::Old(first..u64::MAX));
    if let Some((at, old)) = index::find(file, first)? {
        let moved = index::shift(&old, i128::from(new_size) - i128::from(first))?;
        pieces.pop();
        pieces.extend([Piece::Old(first..at), Piece::New(moved.into_bytes())]);
    }
    Ok(Some(pieces))
}

/// The start of the first block, after the tree and some padding.
fn first_block<R: Read + Seek>(file: &mut R, from: u64) -> Result<Option<u64>, Trouble> {
    file.seek(SeekFrom::Start(from))?;
    let mut window = Vec::new();
    let mut chunk = vec![0; 8 << 10];
    loop {
        let got = read_up_to(file, &mut chunk)?;
        window.extend_from_slice(&chunk[..got]);
        if let Some(at) = memchr::memmem::find(&window, BLOCK_MAGIC) {
            return Ok(Some(from + at as u64));
        }
        if got < chunk.len() {
            return Ok(None);
        }
        if window.len() as u64 > MAX_PADDING {
            return Err(Trouble::malformed("no block follows its tree"));
        }
    }
}
