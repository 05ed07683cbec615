//! The table of mounts, as `/proc/self/mountinfo` gives it (proc(5)). Reading it never touches a mount, dead or alive.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::Error;

/// The type under which the kernel lists our mounts.
pub(crate) const FSTYPE: &str = "fuse.crds-fs";

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountEntry {
    /// The number of the mount, which no other has at the same time, in whatever namespace.
    pub id: u32,
    /// The device number's minor part: the number of the FUSE connection below `/sys/fs/fuse/connections`.
    pub minor: u32,
    /// The mount point.
    pub mountpoint: PathBuf,
    /// Its type, such as [`FSTYPE`].
    pub fstype: String,
    /// The source of the mount.
    pub source: OsString,
    /// The user who mounted it, where the file system says so (FUSE does).
    pub owner: Option<u32>,
}

impl MountEntry {
    /// Whether it is one of ours.
    pub(crate) fn is_ours(&self) -> bool {
        self.fstype == FSTYPE
    }
}

/// All mounts of this process's namespace, later ones (which lie on top) last.
pub(crate) fn read() -> Result<Vec<MountEntry>, Error> {
    read_at(Path::new("/proc/self/mountinfo"))
}

/// The table of a process, by its path below `/proc`.
pub(super) fn read_at(table: &Path) -> Result<Vec<MountEntry>, Error> {
    let text = std::fs::read(table).map_err(|source| Error::io("reading", table, source))?;
    Ok(parse(&text))
}

/// The mount on top at exactly `path`, if there is one. `path` must be absolute and free of links.
pub(crate) fn at(path: &Path) -> Result<Option<MountEntry>, Error> {
    Ok(read()?.into_iter().rev().find(|entry| entry.mountpoint == path))
}

/// The mount that an absolute path free of links lies in.
pub(crate) fn covering<'a>(table: &'a [MountEntry], path: &Path) -> Option<&'a MountEntry> {
    let over = table.iter().filter(|entry| path.starts_with(&entry.mountpoint));
    over.max_by_key(|entry| entry.mountpoint.components().count())
}

/// Fails with an error that says what is wrong, if `path` lies in a mount of ours that does not answer. Links in `path`
/// are not followed.
pub(crate) fn must_answer(path: &Path) -> Result<(), Error> {
    let spelt = std::path::absolute(path).map_err(|source| Error::io("resolving", path, source))?;
    match covering(&read()?, &spelt) {
        Some(entry) if entry.is_ours() => entry.must_answer(),
        _ => Ok(()),
    }
}

/// The mount point that `path` means: absolute, with links resolved, without touching the mount itself, which may be dead.
pub(crate) fn locate(path: &Path) -> Result<PathBuf, Error> {
    let failed = |source: io::Error| Error::io("resolving", path, source);
    let spelt = std::path::absolute(path).map_err(failed)?;
    if at(&spelt)?.is_some_and(|entry| entry.is_ours()) {
        return Ok(spelt);
    }
    // Resolving what lies in a mount asks the mount.
    must_answer(path)?;
    if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        let mountpoint = parent.canonicalize().map_err(failed)?.join(name);
        if at(&mountpoint)?.is_some() {
            return Ok(mountpoint);
        }
    }
    path.canonicalize().map_err(failed)
}

/// Reads the table; lines that are not as proc(5) says are passed over.
fn parse(text: &[u8]) -> Vec<MountEntry> {
    text.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mut text = |nth: usize| std::str::from_utf8(fields.nth(nth)?).ok();
    let id = text(0)?.parse().ok()?;
    let device = text(1)?;
    let (_, minor) = device.split_once(':')?;
    let mountpoint = unescape(fields.nth(1)?);
    // Optional fields follow; a lone hyphen ends them.
    fields.by_ref().find(|field| *field == b"-")?;
    let fstype = String::from_utf8(unescape(fields.next()?)).ok()?;
    let source = unescape(fields.next()?);
    let options = fields.next().and_then(|text| std::str::from_utf8(text).ok());
    let owner = options.and_then(|options| {
        let mut options = options.trim_end().split(',');
        options.find_map(|option| option.strip_prefix("user_id=")?.parse().ok())
    });
    Some(MountEntry {
        id,
        minor: minor.parse().ok()?,
        mountpoint: OsString::from_vec(mountpoint).into(),
        fstype,
        source: OsString::from_vec(source),
        owner,
    })
}

/// Undoes the kernel's `\ooo` escapes of blanks, tabs, newlines, backslashes and `#`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, behind)) = rest.split_first() {
        let octal = |byte: u8| (b'0'..=b'7').contains(&byte).then(|| u32::from(byte - b'0'));
        let escaped = match behind {
            [a, b, c, ..] if first == b'\\' => (|| Some(octal(*a)? * 64 + octal(*b)? * 8 + octal(*c)?))(),
            _ => None,
        };
        if let Some(byte) = escaped.and_then(|code| u8::try_from(code).ok()) {
            plain.push(byte);
            rest = behind.get(3..).unwrap_or_default();
        } else {
            plain.push(first);
            rest = behind;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TABLE: &[u8] = b"\
        22 27 0:20 / /proc rw,nosuid shared:13 - proc proc rw\n\
        27 1 254:1 / / rw,relatime shared:1 master:2 - ext4 /dev/vda1 rw\n\
        99 27 0:51 / /home/a\\040b\\134c rw,nosuid,nodev,noatime - fuse.crds-fs https://x.org/a\\043b rw,user_id=0\n\
        a line that means nothing\n\
        100 27 0:52 / /mnt rw - fuse.crds-fs x";

    #[test]
    fn reads_what_the_kernel_writes() {
        let table = parse(TABLE);
        assert_eq!(table.len(), 4);
        let ours = &table[2];
        assert_eq!(ours.minor, 51);
        assert_eq!(ours.mountpoint, Path::new("/home/a b\\c"));
        assert_eq!(ours.source, "https://x.org/a#b");
        assert!(ours.is_ours() && !table[1].is_ours());
        assert_eq!((ours.owner, table[1].owner), (Some(0), None));
    }

    #[test]
    fn a_path_is_in_the_nearest_mount() {
        let table = parse(TABLE);
        let covering = |path: &str| covering(&table, Path::new(path)).unwrap().minor;
        assert_eq!(covering("/home/a b\\c/references/hst"), 51);
        assert_eq!(covering("/home/a b\\c"), 51);
        assert_eq!(covering("/home/a b\\cd"), 1);
        assert_eq!(covering("/mnt/x"), 52);
    }

    #[test]
    fn this_machine_has_a_root() {
        assert!(at(Path::new("/")).unwrap().is_some());
        assert_eq!(locate(Path::new("/proc/../proc/.")).unwrap(), Path::new("/proc"));
    }

    proptest! {
        #[test]
        fn never_panics(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(&line);
        }

        #[test]
        fn unescaping_inverts_escaping(name in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut escaped = Vec::new();
            for byte in &name {
                if b" \t\n\\#".contains(byte) {
                    escaped.extend(format!("\\{byte:03o}").bytes());
                } else {
                    escaped.push(*byte);
                }
            }
            prop_assert_eq!(unescape(&escaped), name);
        }
    }
}
