//! The memory of what was verified: which file, known by device, inode, length and time, had which digest.
//!
//! One text file per observatory, to which a line is appended for each event; the last line of a name counts. A line that
//! is torn or wrong is ignored: the worst that follows is that a file is hashed once more.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cap_std::fs::{Metadata, MetadataExt};

use crate::crds::{FileName, Sha1Sum};

/// What tells one state of one file from every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) seconds: i64,
    pub(super) nanoseconds: i64,
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
        }
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

/// What the memory says of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// This file was verified; without a digest it was accepted because there was nothing to compare with.
    Copy(Identity, Option<Sha1Sum>),
    /// The user's own file.
    Local,
    /// Removed.
    Gone,
}

/// The line that remembers a mark, with its end.
pub(super) fn line(name: &FileName, mark: &Mark) -> String {
    match mark {
        Mark::Copy(identity, sha1) => {
            let sha1 = sha1.map_or_else(|| "-".to_owned(), |sum| sum.to_string());
            let Identity {
                device,
                inode,
                size,
                seconds,
                nanoseconds,
            } = identity;
            format!("C\t{device}\t{inode}\t{size}\t{seconds}\t{nanoseconds}\t{sha1}\t{name}\n")
        }
        Mark::Local => format!("L\t{name}\n"),
        Mark::Gone => format!("G\t{name}\n"),
    }
}

/// The marks of a memory file, and whether it is worth writing it anew (torn, or mostly outdated).
pub(super) fn read(text: &str) -> (HashMap<FileName, Mark>, bool) {
    let mut marks = HashMap::new();
    let mut lines = 0_usize;
    for line in text.split_inclusive('\n') {
        lines += 1;
        if let Some((name, mark)) = line.strip_suffix('\n').and_then(parse) {
            marks.insert(name, mark);
        }
    }
    marks.retain(|_, mark| *mark != Mark::Gone);
    let untidy = lines > 2 * marks.len() + 64 || !(text.is_empty() || text.ends_with('\n'));
    (marks, untidy)
}

fn parse(line: &str) -> Option<(FileName, Mark)> {
    let (kind, rest) = line.split_once('\t')?;
    match kind {
        "L" => Some((rest.parse().ok()?, Mark::Local)),
        "G" => Some((rest.parse().ok()?, Mark::Gone)),
        "C" => {
            let mut fields = rest.splitn(7, '\t');
            let identity = Identity {
                device: fields.next()?.parse().ok()?,
                inode: fields.next()?.parse().ok()?,
                size: fields.next()?.parse().ok()?,
                seconds: fields.next()?.parse().ok()?,
                nanoseconds: fields.next()?.parse().ok()?,
            };
            let sha1 = match fields.next()? {
                "-" => None,
                text => Some(text.parse().ok()?),
            };
            Some((fields.next()?.parse().ok()?, Mark::Copy(identity, sha1)))
        }
        _ => None,
    }
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
    };

    #[test]
    fn what_is_written_is_read() {
        let sum = Sha1Sum::from_bytes([0xab; 20]);
        let name = |text: &str| text.parse::<FileName>().unwrap();
        let marks = [
            (name("a b.fits"), Mark::Copy(IDENTITY, Some(sum))),
            (name("b.fits"), Mark::Copy(IDENTITY, None)),
            (name("c.fits"), Mark::Local),
        ];
        let text: String = marks.iter().map(|(name, mark)| line(name, mark)).collect();
        let (read_back, untidy) = read(&text);
        assert_eq!(read_back, marks.into_iter().collect());
        assert!(!untidy);
    }

    #[test]
    fn the_last_line_counts_and_torn_ones_do_not() {
        let name: FileName = "x.fits".parse().unwrap();
        let mut text = line(&name, &Mark::Copy(IDENTITY, None)) + &line(&name, &Mark::Local);
        assert_eq!(read(&text).0[&name], Mark::Local);
        text += &line(&name, &Mark::Gone);
        assert!(read(&text).0.is_empty());
        text += line(&name, &Mark::Local).trim_end();
        let (marks, untidy) = read(&text);
        assert!(marks.is_empty() && untidy);
        assert!(read("C\t1\t2\nL\t../x\nnonsense\n\u{0}").0.is_empty());
    }
}
