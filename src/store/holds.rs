//! Holds: the names whose copies are never evicted, and the lines that tell them.
//!
//! There is one format: of the file that keeps them in a store (`.crds-fs/hold`), of the file that tells them in a mount, and
//! of what is written to that. A line is `hold OBSERVATORY/NAME` or `release OBSERVATORY/NAME`, and the last one about a name
//! counts. Empty lines and those that begin with `#` say nothing.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::crds::{FileKey, FileName, Observatory};

/// A change of what is held, as one line tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HoldChange {
    /// The copy of this name is not evicted from now on.
    Hold(FileKey),
    /// It is a copy like any other from now on.
    Release(FileKey),
}

/// A line that is none of a file of holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is neither 'hold OBSERVATORY/NAME' nor 'release OBSERVATORY/NAME'")]
pub(crate) struct HoldLineError(String);

impl HoldChange {
    /// The change that a line (without its end) tells; `None` for one that says nothing.
    pub(crate) fn parse(line: &str) -> Result<Option<Self>, HoldLineError> {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.trim().is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        let wrong = || HoldLineError(line.chars().take(160).collect());
        let (verb, name) = line.split_once(' ').ok_or_else(wrong)?;
        let key = key(name.trim_start()).ok_or_else(wrong)?;
        match verb {
            "hold" => Ok(Some(Self::Hold(key))),
            "release" => Ok(Some(Self::Release(key))),
            _ => Err(wrong()),
        }
    }

    /// The line that tells it, with its end.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Hold(key) => format!("hold {key}\n"),
            Self::Release(key) => format!("release {key}\n"),
        }
    }

    /// Changes a set of names; whether that made a difference.
    pub(crate) fn apply(self, held: &mut BTreeSet<FileKey>) -> bool {
        match self {
            Self::Hold(key) => held.insert(key),
            Self::Release(key) => held.remove(&key),
        }
    }
}

/// The names that a text holds, and the lines of it that are none.
pub(crate) fn read(text: &str) -> (BTreeSet<FileKey>, Vec<HoldLineError>) {
    let (mut held, mut wrong) = (BTreeSet::new(), Vec::new());
    for line in text.lines() {
        match HoldChange::parse(line) {
            Ok(Some(change)) => drop(change.apply(&mut held)),
            Ok(None) => {}
            Err(error) => wrong.push(error),
        }
    }
    (held, wrong)
}

/// The text that holds these names.
pub(crate) fn text<'a>(held: impl IntoIterator<Item = &'a FileKey>) -> String {
    let mut text = String::new();
    for key in held {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "hold {key}");
    }
    text
}

fn key(text: &str) -> Option<FileKey> {
    let (observatory, name) = text.split_once('/')?;
    // As it is written, not in any case: the names of directories.
    let observatory = Observatory::ALL
        .into_iter()
        .find(|known| known.as_str() == observatory)?;
    let name: FileName = name.parse().ok()?;
    Some(FileKey { observatory, name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(text: &str) -> Vec<String> {
        read(text).0.iter().map(FileKey::to_string).collect()
    }

    #[test]
    fn the_last_line_about_a_name_counts() {
        let text = "hold hst/b.fits\n\n# why\r\nhold hst/a b.fits\r\nhold roman/c.asdf\nrelease hst/b.fits\n";
        assert_eq!(names(text), ["hst/a b.fits", "roman/c.asdf"]);
        assert_eq!(read(text).1, []);
        assert!(names("hold hst/b.fits\nrelease hst/b.fits\n").is_empty());
        assert_eq!(names("release hst/b.fits\nhold hst/b.fits"), ["hst/b.fits"]);
    }

    #[test]
    fn lines_that_are_none_are_told_and_passed_over() {
        for line in [
            "hold",
            "hold b.fits",
            "hold hst/../b.fits",
            "hold hst/.hidden",
            "hold HST/b.fits",
            "hold mars/b.fits",
            "keep hst/b.fits",
            " hold hst/b.fits",
            "hold hst/é.fits",
            "holdhst/b.fits",
        ] {
            let error = HoldChange::parse(line).unwrap_err();
            assert!(error.to_string().contains(line), "{error}");
            let (held, wrong) = read(&format!("hold hst/a.fits\n{line}\nhold hst/c.fits\n"));
            assert_eq!((held.len(), wrong.len()), (2, 1), "{line}");
        }
        let long = HoldChange::parse(&"x".repeat(10_000)).unwrap_err();
        assert!(long.to_string().len() < 300);
    }

    fn any_key() -> impl Strategy<Value = FileKey> {
        let observatory = prop::sample::select(Observatory::ALL.to_vec());
        (observatory, "[A-Za-z0-9_-][A-Za-z0-9._ -]{0,20}").prop_map(|(observatory, name)| FileKey {
            observatory,
            name: name.parse().unwrap(),
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(held in prop::collection::btree_set(any_key(), 0..20)) {
            prop_assert_eq!(read(&text(&held)), (held, Vec::new()));
        }

        /// Changes told in lines are those that are applied one by one.
        #[test]
        fn lines_are_changes(changes in prop::collection::vec((any_key(), any::<bool>()), 0..20)) {
            let (mut held, mut lines) = (BTreeSet::new(), String::new());
            for (key, holds) in changes {
                let change = if holds { HoldChange::Hold(key) } else { HoldChange::Release(key) };
                lines += &change.line();
                change.apply(&mut held);
            }
            prop_assert_eq!(read(&lines).0, held);
        }

        #[test]
        fn anything_is_read_without_a_panic(text in any::<String>()) {
            let (held, wrong) = read(&text);
            prop_assert!(held.len() + wrong.len() <= text.lines().count());
        }
    }
}
