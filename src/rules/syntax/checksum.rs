//! The checksum of a mapping (spec/crds-rules 4).

use sha1::{Digest, Sha1};

/// The SHA-1 over all lines that do not contain `sha1sum`, as lower-case hexadecimal.
pub(crate) fn checksum(text: &str) -> String {
    let mut hash = Sha1::new();
    let mut rest = text;
    // Lines without the word, most of the text, are hashed in one piece.
    while let Some(found) = memchr::memmem::find(rest.as_bytes(), b"sha1sum") {
        let (before, after) = rest.split_at(found);
        let start = before
            .char_indices()
            .rev()
            .find(|&(_, character)| is_line_end(character))
            .map_or(0, |(at, character)| at + character.len_utf8());
        let end = after
            .char_indices()
            .find(|&(_, character)| is_line_end(character))
            .map_or(after.len(), |(at, character)| at + character.len_utf8());
        hash.update(before.get(..start).unwrap_or("").as_bytes());
        rest = after.get(end..).unwrap_or("");
    }
    hash.update(rest.as_bytes());
    let mut text = String::with_capacity(40);
    for byte in hash.finalize() {
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(digit.into(), 16));
        }
    }
    text
}

/// The characters at which `str.splitlines` ends a line.
fn is_line_end(character: char) -> bool {
    matches!(
        character,
        '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}
