//! ASDF files: the YAML tree in front of the blocks; no block is looked at.

pub(super) mod edit;
mod time;
mod tree;

use std::io::{Read, Seek};

use super::error::Trouble;
use super::flatten;
use super::source::Source;
use super::yaml::Document;
use tree::AsdfTree;

/// The longest tree that is read. Trees of real products are below a hundredth of this.
const MAX_TREE: usize = 32 << 20;
/// The magic of a block, where a file has no tree or an unfinished one.
const BLOCK_MAGIC: &[u8] = b"\xd3BLK";

/// Reads the tree into (name, text) pairs, the entries of its history last.
pub(super) fn read<R: Read + Seek>(source: &mut Source<R>) -> Result<Vec<(String, String)>, Trouble> {
    if !source.peek(5)?.starts_with(b"#ASDF") {
        return Err(Trouble::malformed("it does not begin with #ASDF"));
    }
    let text = read_tree(source)?;
    let tree = AsdfTree::new(Document::parse(&super::text_of(&text))?);
    let Some(root) = tree.root() else {
        return Ok(vec![history(None)]);
    };
    let mut pairs = flatten::flatten(&tree, root)?;
    let (name, text) = history(tree.history());
    match pairs.iter_mut().find(|(key, _)| *key == name) {
        Some((_, old)) => *old = text,
        None => pairs.push((name, text)),
    }
    Ok(pairs)
}

/// Reads a YAML file like a tree, without a history.
pub(super) fn read_yaml<R: Read + Seek>(source: &mut Source<R>) -> Result<Vec<(String, String)>, Trouble> {
    let text = source.rest(MAX_TREE as u64)?;
    let tree = AsdfTree::new(Document::parse(&super::text_of(&text))?);
    let root = tree.root().ok_or_else(|| Trouble::malformed("it is empty"))?;
    flatten::flatten(&tree, root)
}

fn history(entries: Option<String>) -> (String, String) {
    (
        "HISTORY".to_owned(),
        entries.unwrap_or_else(|| "UNDEFINED".to_owned()),
    )
}

/// The bytes up to and including the line `...` that ends the tree, or up to the first block or the end of the file.
pub(super) fn read_tree<R: Read + Seek>(source: &mut Source<R>) -> Result<Vec<u8>, Trouble> {
    const CHUNK: usize = 64 << 10;
    let mut text = Vec::new();
    loop {
        let start = text.len();
        text.resize(start + CHUNK, 0);
        let got = source.fill(&mut text[start..])?;
        text.truncate(start + got);
        // The marker may have begun in the chunk before.
        if let Some(end) = tree_end(&text, start.saturating_sub(8)) {
            text.truncate(end);
            return Ok(text);
        }
        if got < CHUNK {
            return Ok(text);
        }
        if text.len() > MAX_TREE {
            return Err(Trouble::malformed(format!(
                "its tree is longer than {MAX_TREE} bytes"
            )));
        }
    }
}

/// The end of the tree: after its `...` line, or before the first block.
fn tree_end(text: &[u8], from: usize) -> Option<usize> {
    let searched = &text[from..];
    let marker = memchr::memmem::find_iter(searched, b"\n...").find_map(|at| {
        let after = &searched[at + 4..];
        let line_end = [&b"\n"[..], b"\r\n"]
            .into_iter()
            .find(|end| after.starts_with(end))?;
        Some(from + at + 4 + line_end.len())
    });
    let block = memchr::memmem::find(searched, BLOCK_MAGIC).map(|at| from + at);
    match (marker, block) {
        (Some(marker), Some(block)) => Some(marker.min(block)),
        (marker, block) => marker.or(block),
    }
}
