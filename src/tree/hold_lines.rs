//! The lines that are written to `.crds-fs/hold`, as changes of what is held (pure).

use crate::store::HoldChange;

use super::error::Error;

/// No line is longer, in bytes.
const LINE: usize = 4096;

fn wrong() -> Error {
    Error::Invalid("a line is neither 'hold OBSERVATORY/NAME' nor 'release OBSERVATORY/NAME'")
}

/// The bytes that were written through one open file and have no end of line yet.
#[derive(Debug, Default)]
pub(super) struct Unended(Vec<u8>);

impl Unended {
    /// The changes that the lines tell which end in `data`. If one of them is none, all are forgotten.
    pub(super) fn take(&mut self, data: &[u8]) -> Result<Vec<HoldChange>, Error> {
        self.0.extend_from_slice(data);
        let ended = self
            .0
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let rest = self.0.split_off(ended);
        let lines = std::mem::replace(&mut self.0, rest);
        let changes = changes(&lines);
        if changes.is_err() || self.0.len() > LINE {
            self.0.clear();
            return Err(wrong());
        }
        changes
    }

    /// The change that the last line tells.
    pub(super) fn end(&mut self) -> Result<Vec<HoldChange>, Error> {
        changes(&std::mem::take(&mut self.0))
    }
}

fn changes(lines: &[u8]) -> Result<Vec<HoldChange>, Error> {
    let text = std::str::from_utf8(lines).map_err(|_| wrong())?;
    let changes = text
        .lines()
        .filter_map(|line| HoldChange::parse(line).transpose());
    changes.collect::<Result<_, _>>().map_err(|error| {
        log::warn!(".crds-fs/hold: {error}: refused");
        wrong()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_count_when_they_end() {
        let mut unended = Unended::default();
        assert!(unended.take(b"hold hst/a.fits").unwrap().is_empty());
        assert_eq!(
            unended.take(b"\nrelease hst/b.fits\nhold hst/c").unwrap().len(),
            2
        );
        assert_eq!(unended.take(b"").unwrap(), []);
        assert_eq!(unended.end().unwrap().len(), 1);
        assert_eq!(unended.end().unwrap(), []);
    }

    #[test]
    fn nothing_counts_of_what_has_a_wrong_line() {
        let mut unended = Unended::default();
        for wrong in [
            &b"hold hst/a.fits\nnonsense\n"[..],
            b"hold hst/\xff.fits\n",
            &[b'#'; LINE + 1],
        ] {
            assert!(matches!(unended.take(wrong), Err(Error::Invalid(_))));
            assert_eq!(unended.take(b"hold hst/a.fits\n").unwrap().len(), 1);
        }
        unended.take(b"nonsense").unwrap();
        assert!(unended.end().is_err());
        assert_eq!(unended.end().unwrap(), []);
    }

    proptest! {
        /// However the text is cut into writes, the changes are the same.
        #[test]
        fn cuts_do_not_matter(names in prop::collection::vec("[a-z]{1,9}\\.fits", 1..20), cuts in prop::collection::vec(1_usize..30, 1..20)) {
            let text: String = names.iter().flat_map(|name| ["hold hst/", name, "\n"]).collect();
            let whole = Unended::default().take(text.as_bytes()).unwrap();
            let (mut unended, mut changes, mut rest) = (Unended::default(), Vec::new(), text.as_bytes());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                changes.extend(unended.take(now).unwrap());
                rest = later;
            }
            prop_assert_eq!(changes, whole);
        }
    }
}
