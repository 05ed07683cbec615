//! Every catalogued file is there; looking costs nothing, reading costs each file once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::library::Library;
use crate::rig::Rig;

/// Readers at a time.
const READERS: usize = 32;

#[test]
fn the_demonstration_is_looked_at_for_nothing_and_read_once() {
    look_and_read(&Library::demo());
}

#[test]
fn real_rules_are_looked_at_for_nothing_and_read_once() {
    if let Some(library) = Library::shared() {
        look_and_read(&library);
    }
}

fn look_and_read(library: &Library) {
    let flags = library.flags();
    let rig = Rig::mounted(&flags.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    look(library, &rig);
    let mappings = originals(library, "mappings");
    let seen: Vec<_> = mappings.keys().cloned().collect();
    std::thread::scope(|scope| {
        for reader in 0..READERS {
            let (seen, mappings, rig) = (&seen, &mappings, &rig);
            scope.spawn(move || {
                // All readers begin at the same place, half of them from behind: they meet again in the middle.
                let names: Box<dyn Iterator<Item = &PathBuf>> = if reader % 2 == 0 {
                    Box::new(seen.iter())
                } else {
                    Box::new(seen.iter().rev())
                };
                for name in names {
                    let read = rig
                        .read(name)
                        .unwrap_or_else(|errno| panic!("{}: errno {errno}", name.display()));
                    assert!(
                        read == fs::read(&mappings[name]).unwrap(),
                        "{} differs",
                        name.display()
                    );
                }
            });
        }
    });
    let counted = library.counters().files();
    assert_eq!(counted.len(), mappings.len());
    for (key, count) in counted {
        assert_eq!(count.gets, 1, "{key} was downloaded {} times", count.gets);
    }
}

/// `find` sees every file with its size, and no file is downloaded for that.
fn look(library: &Library, rig: &Rig) {
    let found = Command::new("find")
        .args(["mappings", "references", "-type", "f", "-printf", "%s %p\\n"])
        .current_dir(rig.mountpoint())
        .output()
        .unwrap();
    assert!(
        found.status.success(),
        "{}",
        String::from_utf8_lossy(&found.stderr)
    );
    let found = String::from_utf8(found.stdout).unwrap();
    let found: BTreeMap<PathBuf, u64> = found
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(size, path)| (path.into(), size.parse().unwrap()))
        .collect();
    assert_eq!(found.len(), library.files());
    for part in ["mappings", "references"] {
        for (name, original) in originals(library, part) {
            assert_eq!(
                found.get(&name),
                Some(&fs::metadata(original).unwrap().len()),
                "{}",
                name.display()
            );
        }
    }
    assert_eq!(library.counters().downloads(), 0);
}

/// The files that are served, as paths in a mount, with their originals.
fn originals(library: &Library, part: &str) -> BTreeMap<PathBuf, PathBuf> {
    let mut originals = BTreeMap::new();
    for observatory in ["hst", "jwst", "roman"] {
        let directory = Path::new(part).join(observatory);
        for entry in fs::read_dir(library.cache.join(&directory)).into_iter().flatten() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let is_mapping = [".pmap", ".imap", ".rmap"].iter().any(|end| name.ends_with(end));
            if is_mapping == (part == "mappings") {
                originals.insert(directory.join(name), entry.path());
            }
        }
    }
    originals
}
