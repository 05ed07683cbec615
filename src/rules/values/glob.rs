//! Shell patterns as Python's `fnmatch` reads them.

/// A prepared shell pattern.
#[derive(Debug, Clone)]
pub(crate) struct Glob(Vec<Piece>);

#[derive(Debug, Clone)]
enum Piece {
    Character(char),
    Any,
    Run,
    /// Whether negated, and the ranges of characters.
    Set(bool, Vec<(char, char)>),
}

impl Glob {
    /// Prepares a pattern; every text is one.
    pub(crate) fn new(pattern: &str) -> Self {
        let pattern: Vec<char> = pattern.chars().collect();
        let mut pieces = Vec::with_capacity(pattern.len());
        // Once one bracket is not closed, no later one is: the search for the end is made once only.
        let mut closable = true;
        let mut at = 0;
        while let Some(&character) = pattern.get(at) {
            at += 1;
            match character {
                '*' => {
                    if !matches!(pieces.last(), Some(Piece::Run)) {
                        pieces.push(Piece::Run);
                    }
                }
                '?' => pieces.push(Piece::Any),
                '[' if closable => {
                    if let Some(end) = set_end(&pattern, at) {
                        pieces.push(set(pattern.get(at..end).unwrap_or(&[])));
                        at = end + 1;
                    } else {
                        closable = pattern.get(at..).is_some_and(|rest| rest.contains(&']'));
                        pieces.push(Piece::Character('['));
                    }
                }
                other => pieces.push(Piece::Character(other)),
            }
        }
        Self(pieces)
    }

    /// The only value that matches, for a pattern without wildcards.
    pub(crate) fn plain(&self) -> Option<String> {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Character(character) => Some(*character),
                _ => None,
            })
            .collect()
    }

    /// Whether the whole value matches.
    pub(crate) fn matches(&self, value: &str) -> bool {
        let mut pieces = &self.0[..];
        let mut rest = value.chars();
        // The point to go on from when the pieces behind the last run do not fit: the run takes one character more.
        let mut retry: Option<(&[Piece], std::str::Chars<'_>)> = None;
        loop {
            let mut ahead = rest.clone();
            match (pieces.split_first(), ahead.next()) {
                (Some((Piece::Run, after)), _) => {
                    pieces = after;
                    retry = Some((after, rest.clone()));
                    continue;
                }
                (None, None) => return true,
                (Some((piece, after)), Some(character)) if piece.accepts(character) => {
                    pieces = after;
                    rest = ahead;
                    continue;
                }
                _ => {}
            }
            let Some((after, from)) = &mut retry else {
                return false;
            };
            if from.next().is_none() {
                return false;
            }
            pieces = after;
            rest = from.clone();
        }
    }
}

impl Piece {
    fn accepts(&self, character: char) -> bool {
        match self {
            Self::Character(own) => *own == character,
            Self::Any | Self::Run => true,
            Self::Set(negated, ranges) => {
                let within = ranges
                    .iter()
                    .any(|&(first, last)| (first..=last).contains(&character));
                within != *negated
            }
        }
    }
}

/// The index of the bracket that closes the set whose content begins at `start`.
fn set_end(pattern: &[char], start: usize) -> Option<usize> {
    let mut from = start;
    if pattern.get(from) == Some(&'!') {
        from += 1;
    }
    if pattern.get(from) == Some(&']') {
        from += 1;
    }
    let rest = pattern.get(from..)?;
    Some(from + rest.iter().position(|&character| character == ']')?)
}

fn set(content: &[char]) -> Piece {
    let (negated, content) = match content.split_first() {
        Some(('!', content)) => (true, content),
        _ => (false, content),
    };
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Some(&first) = content.get(at) {
        if let (Some('-'), Some(&last)) = (content.get(at + 1), content.get(at + 2)) {
            if first <= last {
                ranges.push((first, last));
            }
            at += 3;
        } else {
            ranges.push((first, first));
            at += 1;
        }
    }
    Piece::Set(negated, ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_patterns() {
        for (pattern, value, expected) in [
            ("F*W", "F555W", true),
            ("F*W", "F555M", false),
            ("*A*B*", "xAyBz", true),
            ("**", "", true),
            ("?", "", false),
            ("a?c", "abc", true),
            ("[abc]x", "bx", true),
            ("[!abc]x", "bx", false),
            ("[a-c]", "b", true),
            ("[c-a]", "b", false),
            ("[]]", "]", true),
            ("[!]]", "]", false),
            ("[a", "[a", true),
            ("[a-]", "-", true),
            ("[", "[", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(
                Glob::new(pattern).matches(value),
                expected,
                "{pattern} on {value}"
            );
        }
    }
}
