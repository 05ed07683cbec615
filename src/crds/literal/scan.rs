//! Looking for bytes, eight at a time: most texts and blanks are too short for anything greater.

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGHEST: u64 = u64::from_ne_bytes([0x80; 8]);

/// The number of spaces that the bytes begin with.
pub(super) fn spaces(bytes: &[u8]) -> usize {
    let (words, _) = bytes.as_chunks();
    let mut count = 0;
    for word in words {
        let others = u64::from_le_bytes(*word) ^ (ONES * u64::from(b' '));
        if others != 0 {
            return count + others.trailing_zeros() as usize / 8;
        }
        count += 8;
    }
    let rest = bytes.get(count..).unwrap_or(&[]);
    count + rest.iter().take_while(|&&byte| byte == b' ').count()
}

/// The offset of the first quote, backslash, or control character.
pub(super) fn text_end(bytes: &[u8], quote: u8) -> Option<usize> {
    let (words, _) = bytes.as_chunks();
    let quotes = ONES * u64::from(quote);
    let backslashes = ONES * u64::from(b'\\');
    let mut before = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHEST;
        let found = zeros(word ^ quotes) | zeros(word ^ backslashes) | control;
        if found != 0 {
            return Some(before + found.trailing_zeros() as usize / 8);
        }
        before += 8;
    }
    let stops = |&byte: &u8| byte == quote || byte == b'\\' || byte < b' ';
    Some(before + bytes.get(before..)?.iter().position(stops)?)
}

/// The highest bit of each byte that is zero. Only above such a byte others may be marked too.
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_found() {
        for length in 0..40 {
            let blanks = vec![b' '; length];
            assert_eq!(spaces(&blanks), length);
            assert_eq!(text_end(&blanks, b'\''), None);
            for place in 0..length {
                for byte in (0..=255_u8).filter(|&byte| byte != b' ') {
                    let mut bytes = blanks.clone();
                    bytes[place] = byte;
                    assert_eq!(spaces(&bytes), place);
                    let ends = byte < b' ' || byte == b'"' || byte == b'\\';
                    assert_eq!(text_end(&bytes, b'"'), ends.then_some(place), "{byte}");
                    if place + 1 < length {
                        bytes[place + 1] = b'\\';
                        assert_eq!(text_end(&bytes, b'"'), Some(place + usize::from(!ends)));
                    }
                }
            }
        }
    }
}
