//! Power failures, which lose everything that was not synced: at every moment a file with a final name is complete and
//! right, and the user's files are there.
//!
//! The store records what each sync has made durable. From that and from the present directory two directories are
//! made, the extremes of what a failure may leave: one in which all names survive and bytes only as far as they were
//! synced, and one in which also the names of files in a directory are those of its last sync, none before the first.

use std::collections::{BTreeMap, HashMap};
use std::io;

use super::moments::Moment;
use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// Those of this moment.
    Now,
    /// Those of the last sync of their directory; directories themselves survive.
    Synced,
}

/// The bytes and names that have been made durable.
#[derive(Default)]
struct Durable {
    data: HashMap<u64, Vec<u8>>,
    names: HashMap<u64, BTreeMap<std::ffi::OsString, u64>>,
}

impl Durable {
    fn of(store: &Disk) -> Self {
        let mut durable = Self::default();
        for sync in store.durability.done() {
            match sync {
                Sync::Data(inode, bytes) => drop(durable.data.insert(inode, bytes)),
                Sync::Names(inode, names) => drop(durable.names.insert(inode, names)),
            }
        }
        durable
    }

    /// Copies to `to` what a power failure leaves of the directory `from`.
    fn left(&self, from: &Path, to: &Path, names: Names) -> io::Result<()> {
        let synced = self.names.get(&fs::metadata(from)?.ino());
        let survives = |name: &std::ffi::OsStr, inode| {
            names == Names::Now || synced.is_some_and(|synced| synced.get(name) == Some(&inode))
        };
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            let to = to.join(entry.file_name());
            if metadata.is_dir() {
                fs::create_dir(&to)?;
                self.left(&entry.path(), &to, names)?;
            } else if survives(&entry.file_name(), metadata.ino()) {
                let bytes = self.data.get(&metadata.ino());
                // The length may survive the bytes.
                let lost = vec![0; usize::try_from(metadata.len()).unwrap()];
                fs::write(to, bytes.unwrap_or(&lost))?;
            }
        }
        Ok(())
    }
}

/// A copy of the store as a power failure at this moment leaves it, taken again if another thread has synced meanwhile.
fn image(disk: &Disk, dir: &TempDir, names: Names) -> TempDir {
    loop {
        let before = disk.durability.done().len();
        let left = TempDir::new().unwrap();
        if Durable::of(disk).left(dir.path(), left.path(), names).is_ok()
            && disk.durability.done().len() == before
        {
            return left;
        }
    }
}

fn contents(number: usize) -> Vec<u8> {
    format!("contents of file {number}").into_bytes()
}

fn name(number: usize) -> FileKey {
    key(&format!("hst_{number:04}.pmap"))
}

/// Publications both ways.
fn publish_all(store: &DiskStore) {
    for number in 0..6 {
        publish(store, &name(number), &contents(number)).unwrap();
    }
    for number in 6..30 {
        let bytes = contents(number);
        store.store_whole(&name(number), &bytes, sum(&bytes)).unwrap();
    }
}

/// A life of a store: publications both ways, removals, overrides, adoption, eviction.
fn live(store: &DiskStore, dir: &TempDir) {
    publish_all(store);
    store.remove_copy(&name(3)).unwrap();
    store.close().unwrap();
    // The same bytes come back: the catalogued file.
    let theirs = File::create(dir.path().join("theirs")).unwrap();
    theirs.write_all_at(&contents(4), 0).unwrap();
    store.move_in(Path::new("theirs"), &name(4)).unwrap();
    assert!(store.adopt(&name(4), entry(&contents(4))).unwrap());
    store.make_room(&name(5), 40).unwrap();
    publish(store, &name(3), &contents(3)).unwrap();
    store.close().unwrap();
}

/// Opens the store that a power failure leaves: files with a final name are right without being hashed again.
fn check(left: &TempDir, moment: &str) -> usize {
    let mut there = 0;
    for number in 0..30 {
        let Ok(bytes) = fs::read(path(left, &name(number))) else {
            continue;
        };
        // A file that the user has put there need not be durable until it is adopted.
        if number == 4 && bytes.iter().all(|byte| *byte == 0) {
            continue;
        }
        assert_eq!(bytes, contents(number), "{number} at {moment}");
        there += 1;
    }
    let store = open(left);
    for number in 0..30 {
        let wanted = entry(&contents(number));
        let found = match store.open(&name(number), wanted).unwrap() {
            Found::Unverified => store.verify(&name(number), wanted).unwrap(),
            found => found,
        };
        if let Found::Catalogued(file) = found {
            assert_eq!(bytes_of(&file), contents(number), "{number} at {moment}");
        }
    }
    there
}

#[test]
fn what_has_a_name_is_right_whenever_the_power_fails() {
    let mut looks = 0;
    let mut seen = 0;
    for moment in [
        Moment::Reserved,
        Moment::Begun,
        Moment::Verified,
        Moment::DataSynced,
        Moment::Named,
        Moment::Remembered,
        Moment::NamesSynced,
        Moment::VictimAside,
        Moment::VictimRemoved,
        Moment::OverrideRemembered,
        Moment::OverrideNamed,
        Moment::Hashed,
    ] {
        for times in [1, 2, 5] {
            let dir = Arc::new(TempDir::new().unwrap());
            let store = open(&dir);
            let (sender, images) = mpsc::channel();
            let (place, disk) = (Arc::clone(&dir), Arc::downgrade(&store.disk));
            store.disk.moments.plan_nth(moment, times, move || {
                for names in [Names::Now, Names::Synced] {
                    sender
                        .send(image(&disk.upgrade().unwrap(), &place, names))
                        .unwrap();
                }
            });
            live(&store, &dir);
            for left in images.try_iter() {
                // The marks of our own directory are older than the files.
                for own in ["format", "CACHEDIR.TAG"] {
                    let own = Path::new(".crds-fs").join(own);
                    fs::copy(dir.path().join(&own), left.path().join(&own)).unwrap();
                }
                seen += check(&left, &format!("{moment:?} {times}"));
                looks += 1;
            }
        }
    }
    assert!(looks >= 50 && seen >= 200, "{looks} looks, {seen} files");
}

#[test]
fn what_was_published_before_the_end_outlives_a_power_failure() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    publish_all(&store);
    store.close().unwrap();
    for names in [Names::Now, Names::Synced] {
        let left = image(&store.disk, &dir, names);
        for number in 0..30 {
            let found = fs::read(path(&left, &name(number))).ok();
            assert_eq!(found, Some(contents(number)), "{number}, {names:?}");
        }
    }
}
