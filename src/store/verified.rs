//! The memory of verified files: the digest of each, by its device, inode, length and times.
//!
//! One text file per observatory, to which a line is appended for each event; the last lines of a name count. A line that
//! is torn or wrong is ignored, and so is one without the time of the last change of status, as earlier versions wrote
//! them: the worst that follows is that a file is hashed once more.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cap_std::fs::{Metadata, MetadataExt};

use crate::crds::{FileName, Sha1Sum};

/// The identity of a file in one state: device, inode, length, time of modification and time of the last change of
/// status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) seconds: i64,
    pub(super) nanoseconds: i64,
    /// The time of the last change of status (ctime), in seconds and nanoseconds; unlike the time of modification it
    /// cannot be set.
    pub(super) changed: (i64, i64),
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether it is the same inode, be its contents the same or not.
    pub(super) fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Whether at most attributes are different: its mode, its owner or its names.
    pub(super) fn has_same_contents(&self, other: &Self) -> bool {
        let changed = self.changed;
        *self == Self { changed, ..*other }
    }

    pub(super) fn modified(&self) -> SystemTime {
        let seconds = Duration::from_secs(self.seconds.unsigned_abs());
        let nanoseconds = Duration::from_nanos(self.nanoseconds.unsigned_abs());
        let whole = if self.seconds < 0 {
            UNIX_EPOCH.checked_sub(seconds)
        } else {
            UNIX_EPOCH.checked_add(seconds)
        };
        whole
            .and_then(|time| time.checked_add(nanoseconds))
            .unwrap_or(UNIX_EPOCH)
    }
}

/// The origin of a copy in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was fetched by crds-fs, and can be fetched again.
    Fetched,
    /// It was found there.
    Found,
}

/// An event of a name, kept as one line of the memory file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// This file was verified; without a digest it was accepted because there was nothing to compare with.
    Copy(Identity, Option<Sha1Sum>, Origin),
    /// The user's own file.
    Local,
    /// Removed.
    Gone,
}

/// The remembered state of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Known {
    /// The copy that was there last.
    pub(super) copy: Option<(Identity, Option<Sha1Sum>, Origin)>,
    /// Whether the name is the user's, unless that copy is still there: this is written down before the user's file
    /// takes the name.
    pub(super) local: bool,
}

/// The line that remembers a mark, with its end.
pub(super) fn line(name: &FileName, mark: &Mark) -> String {
    match mark {
        Mark::Copy(identity, sha1, origin) => {
            let sha1 = sha1.map_or_else(|| "-".to_owned(), |sum| sum.to_string());
            let kind = match origin {
                Origin::Fetched => 'F',
                Origin::Found => 'V',
            };
            let Identity {
                device,
                inode,
                size,
                seconds,
                nanoseconds,
                changed,
            } = identity;
            let (changed, changed_nanoseconds) = changed;
            format!(
                "{kind}\t{device}\t{inode}\t{size}\t{seconds}\t{nanoseconds}\t{changed}\t{changed_nanoseconds}\t{sha1}\t{name}\n"
            )
        }
        Mark::Local => format!("L\t{name}\n"),
        Mark::Gone => format!("G\t{name}\n"),
    }
}

/// Parses a memory file: the state of each name, and whether the file should be rewritten (its last line is torn, or
/// most lines are outdated).
pub(super) fn read(text: &str) -> (HashMap<FileName, Known>, bool) {
    let mut names: HashMap<FileName, Known> = HashMap::new();
    let mut lines = 0_usize;
    for line in text.split_inclusive('\n') {
        lines += 1;
        let Some((name, mark)) = line.strip_suffix('\n').and_then(parse) else {
            continue;
        };
        match mark {
            Mark::Copy(identity, sha1, origin) => {
                let copy = Some((identity, sha1, origin));
                names.insert(name, Known { copy, local: false });
            }
            Mark::Local => names.entry(name).or_default().local = true,
            Mark::Gone => drop(names.remove(&name)),
        }
    }
    let untidy = lines > 2 * names.len() + 64 || !(text.is_empty() || text.ends_with('\n'));
    (names, untidy)
}

fn parse(line: &str) -> Option<(FileName, Mark)> {
    let (kind, rest) = line.split_once('\t')?;
    let origin = match kind {
        "L" => return Some((rest.parse().ok()?, Mark::Local)),
        "G" => return Some((rest.parse().ok()?, Mark::Gone)),
        "F" => Origin::Fetched,
        "V" => Origin::Found,
        _ => return None,
    };
    let mut fields = rest.splitn(9, '\t');
    let identity = Identity {
        device: fields.next()?.parse().ok()?,
        inode: fields.next()?.parse().ok()?,
        size: fields.next()?.parse().ok()?,
        seconds: fields.next()?.parse().ok()?,
        nanoseconds: fields.next()?.parse().ok()?,
        changed: (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?),
    };
    let sha1 = match fields.next()? {
        "-" => None,
        text => Some(text.parse().ok()?),
    };
    Some((fields.next()?.parse().ok()?, Mark::Copy(identity, sha1, origin)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Identity = Identity {
        device: 7,
        inode: 8,
        size: 9,
        seconds: -10,
        nanoseconds: 11,
        changed: (-12, 13),
    };

    fn copy(sha1: Option<Sha1Sum>, origin: Origin) -> Known {
        Known {
            copy: Some((IDENTITY, sha1, origin)),
            local: false,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let sum = Sha1Sum::from_bytes([0xab; 20]);
        let name = |text: &str| text.parse::<FileName>().unwrap();
        let local = Known {
            copy: None,
            local: true,
        };
        let lines = [
            line(
                &name("a b.fits"),
                &Mark::Copy(IDENTITY, Some(sum), Origin::Fetched),
            ),
            line(&name("b.fits"), &Mark::Copy(IDENTITY, None, Origin::Found)),
            line(&name("c.fits"), &Mark::Local),
        ];
        let (read_back, untidy) = read(&lines.concat());
        let expected = [
            (name("a b.fits"), copy(Some(sum), Origin::Fetched)),
            (name("b.fits"), copy(None, Origin::Found)),
            (name("c.fits"), local),
        ];
        assert_eq!(read_back, expected.into_iter().collect());
        assert!(!untidy);
    }

    #[test]
    fn the_last_line_counts_and_torn_ones_do_not() {
        let name: FileName = "x.fits".parse().unwrap();
        let is_copy = Mark::Copy(IDENTITY, None, Origin::Fetched);
        let mut text = line(&name, &is_copy) + &line(&name, &Mark::Local);
        let known = read(&text).0[&name];
        assert!(
            known.local && known.copy.is_some(),
            "what was there until the user's file came is still known"
        );
        text += &line(&name, &is_copy);
        assert_eq!(read(&text).0[&name], copy(None, Origin::Fetched));
        text += &line(&name, &Mark::Gone);
        assert!(read(&text).0.is_empty());
        text += line(&name, &Mark::Local).trim_end();
        let (marks, untidy) = read(&text);
        assert!(marks.is_empty() && untidy);
        assert!(read("F\t1\t2\nL\t../x\nnonsense\n\u{0}").0.is_empty());
        assert!(
            read("C\t7\t8\t9\t-10\t11\t-\tx.fits\n").0.is_empty(),
            "of an earlier version"
        );
    }
}
